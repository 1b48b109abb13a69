//! A key for each person: what it opens, its limits, and where its use is told.

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use gambi::hub::{DeclaredRoom, HubKey, HubOptions, KeysFile, Log, RoomPassword, UsageFile};
use serde_json::{Value, json};

use gambi::participant::Session;
use support::{Conn, FakeProvider, Response, Script, TestHub, wait_until};

const ANN: &str = "gk-ann-0123456789abcdef";
const BOB: &str = "gk-bob-0123456789abcdef";
const ADMIN: &str = "gk-admin-0123456789abcdef";
const HUB_KEY: &str = "the-hubs-own-key";

/// A directory that is removed at the end of the test.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("gambi-keys-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Dir(dir)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A hub with the rooms LAB001, LAB002 and the private LAB003, and the keys of three people.
struct Lab {
    hub: TestHub,
    dir: Dir,
    log: Arc<Mutex<Vec<u8>>>,
}

/// Collects the log.
struct Sink(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lab {
    /// `ann`: what Ann's key has beside its name.
    fn open(name: &str, ann: Value) -> Self {
        Self::with(name, ann, |_, _| ())
    }

    fn with(name: &str, ann: Value, change: impl FnOnce(&Dir, &mut HubOptions)) -> Self {
        let dir = Dir::new(name);
        let mut first = json!({ "name": "ann", "key": ANN });
        first.as_object_mut().unwrap().extend(ann.as_object().unwrap().clone());
        let keys = json!([first, { "name": "bob", "key": BOB }, { "name": "carol", "key": ADMIN, "admin": true }]);
        let file = dir.write("keys.json", &keys.to_string());
        let log: Arc<Mutex<Vec<u8>>> = Arc::default();
        let sink = Sink(log.clone());
        let hub = TestHub::with(|options| {
            options.key = HubKey::new(HUB_KEY);
            options.keys = Some(KeysFile::read(file).unwrap());
            options.log = Some(Log::to(sink));
            let room = |code: &str| DeclaredRoom { code: code.into(), name: code.into(), ..DeclaredRoom::default() };
            let password = Some(RoomPassword::Plain("room-password".into()));
            options.rooms = vec![room("LAB001"), room("LAB002")];
            options.rooms.push(DeclaredRoom { password, private: true, ..room("LAB003") });
            change(&dir, options);
        });
        Lab { hub, dir, log }
    }

    fn ask(&self, key: &str, method: &str, path: &str, body: Option<&Value>) -> Response {
        let mut conn = Conn::open(self.hub.addr());
        let body = body.map(Value::to_string);
        conn.ask(method, path, &[("Authorization", &format!("Bearer {key}"))], body.as_deref());
        conn.answer()
    }

    fn status(&self, key: &str, method: &str, path: &str) -> u16 {
        self.ask(key, method, path, None).status
    }

    fn logged(&self) -> String {
        String::from_utf8(self.log.lock().unwrap().clone()).unwrap()
    }
}

#[test]
fn a_persons_key_opens_its_rooms_and_manages_none() {
    let lab = Lab::open("rooms", json!({ "rooms": ["LAB001", "LAB003"] }));
    for (path, status) in [
        ("/rooms/LAB001/v1/models", 200),
        ("/rooms/LAB003/v1/models", 200),
        ("/v1/rooms/LAB001", 200),
        ("/v1/rooms/LAB001/participants", 200),
        ("/rooms/LAB002/v1/models", 403),
        ("/v1/rooms/LAB002", 403),
        ("/rooms/NOROOM/v1/models", 403),
        ("/v1/rooms", 200),
        ("/rooms", 403),
        ("/metrics", 403),
    ] {
        assert_eq!(lab.status(ANN, "GET", path), status, "{path}");
        assert_ne!(lab.status(HUB_KEY, "GET", path), 403, "{path}");
    }
    assert_eq!(lab.status(ANN, "DELETE", "/v1/rooms/LAB001"), 403);
    assert_eq!(lab.status(ANN, "DELETE", "/v1/rooms/LAB003/participants/x"), 401, "a participant's token is needed");
    assert_eq!(lab.ask(ANN, "POST", "/v1/rooms", Some(&json!({ "name": "New" }))).status, 403);
    assert_eq!(lab.status(BOB, "GET", "/rooms/LAB002/v1/models"), 200, "a key without rooms opens all");
    let listed = |key| {
        let rooms = lab.ask(key, "GET", "/v1/rooms", None).expect(200).json()["data"].clone();
        rooms.as_array().unwrap().iter().map(|room| room["code"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed(ANN), ["LAB001", "LAB003"], "only the rooms that the key opens");
    assert_eq!((listed(BOB).len(), listed(ADMIN).len()), (3, 3));
    assert_eq!(lab.ask(ADMIN, "POST", "/v1/rooms", Some(&json!({ "name": "New" }))).status, 201);
    assert_eq!(lab.status("gk-nobody-0123456789ab", "GET", "/rooms/LAB001/v1/models"), 401);
    assert_eq!(
        lab.status("room-password", "GET", "/rooms/LAB003/v1/models"),
        200,
        "the room's password still opens it"
    );
}

#[test]
fn a_room_that_a_key_does_not_open_looks_like_one_that_is_not_there() {
    let lab = Lab::open("hidden", json!({ "rooms": ["LAB001"] }));
    let (bearer, id) = (format!("Bearer {ANN}"), "00000000-0000-4000-8000-000000000000");
    let secrets = [("X-Gambi-Room-Password", "wrong"), ("X-Gambi-Participant-Token", "wrong"), ("X-Other", "")];
    let traced = format!("/v1/rooms/ROOM/requests/{id}");
    for (method, path) in [
        ("GET", "/rooms/ROOM/v1/models"),
        ("POST", "/rooms/ROOM/v1/chat/completions"),
        ("POST", "/rooms/ROOM/api/chat"),
        ("GET", "/rooms/ROOM/participants"),
        ("GET", "/rooms/ROOM/events"),
        ("POST", "/rooms/ROOM/join"),
        ("POST", "/rooms/ROOM/health"),
        ("DELETE", "/rooms/ROOM/leave/x"),
        ("DELETE", "/rooms/ROOM"),
        ("GET", "/v1/rooms/ROOM"),
        ("DELETE", "/v1/rooms/ROOM"),
        ("PUT", "/v1/rooms/ROOM/participants/x"),
        ("DELETE", "/v1/rooms/ROOM/participants/x"),
        ("POST", "/v1/rooms/ROOM/participants/x/heartbeat"),
        ("GET", "/v1/rooms/ROOM/events"),
        ("GET", "/v1/rooms/ROOM/metrics"),
        ("GET", "/v1/rooms/ROOM/history"),
        ("GET", "/v1/rooms/ROOM/queue"),
        ("GET", "/v1/rooms/ROOM/invitation"),
        ("GET", &traced),
    ] {
        for secret in secrets {
            let of_room = |code: &str| {
                let mut conn = Conn::open(lab.hub.addr());
                let body = (method == "POST").then_some(r#"{"id":"x"}"#);
                conn.ask(method, &path.replace("ROOM", code), &[("Authorization", &bearer), secret], body);
                let answer = conn.answer();
                (answer.status, answer.text().replace(code, "ROOM").split("\"meta\"").next().unwrap().to_owned())
            };
            // A few wrong secrets are no reason to make others wait.
            lab.hub.clock.advance(std::time::Duration::from_secs(3_600));
            let unknown = of_room("NOROOM");
            assert_eq!(unknown.0, 403, "{method} {path}: {}", unknown.1);
            for code in ["LAB002", "LAB003"] {
                assert_eq!(of_room(code), unknown, "{method} {path} {secret:?}");
            }
        }
    }
}

#[test]
fn a_persons_key_joins_its_rooms_and_acts_for_its_own_participants_only() {
    let lab = Lab::open("joins", json!({ "rooms": ["LAB001", "LAB003"] }));
    let fields = json!({ "nickname": "n", "model": "m", "endpoint": "http://localhost:11434" });
    let put = |key, path: &str, fields: &Value| lab.ask(key, "PUT", path, Some(fields));
    let token =
        put(ANN, "/v1/rooms/LAB001/participants/of-ann", &fields).expect(201).json()["data"]["participantToken"]
            .as_str()
            .unwrap()
            .to_owned();
    put(ANN, "/v1/rooms/LAB002/participants/of-ann", &fields).expect(403);
    put(BOB, "/v1/rooms/LAB001/participants/of-ann", &fields).expect(401);
    let beat = "/v1/rooms/LAB001/participants/of-ann/heartbeat";
    assert_eq!((lab.status(BOB, "POST", beat), lab.status(ADMIN, "POST", beat)), (401, 200));
    assert_eq!(lab.status(BOB, "DELETE", "/v1/rooms/LAB001/participants/of-ann"), 401);
    let as_ann = |method: &str, path: &str| {
        let (mut conn, bearer) = (Conn::open(lab.hub.addr()), format!("Bearer {ANN}"));
        conn.ask(method, path, &[("Authorization", &bearer), ("X-Gambi-Participant-Token", &token)], None);
        conn.answer()
    };
    as_ann("POST", beat).expect(200);
    as_ann("DELETE", "/v1/rooms/LAB001/participants/of-ann").expect(200);
    // The password of a room is for those who serve in it.
    let private = "/v1/rooms/LAB003/participants/of-ann";
    put(ANN, private, &fields).expect(401);
    let mut with_password = fields;
    with_password["password"] = json!("room-password");
    put(ANN, private, &with_password).expect(201);
    let direct = json!({ "id": "d", "nickname": "n", "model": "m", "endpoint": "http://127.0.0.1:1" });
    lab.ask(ANN, "POST", "/rooms/LAB001/join", Some(&direct)).expect(403);
}

#[test]
fn with_keys_of_people_alone_nobody_but_an_administrator_manages_rooms() {
    let lab = Lab::with("alone", json!({}), |_, options| options.key = None);
    let new = json!({ "name": "New" });
    let create = |key| lab.ask(key, "POST", "/v1/rooms", Some(&new)).status;
    assert_eq!((create(ANN), create(HUB_KEY), create(ADMIN)), (403, 401, 201));
    let provider = FakeProvider::start(answer(""));
    let session = Session::builder(lab.hub.url(), "LAB001").hub_key(ANN).participant_id("prov").model("m");
    let _session = session.endpoint(provider.url()).start().expect("a participant");
    lab.chat(BOB).expect(200);
}

#[test]
fn a_persons_key_is_not_blocked_by_wrong_ones_from_the_same_address() {
    let lab = Lab::open("throttle", json!({}));
    for number in 0..8 {
        lab.status(&format!("wrong-{number}"), "GET", "/rooms/LAB001/v1/models");
    }
    assert_eq!(lab.status("wrong-again", "GET", "/rooms/LAB001/v1/models"), 429);
    assert_eq!(lab.status(ANN, "GET", "/rooms/LAB001/v1/models"), 200);
}

#[test]
fn a_changed_file_is_in_force_and_one_with_a_mistake_is_not() {
    let lab = Lab::open("reload", json!({}));
    let models = |key| lab.status(key, "GET", "/rooms/LAB001/v1/models");
    lab.dir.write("keys.json", &format!("[\n{{\"name\": \"dave\",\n\"key\": \"{ANN}x\", \"admin\": \"yes\"}}]"));
    wait_until("the mistake to be logged", || lab.logged().contains("keys_kept"));
    let logged = lab.logged();
    assert!(logged.contains("line 3") && logged.contains("admin") && !logged.contains(ANN), "{logged}");
    assert_eq!(models(ANN), 200);
    lab.dir.write("keys.json", r#"[{"name": "dave", "key": "gk-dave-0123456789abcdef"}]"#);
    wait_until("the new keys", || models("gk-dave-0123456789abcdef") == 200);
    assert_eq!(models(ANN), 401);
    wait_until("the change to be logged", || lab.logged().contains("keys_loaded count=1"));
}

#[test]
fn a_key_that_is_removed_ends_its_streams_of_events_and_no_request_in_progress() {
    let lab = Lab::open("removed", json!({ "requestsAtOnce": 1 }));
    let provider = FakeProvider::start(Script::Held(Box::new(answer(""))));
    let _session = lab.join(&provider);
    let watch = |key: &str, path: &str| {
        let mut conn = Conn::open(lab.hub.addr());
        conn.ask("GET", path, &[("Authorization", &format!("Bearer {key}"))], None);
        assert_eq!(conn.head().status, 200, "{path}");
        conn
    };
    let both = ["/v1/rooms/LAB001/events", "/rooms/LAB001/events"];
    let mut ended: Vec<Conn> = both.into_iter().flat_map(|path| [ANN, BOB].map(|key| watch(key, path))).collect();
    ended.push(watch(ADMIN, "/v1/events"));
    let mut kept = watch(HUB_KEY, both[0]);
    thread::scope(|scope| {
        let running = scope.spawn(|| lab.chat(ANN));
        provider.wait_for_request(1);
        // Bob's key opens another room only, and Carol is no administrator any more.
        let keys = json!([
            { "name": "bob", "key": BOB, "rooms": ["LAB002"] },
            { "name": "carol", "key": ADMIN },
        ]);
        lab.dir.write("keys.json", &keys.to_string());
        wait_until("the new keys", || lab.status(ANN, "GET", "/rooms/LAB001/v1/models") == 401);
        for (number, conn) in ended.iter_mut().enumerate() {
            while !conn.chunk().unwrap_or_else(|| panic!("stream {number} broke off")).is_empty() {}
        }
        lab.chat(ANN).expect(401);
        provider.release();
        running.join().unwrap().expect(200);
    });
    let mut seen = String::new();
    while !seen.contains("llm.complete") {
        let chunk = kept.chunk().filter(|chunk| !chunk.is_empty()).expect("the hub's own key keeps its stream");
        seen += &String::from_utf8(chunk).unwrap();
    }
}

#[test]
fn a_key_counts_in_the_headers_for_keys_alone() {
    let lab = Lab::open("forms", json!({ "rooms": ["LAB001", "LAB003"] }));
    let ask = |path: &str, headers: &[(&str, &str)]| {
        let mut conn = Conn::open(lab.hub.addr());
        conn.ask("GET", path, headers, None).answer().status
    };
    let [bearer, lower, wide] = ["Bearer ", "bearer ", "BEARER   "].map(|scheme| format!("{scheme}{ANN}"));
    for room in ["LAB001", "LAB003"] {
        let path = format!("/v1/rooms/{room}/queue");
        for good in
            [("Authorization", &*bearer), ("authorization", &lower), ("Authorization", &wide), ("x-api-key", ANN)]
        {
            assert_eq!(ask(&path, &[good]), 200, "{room} {good:?}");
        }
        let basic = format!("Basic {ANN}");
        assert_eq!(ask(&path, &[("Authorization", &basic), ("x-api-key", ANN)]), 200, "another scheme is no key");
        let bad = [("Authorization", ANN), ("Authorization", &*basic), ("X-Gambi-Key", ANN), ("Cookie", ANN)];
        for bad in bad {
            assert_eq!(ask(&path, &[bad]), 401, "{room} {bad:?}");
        }
        for query in ["key", "api_key", "token", "password"] {
            assert_eq!(ask(&format!("{path}?{query}={ANN}"), &[]), 401, "{room} {query}");
        }
    }
    let logged = lab.logged();
    assert!(!logged.contains(ANN), "{logged}");
}

#[test]
fn limits_hold_for_requests_that_come_together() {
    let lab = Lab::open("together", json!({ "requestsPerMinute": 5 }));
    let provider = FakeProvider::start(answer(""));
    let _session = lab.join(&provider);
    let served = thread::scope(|scope| {
        let all: Vec<_> = (0..12).map(|_| scope.spawn(|| lab.chat(ANN).status)).collect();
        let statuses: Vec<u16> = all.into_iter().map(|one| one.join().unwrap()).collect();
        assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
        statuses.iter().filter(|status| **status == 200).count()
    });
    assert_eq!((served, provider.seen().len()), (5, 5));
}

#[test]
fn a_person_is_told_of_a_route_that_there_is_not_what_is_wrong_with_it() {
    let lab = Lab::open("routes", json!({ "rooms": ["LAB001"] }));
    for (method, path, status) in [
        ("GET", "/rooms/LAB001/v1/nothing", 404),
        ("POST", "/rooms/LAB001/v1/audio/speech", 404),
        ("POST", "/v1/rooms/LAB001/queue", 405),
        ("GET", "/rooms/LAB001/v1/chat/completions", 405),
        ("GET", "/v1/%zz", 404),
    ] {
        assert_eq!(lab.status(ANN, method, path), status, "{method} {path}");
        assert_eq!(lab.status("gk-nobody-0123456789ab", method, path), 401, "{method} {path}");
        lab.hub.clock.advance(std::time::Duration::from_secs(3_600));
    }
}

#[test]
fn a_rooms_history_and_queue_name_people_and_a_trace_is_for_the_one_who_asked() {
    let lab = Lab::open("activity", json!({}));
    let provider = FakeProvider::start(Script::Echo);
    let session = Session::builder(lab.hub.url(), "LAB001").participant_id("one").model("m").hub_key(HUB_KEY);
    let _session = session.endpoint(provider.url()).start().unwrap();
    let chat = json!({ "model": "any", "messages": [{ "role": "user", "content": "Hello there!" }] });
    let ask = |key| lab.ask(key, "POST", "/rooms/LAB001/v1/chat/completions", Some(&chat)).expect(200);
    let answer = ask(ANN);
    ask(ANN);
    ask(BOB);
    ask(HUB_KEY);
    let history = lab.ask(BOB, "GET", "/v1/rooms/LAB001/history", None).expect(200).json();
    let callers = history["data"]["callers"].as_array().unwrap();
    let used: Vec<_> = callers.iter().map(|one| (one["caller"].as_str(), one["requests"].as_u64().unwrap())).collect();
    assert_eq!((used.len(), used[0]), (3, (Some("ann"), 2)));
    assert!(used.contains(&(Some("bob"), 1)) && used.contains(&(None, 1)), "{used:?}");
    assert!(callers[0]["inputTokens"].as_u64() > callers[1]["inputTokens"].as_u64(), "estimated where it must be");
    let trace = format!("/v1/rooms/LAB001/requests/{}", answer.header("x-gambi-request-id").unwrap());
    assert_eq!([ANN, BOB, HUB_KEY].map(|key| lab.status(key, "GET", &trace)), [200, 404, 404]);

    provider.forget();
    provider.set(Script::Held(Box::new(Script::Echo)));
    thread::scope(|scope| {
        scope.spawn(|| ask(ANN));
        provider.wait_for_request(1);
        scope.spawn(|| ask(ANN));
        wait_until("it to wait", || lab.hub.hub.waiting() == 1);
        let queue = lab.ask(BOB, "GET", "/v1/rooms/LAB001/queue", None).expect(200).json();
        let first = &queue["data"]["requests"][0];
        assert_eq!((&first["caller"], &first["own"], first.get("client")), (&json!("ann"), &json!(false), None));
        provider.set(Script::Echo);
        provider.release();
    });
}

fn gambi(args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gambi"));
    let output = command.args(args).env_clear().output().expect("gambi to run");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

#[test]
fn a_mistake_in_the_file_ends_the_command_with_line_and_field() {
    let dir = Dir::new("mistake");
    let path = dir.write("keys.json", &format!("[\n{{\"name\": \"ann\",\n\"key\": \"{ANN}\",\n\"rooms\": 1}}]"));
    let path = path.to_str().unwrap();
    let (code, _, err) = gambi(&["hub", "serve", "--dry-run", "--keys", path]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("line 4") && err.contains("\"rooms\"") && !err.contains(ANN), "{err}");
}

#[test]
fn a_hub_on_which_nobody_can_create_a_room_says_so_at_its_start() {
    let dir = Dir::new("nobody");
    let text = |admin: bool| json!([{ "name": "ann", "key": ANN, "admin": admin }]).to_string();
    let started = |admin| {
        let path = dir.write("keys.json", &text(admin));
        let mut command = Command::new(env!("CARGO_BIN_EXE_gambi"));
        command.args(["hub", "serve", "--host", "127.0.0.1", "--port", "0", "--format", "text", "--keys"]).arg(path);
        let mut child = command.env_clear().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap()).lines();
        let access = out.map_while(Result::ok).find(|line| line.starts_with("Access:"));
        let _ = child.kill();
        let mut told = String::new();
        std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut told).unwrap();
        let _ = child.wait();
        assert!(access.is_some_and(|line| line.contains("without a key in")), "{told}");
        told.contains("administrator")
    };
    assert_eq!((started(false), started(true)), (true, false));
}

#[test]
fn a_new_key_and_its_line_fit_each_other() {
    let args = ["key", "new", "ann", "--rooms", "LAB001,LAB002", "--requests-per-minute", "30", "--format", "json"];
    let (code, out, err) = gambi(&args);
    assert_eq!(code, 0, "{err}");
    let printed: Value = serde_json::from_str(&out).unwrap();
    let (key, entry) = (printed["data"]["key"].as_str().unwrap(), &printed["data"]["entry"]);
    assert_eq!(entry["rooms"], json!(["LAB001", "LAB002"]));
    let dir = Dir::new("new");
    let file = dir.write("keys.json", &json!([entry]).to_string());
    let hub = TestHub::with(|options| {
        options.keys = Some(KeysFile::read(&file).unwrap());
        options.rooms = vec![DeclaredRoom { code: "LAB001".into(), name: "Lab".into(), ..DeclaredRoom::default() }];
    });
    let mut conn = Conn::open(hub.addr());
    conn.ask("GET", "/rooms/LAB001/v1/models", &[("x-api-key", key)], None);
    conn.answer().expect(200);
    assert_eq!(hub.get("/rooms/LAB001/v1/models").status, 401);
    assert_eq!(gambi(&["key", "new", "a b"]).0, 2);
}

/// A chat in LAB001.
const CHAT: &str = "/rooms/LAB001/v1/chat/completions";

fn question(stream: bool) -> Value {
    json!({ "model": "m", "stream": stream, "messages": [{ "role": "user", "content": "Hi" }] })
}

impl Lab {
    fn chat(&self, key: &str) -> Response {
        self.ask(key, "POST", CHAT, Some(&question(false)))
    }

    /// A participant of LAB001 with the model `m`.
    fn join(&self, provider: &FakeProvider) -> Session {
        let session = Session::builder(self.hub.url(), "LAB001").hub_key(HUB_KEY).participant_id("prov");
        session.model("m").endpoint(provider.url()).start().expect("a participant")
    }
}

fn answer(usage: &str) -> Script {
    let chat = r#"{"choices":[{"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}]USAGE}"#;
    Script::Answer { status: 200, kind: "application/json", body: chat.replace("USAGE", usage) }
}

#[test]
fn past_the_requests_of_a_minute_a_person_is_told_when_to_return() {
    let lab = Lab::open("minute", json!({ "requestsPerMinute": 2 }));
    let provider = FakeProvider::start(answer(""));
    let _session = lab.join(&provider);
    let first = lab.chat(ANN).expect(200);
    assert_eq!(first.header("x-ratelimit-limit-requests"), Some("2"));
    assert_eq!(first.header("x-ratelimit-remaining-requests"), Some("1"));
    assert_eq!(first.header("x-ratelimit-limit-tokens"), None);
    lab.chat(ANN).expect(200);
    let limited = lab.chat(ANN).expect(429);
    assert_eq!(limited.header("x-ratelimit-remaining-requests"), Some("0"));
    let wait: u64 = limited.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    assert_eq!(limited.json()["code"], "RATE_LIMIT_EXCEEDED");
    let other = lab.chat(BOB).expect(200);
    assert_eq!(other.header("x-ratelimit-limit-requests"), None, "who has no limits is told none");
    lab.hub.clock.advance(std::time::Duration::from_secs(wait));
    lab.chat(ANN).expect(200);
}

#[test]
fn a_second_request_at_a_time_is_rejected_until_the_first_has_ended() {
    let lab = Lab::open("once", json!({ "requestsAtOnce": 1 }));
    let provider = FakeProvider::start(Script::Held(Box::new(answer(""))));
    let _session = lab.join(&provider);
    let mut running = Conn::open(lab.hub.addr());
    let bearer = format!("Bearer {ANN}");
    running.ask("POST", CHAT, &[("Authorization", &bearer)], Some(&question(false).to_string()));
    provider.wait_for_request(1);
    assert_eq!(lab.chat(ANN).status, 429);
    provider.set(answer(""));
    provider.release();
    running.answer().expect(200);
    lab.chat(ANN).expect(200);
}

#[test]
fn the_tokens_of_a_day_are_those_that_the_provider_tells_or_an_estimate() {
    for (usage, least) in [(r#","usage":{"prompt_tokens":40,"completion_tokens":2}"#, 42), ("", 10)] {
        let lab = Lab::open(&format!("tokens-{least}"), json!({ "tokensPerDay": 100_000 }));
        let provider = FakeProvider::start(answer(usage));
        let _session = lab.join(&provider);
        let left = |response: Response| {
            let left = response.expect(200).header("x-ratelimit-remaining-tokens").unwrap().parse::<u64>();
            left.unwrap()
        };
        assert_eq!(left(lab.chat(ANN)), 100_000);
        let used = 100_000 - left(lab.chat(ANN));
        assert!(if usage.is_empty() { used >= least } else { used == least }, "{used}");
    }
    let lab = Lab::open("tokens", json!({ "tokensPerDay": 42 }));
    let provider = FakeProvider::start(answer(r#","usage":{"prompt_tokens":40,"completion_tokens":2}"#));
    let _session = lab.join(&provider);
    lab.chat(ANN).expect(200);
    let limited = lab.chat(ANN).expect(429);
    assert!(limited.text().contains("tokens a day: 42"), "{}", limited.text());
    assert_eq!(limited.header("x-ratelimit-remaining-tokens"), Some("0"));
}

#[test]
fn a_restart_forgets_no_tokens_of_the_day_if_there_is_a_file_of_usage() {
    let dir = Dir::new("restart-usage");
    for kept in [true, false] {
        let start = |name: &str| {
            Lab::with(name, json!({ "tokensPerDay": 42 }), |_, options| {
                options.usage = kept.then(|| UsageFile::new(dir.0.join("usage.jsonl")));
            })
        };
        let provider = FakeProvider::start(answer(r#","usage":{"prompt_tokens":40,"completion_tokens":2}"#));
        let first = start(&format!("restart-first-{kept}"));
        let session = first.join(&provider);
        first.chat(ANN).expect(200);
        first.chat(ANN).expect(429);
        drop(session);
        first.hub.hub.shutdown();
        let second = start(&format!("restart-second-{kept}"));
        let _session = second.join(&provider);
        second.chat(BOB).expect(200);
        assert_eq!(second.chat(ANN).status, if kept { 429 } else { 200 });
    }
}

#[test]
fn the_log_the_events_and_the_metrics_name_the_person_and_never_the_key() {
    let lab = Lab::open("named", json!({ "requestsPerMinute": 1 }));
    let provider = FakeProvider::start(answer(r#","usage":{"prompt_tokens":40,"completion_tokens":2}"#));
    let _session = lab.join(&provider);
    let mut events = Conn::open(lab.hub.addr());
    events.ask("GET", "/v1/rooms/LAB001/events", &[("Authorization", &format!("Bearer {BOB}"))], None);
    assert_eq!(events.head().status, 200);
    lab.chat(ANN).expect(200);
    lab.chat(ANN).expect(429);
    let mut seen = String::new();
    wait_until("the end of the request", || {
        seen += &String::from_utf8(events.chunk().unwrap()).unwrap();
        seen.contains("llm.complete")
    });
    let of_kind = |kind: &str| {
        let data = seen.split("\n\n").find(|event| event.contains(kind)).and_then(|event| event.split_once("data: "));
        serde_json::from_str::<Value>(data.unwrap().1).unwrap()["data"].clone()
    };
    assert_eq!((&of_kind("llm.request")["caller"], &of_kind("llm.complete")["caller"]), (&json!("ann"), &json!("ann")));
    wait_until("both lines of the log", || lab.logged().matches("caller=ann").count() == 2);
    let metrics = lab.ask(ADMIN, "GET", "/metrics", None).expect(200).text();
    for line in [
        "gambi_caller_requests_total{caller=\"ann\",outcome=\"admitted\"} 1\n",
        "gambi_caller_requests_total{caller=\"ann\",outcome=\"limited\"} 1\n",
        "gambi_caller_tokens_total{caller=\"ann\",direction=\"input\"} 40\n",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    assert!(![seen, lab.logged(), metrics].iter().any(|text| text.contains(ANN)));
}

#[test]
fn each_finished_request_is_a_line_of_usage_that_the_command_sums_up() {
    let dir = Dir::new("usage");
    let file = dir.0.join("usage.jsonl");
    fs::write(&file, "{\"torn\":").unwrap();
    let lab = Lab::with("used", json!({ "requestsPerMinute": 2 }), |_, options| {
        options.usage = Some(UsageFile::new(&file));
    });
    let provider = FakeProvider::start(answer(r#","usage":{"prompt_tokens":40,"completion_tokens":2}"#));
    let _session = lab.join(&provider);
    lab.chat(ANN).expect(200);
    provider.set(answer(""));
    lab.chat(ANN).expect(200);
    lab.chat(ANN).expect(429);
    lab.chat(HUB_KEY).expect(200);
    lab.ask(BOB, "POST", "/rooms/LAB002/v1/chat/completions", Some(&question(false))).expect(404);
    lab.hub.hub.shutdown();
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4, "one past a limit was not served: {text}");
    // Lines of several connections come in any order.
    let of = |caller: Value, estimated: Value| {
        let found = lines.iter().find(|line| line["caller"] == caller && line["estimated"] == estimated);
        found.unwrap_or_else(|| panic!("{caller} {estimated}: {text}"))
    };
    let first = of(json!("ann"), Value::Null);
    assert_eq!(
        (&first["room"], &first["participant"], &first["model"]),
        (&json!("LAB001"), &json!("prov"), &json!("m"))
    );
    assert_eq!((&first["inputTokens"], &first["outputTokens"], &first["status"]), (&json!(40), &json!(2), &json!(200)));
    assert!(of(json!("ann"), json!(true))["inputTokens"].as_u64().unwrap() > 5);
    assert_eq!(of(Value::Null, json!(true))["status"], 200);
    assert_eq!(of(json!("bob"), Value::Null)["status"], 404);
    let file = file.to_str().unwrap();
    let (code, out, err) = gambi(&["usage", file, "--format", "json"]);
    assert_eq!(code, 0, "{err}");
    let rows: Value = serde_json::from_str(&out).unwrap();
    let names: Vec<&Value> = rows["data"].as_array().unwrap().iter().map(|row| &row["caller"]).collect();
    assert_eq!(names, [&json!("-"), &json!("ann"), &json!("bob")]);
    assert_eq!((&rows["data"][1]["sums"]["requests"], &rows["data"][2]["sums"]["errors"]), (&json!(2), &json!(1)));
    let (_, out, _) = gambi(&["usage", "--file", file, "--by", "participant", "--since", "1h", "--format", "text"]);
    assert!(out.starts_with("PARTICIPANT") && out.contains("prov") && out.contains("3 (2 estimated)"), "{out}");
    assert_eq!(gambi(&["usage", "/nonexistent/usage"]).0, 2);
    assert_eq!(gambi(&["usage", file, "--by", "room"]).0, 2);
}

#[test]
fn a_disk_without_room_fails_no_request() {
    if !std::path::Path::new("/dev/full").exists() {
        return support::skip("/dev/full");
    }
    let lab = Lab::with("full", json!({}), |_, options| options.usage = Some(UsageFile::new("/dev/full")));
    let provider = FakeProvider::start(answer(""));
    let _session = lab.join(&provider);
    lab.chat(ANN).expect(200);
    wait_until("the failure to be logged", || lab.logged().contains("usage_lost"));
    lab.chat(ANN).expect(200);
    let dropped = || lab.ask(ADMIN, "GET", "/metrics", None).expect(200).text();
    wait_until("both lines to be dropped", || dropped().contains("gambi_usage_lines_dropped_total 2\n"));
    assert_eq!(lab.logged().matches("usage_lost").count(), 1, "a failure is told once");
}

#[test]
#[cfg(unix)]
fn a_signal_reads_the_file_again() {
    let dir = Dir::new("signal");
    let file = dir.write("keys.json", &json!([{ "name": "ann", "key": ANN }]).to_string());
    let mut command = Command::new(env!("CARGO_BIN_EXE_gambi"));
    command.args(["hub", "serve", "--host", "127.0.0.1", "--port", "0", "--keys", file.to_str().unwrap()]);
    let mut child = command.env_clear().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut started = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut started).unwrap();
    let hung_up = Command::new("kill").args(["-HUP", &child.id().to_string()]).status().unwrap().success();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let told = log.find_map(|line| line.ok().filter(|line| line.contains("keys_loaded")));
    let _ = child.kill();
    let _ = child.wait();
    assert!(hung_up && told.is_some_and(|line| line.contains("count=1")), "{started}");
}
