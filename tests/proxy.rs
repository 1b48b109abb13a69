//! The hub behind Caddy and nginx with TLS, and three hubs behind nginx and HAProxy, exactly as the manual sets them up:
//! tunnels, pieces of a stream as they come, events, and a large prompt go through.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use support::{FakeProvider, Process, Script, skip, wait_until};

const KEY: &str = "the-key-of-the-lab";
const ROOM: &str = "LAB001";

/// The block of the manual's page about proxies that begins with a line.
fn block(first: &str) -> String {
    let page = include_str!("../src/manual/proxies.md");
    let start = page.find(&format!("\n{first}\n")).expect("the page to have it") + 1;
    page[start..].split_inclusive('\n').take_while(|line| !line.starts_with("```")).collect()
}

/// A folder with a certificate for localhost, its key and the hub's.
struct Place {
    dir: PathBuf,
    port: u16,
}

impl Place {
    fn new(name: &str) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        // A proxy can't say which port it was given: one that is free is as good as its own.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let place = Place { dir, port };
        place.write("cert.pem", &made.cert.pem());
        place.write("key.pem", &made.signing_key.serialize_pem());
        place.write("hub.key", KEY);
        place
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.join(name), text).unwrap();
    }

    fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// The manual's hub, on a port of its own; that port.
    fn hub(&self) -> (Process, u64) {
        let line = block("gambi hub serve --host 127.0.0.1 --key-file hub.key --strict --direct off \\");
        let args = line.replace("\\\n", "").replace("hub.key", &self.path("hub.key"));
        let args = args.trim().strip_prefix("gambi ").unwrap().replace("https://hub.example", &self.url());
        let hub = Process::start("", &format!("{args} --port 0 --room {ROOM}=Lab"));
        let port = hub.first_line["data"]["port"].as_u64().unwrap();
        (hub, port)
    }

    /// Curl, which trusts the certificate and shows the key.
    fn curl(&self, path: &str) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["-sSN", "--cacert", &self.path("cert.pem"), "-H", &format!("Authorization: Bearer {KEY}")]);
        curl.args(["-H", "Content-Type: application/json"]).arg(self.url() + path).stdout(Stdio::piped());
        curl
    }
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn lines(&mut self) -> Lines<BufReader<ChildStdout>> {
        BufReader::new(self.0.stdout.take().unwrap()).lines()
    }
}

/// A program that the Makefile unpacked, or that is installed.
fn program(name: &str) -> Option<PathBuf> {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/usr");
    let places = ["bin", "sbin"].map(|bin| unpacked.join(bin)).into_iter();
    let installed = ["/usr/local/bin", "/usr/bin", "/usr/sbin"].map(PathBuf::from);
    places.chain(installed).map(|dir| dir.join(name)).find(|path| path.exists())
}

