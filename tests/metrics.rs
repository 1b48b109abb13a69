//! What the hub counts, as a room's figures show it, and as Prometheus reads it (by the parser of its own Python client).

mod support;

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use gambi::hub::HubKey;
use gambi::participant::Session;
use gambi::proto::metrics::{Figures, RoomMetrics};
use serde_json::{Value, json};

use support::{Conn, FakeProvider, RawParticipant, Script, TestHub, python, skip, wait_until};

const CHAT: &str = r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":40,"total_tokens":43}}"#;

fn answering(status: u16, body: &str) -> FakeProvider {
    FakeProvider::start(Script::Answer { status, kind: "application/json", body: body.into() })
}

fn join(hub: &TestHub, room: &str, id: &str, model: &str, provider: &FakeProvider) -> Session {
    Session::builder(hub.url(), room).participant_id(id).model(model).endpoint(provider.url()).start().unwrap()
}

fn metrics(hub: &TestHub, room: &str) -> RoomMetrics {
    hub.client.rooms().metrics(room).unwrap()
}

fn counts(figures: &Figures) -> [u64; 3] {
    [figures.requests, figures.errors, figures.cancelled]
}

#[test]
fn a_room_tells_how_each_participant_and_each_model_does() {
    let hub = TestHub::start();
    let room = hub.room();
    let (good, bad) = (answering(200, CHAT), answering(500, "{}"));
    let two =
        FakeProvider::with_models(Script::Answer { status: 200, kind: "application/json", body: CHAT.into() }, &["n"]);
    let _sessions = [
        join(&hub, &room, "ann", "m", &good),
        join(&hub, &room, "bob", "m", &bad),
        join(&hub, &room, "eve", "n", &two),
    ];
    for (who, status) in [("ann", 200), ("ann", 200), ("ann", 200), ("bob", 500)] {
        hub.chat(&room, who).expect(status);
    }
    let told = metrics(&hub, &room);
    assert_eq!((told.room_code.as_str(), told.in_flight, told.queued), (room.as_str(), 0, 0));
    assert_eq!(told.participants.iter().map(|p| p.participant_id.as_str()).collect::<Vec<_>>(), ["ann", "bob", "eve"]);
    let ann = &told.participants[0].windows;
    for figures in [&ann.one_minute, &ann.five_minutes, &ann.fifteen_minutes] {
        assert_eq!((counts(figures), figures.error_rate), ([3, 0, 0], Some(0.0)));
        assert_eq!((figures.input_tokens, figures.output_tokens), (9, 120));
        let (ttft, duration) = (figures.ttft_ms.unwrap(), figures.duration_ms.unwrap());
        assert!(ttft.p50 > 0.0 && ttft.p50 <= ttft.p95 && duration.p50 >= ttft.p50 / 1.2, "{figures:?}");
        assert!(figures.tokens_per_second.unwrap() > 0.0);
    }
    let bob = &told.participants[1].windows.one_minute;
    assert_eq!((counts(bob), bob.error_rate, bob.ttft_ms), ([1, 1, 0], Some(1.0), None));
    assert_eq!(told.participants[2].windows.one_minute, Figures::default());
    let models: Vec<_> =
        told.models.iter().map(|m| (m.model.as_str(), m.participants, counts(&m.windows.one_minute))).collect();
    assert_eq!(models, [("m", 2, [4, 1, 0]), ("n", 1, [0, 0, 0])]);
    assert_eq!((counts(&told.windows.one_minute), told.windows.one_minute.error_rate), ([4, 1, 0], Some(0.25)));
}

#[test]
fn it_tells_what_goes_on_now_and_who_hung_up() {
    let hub = TestHub::start();
    let room = hub.room();
    let mut ann = RawParticipant::join(&hub, &room, "ann");
    hub.wait_for_status(&room, "ann", "online");
    let first = hub.stream(&room, "ann");
    ann.receive();
    let second = hub.stream(&room, "ann");
    wait_until("the second to stand in line", || metrics(&hub, &room).queued == 1);
    let told = metrics(&hub, &room);
    assert_eq!((told.in_flight, told.participants[0].in_flight, told.models[0].in_flight), (1, 1, 1));
    assert_eq!(counts(&told.windows.one_minute), [0, 0, 0], "what has not ended is not counted");
    second.hang_up();
    wait_until("it to leave the line", || metrics(&hub, &room).queued == 0);
    first.hang_up();
    wait_until("the first to be over", || counts(&metrics(&hub, &room).windows.one_minute) == [1, 0, 1]);
    assert_eq!(metrics(&hub, &room).in_flight, 0);
}

