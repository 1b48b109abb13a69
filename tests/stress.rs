//! Many clients, slow ones and ones that hang up, on tunnels whose participants stall, interleave and break off. What a client
//! gets is its own answer or an error in time, and in the end the hub holds nothing. `GAMBI_STRESS=N` runs N times as much.

mod support;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::io::ErrorKind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use base64::Engine as _;
use serde_json::{Value, json};
use support::{Conn, PATIENCE, RawParticipant, TestHub, metric, wait_until};
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::{Error, Message};

/// The participants that stay, and what their tunnels have agreed on.
const STEADY: [(&str, &str); 3] =
    [("plain", ""), ("binary", "&frames=binary"), ("newest", "&frames=binary&bodies=binary&pause=1")];
/// What a client does, and what its participant is asked to do.
const DEEDS: [&str; 11] = [
    "quick",
    "many",
    "large",
    "slow",
    "error",
    "hedge",
    "cut",
    "leave-asking",
    "leave-waiting",
    "leave-head",
    "leave-body",
];
const CLIENTS: usize = 8;
const ROUNDS: usize = 12;

/// Numbers that look random, the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % most
    }
}

/// What comes next of an answer: messages that nothing comes between, or the end of the tunnel.
enum Step {
    Send(Vec<Message>),
    Cut,
}

impl Step {
    fn json(message: &Value) -> Self {
        Step::Send(vec![Message::text(message.to_string())])
    }
}

/// A hub with one room, and what its participants and clients tell each other.
struct Stage {
    hub: TestHub,
    room: String,
    /// The marks of the requests that have come to a participant.
    arrived: Mutex<HashSet<String>>,
    is_over: AtomicBool,
}

/// Ends the participants, also when a client has failed.
struct EndsStage<'s>(&'s Stage);

impl Drop for EndsStage<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::SeqCst);
    }
}

/// A participant that sends its answers message by message in turn, with pings in between.
struct Actor<'s> {
    stage: &'s Stage,
    participant: RawParticipant,
    is_binary: bool,
    answers: BTreeMap<String, VecDeque<Step>>,
    paused: HashSet<String>,
    dice: Dice,
}

impl<'s> Actor<'s> {
    /// Joins, and serves until the stage is over or an answer cuts the tunnel.
    fn run(stage: &'s Stage, id: &str, query: &str, dice: Dice) {
        // On connections that are closed, as those of a client would stay open for a while.
        let path = format!("/v1/rooms/{}/participants/{id}", stage.room);
        let fields = json!({ "nickname": id, "model": "m", "endpoint": "http://localhost:1", "concurrency": 64 });
        let registered = stage.hub.put(&path, &fields).json();
        let tunnel = &registered["data"]["tunnel"];
        let url = format!("{}?token={}{query}", tunnel["url"].as_str().unwrap(), tunnel["token"].as_str().unwrap());
        let participant = RawParticipant::open(&stage.hub, &url).unwrap();
        let (is_binary, answers, paused) = (query.contains("frames"), BTreeMap::new(), HashSet::new());
        let mut actor = Actor { stage, participant, is_binary, answers, paused, dice };
        let mut beat = Instant::now();
        while !stage.is_over.load(Ordering::SeqCst) && actor.turn() {
            if beat.elapsed() > Duration::from_secs(5) {
                beat = Instant::now();
                stage.hub.post(&format!("{path}/heartbeat"), &json!({})).expect(200);
            }
        }
    }

