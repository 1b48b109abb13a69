//! The dashboard at `/`: how it is served, and its use in headless Chromium by the stories in `tests/dashboard/`, which
//! start hubs, providers and participants.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use gambi::hub::HubKey;

use support::{TestHub, skip};

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

#[test]
fn people_use_it_in_a_browser() {
    let works = |program: &str, arg: &str| Command::new(program).arg(arg).output().is_ok_and(|o| o.status.success());
    if !works("chromium", "--version") {
        return skip("chromium");
    }
    if !works("node", "--eval=process.exit(Number(parseInt(process.versions.node) < 20))") {
        return skip("node, from version 20 on");
    }
    if !["playwright-core", "axe-core"].iter().all(|name| packages().join("node_modules").join(name).is_dir()) {
        return skip("playwright-core and axe-core: `make tools` installs them");
    }
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard");
    let stories = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dashboard/run.mjs");
    let output = Command::new("node")
        .arg(stories)
        .args([Path::new(env!("CARGO_BIN_EXE_gambi")), &packages(), &pictures])
        .output()
        .expect("node to run");
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}{}", String::from_utf8_lossy(&output.stderr));
    assert!(report.contains("\nall stories passed\n"), "{report}");
}