fn goes_through(place: &Place, mut proxy: Command) {
    let _proxy = Running(proxy.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    wait_until("the proxy to pass on", || {
        place.curl("/v1/health").stderr(Stdio::null()).output().is_ok_and(|output| output.status.success())
    });
    let provider = FakeProvider::start(Script::Echo);
    let join = format!(
        "participant join --hub {} --room {ROOM} --participant-id ann -m m --no-specs -e {}",
        place.url(),
        provider.url()
    );
    let before = format!("export SSL_CERT_FILE={} GAMBI_HUB_KEY={KEY};", place.path("cert.pem"));
    let _session = Process::start(&before, &join);
    let list = format!("/v1/rooms/{ROOM}/participants");
    wait_until("the participant to be there", || {
        let list = place.curl(&list).output().unwrap().stdout;
        String::from_utf8_lossy(&list).contains(r#""status":"online""#)
    });

    // Every line of these is read while the stream goes on: a proxy that kept pieces back would keep them for ever.
    let mut watcher = Running(place.curl(&format!("/v1/rooms/{ROOM}/events")).spawn().unwrap());
    let mut events = watcher.lines().map(Result::unwrap);
    assert!(events.any(|line| line == "event: connected"));
    let piece = |text: &str| format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
    provider.set(Script::StreamAndHang(vec![piece("one"), piece("two")]));
    let chat = format!("/rooms/{ROOM}/v1/chat/completions");
    let mut streaming = place.curl(&chat);
    let mut streaming =
        Running(streaming.args(["-d", r#"{"model":"ann","messages":[],"stream":true}"#]).spawn().unwrap());
    let mut pieces = streaming.lines().map(Result::unwrap);
    let first = pieces.next().expect("a piece");
    assert!(first.contains("one") && pieces.any(|line| line.contains("two")), "{first}");
    assert!(events.any(|line| line == "event: llm.request"));
    drop(streaming);
    wait_until("the participant to hear that the client has gone", || provider.abandoned() == 1);

    provider.set(Script::Echo);
    place.write("prompt", &format!(r#"{{"model":"ann","messages":[],"x":"{}"}}"#, "x".repeat(8 << 20)));
    let answer = place.curl(&chat).args(["--data-binary", &format!("@{}", place.path("prompt"))]).output().unwrap();
    assert_eq!(answer.stdout.len(), (8 << 20) + r#"{"messages":[],"model":"m","x":""}"#.len());

    // Whoever registers through the proxy is told to open its tunnel there too.
    let body = r#"{"nickname":"b","model":"m","endpoint":"http://localhost:1"}"#;
    let output = place.curl(&format!("{list}/bob")).args(["-X", "PUT", "-d", body]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains(&format!(r#""url":"wss://localhost:{}/"#, place.port)), "{text}");
    fs::remove_dir_all(&place.dir).unwrap();
}

#[test]
fn through_caddy() {
    let Some(caddy) = program("caddy") else { return skip("caddy") };
    let place = Place::new("caddy");
    let (_hub, port) = place.hub();
    let secure = format!("{} {{\n tls {} {}\n", place.url(), place.path("cert.pem"), place.path("key.pem"));
    let config = block("hub.example {")
        .replace("hub.example {\n", &secure)
        .replace("127.0.0.1:3000", &format!("127.0.0.1:{port}"));
    place.write("Caddyfile", &format!("{{\n admin off\n auto_https disable_redirects\n}}\n{config}"));
    let mut command = Command::new(caddy);
    command.args(["run", "--adapter", "caddyfile", "--config", &place.path("Caddyfile")]);
    command.env("XDG_DATA_HOME", &place.dir).env("XDG_CONFIG_HOME", &place.dir);
    goes_through(&place, command);
}

/// nginx with a configuration for its `http` block.
fn nginx_with(nginx: PathBuf, place: &Place, config: &str) -> Command {
    let folders =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|kind| format!("{kind}_temp_path {kind};\n"));
    place.write(
        "nginx.conf",
        &format!(
            "daemon off; master_process off; pid pid; error_log stderr;\nevents {{}}\nhttp {{ access_log off;\n{}{config}}}\n",
            folders.concat()
        ),
    );
    let mut command = Command::new(nginx);
    command.args(["-p", &place.path(""), "-c", "nginx.conf", "-e", "stderr"]);
    command
}

#[test]
fn through_nginx() {
    let Some(nginx) = program("nginx") else { return skip("nginx") };
    let place = Place::new("nginx");
    let (_hub, port) = place.hub();
    let config = block("map $http_upgrade $connection_upgrade {")
        .replace("listen 443 ssl", &format!("listen 127.0.0.1:{} ssl", place.port))
        .replace("/etc/ssl/hub.pem", &place.path("cert.pem"))
        .replace("/etc/ssl/hub-key.pem", &place.path("key.pem"))
        .replace("127.0.0.1:3000", &format!("127.0.0.1:{port}"));
    let command = nginx_with(nginx, &place, &config);
    goes_through(&place, command);
}

/// The manual's three hubs, on ports of their own, and a configuration of the manual's with these ports.
fn three_hubs(place: &Place, config: String, listen: &str) -> (Vec<Process>, String) {
    let url = format!("http://127.0.0.1:{}", place.port);
    let address = format!("127.0.0.1:{}", place.port);
    let mut config = config.replace(listen, &listen.replace(":80", "80").replace("80", &address));
    let hubs = [("A", 3001), ("B", 3002), ("C", 3003)].map(|(prefix, documented)| {
        let line = block(&format!("gambi hub serve --port {documented} --code-prefix {prefix} --public-url http://hubs.example --trusted-proxy 127.0.0.1"));
        let line = line.lines().next().unwrap().strip_prefix("gambi ").unwrap();
        let line = line.replace(&format!("--port {documented}"), "--port 0").replace("http://hubs.example", &url);
        let hub = Process::start("", &format!("{line} --host 127.0.0.1"));
        config = config.replace(&format!(":{documented}"), &format!(":{}", hub.first_line["data"]["port"]));
        hub
    });
    (hubs.into(), config)
}

/// Makes rooms until each hub has one, and chats in each, through the proxy alone.
fn rooms_are_found(place: &Place, mut proxy: Command) {
    let _proxy = Running(proxy.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let hub = gambi::client::Client::new(&format!("http://127.0.0.1:{}", place.port)).unwrap();
    wait_until("the proxy to pass on", || hub.rooms().list().is_ok());
    let mut codes: Vec<String> = Vec::new();
    wait_until("each hub to have a room", || {
        let room = gambi::proto::management::CreateRoom { name: "Lab".into(), ..Default::default() };
        let code = hub.rooms().create(&room).unwrap().room.code;
        if !codes.iter().any(|known| known[..1] == code[..1]) {
            codes.push(code);
        }
        codes.len() == 3
    });
    let provider = FakeProvider::start(Script::Echo);
    let sessions: Vec<Process> = codes
        .iter()
        .map(|code| {
            let join =
                format!("participant join --room {code} --participant-id ann -m m --no-specs -e {}", provider.url());
            Process::start("", &format!("{join} --hub http://127.0.0.1:{}", place.port))
        })
        .collect();
    for code in &codes {
        wait_until("the participant to be online", || {
            hub.participants(code)
                .list()
                .is_ok_and(|list| list.iter().any(|one| one.status == gambi::proto::management::Status::Online))
        });
        let request = r#"{"model":"any","messages":[]}"#;
        let url = format!("http://127.0.0.1:{}/rooms/{}/v1/chat/completions", place.port, code.to_lowercase());
        let curl =
            Command::new("curl").args(["-sS", "-H", "Content-Type: application/json", "-d", request, &url]).output();
        assert_eq!(String::from_utf8_lossy(&curl.unwrap().stdout), r#"{"model":"m","messages":[]}"#, "{code}");
    }
    drop(sessions);
    fs::remove_dir_all(&place.dir).unwrap();
}

#[test]
fn nginx_finds_the_hub_of_a_room() {
    let Some(nginx) = program("nginx") else { return skip("nginx") };
    let place = Place::new("nginx-hubs");
    let config = block("map $uri $room_hub {");
    let (_hubs, config) = three_hubs(&place, config, "listen 80;");
    let upgrade = block("map $http_upgrade $connection_upgrade {");
    let upgrade = &upgrade[..upgrade.find("server {").unwrap()];
    let command = nginx_with(nginx, &place, &format!("{upgrade}{config}"));
    rooms_are_found(&place, command);
}

#[test]
fn haproxy_finds_the_hub_of_a_room() {
    let Some(haproxy) = program("haproxy") else { return skip("haproxy") };
    let place = Place::new("haproxy-hubs");
    let (_hubs, config) = three_hubs(&place, block("defaults"), "bind :80");
    place.write("haproxy.cfg", &config);
    let mut command = Command::new(haproxy);
    command.args(["-db", "-f", &place.path("haproxy.cfg")]);
    rooms_are_found(&place, command);
}
