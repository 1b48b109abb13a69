//! What the command line says when something is wrong: what failed, on what, and which flag or step mends it.

mod support;

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};

use gambi::hub::ServerTls;
use gambi::proto::management::CreateRoom;
use serde_json::json;

use support::{FakeProvider, Killed, Script, TestHub, wait_until};

/// The exit code of a command, and what it prints on stderr.
fn told(args: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gambi"));
    command.args(args).env_clear().env("PATH", std::env::var("PATH").unwrap_or_default()).stdin(Stdio::null());
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("gambi to run");
    let mut child = Killed(child);
    // A command that goes on has said nothing that was wrong.
    wait_until("the command ends", || child.0.try_wait().unwrap().is_some());
    let mut text = String::new();
    child.0.stderr.take().unwrap().read_to_string(&mut text).expect("UTF-8");
    (child.0.wait().unwrap().code().unwrap_or(-1), text)
}

/// Checks the exit code, and that the message has these parts.
fn says(args: &[&str], code: i32, parts: &[&str]) {
    let (ended, text) = told(args);
    assert_eq!(ended, code, "{args:?}: {text}");
    for part in parts {
        assert!(text.contains(part), "{args:?} does not say {part:?}: {text}");
    }
    assert!(!text.contains("os error"), "{args:?}: {text}");
}

#[test]
fn a_provider_that_lists_no_models_is_told_by_why_it_does_not() {
    let hub = TestHub::start();
    let (url, room) = (hub.url(), hub.room());
    let provider = FakeProvider::start(Script::Echo);
    let endpoint = provider.url();
    let join = ["join", "-H", &url, "-r", &room, "--participant-id", "ann", "-m", "m", "-e", &endpoint];
    for (status, body, parts) in [
        (401, json!({ "error": "no key" }), ["without a valid key (status 401)", "--header-env Authorization=KEY"]),
        (404, json!({ "error": "no route" }), ["neither at /v1/models nor at /api/tags (status 404)", "--endpoint"]),
        (200, json!({ "data": [] }), ["does not have the model \"m\"", "ollama pull"]),
    ] {
        provider.set_path("/v1/models", Script::json(status, &body));
        says(&join, 3, &parts);
    }
    assert!(hub.client.participants(&room).list().unwrap().is_empty());
    let away = ["join", "-H", &url, "-r", &room, "--participant-id", "ann", "-m", "m", "-e", "http://127.0.0.1:1"];
    says(&away, 3, &["Error: the provider at http://127.0.0.1:1 does not answer: Connection refused\n", "--endpoint"]);
}

/// As llama.cpp does with `--api-key`.
#[test]
fn a_provider_that_lists_models_without_a_key_but_refuses_chats_is_told_before_joining() {
    let hub = TestHub::start();
    let (url, room) = (hub.url(), hub.room());
    let provider = FakeProvider::start(Script::Echo);
    let endpoint = provider.url();
    for status in [401, 403] {
        for path in ["/v1/chat/completions", "/v1/responses"] {
            provider.set_path(path, Script::json(status, &json!({ "error": { "message": "Invalid API Key" } })));
        }
        let refused = format!("{endpoint} refuses chats without a valid key (status {status})");
        let parts = [&refused, "--header-env Authorization=KEY"];
        let join = ["join", "-H", &url, "-r", &room, "--participant-id", "ann", "-m", "m", "-e", &endpoint];
        says(&join, 3, &parts);
        says(&[&join[..], &["--dry-run"]].concat(), 3, &parts);
        says(&[&join[..], &["--reconnect"]].concat(), 3, &parts);
        let guided = ["join", "-H", &url, "-r", &room, "--participant-id", "ann", "-e", &endpoint];
        says(&guided, 3, &parts);
    }
    assert!(hub.client.participants(&room).list().unwrap().is_empty());
    // A provider may serve responses alone, or Ollama's API.
    provider.set_path("/v1/responses", Script::json(200, &json!({ "object": "response" })));
    hub.join(&room, "ann", &provider);
    provider.set_path("/v1/responses", Script::json(403, &json!({ "error": "no" })));
    provider.set_path("/api/version", Script::json(200, &json!({ "version": "0.12.3" })));
    provider.set_path("/api/tags", Script::json(200, &json!({ "models": [{ "name": "m" }] })));
    hub.join(&room, "bob", &provider);
}

#[test]
fn a_dry_run_refuses_what_the_hub_would_refuse() {
    let join = ["participant", "join", "-r", "ABC234", "-m", "m", "--participant-id", "a/b", "--dry-run"];
    says(&join, 2, &["the participant id must be 1 to 128 bytes of printable text"]);
    let name = "x".repeat(1025);
    says(&["room", "create", "--name", &name, "--dry-run"], 2, &["--name must be at most 1024 bytes long"]);
}

