//! The units that `gambi service` prints, judged by those who read them: systemd, shells, Apple's format.

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const GAMBI: &str = env!("CARGO_BIN_EXE_gambi");
/// What each format has to quote in its own way.
const ODD: &str = "LAB001=My \"50%\" $HOME \\ lab; it's <b>&";

fn unit(manager: &str, role: &str, args: &[&str]) -> String {
    let made = Command::new(GAMBI).args(["service", manager, "--for", role, "--bin", GAMBI, "--"]).args(args).output();
    let made = made.expect("gambi to run");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap()
}

/// The units of both roles, each in a file of that name.
fn files(manager: &str, name: impl Fn(&str) -> String) -> Vec<PathBuf> {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("service-{manager}"));
    fs::create_dir_all(&dir).unwrap();
    let hub = ["--mdns", "--room", ODD, "--key-file", "/etc/gambi/hub.key"];
    let participant = ["--room", "LAB001", "--participant-id", "it's ann's", "--model", "a b"];
    let roles: [(&str, &[&str]); 2] = [("hub", &hub), ("participant", &participant)];
    let write = |(role, args): (&str, &[&str])| {
        let path = dir.join(name(role));
        fs::write(&path, unit(manager, role, args)).unwrap();
        path
    };
    roles.map(write).into()
}

/// Whether the tool takes the file; a tool that is not here is a skip.
fn accepted(command: &mut Command) {
    match command.stdin(Stdio::null()).output() {
        Ok(output) => {
            let text = [output.stdout, output.stderr].concat();
            assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&text));
        }
        Err(error) => support::skip(&format!("{command:?}: {error}")),
    }
}

#[test]
fn systemd_takes_its_units() {
    for path in files("systemd", |role| format!("gambi-{role}.service")) {
        accepted(Command::new("systemd-analyze").arg("verify").arg(&path));
        accepted(Command::new("systemd-analyze").args(["security", "--offline=yes", "--threshold=20"]).arg(&path));
    }
}

#[test]
fn shells_take_the_init_scripts_and_run_the_words_as_given() {
    for path in files("openwrt", |role| format!("gambi-{role}")) {
        accepted(Command::new("sh").arg("-n").arg(&path));
        accepted(Command::new("shellcheck").arg(&path));
    }
    let hub = unit("openwrt", "hub", &["--room", ODD]);
    let stubs = "procd_open_instance() { :; }; procd_close_instance() { :; }; procd_append_param() { :; }\n\
                 procd_set_param() { [ \"$1\" != command ] || { shift; printf '%s\\n' \"$@\"; }; }\n";
    let script = format!("{stubs}{hub}\nstart_service\n");
    let ran = Command::new("sh").args(["-c", &script]).output().expect("sh to run");
    let words: Vec<_> = std::str::from_utf8(&ran.stdout).unwrap().lines().collect();
    assert_eq!(words, [GAMBI, "hub", "serve", "--room", ODD]);
}

#[test]
fn the_property_list_holds_the_words_as_given() {
    let paths = files("launchd", |role| format!("gambi.{role}.plist"));
    let code = "import plistlib, sys; print('\\n'.join(plistlib.load(open(sys.argv[1], 'rb'))['ProgramArguments']))";
    let Ok(read) = Command::new("python3").args(["-c", code]).arg(&paths[0]).output() else {
        return support::skip("python3 is not here");
    };
    let text = String::from_utf8(read.stdout).unwrap();
    let expected = [GAMBI, "hub", "serve", "--mdns", "--room", ODD, "--key-file", "/etc/gambi/hub.key"];
    // The common flags come after the command's own.
    assert_eq!(text.lines().collect::<Vec<_>>(), expected, "{}", String::from_utf8_lossy(&read.stderr));
}
