//! A hub behind a proxy that speaks TLS: the command line reaches it by https, and a participant's tunnel by wss. And a
//! provider behind one, which its participant calls by https.

mod support;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection};

use support::{FakeProvider, Script, TestHub, joined, wait_until};

/// A proxy with a certificate of its own making, which is kept in a file of that name: where the file is.
fn proxy(listener: TcpListener, behind: SocketAddr, name: &str) -> PathBuf {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap());
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let config = config.clone();
            thread::spawn(move || {
                relay(client, TcpStream::connect(behind)?, ServerConnection::new(config).map_err(io::Error::other)?)
            });
        }
    });
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&file, made.cert.pem()).unwrap();
    file
}

/// Moves bytes both ways until one side is done.
fn relay(mut client: TcpStream, mut hub: TcpStream, mut tls: ServerConnection) -> io::Result<()> {
    client.set_nonblocking(true)?;
    // Writes to the hub block; reads from it do not, or hardly.
    hub.set_read_timeout(Some(Duration::from_millis(1)))?;
    let mut buffer = [0; 16 << 10];
    let waits = |error: &io::Error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
    loop {
        match tls.read_tls(&mut client) {
            Ok(0) => return Ok(()),
            Err(error) if !waits(&error) => return Err(error),
            _ => {}
        }
        tls.process_new_packets().map_err(io::Error::other)?;
        match tls.reader().read(&mut buffer) {
            Ok(n) => hub.write_all(&buffer[..n])?,
            Err(error) if !waits(&error) => return Err(error),
            _ => {}
        }
        match hub.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => tls.writer().write_all(&buffer[..n])?,
            Err(error) if !waits(&error) => return Err(error),
            _ => {}
        }
        while tls.wants_write() {
            match tls.write_tls(&mut client) {
                Err(error) if waits(&error) => break,
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
    }
}

/// Small and large answers come back as they were asked for, whole and streamed.
fn ann_answers(hub: &TestHub, room: &str) {
    for size in [1, 100_000, 3_000_000] {
        let body = serde_json::json!({ "model": "ann", "messages": [], "x": "x".repeat(size) });
        let answer = hub.post(&format!("/rooms/{room}/v1/chat/completions"), &body).expect(200);
        assert_eq!(answer.json()["x"].as_str().unwrap().len(), size);
    }
    assert!(hub.stream(room, "ann").answer().whole);
}

#[test]
fn a_participant_joins_through_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let hub = TestHub::with(|options| options.public_url = Some(url.clone()));
    let file = proxy(listener, hub.addr(), "proxy.pem");
    let room = hub.room();
    let provider = FakeProvider::start(Script::Echo);
    let gambi = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gambi"));
        command.args(args).env("GAMBI_HUB", &url).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    // Nobody vouches for the certificate unless the operator says so.
    let refused = gambi(&["room", "list"]).env_remove("SSL_CERT_FILE").output().unwrap();
    assert_eq!(refused.status.code(), Some(3));
    let list = gambi(&["room", "list"]).env("SSL_CERT_FILE", &file).output().unwrap();
    assert!(String::from_utf8_lossy(&list.stdout).contains(&room), "{}", String::from_utf8_lossy(&list.stderr));

    let endpoint = provider.url();
    let join =
        ["participant", "join", "-r", &room, "--participant-id", "ann", "-m", "m", "-e", &endpoint, "--no-specs"];
    let (mut child, seen) = joined(gambi(&join).env("SSL_CERT_FILE", &file));
    assert!(seen.iter().any(|line| line.contains("wss://localhost:")), "{seen:?}");
    hub.wait_for_status(&room, "ann", "online");
    ann_answers(&hub, &room);
    child.kill().unwrap();
    child.wait().unwrap();
    hub.wait_for_status(&room, "ann", "offline");
}

#[test]
fn a_provider_is_called_through_tls() {
    let provider = FakeProvider::start(Script::Echo);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let behind = provider.url().trim_start_matches("http://").parse().unwrap();
    let file = proxy(listener, behind, "provider.pem");
    let hub = TestHub::start();
    let room = hub.room();
    let args =
        ["participant", "join", "-r", &room, "--participant-id", "ann", "-m", "m", "-e", &endpoint, "--no-specs"];
    let join = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gambi"));
        command.args(args).env("GAMBI_HUB", hub.url()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    // Nobody vouches for its certificate unless the operator says so.
    let refused = join().env_remove("SSL_CERT_FILE").output().unwrap();
    assert!(!refused.status.success() && provider.seen().is_empty());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("certificate"), "{refused:?}");

    let (mut child, _) = joined(join().env("SSL_CERT_FILE", &file));
    hub.wait_for_status(&room, "ann", "online");
    ann_answers(&hub, &room);
    // Whoever hangs up stops the provider's work there too.
    provider.set(Script::Held(Box::new(Script::Echo)));
    let asked = provider.seen().len();
    let waiting = hub.stream(&room, "ann");
    provider.wait_for_request(asked + 1);
    drop(waiting);
    wait_until("the provider to be left", || provider.abandoned() == 1);
    child.kill().unwrap();
    child.wait().unwrap();
}