#[test]
fn a_chat_in_an_empty_room_says_that_nobody_is_there() {
    let hub = TestHub::start();
    let (url, room) = (hub.url(), hub.room());
    let chat = ["chat", "-H", &url, "-r", &room, "Hi"];
    says(&chat, 4, &["The room has no participants online", "`gambi join` adds one", "request_id: "]);
    says(&[&chat[..], &["-m", "x"]].concat(), 4, &["No available participant", "`gambi models`"]);
}

#[test]
fn a_private_room_shows_no_empty_list_to_whom_it_does_not_know() {
    let hub = TestHub::start();
    let private = CreateRoom { name: "x".into(), password: Some("pw".into()), private: true, ..CreateRoom::default() };
    let (url, room) = (hub.url(), hub.room_with(&private));
    let models = ["models", "-H", &url, "-r", &room, "--format", "text"];
    says(&models, 3, &["No password given", "--password-file"]);
    says(&[&models[..], &["-p", "wrong"]].concat(), 3, &["missing or wrong", "--password-file"]);
    says(&[&models[..], &["-p", "pw"]].concat(), 0, &[]);
}

#[test]
fn the_wrong_scheme_and_what_is_no_hub_are_told_apart() {
    let plain = TestHub::start();
    let pem = ServerTls::generate_pem().unwrap();
    let own = ServerTls::from_pem(pem.as_bytes(), pem.as_bytes()).unwrap();
    let encrypted = TestHub::with(|options| options.tls = Some(own));
    let other = FakeProvider::start(Script::Echo);
    other.set_path("/v1/rooms", Script::json(404, &json!("no such page")));
    let list = |hub: &str, code, parts: &[&str]| says(&["room", "list", "--hub", hub], code, parts);
    list(&plain.url().replace("http:", "https:"), 3, &["speaks no TLS", "with http:// in place of https://"]);
    list(&encrypted.url().replace("https:", "http:"), 3, &["HTTP over TLS", "use https://"]);
    list(&other.url(), 3, &["does not answer as a hub does", "Check that the address is a hub's"]);
    list("127.0.0.1:3000", 2, &["such as http://127.0.0.1:3000, not"]);
}

#[test]
fn a_wrong_value_is_told_with_its_flag_and_a_right_one() {
    let join = ["join", "-r", "ABC234", "-m", "m", "--participant-id", "x"];
    says(&["room", "list", "--format", "xml"], 2, &["--format must be text, json or ndjson, not \"xml\""]);
    says(&[&join[..], &["--header", "foo"]].concat(), 2, &["--header must be NAME=VALUE", "For example: --header "]);
    says(&[&join[..], &["--header-env", "x"]].concat(), 2, &["NAME=VARIABLE", "--header-env Authorization="]);
    let serve = |flags: &[&str], code, parts: &[&str]| {
        says(&[&["hub", "serve", "--port", "0"][..], flags].concat(), code, parts);
    };
    serve(&["--room", "x"], 2, &["CODE=NAME, such as LAB234=Lab"]);
    serve(&["--tls-key", "x"], 2, &["--tls-key gives the key only", "Add --tls-cert FILE"]);
    serve(&["--tls-cert", "x"], 2, &["--tls-cert gives the certificate only", "Add --tls-key FILE"]);
    serve(&["--host", "no-such-host.invalid"], 1, &["no-such-host.invalid", "an address of this machine with --host"]);
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let dir = std::env::temp_dir();
    let dir = dir.to_str().unwrap();
    for (flag, parts) in [
        ("--usage", ["the file of usage", dir]),
        ("--keys", ["the file of keys", dir]),
        ("--rooms", ["--rooms", dir]),
        ("--key-file", ["--key-file", dir]),
    ] {
        says(&["hub", "serve", "--port", "0", flag, dir], 2, &parts);
    }
}

#[test]
fn a_setting_that_is_none_is_told() {
    let hub = TestHub::start();
    let path = std::env::temp_dir().join(format!("gambi-settings-{}.json", std::process::id()));
    fs::write(&path, r#"{"temperature": 0.5, "temprature": 1, "seed": null}"#).unwrap();
    let file = path.to_str().unwrap();
    let (code, text) = told(&["room", "create", "-H", &hub.url(), "-n", "x", "--config", file]);
    fs::remove_file(&path).unwrap();
    assert_eq!(code, 0, "{text}");
    assert_eq!(text.matches("which is no setting").count(), 1, "{text}");
    assert!(text.contains("\"temprature\""), "{text}");
}

#[test]
fn who_is_not_there_is_looked_for_in_the_list() {
    let hub = TestHub::start();
    let (url, room) = (hub.url(), hub.room());
    let leave = ["participant", "leave", "-H", &url, "-r", &room, "--participant-id", "zed"];
    says(&leave, 4, &["Participant not found", "`gambi participant list` shows who is in the room."]);
}
