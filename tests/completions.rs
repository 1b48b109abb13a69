//! Completions as the shells themselves make them: bash and zsh at a terminal, fish by its own `complete -C`.

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use support::{Terminal, skip};

/// What is typed, and what the Tab key makes of it.
const COMPLETED: [(&str, &str); 9] = [
    ("gambi room cr", "gambi room create"),
    ("gambi room list --sort na", "gambi room list --sort name"),
    ("gambi room list --sort=na", "gambi room list --sort=name"),
    ("gambi hub serve --log-f", "gambi hub serve --log-format"),
    ("gambi -H au room ge", "gambi -H au room get"),
    ("gambi help sec", "gambi help security"),
    ("gambi completions z", "gambi completions zsh"),
    ("gambi chat --password-file se", "gambi chat --password-file secret-file"),
    ("gambi hub serve --key-file=se", "gambi hub serve --key-file=secret-file"),
];

/// A directory with a file whose name is completed, and gambi in its `bin`. It is removed with the test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("complete-{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("bin")).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_gambi"), path.join("bin/gambi")).unwrap();
        fs::write(path.join("secret-file"), "").unwrap();
        Place(path)
    }

    fn path(&self) -> String {
        format!("{}:{}", self.0.join("bin").display(), std::env::var("PATH").unwrap_or_default())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn is_there(shell: &str) -> bool {
    Command::new(shell).args(["-c", "true"]).output().is_ok_and(|output| output.status.success())
}

/// Types each line into the shell that `start` starts, with a Tab.
fn type_into(shell: &str, start: &str) {
    if !is_there(shell) {
        return skip(shell);
    }
    let place = Place::new(shell);
    let Some(terminal) = Terminal::open(100, 30, &[("HOME", place.0.to_str().unwrap())]) else { return skip("tmux") };
    terminal.line(&format!("cd '{}'; export PATH='{}'; clear; {start}", place.0.display(), place.path()));
    terminal.line("PS1='at> '");
    terminal.wait("\nat>");
    if shell == "zsh" {
        terminal.line("autoload -U compinit; compinit -u -D");
    }
    terminal.line(&format!("source <(gambi completions {shell}) && clear && echo 'lo'aded"));
    let screen = terminal.wait("loaded\n");
    assert!(!screen.contains("unrecognized") && !screen.contains("rror"), "{screen}");
    for (typed, completed) in COMPLETED {
        terminal.write(typed);
        terminal.press(&["Tab"]);
        terminal.wait(&format!("at> {completed}"));
        terminal.press(&["C-u"]);
    }
    // All values, and no files where none are meant.
    terminal.write("gambi room list --sort ");
    terminal.press(&["Tab", "Tab"]);
    let screen = terminal.wait("created-at");
    assert!(screen.contains("participant-count") && !screen.contains("secret-file"), "{screen}");
}

#[test]
fn bash_completes_commands_flags_values_and_files() {
    type_into("bash", "bash --norc --noprofile");
}

#[test]
fn zsh_completes_commands_flags_values_and_files() {
    type_into("zsh", "zsh -f");
}

#[test]
fn zsh_loads_the_script_from_a_directory_of_functions() {
    if !is_there("zsh") {
        return skip("zsh");
    }
    let place = Place::new("fpath");
    let script = "gambi completions zsh > $PWD/_gambi; fpath=($PWD $fpath); autoload -U compinit; compinit -u -D; \
                  print ${_comps[gambi]} ${_comps[gambiarra]}";
    let mut zsh = Command::new("zsh");
    let output = zsh.args(["-f", "-c", script]).current_dir(&place.0).env("PATH", place.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "_gambi _gambi\n");
}

#[test]
fn fish_completes_commands_flags_values_and_files() {
    if !is_there("fish") {
        return skip("fish");
    }
    let place = Place::new("fish");
    let complete = |typed: &str| {
        let script = format!("gambi completions fish | source; complete -C '{typed}'");
        let mut fish = Command::new("fish");
        fish.args(["--no-config", "-c", &script]).current_dir(&place.0).stdin(Stdio::null());
        let output = fish.env("PATH", place.path()).env("HOME", &place.0).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{typed}");
        String::from_utf8(output.stdout).unwrap()
    };
    for (typed, completed) in COMPLETED {
        let last = completed.rsplit(' ').next().unwrap();
        let found = complete(typed);
        let words: Vec<&str> = found.lines().filter_map(|line| line.split('\t').next()).collect();
        assert_eq!(words, [last], "{typed}: {found}");
    }
    let values = complete("gambi room list --sort ");
    assert_eq!(values.lines().map(str::trim_end).collect::<Vec<_>>(), ["created-at", "name", "participant-count"]);
    assert!(complete("gambi room cr").contains("\tCreate a room"));
}