    /// Takes in what has come, and goes one step in each answer. False once the tunnel is cut.
    fn turn(&mut self) -> bool {
        let is_idle = self.answers.keys().all(|id| self.paused.contains(id));
        self.set_patience(Duration::from_millis(if is_idle { 10 } else { 1 }));
        match self.participant.socket.read() {
            Ok(Message::Text(text)) => self.take_in(&serde_json::from_str(&text).unwrap()),
            Ok(_) => {}
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("the hub ended a tunnel: {error}"),
        }
        let ids: Vec<String> = self.answers.keys().filter(|id| !self.paused.contains(*id)).cloned().collect();
        for id in ids {
            match self.answers.get_mut(&id).and_then(VecDeque::pop_front) {
                Some(Step::Send(messages)) => messages.into_iter().for_each(|one| self.send(one)),
                Some(Step::Cut) => return false,
                None => drop(self.answers.remove(&id)),
            }
            match self.dice.below(16) {
                0 => self.send(Message::text(r#"{"type":"tunnel.ping","timestamp":1}"#)),
                1 => self.send(Message::Ping(vec![7; 5].into())),
                _ => {}
            }
        }
        true
    }

    fn set_patience(&self, patience: Duration) {
        self.participant.socket.get_ref().set_read_timeout(Some(patience)).unwrap();
    }

    fn send(&mut self, message: Message) {
        self.participant.socket.send(message).unwrap();
    }

    fn take_in(&mut self, message: &Value) {
        let id = message["requestId"].as_str().unwrap_or_default().to_owned();
        match message["type"].as_str().unwrap() {
            "tunnel.request" => self.take_request(id, message),
            "tunnel.cancel" => drop(self.answers.remove(&id)),
            "tunnel.pause" => drop(self.paused.insert(id)),
            "tunnel.resume" => drop(self.paused.remove(&id)),
            other => assert_eq!(other, "tunnel.pong"),
        }
    }

    fn take_request(&mut self, id: String, message: &Value) {
        let body = self.body(message);
        let mut words = body["messages"][0]["content"].as_str().unwrap().split(' ');
        let (mark, deed) = (words.next().unwrap(), words.next().unwrap());
        assert!(words.all(|word| word == mark), "another request's prompt in that of {mark}");
        // The second attempt at a request answers.
        let deed = if id.contains('.') && deed == "hedge" { "quick" } else { deed };
        let steps = self.answer(&id, mark, deed, body["stream"] == true);
        self.answers.insert(id, steps);
        self.stage.arrived.lock().unwrap().insert(mark.to_owned());
    }

    fn body(&mut self, message: &Value) -> Value {
        let Some(bytes) = message["bodyBytes"].as_u64() else { return message["body"].clone() };
        self.set_patience(PATIENCE);
        match self.participant.socket.read().unwrap() {
            Message::Binary(body) if body.len() as u64 == bytes => serde_json::from_slice(&body).unwrap(),
            other => panic!("no body of {bytes} bytes: {other:?}"),
        }
    }

    fn answer(&mut self, id: &str, mark: &str, deed: &str, is_stream: bool) -> VecDeque<Step> {
        let kind = if is_stream { "text/event-stream" } else { "application/json" };
        let start = json!({ "type": "tunnel.response.start", "requestId": id, "status": 200,
            "headers": { "content-type": kind } });
        let mut steps = VecDeque::from([Step::json(&start)]);
        match deed {
            "hedge" | "leave-waiting" => return VecDeque::new(),
            "error" => {
                let error = json!({ "type": "tunnel.response.error", "requestId": id, "stage": "s", "message": mark });
                return VecDeque::from([Step::json(&error)]);
            }
            _ => {}
        }
        let (pieces, marks) = size(deed);
        for number in 0..pieces {
            let marks = format!("{mark},").repeat(marks);
            let text = if is_stream { format!("data: [\"{marks}\"]\n\n") } else { format!("[\"{marks}\"] ") };
            steps.push_back(Step::Send(self.chunk(id, text.as_bytes())));
            match deed {
                "cut" if number == pieces / 2 => steps.push_back(Step::Cut),
                // Silent until the client has gone.
                "leave-head" | "leave-body" if number == pieces / 2 => return steps,
                _ => {}
            }
        }
        steps.push_back(Step::json(&json!({ "type": "tunnel.response.end", "requestId": id })));
        steps
    }

    /// A chunk as JSON, as a binary message, or as one in fragments with a ping in between.
    fn chunk(&mut self, id: &str, bytes: &[u8]) -> Vec<Message> {
        let form = if self.is_binary { self.dice.below(3) } else { 0 };
        if form == 0 {
            let chunk = base64::engine::general_purpose::STANDARD.encode(bytes);
            let chunk = json!({ "type": "tunnel.response.chunk", "requestId": id, "chunk": chunk });
            return vec![Message::text(chunk.to_string())];
        }
        let binary = [&[u8::try_from(id.len()).unwrap()], id.as_bytes(), bytes].concat();
        if form == 1 {
            return vec![Message::binary(binary)];
        }
        let (first, rest) = binary.split_at(binary.len() / 3);
        let frame = |bytes: &[u8], data, is_last| Frame::message(bytes.to_vec(), OpCode::Data(data), is_last);
        let (first, rest) = (frame(first, Data::Binary, false), frame(rest, Data::Continue, true));
        vec![Message::Frame(first), Message::Ping(vec![8; 3].into()), Message::Frame(rest)]
    }
}

/// How many pieces an answer has, and how many marks each of them.
fn size(deed: &str) -> (usize, usize) {
    match deed {
        "large" | "slow" => (8, 20_000),
        "quick" | "hedge" => (1, 1),
        _ => (60, 40),
    }
}

/// One request of a client.
struct Ask<'s> {
    stage: &'s Stage,
    mark: String,
    deed: &'static str,
    model: &'static str,
    is_stream: bool,
    is_long: bool,
}

impl Ask<'_> {
    fn text(&self) -> String {
        let prompt =
            format!("{} {}{}", self.mark, self.deed, format!(" {}", self.mark).repeat(400 * usize::from(self.is_long)));
        json!({ "model": self.model, "stream": self.is_stream, "messages": [{ "role": "user", "content": prompt }] })
            .to_string()
    }

