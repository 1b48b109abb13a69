//! The library's other half: talking to a room, watching over broken streams, and sessions that come back.

mod support;

use std::sync::mpsc::channel;
use std::thread;

use gambi::Error;
use gambi::client::{Client, Watched};
use gambi::hub::{DeclaredRoom, RoomPassword};
use gambi::participant::{Builder, Reconnect, ReconnectEvent, Session};
use gambi::proto::management::CreateRoom;
use gambi::provider::{Provider, ProviderOptions};

use support::{FakeProvider, Script, TestHub, wait_until};

fn echo() -> Provider {
    Provider::bind(ProviderOptions { port: 0, ..ProviderOptions::default() }).unwrap()
}

/// A hub on a port of its choice, or on one that another has left; with the room `LAB001`.
fn hub(port: u16) -> TestHub {
    TestHub::with(|options| {
        options.port = port;
        options.rooms = vec![DeclaredRoom { code: "LAB001".into(), name: "Lab".into(), ..DeclaredRoom::default() }];
    })
}

fn session(hub: &str, endpoint: &str, model: &str) -> Builder {
    Session::builder(hub, "LAB001").participant_id("ann").nickname("Ann").model(model).endpoint(endpoint)
}

#[test]
fn a_room_is_talked_to_whole_and_streamed() {
    let (hub, provider) = (hub(0), echo());
    let _session = session(&hub.url(), &format!("http://{}", provider.addr()), "echo").start().unwrap();
    let room = hub.client.room("lab001");
    let models = room.models().unwrap();
    assert_eq!((models[0].id.as_str(), models[0].model.as_str(), models[0].nickname.as_str()), ("ann", "echo", "Ann"));
    let chat = || room.chat().system("Be brief.").user("Hello");
    let answer = chat().send().unwrap();
    assert!(answer.text.ends_with("Hello") && answer.participant == "ann" && answer.json.contains("\"usage\""));
    for chat in [chat().model("echo"), chat().participant("ann"), chat().any(), chat().temperature(0.5).max_tokens(9)] {
        let mut stream = chat.stream().unwrap();
        assert_eq!(stream.participant(), "ann");
        let pieces: Vec<String> = stream.by_ref().collect::<Result<_, _>>().unwrap();
        assert!(pieces.len() > 1 && pieces.concat() == answer.text);
    }
    let refused = chat().model("nothing").send().unwrap_err();
    assert_eq!((refused.status(), refused.code().unwrap().as_str()), (Some(404), "MODEL_NOT_FOUND"));
}

#[test]
fn a_stream_that_breaks_is_an_error_and_dropping_one_hangs_up() {
    let hub = hub(0);
    let provider = FakeProvider::start(Script::StreamAndDie(vec![
        "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n".into(),
    ]));
    let _session = session(&hub.url(), &provider.url(), "m").start().unwrap();
    let room = hub.client.room("LAB001");
    let pieces: Vec<_> = room.chat().user("Hi").stream().unwrap().collect();
    let [Ok(piece), Err(error @ Error::BrokenOff { participant, .. })] = pieces.as_slice() else {
        panic!("{pieces:?}")
    };
    assert_eq!((piece.as_str(), participant.as_str(), error.request_id().map(str::len)), ("x", "ann", Some(36)));
    // A hub that itself breaks off has told no reason.
    let broken = gambi::client::Client::new(&provider.url()).unwrap();
    let pieces: Vec<_> = broken.room("LAB001").chat().user("Hi").stream().unwrap().collect();
    let [Ok(piece), Err(error @ Error::BrokenOff { .. })] = pieces.as_slice() else { panic!("{pieces:?}") };
    assert_eq!(piece, "x");
    let source = std::error::Error::source(error).unwrap().downcast_ref::<std::io::Error>().unwrap();
    assert_eq!(error.to_string(), format!("the answer broke off: {source}"));
    provider.set(Script::Endless("data: {}\n\n".into()));
    let stream = room.chat().user("Hi").stream().unwrap();
    drop(stream);
    wait_until("the provider to be left", || provider.abandoned() == 1);
}

