//! The README and the manual keep their word: their commands run, their flags exist, their links lead somewhere.
//!
//! What the fences mean: `sh` is run, one shell for each page; every command of `sh server` is started and left running
//! once it says that it is up; `python` is run where OpenAI's package can be had; `console` needs root, another machine or
//! a download, so only its flags are checked; other blocks are text.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use gambi::hub::DeclaredRoom;
use gambi::participant::Session;
use gambi::proto::management::{DEFAULT_ENDPOINT, DEFAULT_HUB, HEARTBEAT_SECS, TIMEOUT_SECS, TOKEN_SECS};
use gambi::proto::tunnel;
use gambi::provider::{Provider, ProviderOptions};
use serde_json::{Value, json};
use support::{TestHub, python, skip};

const ROOM: &str = "LAB001";
/// Flags of other programs that the text names.
const OTHERS: [&str; 4] = ["--no-default-features", "--features", "--open", "--release"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The manual's files.
fn manual() -> Vec<PathBuf> {
    let mut pages: Vec<_> = fs::read_dir(root().join("src/manual")).unwrap().map(|e| e.unwrap().path()).collect();
    pages.sort();
    assert!(pages.len() > 10, "{pages:?}");
    pages
}

fn all_pages() -> Vec<PathBuf> {
    manual().into_iter().chain([root().join("README.md"), root().join("src/proto/PROTOCOL.md")]).collect()
}

fn read(page: &Path) -> String {
    fs::read_to_string(page).unwrap()
}

fn stem(page: &Path) -> &str {
    page.file_stem().unwrap().to_str().unwrap()
}

fn gambi(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gambi"));
    command.args(args).env_clear().stdin(Stdio::null()).output().expect("gambi to run")
}

fn printed(args: &[&str]) -> String {
    let output = gambi(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A page's fenced blocks: what stands behind the fence, and the lines within.
fn blocks(text: &str) -> Vec<(&str, String)> {
    let mut lines = text.lines();
    let mut blocks = Vec::new();
    while let Some(line) = lines.next() {
        if let Some(kind) = line.strip_prefix("```") {
            let inside: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push((kind, inside.join("\n") + "\n"));
        }
    }
    blocks
}

/// A block's commands, each on one line.
fn commands(block: &str) -> Vec<String> {
    block.replace("\\\n", " ").lines().map(str::to_owned).filter(|line| !line.trim().is_empty()).collect()
}

/// A place of its own for a page's commands: a home with a config file that leads to the test's hub and provider.
struct Lab {
    dir: PathBuf,
    provider: Provider,
    /// The hub of the manual's pages; the README starts its own.
    hub: Option<(TestHub, Session)>,
    /// The port of the README's hub, and that of the provider which a page starts.
    ports: [u16; 2],
}

impl Lab {
    fn new(name: &str, with_hub: bool) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("manual-{name}-{}", std::process::id()));
        fs::create_dir_all(dir.join("bin")).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_gambi"), dir.join("bin/gambi")).unwrap();
        let provider =
            Provider::bind(ProviderOptions { port: 0, model: "llama3".into(), ..ProviderOptions::default() }).unwrap();
        // A page names its ports: those that are free now are as good.
        let free = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = free.map(|listener| listener.local_addr().unwrap().port());
        let hub = with_hub.then(|| {
            let room = DeclaredRoom { code: ROOM.into(), name: "Lab".into(), ..DeclaredRoom::default() };
            let hub = TestHub::with(|options| options.rooms.push(room));
            let session = Session::builder(hub.url(), ROOM).participant_id("ready").model("llama3");
            let session = session.endpoint(format!("http://{}", provider.addr())).start().unwrap();
            (hub, session)
        });
        let lab = Lab { dir, provider, hub, ports };
        lab.write_config();
        lab
    }

    fn write_config(&self) {
        let mut environment = json!({
            "endpoint": format!("http://{}", self.provider.addr()),
            "serve": { "host": "127.0.0.1", "port": if self.hub.is_some() { 0 } else { self.ports[0] } },
        });
        if let Some((hub, _)) = &self.hub {
            environment["hubUrl"] = json!(hub.url());
        }
        let file = json!({ "defaultEnv": "test", "envs": { "test": environment } });
        fs::create_dir_all(self.dir.join(".config/gambi")).unwrap();
        fs::write(self.dir.join(".config/gambi/config.json"), file.to_string()).unwrap();
    }

    /// A page's text with the addresses that are the test's.
    fn here(&self, text: &str) -> String {
        let hub = match &self.hub {
            Some((hub, _)) => hub.addr().to_string(),
            None => format!("127.0.0.1:{}", self.ports[0]),
        };
        let [_, echo] = self.ports;
        text.replace("localhost:3000", &hub)
            .replace("localhost:11435", &format!("127.0.0.1:{echo}"))
            .replace("gambi provider\n", &format!("gambi provider --port {echo}\n"))
    }

    /// One script of all that a page has to run.
    fn script(&self, page: &str, python: Option<&Path>) -> String {
        let mut script = PRELUDE.to_owned();
        for (number, (kind, block)) in blocks(page).into_iter().enumerate() {
            let block = self.here(&block);
            match (kind, python) {
                ("sh", _) => script += &block,
                ("sh server", _) => commands(&block).iter().for_each(|line| script += &format!("serve {line}\n")),
                ("python", Some(python)) => {
                    fs::write(self.dir.join(format!("{number}.py")), block).unwrap();
                    script += &format!("{} {number}.py\n", python.display());
                }
                _ => {}
            }
        }
        script
    }

    fn run(&self, script: &str) -> String {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut bash = Command::new("timeout");
        bash.args(["120", "bash", "-c", script]).current_dir(&self.dir).env_clear().stdin(Stdio::null());
        bash.env("PATH", format!("{}:{path}", self.dir.join("bin").display())).env("HOME", &self.dir);
        if let Some((hub, _)) = &self.hub {
            bash.env("GAMBI_HUB", hub.url());
        }
        let output = bash.output().expect("bash");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{}{}\nof\n{script}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Stops at the first command that fails. `serve` leaves a command running once it says that it is up.
const PRELUDE: &str = r#"
set -eu -o pipefail
servers=0
trap 'for job in $(jobs -p); do kill $job 2>/dev/null || true; done; wait' EXIT
serve() {
  servers=$((servers + 1))
  local out=server.$servers
  "$@" > "$out" 2>&1 &
  until grep -q '"type":"\(started\|tunnel_connected\)"' "$out"; do
    kill -0 $! 2>/dev/null || { echo "$*:"; cat "$out"; exit 1; }
    sleep 0.05
  done
}
"#;

/// Python with OpenAI's package, where a page has something for it.
fn python_for(page: &str) -> Option<PathBuf> {
    if !blocks(page).iter().any(|(kind, _)| *kind == "python") {
        return None;
    }
    // All are installed into one virtual environment.
    let installed =
        ["openai", "anthropic", "ollama"].into_iter().try_fold(PathBuf::new(), |_, package| python(package));
    installed.inspect_err(|why| skip(&format!("openai, anthropic and ollama: {why}"))).ok()
}

#[test]
fn the_readmes_first_room_works_as_written() {
    let page = read(&root().join("README.md"));
    let lab = Lab::new("readme", false);
    let script = lab.script(&page, python_for(&page).as_deref());
    assert!(script.matches("\nserve ").count() >= 4, "{script}");
    let said = lab.run(&script);
    assert!(said.contains("Why is the sky blue?") && said.contains("data: [DONE]"), "{said}");
}

#[test]
fn the_manuals_commands_run() {
    let mut ran = 0;
    for page in manual() {
        let text = read(&page);
        let lab = Lab::new(stem(&page), true);
        let script = lab.script(&text, python_for(&text).as_deref());
        if script != PRELUDE {
            eprintln!("{}", page.display());
            lab.run(&script);
            ran += 1;
        }
    }
    assert!(ran >= 8, "{ran} pages have commands");
}

/// The part of a command line that gambi itself reads, up to a pipe, a redirection, or what is another command's.
fn own_part(line: &str) -> Option<String> {
    let is_variable =
        |word: &&str| word.split_once('=').is_some_and(|(name, _)| name.chars().all(|c| c.is_uppercase() || c == '_'));
    let mut words = line.split(' ').skip_while(is_variable);
    (words.next() == Some("gambi")).then_some(())?;
    let ends = ["|", ">", "2>", "&", "--", "#", "&&"];
    Some(words.take_while(|word| !ends.contains(word)).collect::<Vec<_>>().join(" "))
}

#[test]
fn every_command_in_a_block_has_only_flags_that_it_knows() {
    let mut checked = 0;
    for page in all_pages() {
        for (kind, block) in blocks(&read(&page)) {
            if !["sh", "sh server", "console"].contains(&kind) {
                continue;
            }
            for line in commands(&block).iter().filter_map(|line| own_part(line)) {
                let script = format!("{} {line} --help", env!("CARGO_BIN_EXE_gambi"));
                let output = Command::new("bash").args(["-c", &script]).output().unwrap();
                let error = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(output.status.success(), "{}: gambi {line}: {error}", page.display());
                checked += 1;
            }
        }
    }
    assert!(checked > 40, "{checked}");
}

/// What stands between backticks outside of blocks.
fn code_spans(text: &str) -> Vec<String> {
    let mut prose = String::new();
    let mut inside = false;
    for line in text.lines() {
        if line.starts_with("```") {
            inside = !inside;
        } else if !inside {
            prose += line;
            prose.push(' ');
        }
    }
    prose.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_flag_and_topic_that_the_text_names_exists() {
    let flags = printed(&["help", "flags"]);
    let known: BTreeSet<&str> =
        flags.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').filter(|word| word.starts_with("--")).collect();
    let mut topics = BTreeSet::new();
    for page in all_pages() {
        for span in code_spans(&read(&page)) {
            let words: Vec<&str> = span.split([' ', '=']).collect();
            for flag in words.iter().filter(|word| word.starts_with("--") && word.len() > 2) {
                assert!(known.contains(flag) || OTHERS.contains(flag), "{}: {flag}", page.display());
            }
            if let ["gambi", "help", topic] = words[..]
                && topic != "TOPIC"
            {
                topics.insert(topic.to_owned());
            }
        }
    }
    assert!(topics.len() > 5 && known.len() > 60, "{topics:?} {known:?}");
    for topic in topics {
        assert!(printed(&["help", &topic]).contains("# "), "{topic}");
    }
}

#[test]
fn the_limits_have_the_defaults_of_the_flags() {
    let flags = printed(&["help", "flags"]);
    let page = read(&root().join("src/manual/limits.md"));
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| `--"))
        .map(|row| row.split('|').map(str::trim).collect())
        .collect();
    assert!(rows.len() > 10);
    for row in rows {
        let name = row[1].split('`').nth(1).unwrap();
        let flag =
            flags.lines().find(|line| line.starts_with(&format!("| `{name} "))).unwrap_or_else(|| panic!("{name}"));
        assert!(flag.contains(&format!("[default {}]", row[2])), "{row:?}: {flag}");
    }
}

/// A part of the protocol, by its heading of the second level.
fn part<'p>(page: &'p str, title: &str) -> &'p str {
    let start = page.find(&format!("\n## {title}\n")).unwrap_or_else(|| panic!("no part {title}"));
    let rest = &page[start + 1..];
    &rest[..rest.find("\n## ").unwrap_or(rest.len())]
}

#[test]
fn the_protocol_has_every_route_event_and_code_of_the_api() {
    let page = read(&root().join("src/proto/PROTOCOL.md"));
    let api: Value = serde_json::from_str(&printed(&["openapi"])).unwrap();
    let inference = part(&page, "Inference plane");
    for (path, methods) in api["paths"].as_object().unwrap() {
        let path = path.replace("{code}", "CODE").replace("{id}", "ID").replace("{responseId}", "ID");
        let path = path.replace("{digest}", "DIGEST").replace("{requestId}", "ID");
        for method in methods.as_object().unwrap().keys().filter(|key| key.len() < 7).map(|key| key.to_uppercase()) {
            let in_room = path.strip_prefix("/rooms/CODE/v1").or_else(|| path.strip_prefix("/rooms/CODE/api"));
            let found = match in_room {
                Some(tail) => inference.contains(&format!("{tail}`").replace("models/ID", "models/NAME")),
                None if path.matches('/').count() == 1 && (path == "/" || path.contains("dashboard")) => true,
                None => ["`", "?"].iter().any(|end| page.contains(&format!("`{method} {path}{end}"))),
            };
            assert!(found, "{method} {path}");
        }
    }
    let names = |schema: &str| api["components"]["schemas"][schema]["enum"].as_array().unwrap().clone();
    for (name, title) in names("EventType")
        .iter()
        .map(|name| (name, "Events"))
        .chain(names("ErrorCode").iter().map(|name| (name, "Management plane")))
    {
        assert!(part(&page, title).contains(&format!("`{}`", name.as_str().unwrap())), "{name} in {title}");
    }
}

#[test]
fn the_protocol_has_the_constants_of_the_code() {
    let page = read(&root().join("src/proto/PROTOCOL.md"));
    let constants = part(&page, "Constants");
    for text in [
        DEFAULT_HUB.to_owned(),
        DEFAULT_ENDPOINT.to_owned(),
        format!("every {HEARTBEAT_SECS} s"),
        format!("after {TIMEOUT_SECS} s of silence"),
        format!("one use, {TOKEN_SECS} s"),
    ] {
        assert!(constants.contains(&text), "{text}");
    }
    let part = part(&page, "Tunnel");
    for code in [tunnel::CLOSE_NORMAL, tunnel::CLOSE_GOING_AWAY, tunnel::CLOSE_TIMEOUT] {
        assert!(part.contains(&format!("| {code} |")), "{code}");
    }
    for size in [tunnel::MAX_TO_HUB, tunnel::MAX_TO_PARTICIPANT] {
        assert!(part.contains(&format!("{} MiB", size >> 20)), "{size}");
    }
}

#[test]
fn every_page_is_shown_offline_and_linked_from_the_readme() {
    let readme = read(&root().join("README.md"));
    let list = printed(&["help"]);
    for page in manual() {
        let name = stem(&page);
        assert!(readme.contains(&format!("(src/manual/{name}.md)")), "{name} is not in the README");
        assert!(list.contains(&format!("\n  {name} ")), "{name} is not in the help");
        assert!(printed(&["help", name]).ends_with(&read(&page)), "{name}");
    }
    assert_eq!(printed(&["help", "protocol"]), read(&root().join("src/proto/PROTOCOL.md")));
    let output = gambi(&["help", "securty"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("Did you mean `gambi help security`?"));
}

#[test]
fn no_link_leads_nowhere_and_the_readme_is_short() {
    let mut links = 0;
    for page in all_pages() {
        for target in read(&page).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            if !file.is_empty() && !file.contains("://") {
                assert!(page.parent().unwrap().join(file).exists(), "{}: {target}", page.display());
                links += 1;
            }
        }
    }
    assert!(links > 15, "{links}");
    let lines = read(&root().join("README.md")).lines().count();
    assert!(lines < 200, "the README has {lines} lines");
}