#[test]
fn figures_go_with_time_with_the_model_and_with_the_participant() {
    let hub = TestHub::start();
    let room = hub.room();
    let provider = FakeProvider::with_models(
        Script::Answer { status: 200, kind: "application/json", body: CHAT.into() },
        &["m", "n"],
    );
    let session = join(&hub, &room, "ann", "m", &provider);
    hub.chat(&room, "ann").expect(200);
    hub.clock.advance(Duration::from_secs(120));
    hub.client.participants(&room).heartbeat("ann").unwrap();
    hub.chat(&room, "ann").expect(200);
    let windows = metrics(&hub, &room).windows;
    let requests = [&windows.one_minute, &windows.five_minutes, &windows.fifteen_minutes].map(|f| f.requests);
    assert_eq!(requests, [1, 2, 2]);

    session.close();
    let _session = join(&hub, &room, "ann", "m", &provider);
    assert_eq!(metrics(&hub, &room).windows.fifteen_minutes.requests, 0, "it is another participant now");
    hub.chat(&room, "ann").expect(200);
    let mut other = support::registration();
    other.model = "n".into();
    hub.client.participants(&room).upsert("ann", &other).unwrap();
    assert_eq!(metrics(&hub, &room).windows.fifteen_minutes.requests, 0, "that was done with another model");
    hub.chat(&room, "ann").expect(200);
    assert_eq!(metrics(&hub, &room).models[0].windows.fifteen_minutes.requests, 1);
}

#[test]
fn a_failover_counts_with_both_and_a_private_room_asks_for_its_password() {
    let hub = TestHub::start();
    let room = hub.room();
    let (good, bad) = (answering(200, CHAT), answering(503, "{}"));
    let _ann = join(&hub, &room, "ann", "m", &bad);
    hub.chat(&room, "ann").expect(503);
    let _bob = join(&hub, &room, "bob", "m", &good);
    // Whoever of the two is asked, it ends well.
    for _ in 0..4 {
        hub.chat(&room, "any").expect(200);
    }
    let told = metrics(&hub, &room);
    assert_eq!(counts(&told.participants[1].windows.one_minute), [4, 0, 0]);
    let all = counts(&told.windows.one_minute);
    assert_eq!(all[0], all[1] + 4, "{all:?}");

    hub.get("/v1/rooms/ZZZZZZ/metrics").expect(404);
    let private = gambi::proto::management::CreateRoom {
        name: "Shut".into(),
        password: Some("s3same".into()),
        private: true,
        ..Default::default()
    };
    let room = hub.room_with(&private);
    let refused = hub.get(&format!("/v1/rooms/{room}/metrics")).expect(401).json();
    assert_eq!(refused["error"]["code"], json!("INVALID_PASSWORD"));
    let client = hub.client.clone().with_room_password("s3same");
    assert_eq!(client.rooms().metrics(&room.to_lowercase()).unwrap().room_code, room);
}

const PARSE: &str = r#"
import json, sys
from prometheus_client.parser import text_string_to_metric_families

samples, names = [], []
for family in text_string_to_metric_families(sys.stdin.buffer.read().decode()):
    assert family.documentation and family.type in ("counter", "gauge", "histogram"), family
    names.append(family.name)
    for sample in family.samples:
        samples.append([sample.name, sample.labels, sample.value])
assert len(set(names)) == len(names), names
keys = [json.dumps(sample[:2], sort_keys=True) for sample in samples]
assert len(set(keys)) == len(keys), keys

def of(labels):
    return json.dumps({k: v for k, v in labels.items() if k != "le"}, sort_keys=True)

last = {}
for name, labels, value in samples:
    if name.endswith("_bucket"):
        bound, below = last.get((name, of(labels)), (0.0, 0.0))
        assert float(labels["le"]) > bound and value >= below, (name, labels, value)
        last[name, of(labels)] = float(labels["le"]), value
for name, labels, value in samples:
    if name.endswith("_count"):
        assert last[name[:-6] + "_bucket", of(labels)] == (float("inf"), value), (name, labels)