    /// Sends it on a connection whose buffer holds little.
    fn send(&self) -> Conn {
        let mut conn = Conn::open(self.stage.hub.addr());
        socket2::SockRef::from(conn.stream()).set_recv_buffer_size(64 << 10).unwrap();
        conn.ask("POST", &format!("/rooms/{}/v1/chat/completions", self.stage.room), &[], Some(&self.text()));
        conn
    }

    /// Plays it to its end.
    fn play(&self) {
        match self.deed {
            "leave-asking" => self.leave_asking(),
            "leave-waiting" | "leave-head" | "leave-body" => self.leave(self.send()),
            "slow" => {
                let mut conn = self.send();
                let head = conn.head();
                assert_eq!(head.status, 200, "{}", self.mark);
                // Meanwhile another one is answered on the same tunnel.
                let meanwhile = Ask { mark: self.mark.replacen('c', "m", 1), deed: "quick", is_stream: false, ..*self };
                meanwhile.check(meanwhile.send());
                let body = conn.body_of(head);
                assert!(body.whole, "{}", self.mark);
                self.check_marks(&body.text());
            }
            _ => self.check(self.send()),
        }
    }

    fn leave_asking(&self) {
        let text = self.text();
        let mut conn = Conn::open(self.stage.hub.addr());
        conn.send(format!(
            "POST /rooms/{}/v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{}",
            self.stage.room,
            text.len(),
            &text[..text.len() / 2]
        ));
        conn.hang_up();
    }

    fn leave(&self, mut conn: Conn) {
        match self.deed {
            "leave-waiting" => {
                wait_until("the request to arrive", || self.stage.arrived.lock().unwrap().contains(&self.mark))
            }
            "leave-head" => assert_eq!(conn.head().status, 200, "{}", self.mark),
            _ => {
                assert_eq!(conn.head().status, 200, "{}", self.mark);
                assert!(conn.chunk().is_some(), "{}", self.mark);
            }
        }
        conn.hang_up();
    }

