//! A hub behind a proxy that speaks TLS: the command line reaches it by https, and a participant's tunnel by wss.

mod support;

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection};

use support::{FakeProvider, Script, TestHub};

/// A proxy with a certificate of its own making: its port, and the certificate in PEM.
fn proxy(listener: TcpListener, hub: SocketAddr) -> String {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap());
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let config = config.clone();
            thread::spawn(move || {
                relay(client, TcpStream::connect(hub)?, ServerConnection::new(config).map_err(io::Error::other)?)
            });
        }
    });
    made.cert.pem()
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

#[test]
fn a_participant_joins_through_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let hub = TestHub::with(|options| options.public_url = Some(url.clone()));
    let pem = proxy(listener, hub.addr());
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("proxy.pem");
    std::fs::write(&file, pem).unwrap();
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
    let mut child = gambi(&join).env("SSL_CERT_FILE", &file).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut seen = Vec::new();
    for line in lines.map_while(Result::ok) {
        seen.push(line);
        if seen.last().is_some_and(|line| line.contains("tunnel_connected")) {
            break;
        }
    }
    assert!(seen.iter().any(|line| line.contains("wss://localhost:")), "{seen:?}");
    hub.wait_for_status(&room, "ann", "online");
    for size in [1, 100_000, 3_000_000] {
        let body = serde_json::json!({ "model": "ann", "messages": [], "x": "x".repeat(size) });
        let answer = hub.post(&format!("/rooms/{room}/v1/chat/completions"), &body).expect(200);
        assert_eq!(answer.json()["x"].as_str().unwrap().len(), size);
    }
    assert!(hub.stream(&room, "ann").answer().whole);
    child.kill().unwrap();
    child.wait().unwrap();
    hub.wait_for_status(&room, "ann", "offline");
}
