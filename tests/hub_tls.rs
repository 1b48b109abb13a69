//! A hub that serves TLS itself: with the operator's certificate or a key of its own, whose fingerprint clients pin, and
//! with invitations that hold all that a client needs.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gambi::Fingerprint;
use gambi::client::Client;
use gambi::proto::invitation::Invitation;

use support::{Conn, FakeProvider, Killed, PATIENCE, Process, Script, connect, joined, wait_until};

/// A certificate of its own making for `localhost`, with its key, in files that begin with that name.
fn certificate(name: &str) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let files = (dir.join(format!("{name}.pem")), dir.join(format!("{name}-key.pem")));
    std::fs::write(&files.0, made.cert.pem()).unwrap();
    std::fs::write(&files.1, made.signing_key.serialize_pem()).unwrap();
    files
}

/// A hub that serves TLS itself.
struct TlsHub {
    process: Process,
    url: String,
    addr: SocketAddr,
}

impl TlsHub {
    fn start(flags: &str) -> Self {
        let process = Process::start("", &format!("hub serve --host localhost --port 0 {flags}"));
        let data = &process.first_line["data"];
        let port = data["port"].as_u64().unwrap();
        let addr = data["bindUrl"].as_str().unwrap().trim_start_matches("https://").parse().unwrap();
        TlsHub { process, url: format!("https://localhost:{port}"), addr }
    }