json.dump(samples, sys.stdout)
"#;

/// What a hub tells, as Prometheus's own parser reads it.
struct Scraped(Vec<Value>);

impl Scraped {
    /// `None` where the parser can't be had.
    fn new(hub: &TestHub) -> Option<Self> {
        let answer = hub.get("/metrics").expect(200);
        assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        let python = match python("prometheus_client") {
            Ok(python) => python,
            Err(error) => {
                skip(&format!("Prometheus's Python client: {error}"));
                return None;
            }
        };
        let mut command = Command::new(python);
        command.args(["-c", PARSE]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("python to run");
        child.stdin.take().unwrap().write_all(&answer.body).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stderr), answer.text());
        Some(Scraped(serde_json::from_slice(&output.stdout).unwrap()))
    }

    /// The sum of the samples of a name that have these labels among theirs.
    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |sample: &&Value| {
            sample[0] == name && labels.iter().all(|(label, value)| sample[1][label].as_str() == Some(value))
        };
        let found: Vec<f64> = self.0.iter().filter(fits).map(|sample| sample[2].as_f64().unwrap()).collect();
        assert!(!found.is_empty(), "{name} {labels:?} is not there");
        found.iter().sum()
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|sample| sample[0] == name)
    }
}

#[test]
fn prometheus_reads_what_the_hub_counts() {
    let hub = TestHub::start();
    let room = hub.room();
    // Ids are strangers' text: none breaks out of its quotes.
    let ann = "ann \"q\" \\n{le=\"1\"} 🦀";
    let (good, bad) = (answering(200, CHAT), answering(400, "{}"));
    let session = join(&hub, &room, ann, "m", &good);
    let _bob = join(&hub, &room, "bob", "m", &bad);
    for (who, status) in [(ann, 200), (ann, 200), ("bob", 400)] {
        hub.chat(&room, who).expect(status);
    }
    let body = json!({ "model": ann, "input": "x" });
    hub.post(&format!("/rooms/{room}/v1/embeddings"), &body).expect(200);
    hub.chat(&room, "nobody").expect(404);
    let _watcher = hub.watch_room(&room);
    let Some(told) = Scraped::new(&hub) else { return };
    let who = |id| [("room", room.as_str()), ("participant", id)];
    let requests = |id, more: &[(&str, &str)]| told.sum("gambi_requests_total", &[&who(id)[..], more].concat());
    assert_eq!(
        (requests(ann, &[]), requests(ann, &[("protocol", "chatCompletions"), ("outcome", "complete")])),
        (3.0, 2.0)
    );
    assert_eq!((requests(ann, &[("protocol", "embeddings")]), requests("bob", &[("outcome", "rejected")])), (1.0, 1.0));
    assert_eq!(told.sum("gambi_time_to_first_token_seconds_count", &who(ann)), 3.0);
    assert_eq!(told.sum("gambi_request_duration_seconds_count", &who("bob")), 0.0);
    assert_eq!(told.sum("gambi_tokens_total", &[&who(ann)[..], &[("direction", "output")]].concat()), 120.0);
    assert_eq!(told.sum("gambi_refused_total", &[("status", "404"), ("code", "MODEL_NOT_FOUND")]), 1.0);
    assert_eq!((told.sum("gambi_rooms", &[]), told.sum("gambi_participants", &[("status", "online")])), (1.0, 2.0));
    assert_eq!((told.sum("gambi_tunnels", &[]), told.sum("gambi_watchers", &[])), (2.0, 1.0));
    assert!(told.sum("gambi_tunnel_bytes_total", &[("direction", "received")]) > 4.0 * CHAT.len() as f64);
    assert!(told.sum("gambi_tunnel_messages_total", &[("direction", "sent")]) >= 4.0);
    assert!(told.sum("gambi_connections", &[]) >= 3.0 && told.sum("gambi_connections_accepted_total", &[]) >= 5.0);
    assert!(told.sum("gambi_build_info", &[("version", env!("CARGO_PKG_VERSION"))]) == 1.0);
    assert!(told.sum("gambi_start_time_seconds", &[]) > 1.6e9);
    if cfg!(target_os = "linux") {
        assert!(told.sum("process_threads", &[]) > 3.0 && told.sum("process_resident_memory_bytes", &[]) > 1e6);
    }
    session.close();
    let after = Scraped::new(&hub).unwrap();
    assert!(after.0.iter().all(|sample| sample[1]["participant"] != ann), "who leaves is forgotten");
    assert_eq!(after.sum("gambi_requests_total", &who("bob")), 1.0);
}