#[test]
fn a_room_is_deleted_by_its_host() {
    let hub = TestHub::start();
    let made = hub
        .client
        .rooms()
        .create(&gambi::proto::management::CreateRoom { name: "x".into(), ..Default::default() })
        .unwrap();
    let code = &made.room.code;
    assert_eq!(hub.client.rooms().delete(code, "nobody").unwrap_err().status(), Some(403));
    hub.client.rooms().delete(code, &made.host_id).unwrap();
    let nameless = gambi::proto::management::CreateRoom::default();
    assert_eq!(hub.client.rooms().create(&nameless).unwrap_err().details().unwrap(), r#"{"required":["name"]}"#);
    assert_eq!(hub.client.rooms().get(code).unwrap_err().status(), Some(404));
}

#[test]
fn a_call_has_a_deadline() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Client::new(&format!("http://{}", silent.local_addr().unwrap())).unwrap();
    let client = client.with_timeout(std::time::Duration::from_millis(100));
    assert!(matches!(client.health(), Err(Error::Unreachable { .. })));
}

#[test]
fn a_watch_survives_its_hub() {
    let first = hub(0);
    let (url, port) = (first.url(), first.addr().port());
    let mut watch = Client::new(&url).unwrap().watch(Some("LAB001"));
    let stopper = watch.stopper();
    assert!(matches!(watch.next(), Some(Ok(Watched::Event(event))) if event.kind == "connected"));
    drop(first);
    assert!(matches!(watch.next(), Some(Ok(Watched::Broken { .. }))));
    let second = hub(port);
    loop {
        match watch.next() {
            Some(Ok(Watched::Broken { .. })) => {}
            Some(Ok(Watched::Event(event))) if event.kind == "connected" => break,
            other => panic!("{other:?}"),
        }
    }
    second.room();
    assert!(matches!(watch.next(), Some(Ok(Watched::Event(event))) if event.kind == "room.created"));
    let waiting = thread::spawn(move || watch.next().is_none());
    stopper.stop();
    assert!(waiting.join().unwrap());
    let mut nowhere = Client::new(&url).unwrap().watch(Some("ABC234"));
    assert_eq!(nowhere.next().unwrap().unwrap_err().status(), Some(404));
    assert!(nowhere.next().is_none());
}

#[test]
fn a_session_comes_back_after_its_hub_restarts() {
    let first = hub(0);
    let (url, port) = (first.url(), first.addr().port());
    let provider = FakeProvider::start(Script::Echo);
    let reconnect = Reconnect::new(session(&url, &provider.url(), "m"));
    let handle = reconnect.handle();
    let (tell, told) = channel();
    let running = thread::spawn(move || {
        reconnect.run(|step| {
            let name = match step {
                ReconnectEvent::Joined(_) => "joined",
                ReconnectEvent::Lost(_) => "lost",
                ReconnectEvent::Waiting { .. } => "waiting",
                _ => return,
            };
            let _ = tell.send(name);
        })
    });
    assert_eq!(told.recv().unwrap(), "joined");
    drop(first);
    assert_eq!(told.recv().unwrap(), "lost");
    assert_eq!(told.recv().unwrap(), "waiting");
    let second = hub(port);
    while told.recv().unwrap() != "joined" {}
    assert_eq!(second.chat("LAB001", "ann").status, 200);
    handle.close();
    running.join().unwrap().unwrap();
    assert!(second.client.participants("LAB001").list().unwrap().is_empty());
}