    fn gambi(&self, args: &[&str], roots: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gambi"));
        command.args(args).env("GAMBI_HUB", &self.url).env("SSL_CERT_FILE", roots);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn certificate(&self) -> Vec<u8> {
        connect(self.addr, true).unwrap().certificate()
    }
}

#[test]
fn a_hub_serves_tls_itself() {
    let (certificate, key) = certificate("own");
    let hub =
        TlsHub::start(&format!("--room LAB001=Lab --tls-cert {} --tls-key {}", certificate.display(), key.display()));
    assert_eq!(hub.process.first_line["data"]["hubUrl"].as_str().unwrap(), format!("https://{}", hub.addr));
    let provider = FakeProvider::start(Script::Echo);
    let endpoint = provider.url();
    let join =
        ["participant", "join", "-r", "LAB001", "--participant-id", "ann", "-m", "m", "-e", &endpoint, "--no-specs"];
    let (mut child, seen) = joined(&mut hub.gambi(&join, &certificate));
    assert!(seen.iter().any(|line| line.contains("wss://localhost:")), "{seen:?}");
    for size in [1, 100_000, 3_000_000] {
        let body = serde_json::json!({ "model": "ann", "messages": [], "x": "x".repeat(size) }).to_string();
        let mut conn = Conn::open_with(hub.addr, true);
        // Twice on one connection.
        for _ in 0..2 {
            let answer = conn.ask("POST", "/rooms/LAB001/v1/chat/completions", &[], Some(&body)).answer().expect(200);
            assert_eq!(answer.json()["x"].as_str().unwrap().len(), size);
        }
    }
    // Whoever hangs up stops the provider's work.
    provider.set(Script::Held(Box::new(Script::Echo)));
    let asked = provider.seen().len();
    let mut waiting = Conn::open_with(hub.addr, true);
    let body = r#"{"model":"ann","stream":true,"messages":[]}"#;
    waiting.ask("POST", "/rooms/LAB001/v1/chat/completions", &[], Some(body));
    provider.wait_for_request(asked + 1);
    drop(waiting);
    wait_until("the provider to be left", || provider.abandoned() == 1);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn an_answer_without_a_length_ends_with_the_close_alert() {
    let (certificate, key) = certificate("end");
    let hub = TlsHub::start(&format!("--tls-cert {} --tls-key {}", certificate.display(), key.display()));
    let mut wire = connect(hub.addr, true).unwrap();
    wire.write_all(b"GET /v1/health HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    // Without the alert this is an error.
    wire.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
}

#[test]
fn plain_http_is_told_to_use_tls_and_a_stalled_handshake_is_closed() {
    let (certificate, key) = certificate("plain");
    let flags = format!("--head-timeout 300ms --tls-cert {} --tls-key {}", certificate.display(), key.display());
    let hub = TlsHub::start(&flags);
    let answer = Conn::open(hub.addr).ask("GET", "/v1/health", &[], None).answer().expect(400);
    assert!(answer.whole && answer.text().contains("use https://"), "{}", answer.text());
    for start in [&b""[..], &[22], &[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]] {
        let mut stalled = TcpStream::connect(hub.addr).unwrap();
        stalled.set_read_timeout(Some(PATIENCE)).unwrap();
        stalled.write_all(start).unwrap();
        assert_eq!(stalled.read(&mut [0]).unwrap(), 0, "{start:?}");
    }
}

#[test]
fn a_renewed_certificate_is_used_from_sighup_on() {
    let (certificate_file, key_file) = certificate("renewed");
    let files = format!("--tls-cert {} --tls-key {}", certificate_file.display(), key_file.display());
    let hub = TlsHub::start(&files);
    let first = hub.certificate();
    let mut open = Conn::open_with(hub.addr, true);
    open.ask("GET", "/v1/health", &[], None).answer().expect(200);
    let (renewed_certificate, renewed_key) = certificate("renewal");
    std::fs::copy(&renewed_certificate, &certificate_file).unwrap();
    std::fs::copy(&renewed_key, &key_file).unwrap();
    hub.process.signal("-HUP");
    wait_until("the renewed certificate", || hub.certificate() != first);
    open.ask("GET", "/v1/health", &[], None).answer().expect(200);
    let list = hub.gambi(&["room", "list"], &renewed_certificate).output().unwrap();
    assert!(list.status.success(), "{list:?}");
}

#[test]
fn a_certificate_that_cannot_be_read_again_stays_as_it_was() {
    let (certificate_file, key_file) = certificate("kept");
    let mut command = Command::new(env!("CARGO_BIN_EXE_gambi"));
    command.args(["hub", "serve", "--host", "127.0.0.1", "--port", "0", "--format", "ndjson", "--log-level", "off"]);
    command.arg("--tls-cert").arg(&certificate_file).arg("--tls-key").arg(&key_file);
    let mut hub = Killed(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut started = String::new();
    BufReader::new(hub.0.stdout.take().unwrap()).read_line(&mut started).unwrap();
    let started: serde_json::Value = serde_json::from_str(&started).unwrap();
    let addr = started["data"]["bindUrl"].as_str().unwrap().trim_start_matches("https://").parse().unwrap();
    let first = connect(addr, true).unwrap().certificate();
    std::fs::copy(certificate("kept-other").1, &key_file).unwrap();
    hub.signal("-HUP");
    let mut said = String::new();
    BufReader::new(hub.0.stderr.take().unwrap()).read_line(&mut said).unwrap();
    assert!(said.contains("stays as it was") && said.contains("match the key"), "{said}");
    assert_eq!(connect(addr, true).unwrap().certificate(), first);
}

#[test]
fn files_that_make_no_certificate_are_named() {
    let ((certificate_file, key_file), (_, other_key)) = (certificate("named"), certificate("named-other"));
    let serve = |args: &[&Path]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gambi"));
        command.args(["hub", "serve", "--port", "0", "--dry-run"]);
        for (flag, file) in ["--tls-cert", "--tls-key"].iter().zip(args) {
            command.arg(flag).arg(file);
        }
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let missing = Path::new("/nonexistent.pem");
    for (args, part) in [
        (&[&*certificate_file][..], "Add --tls-key FILE"),
        (&[missing, &key_file], "/nonexistent.pem cannot be read"),
        (&[&key_file, &key_file], "no CERTIFICATE section"),
        (&[&certificate_file, &certificate_file], "the TLS key must be in PEM"),
        (&[&certificate_file, &other_key], "match the key"),
    ] {
        let (code, said) = serve(args);
        assert!(code == Some(2) && said.contains(part), "{args:?}: {said}");
    }
    assert_eq!(serve(&[&certificate_file, &key_file]).0, Some(0));
}

/// A file that does not exist yet, in a directory that does not either.
fn fresh_file(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&dir);
    dir.join("hub.pem")
}

#[test]
fn a_hub_keeps_the_key_that_it_made_and_is_known_by_its_fingerprint() {
    let file = fresh_file("kept-key");
    let flags = format!("--room LAB001=Lab --tls self --tls-key {}", file.display());
    let fingerprint = |hub: &TlsHub| hub.process.first_line["data"]["fingerprint"].as_str().unwrap().to_owned();
    let first = fingerprint(&TlsHub::start(&flags));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let hub = TlsHub::start(&flags);
    assert_eq!(fingerprint(&hub), first, "the key was made once");
    assert_eq!(Fingerprint::of(&hub.certificate()).to_string(), first);

    let nothing = Path::new("");
    let unknown = hub.gambi(&["room", "list"], nothing).output().unwrap();
    let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(unknown.status.code() == Some(3) && said.contains("--hub-fingerprint"), "{said}");
    let other = Fingerprint::of(b"another").to_string();
    let refused = hub.gambi(&["room", "list", "--hub-fingerprint", &other], nothing).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(3) && said.contains(&first) && said.contains(&other), "{said}");
    assert!(said.contains("Hint: Ask the hub's operator"), "{said}");
    let unusable = hub.gambi(&["room", "list"], Path::new("/nonexistent/roots.pem")).output().unwrap();
    let said = String::from_utf8_lossy(&unusable.stderr).into_owned();
    assert!(said.contains("Hint: Let SSL_CERT_FILE name a PEM file"), "{said}");
    let wrong = hub.gambi(&["room", "list", "--hub-fingerprint", "sha256:x"], nothing).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));