    /// Checks the answer: this request's own and whole, where its participant is no other than it should be.
    fn check(&self, mut conn: Conn) {
        let answer = conn.answer();
        let text = answer.text();
        let is_good = answer.status == 200 && answer.whole && !text.contains("error");
        match self.deed {
            "error" => assert!((500..505).contains(&answer.status), "{}: {} {text}", self.mark, answer.status),
            "cut" => assert!(!is_good, "{}: {text}", self.mark),
            _ if self.model == "any" && !is_good => {}
            _ => {
                assert!(is_good, "{} {}: {} {text}", self.mark, self.deed, answer.status);
                self.check_marks(&text);
            }
        }
        let own = text.matches(&self.mark).count();
        assert!(text.matches("-of-stress").count() == own, "another request's mark in {}: {text}", self.mark);
    }

    fn check_marks(&self, text: &str) {
        let (pieces, marks) = size(self.deed);
        assert_eq!(text.matches(&format!("{},", self.mark)).count(), pieces * marks, "{} {}", self.mark, self.deed);
        assert_eq!(text.matches(',').count(), pieces * marks, "{} {}", self.mark, self.deed);
    }
}

impl Stage {
    fn open() -> Self {
        let hub = TestHub::with(|options| {
            options.hedge_after_min = Some(Duration::from_millis(100));
            options.timeouts.first_byte = Duration::from_secs(20);
        });
        let room = hub.room();
        Stage { hub, room, arrived: Mutex::default(), is_over: AtomicBool::new(false) }
    }

    /// The requests of a client, one after the other.
    fn play(&self, client: usize, rounds: usize) {
        let mut dice = Dice(client as u64);
        for round in 0..rounds {
            let deed = DEEDS[dice.below(DEEDS.len())];
            let model = match deed {
                "cut" => "shaky",
                "hedge" => "any",
                "quick" | "many" if dice.below(4) == 0 => "any",
                _ => STEADY[dice.below(STEADY.len())].0,
            };
            let is_stream = deed.starts_with("leave") || deed == "slow" || dice.below(2) == 0;
            let (mark, is_long) = (format!("c{client}r{round}-of-stress"), dice.below(2) == 0);
            Ask { stage: self, mark, deed, model, is_stream, is_long }.play();
        }
    }

    fn metric(&self, name: &str) -> u64 {
        metric(self.hub.addr(), name)
    }
}

/// The threads of this process; zero where the system does not list them.
fn threads() -> usize {
    fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

#[test]
fn every_request_has_its_own_answer_or_an_error_and_the_hub_keeps_nothing_of_it() {
    let times: usize = env::var("GAMBI_STRESS").map_or(1, |times| times.parse().expect("a number"));
    let stage = Stage::open();
    let (connections, memory, count) =
        (stage.hub.hub.connections(), stage.metric("gambi_memory_used_bytes"), threads());
    thread::scope(|scope| {
        let _ends = EndsStage(&stage);
        let stage = &stage;
        for (number, (id, query)) in STEADY.into_iter().enumerate() {
            scope.spawn(move || Actor::run(stage, id, query, Dice(100 + number as u64)));
            stage.hub.wait_for_status(&stage.room, id, "online");
        }
        scope.spawn(move || {
            while !stage.is_over.load(Ordering::SeqCst) {
                Actor::run(stage, "shaky", STEADY[2].1, Dice(103));
            }
        });
        let clients: Vec<_> =
            (0..CLIENTS).map(|client| scope.spawn(move || stage.play(client, ROUNDS * times))).collect();
        clients.into_iter().for_each(|client| client.join().expect("a client"));
        wait_until("all requests to end", || stage.metric("gambi_requests_in_flight") == 0);
        assert_eq!(stage.hub.hub.waiting(), 0);
        for (id, _) in STEADY {
            assert_eq!(stage.hub.participant(&stage.room, id)["status"], "online", "{id}");
        }
    });
    wait_until("all connections to end", || stage.hub.hub.connections() <= connections);
    wait_until("all threads to end", || threads() <= count);
    // What it remembers of each request stays: its trace, its minute.
    let remembered = (64 << 10) + CLIENTS * ROUNDS * times * (2 << 10);
    let most = memory + remembered as u64;
    wait_until("all memory to be free", || stage.metric("gambi_memory_used_bytes") <= most);
}