#[test]
fn waiting_leaving_and_failing_over_are_counted() {
    let hub = TestHub::start();
    let room = hub.room();
    let mut ann = RawParticipant::join(&hub, &room, "ann");
    hub.wait_for_status(&room, "ann", "online");
    let first = hub.stream(&room, "ann");
    let asked = ann.receive();
    ann.begin(&asked, "text/event-stream", &["data: {}\n\n"]);
    let waiting = hub.stream(&room, "ann");
    wait_until("it to stand in line", || hub.hub.waiting() == 1);
    let Some(told) = Scraped::new(&hub) else { return };
    assert_eq!((told.sum("gambi_queue_length", &[]), told.sum("gambi_requests_in_flight", &[])), (1.0, 1.0));
    assert_eq!(told.sum("gambi_room_queue_length", &[("room", &room)]), 1.0);
    waiting.hang_up();
    wait_until("it to leave the line", || hub.hub.waiting() == 0);
    first.hang_up();
    hub.wait_for_status(&room, "ann", "online");
    drop(ann);
    hub.wait_for_status(&room, "ann", "offline");

    let answer = Script::Answer { status: 503, kind: "application/json", body: "{}".into() };
    let provider = FakeProvider::start(Script::Held(Box::new(answer)));
    let _bad = join(&hub, &room, "bad", "m", &provider);
    let mut asking = hub.stream(&room, "any");
    provider.wait_for_request(1);
    let _good = join(&hub, &room, "good", "m", &answering(200, CHAT));
    provider.release();
    assert_eq!(asking.answer().expect(200).header("x-gambi-participant"), Some("good"));
    let told = Scraped::new(&hub).unwrap();
    assert_eq!(told.sum("gambi_queue_wait_seconds_count", &[]), 1.0);
    let stages =
        ["queue", "waiting", "answering"].map(|stage| told.sum("gambi_cancellations_total", &[("stage", stage)]));
    assert_eq!(stages, [1.0, 0.0, 1.0]);
    assert_eq!(told.sum("gambi_failovers_total", &[]), 1.0);
    assert_eq!(told.sum("gambi_requests_total", &[("participant", "bad"), ("outcome", "failed")]), 1.0);
    assert_eq!(told.sum("gambi_requests_total", &[("participant", "good"), ("outcome", "complete")]), 1.0);
}

#[test]
fn the_hubs_key_is_asked_for_and_private_rooms_show_nobody() {
    let hub = TestHub::with(|options| options.key = HubKey::new("k3y"));
    hub.get("/metrics").expect(401);
    let key = [("Authorization", "Bearer k3y"), ("Connection", "close")];
    assert!(Conn::open(hub.addr()).ask("GET", "/metrics", &key, None).answer().text().contains("gambi_rooms 0\n"));

    let hub = TestHub::start();
    let room = hub.room_with(&gambi::proto::management::CreateRoom {
        name: "Shut".into(),
        password: Some("s3same".into()),
        private: true,
        ..Default::default()
    });
    let provider = answering(200, CHAT);
    let join = |id: &str| {
        let session = Session::builder(hub.url(), &room).participant_id(id).model("m").password("s3same");
        session.endpoint(provider.url()).start().unwrap()
    };
    let _sessions = [join("ann-in-secret"), join("bob-in-secret")];
    for id in ["ann-in-secret", "bob-in-secret"] {
        let body = json!({ "model": id, "messages": [] }).to_string();
        let password = [("Authorization", "Bearer s3same"), ("Connection", "close")];
        let path = format!("/rooms/{room}/v1/chat/completions");
        Conn::open(hub.addr()).ask("POST", &path, &password, Some(&body)).answer().expect(200);
    }
    let text = hub.get("/metrics").expect(200).text();
    assert!(!text.contains("in-secret") && !text.contains("s3same"), "{text}");
    let Some(told) = Scraped::new(&hub) else { return };
    assert_eq!(told.sum("gambi_requests_total", &[("room", &room), ("participant", "all")]), 2.0);
    assert!(told.has("gambi_watchers_dropped_total"));
}