    // Calls, streams of events and tunnels all accept it, by an address that the certificate does not name as well.
    let provider = FakeProvider::start(Script::Stream(vec![
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"pinned\"}}]}\n\n".into(),
        "data: [DONE]\n\n".into(),
    ]));
    let endpoint = provider.url();
    let url = format!("https://127.0.0.1:{}", hub.addr.port());
    let join =
        ["participant", "join", "-r", "LAB001", "--participant-id", "ann", "-m", "m", "-e", &endpoint, "--no-specs"];
    let (child, _) = joined(hub.gambi(&join, nothing).env("GAMBI_HUB_FINGERPRINT", &first).env("GAMBI_HUB", &url));
    let _child = Killed(child);
    let chat = ["chat", "-r", "LAB001", "--format", "text", "Hi", "--hub-fingerprint", &first];
    let answer = hub.gambi(&chat, nothing).output().unwrap();
    assert!(answer.status.success() && String::from_utf8_lossy(&answer.stdout).contains("pinned"), "{answer:?}");
    let client = Client::new(&hub.url).unwrap().with_fingerprint(Some(first.parse().unwrap())).unwrap();
    assert_eq!(client.participants("LAB001").list().unwrap()[0].id, "ann");
    let mut events = client.events(Some("LAB001")).unwrap();
    assert!(events.next_json().unwrap().unwrap().contains("connected"));
}

#[test]
fn a_key_that_others_can_read_is_not_used() {
    let file = fresh_file("open-key");
    let serve = |file: &Path, dry: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gambi"));
        command.args(["hub", "serve", "--port", "0", "--tls", "self", "--tls-key"]).arg(file).args(dry);
        command.output().unwrap()
    };
    assert!(serve(&file, &["--dry-run"]).status.success());
    assert!(!file.exists(), "a dry run writes nothing");
    drop(TlsHub::start(&format!("--tls self --tls-key {}", file.display())));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    let refused = serve(&file, &[]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && said.contains("chmod 600"), "{said}");
}

/// Runs gambi with nothing but these arguments to tell it of a hub.
fn with_nothing_else(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gambi"));
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    for variable in ["GAMBI_HUB", "GAMBI_HUB_FINGERPRINT", "GAMBI_HUB_KEY", "GAMBI_ROOM_PASSWORD", "SSL_CERT_FILE"] {
        command.env_remove(variable);
    }
    command
}