#[test]
fn coming_back_is_given_up_where_it_cannot_heal() {
    let hub = TestHub::with(|options| {
        let password = Some(RoomPassword::Plain("pw".into()));
        options.rooms =
            vec![DeclaredRoom { code: "LAB001".into(), name: "Lab".into(), password, ..DeclaredRoom::default() }];
    });
    let provider = FakeProvider::start(Script::Echo);
    let not_joined = |step: ReconnectEvent<'_>| assert!(!matches!(step, ReconnectEvent::Joined(_)), "it joined");
    let wrong = Reconnect::new(session(&hub.url(), &provider.url(), "m").password("no")).run(not_joined);
    assert_eq!(wrong.unwrap_err().status(), Some(401));
    let missing = Reconnect::new(session(&hub.url(), &provider.url(), "gone")).run(not_joined);
    assert!(matches!(missing, Err(Error::ModelMissing { .. })));
    let removed = Reconnect::new(session(&hub.url(), &provider.url(), "m").password("pw"));
    let ended = removed.run(|step| {
        if let ReconnectEvent::Joined(session) = step {
            hub.client.participants("LAB001").remove(&session.participant().id).unwrap();
        }
    });
    assert!(ended.unwrap_err().to_string().contains("removed"));
}

#[test]
fn what_users_share_between_threads_can_be_shared() {
    fn shared<T: Send + Sync>() {}
    fn sent<T: Send>() {}
    shared::<Client>();
    shared::<gambi::client::Room>();
    shared::<gambi::hub::Hub>();
    shared::<gambi::hub::HubHandle>();
    shared::<Session>();
    shared::<gambi::participant::SessionHandle>();
    shared::<Error>();
    sent::<gambi::client::EventStream>();
    sent::<gambi::client::ChatStream>();
    sent::<gambi::client::Watch>();
}

#[test]
fn a_redirect_takes_credentials_nowhere() {
    let (hub, elsewhere) = (FakeProvider::start(Script::Missing), FakeProvider::start(Script::Missing));
    let answer = |path: &str, status: u16| {
        let location = format!("{}{path}", elsewhere.url());
        format!("HTTP/1.1 {status} R\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    };
    let client = Client::new(&hub.url()).unwrap().with_key("s3cret").with_room_password("open");
    for status in [301, 302, 303, 307, 308] {
        for path in ["/v1/rooms", "/v1/rooms/ABC234/events", "/rooms/ABC234/v1/chat/completions"] {
            hub.set_path(path, Script::Raw(answer(path, status).into()));
        }
        assert!(matches!(client.rooms().list(), Err(Error::BadAnswer { .. })), "{status}");
        assert!(client.rooms().create(&CreateRoom::default()).is_err(), "{status}");
        assert!(client.events(Some("ABC234")).is_err(), "{status}");
        assert!(client.room("ABC234").chat().user("hi").send().is_err(), "{status}");
    }
    assert_eq!((hub.seen().len(), elsewhere.connections()), (20, 0));
}

#[test]
fn what_a_hub_sends_without_end_is_not_read_without_end() {
    let hub = FakeProvider::start(Script::Endless("x".repeat(64 << 10)));
    let client = Client::new(&hub.url()).unwrap();
    assert!(client.rooms().list().is_err());
    wait_until("the list to be left", || hub.abandoned() == 1);
    let head = "HTTP/1.1 404 No\r\nContent-Type: application/json\r\nContent-Length: 1073741824\r\n\r\n{\"error\": \"";
    hub.set(Script::Raw((head.to_owned() + &"x".repeat(1 << 20)).into()));
    assert!(matches!(client.rooms().get("ABC234"), Err(Error::BadAnswer { .. })));
    assert!(matches!(client.events(None).map(drop), Err(Error::BadAnswer { .. })));
    let event =
        |text: &str| format!("data: {{\"type\":\"{text}\",\"timestamp\":1,\"roomCode\":\"\",\"data\":{{}}}}\n\n");
    hub.set(Script::Stream(vec![event(&"x".repeat(2 << 20)), event("next")]));
    let events: Vec<_> = client.events(None).unwrap().map(|event| event.unwrap().kind).collect();
    assert_eq!(events, ["next"], "an event beyond the limit is skipped");
}
