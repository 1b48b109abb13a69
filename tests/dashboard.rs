//! The dashboard at `/`: how it is served, and its use in headless Chromium by the stories in `tests/dashboard/`, which
//! start hubs, providers and participants.

mod support;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::read::GzDecoder;
use gambi::hub::HubKey;

use support::{Conn, TestHub, skip};

const PARTS: [(&str, &str); 3] =
    [("/", "text/html"), ("/dashboard.css", "text/css"), ("/dashboard.js", "text/javascript")];

#[test]
fn it_is_small_strict_and_there_without_the_key() {
    let hub = TestHub::with(|options| options.key = HubKey::new("k3y"));
    hub.get("/v1/rooms").expect(401);
    let mut size = 0;
    for (path, kind) in PARTS {
        let answer = hub.get(path).expect(200);
        assert!(answer.header("content-type").unwrap().starts_with(kind), "{path}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        size += answer.body.len();
    }
    assert!(size < 120_000, "{size} bytes");
    TestHub::start().post("/", &serde_json::json!({})).expect(405);
}

#[test]
fn it_is_sent_compressed_and_only_once() {
    let hub = TestHub::start();
    for path in PARTS.map(|(path, _)| path).into_iter().chain(["/openapi.json"]) {
        let ask = |name: &str, value: &str| {
            Conn::open(hub.addr()).ask("GET", path, &[("Connection", "close"), (name, value)], None).answer()
        };
        let plain = hub.get(path).expect(200);
        let small = ask("Accept-Encoding", "gzip, deflate, br").expect(200);
        assert_eq!(
            (plain.header("content-encoding"), small.header("content-encoding")),
            (None, Some("gzip")),
            "{path}"
        );
        assert!(small.body.len() * 2 < plain.body.len(), "{path}: {} of {}", small.body.len(), plain.body.len());
        let mut unpacked = Vec::new();
        GzDecoder::new(&small.body[..]).read_to_end(&mut unpacked).expect("what was compressed");
        assert!(unpacked == plain.body, "{path}");
        let tag = small.header("etag").expect("a tag").to_owned();
        assert_eq!((plain.header("etag"), plain.header("vary")), (Some(&*tag), Some("Accept-Encoding")), "{path}");
        assert!(ask("If-None-Match", &format!("\"other\", {tag}")).expect(304).body.is_empty(), "{path}");
        ask("If-None-Match", "\"other\"").expect(200);
    }
}

#[test]
fn it_can_be_left_out() {
    let hub = TestHub::with(|options| options.dashboard = false);
    for (path, _) in PARTS {
        hub.get(path).expect(404);
    }
    let hub = TestHub::with(|options| {
        options.dashboard = false;
        options.key = HubKey::new("k3y");
    });
    hub.get("/").expect(401);
}

/// Where `make tools` installs the npm packages.
fn packages() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/dashboard")
}

fn works(program: &str, arg: &str) -> bool {
    Command::new(program).arg(arg).output().is_ok_and(|output| output.status.success())
}

fn node_is_here() -> bool {
    works("node", "--eval=process.exit(Number(parseInt(process.versions.node) < 20))")
}

/// Runs a script of `tests/dashboard/`, which must print its last line.
fn run_script(name: &str, args: &[&Path], last_line: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dashboard").join(name);
    let output = Command::new("node").arg(script).args(args).output().expect("node to run");
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}{}", String::from_utf8_lossy(&output.stderr));
    assert!(report.lines().any(|line| line == last_line), "{report}");
}

#[test]
fn markdown_is_shown_in_full_and_nothing_in_it_becomes_markup_or_takes_long() {
    if !node_is_here() {
        return skip("node, from version 20 on");
    }
    run_script("markdown.mjs", &[], "all texts parsed");
}

#[test]
fn people_use_it_in_firefox_too() {
    if !works("firefox-esr", "--version") {
        return skip("firefox-esr: `make tools` installs it");
    }
    if !node_is_here() {
        return skip("node, from version 20 on");
    }
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard");
    run_script("firefox.mjs", &[Path::new(env!("CARGO_BIN_EXE_gambi")), &pictures], "the story passed in Firefox");
}

#[test]
fn people_use_it_in_a_browser() {
    if !works("chromium", "--version") {
        return skip("chromium");
    }
    if !node_is_here() {
        return skip("node, from version 20 on");
    }
    if !["playwright-core", "axe-core"].iter().all(|name| packages().join("node_modules").join(name).is_dir()) {
        return skip("playwright-core and axe-core: `make tools` installs them");
    }
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard");
    let args = [Path::new(env!("CARGO_BIN_EXE_gambi")), &packages(), &pictures];
    run_script("run.mjs", &args, "all stories passed");
}