#[test]
fn an_invitation_is_all_that_a_participant_a_chat_and_a_monitor_need() {
    let dir = fresh_file("invited").parent().unwrap().to_owned();
    std::fs::create_dir_all(&dir).unwrap();
    let file = |name: &str, content: &str| {
        let path = dir.join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let key = file("hub.key", "the-key-of-the-hub");
    let rooms = file("rooms.json", r#"[{"code": "LAB001", "name": "Lab", "password": "s3cret", "private": true}]"#);
    let password = file("room.password", "s3cret");
    let own = dir.join("hub.pem");
    let hub = TlsHub::start(&format!("--key-file {key} --rooms {rooms} --tls self --tls-key {}", own.display()));
    let fingerprint = hub.process.first_line["data"]["fingerprint"].as_str().unwrap().to_owned();

    let invite = |more: &[&str]| {
        let args =
            ["room", "invite", "lab001", "--hub", &hub.url, "--hub-fingerprint", &fingerprint, "--key-file", &key];
        let output = with_nothing_else(&args).args(more).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let data = serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()["data"].take();
        assert_eq!(data["fingerprint"], *fingerprint);
        (data["invitation"].as_str().unwrap().to_owned(), data)
    };
    let (without_secrets, data) = invite(&[]);
    assert!(data["password"] == false && data["key"] == false);
    let (invitation, data) = invite(&["--with-key", "--password-file", &password]);
    assert!(data["password"] == true && data["key"] == true);

    // Neither a model nor an id is named: the provider's models are taken, and an id is made.
    let provider = FakeProvider::start(Script::Stream(vec![
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"invited\"}}]}\n\n".into(),
        "data: [DONE]\n\n".into(),
    ]));
    let (child, _) =
        joined(&mut with_nothing_else(&["participant", "join", &invitation, "-e", &provider.url(), "--no-specs"]));
    let _child = Killed(child);
    let chat = |invitation: &str| with_nothing_else(&["chat", invitation, "Hi", "--format", "text"]).output().unwrap();
    // As a chat program may wrap it.
    for passed_on in
        [invitation.clone(), invitation.to_lowercase(), format!("{}\n {}", &invitation[..60], &invitation[60..])]
    {
        let answer = chat(&passed_on);
        assert!(answer.status.success() && String::from_utf8_lossy(&answer.stdout).contains("invited"), "{answer:?}");
    }
    let mut monitor = with_nothing_else(&["monitor", &invitation, "--format", "ndjson"]).spawn().unwrap();
    let lines = BufReader::new(monitor.stdout.take().unwrap()).lines();
    let _monitor = Killed(monitor);
    assert!(lines.map_while(Result::ok).any(|line| line.contains("\"participant\"") && line.contains("LAB001")));

    // Secrets of other hubs are not sent to the one that invites.
    let mut foreign = with_nothing_else(&["chat", &without_secrets, "Hi"]);
    let refused =
        foreign.env("GAMBI_HUB_KEY", "the-key-of-the-hub").env("GAMBI_ROOM_PASSWORD", "s3cret").output().unwrap();
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
}

#[test]
fn an_invitation_that_is_cut_or_mistyped_or_contradicted_says_so() {
    let invitation = Invitation { hub: "https://127.0.0.1:9".into(), room: "LAB001".into(), ..Invitation::default() };
    let text = invitation.encode().unwrap();
    let said = |args: &[&str]| {
        let output = with_nothing_else(args).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let mistyped = text.replacen('0', "9", 1);
    for (args, part) in [
        (&["chat", &text[..30], "Hi"][..], "the invitation is cut: 24 of the"),
        (&["participant", "join", &mistyped], "mistyped"),
        (&["monitor", &format!("{text}0")], "goes on after its end"),
        (&["chat", &text, "Hi", "--hub", "http://h"], "--hub and an invitation exclude each other"),
        (&["chat", &text, "Hi", "-r", "LAB002"], "--room and an invitation exclude each other"),
    ] {
        let (code, said) = said(args);
        assert!(code == Some(2) && said.contains(part), "{args:?}: {said}");
    }
}

#[test]
fn an_invitation_may_hold_a_new_key_for_its_room() {
    let dir = fresh_file("new-key").parent().unwrap().to_owned();
    std::fs::create_dir_all(&dir).unwrap();
    let (key, keys) = (dir.join("hub.key"), dir.join("keys.json"));
    std::fs::write(&key, "the-key-of-the-hub").unwrap();
    std::fs::write(&keys, "[]").unwrap();
    let (key, own) = (key.display(), dir.join("hub.pem"));
    let rooms = "--room LAB001=Lab --room LAB002=Other";
    let flags = format!("{rooms} --key-file {key} --keys {} --tls self --tls-key {}", keys.display(), own.display());
    let hub = TlsHub::start(&flags);
    let fingerprint = hub.process.first_line["data"]["fingerprint"].as_str().unwrap();
    let key = key.to_string();
    let invite = ["room", "invite", "LAB001", "--hub", &hub.url, "--hub-fingerprint", fingerprint, "--key-file", &key];
    let output = with_nothing_else(&invite).args(["--new-key", "ann"]).output().unwrap();
    let data = serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()["data"].take();
    let invitation = Invitation::parse(data["invitation"].as_str().unwrap()).unwrap();
    let ann = Client::new(&hub.url).unwrap().with_fingerprint(invitation.fingerprint.map(Fingerprint::from)).unwrap();
    let ann = ann.with_key(&invitation.key.unwrap());
    assert_eq!(ann.room("LAB001").models().unwrap_err().status(), Some(401), "the hub does not know the key yet");
    std::fs::write(&keys, serde_json::json!([data["entry"]]).to_string()).unwrap();
    wait_until("the key to be known", || ann.room("LAB001").models().is_ok());
    assert!(ann.room("LAB002").models().is_err(), "the key is for one room");
}
