//! Being found and finding others by mDNS, with implementations that others wrote, in network namespaces of the test's own.

#![cfg(feature = "mdns")]

mod support;

use std::path::Path;
use std::process::Command;

use support::{python, skip};

fn is_there(tool: &str) -> bool {
    Command::new("sh").args(["-c", &format!("command -v {tool}")]).output().is_ok_and(|output| output.status.success())
}

#[test]
fn others_see_our_hub_also_if_they_ask_once_and_we_see_theirs() {
    for tool in ["bash", "ip", "avahi-daemon", "avahi-browse", "dbus-daemon"] {
        if !is_there(tool) {
            return skip(tool);
        }
    }
    let namespace = format!("gambi-try-{}", std::process::id());
    if !Command::new("ip").args(["netns", "add", &namespace]).output().is_ok_and(|output| output.status.success()) {
        return skip("network namespaces, which need root");
    }
    let _ = Command::new("ip").args(["netns", "del", &namespace]).status();
    let python = match python("zeroconf") {
        Ok(python) => python,
        Err(why) => return skip(&format!("Python's zeroconf package: {why}")),
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/discovery/interop.sh");
    let output = Command::new(script).arg(env!("CARGO_BIN_EXE_gambi")).arg(python).output().expect("bash");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(told.matches("ok ").count(), 10, "{told}");
}
