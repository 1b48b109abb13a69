//! Hostile providers, behind a tunnel and called directly.

use gambi::participant::Session;
use serde_json::json;

use super::lab::{Lab, ROOM, scale};
use super::support::{Conn, FakeProvider, Script, wait_until};

const POCKETS: usize = 24 << 10;

/// Brings a provider into the room twice: through a tunnel, and as an older client does.
fn join(lab: &Lab, provider: &FakeProvider) -> Session {
    let body = json!({ "id": "direct", "nickname": "d", "model": "m", "endpoint": provider.url() });
    Conn::open(lab.addr).ask("POST", &format!("/rooms/{ROOM}/join"), &[], Some(&body.to_string())).answer().expect(201);
    let builder = Session::builder(format!("http://{}", lab.addr), ROOM).participant_id("tunnelled").model("m");
    builder.endpoint(provider.url()).start().unwrap()
}

fn leave(lab: &Lab, session: &Session) {
    session.close();
    lab.client.participants(ROOM).remove("direct").unwrap();
}

fn ask(lab: &Lab, who: &str, stream: bool) -> Conn {
    let body = json!({ "model": who, "stream": stream, "messages": [{ "role": "user", "content": "Hi" }] });
    let mut conn = Conn::open(lab.addr);
    conn.ask("POST", &format!("/rooms/{ROOM}/v1/chat/completions"), &[], Some(&body.to_string()));
    conn
}

#[test]
fn an_answer_without_end_is_passed_on_and_never_kept() {
    let lab = Lab::open("", "");
    let size = scale(1 << 30, 32 << 20);
    lab.withstand(&format!("answers of {} MiB", size >> 20), POCKETS, |lab| {
        let piece = format!("data: {}\n\n", "x".repeat(8000));
        let provider = FakeProvider::start(Script::Endless(piece));
        let session = join(lab, &provider);
        for who in ["tunnelled", "direct"] {
            let mut conn = ask(lab, who, true);
            assert_eq!(conn.head().status, 200);
            let mut read = 0;
            while read < size {
                read += conn.chunk().expect("more of it").len();
            }
        }
        // One more for each that nobody reads: it waits, and is cancelled when the client goes.
        let unread = ["tunnelled", "direct"].map(|who| ask(lab, who, true));
        wait_until("both to be at it", || provider.seen().len() >= 4);
        drop(unread);
        wait_until("all to be given up", || provider.abandoned() >= 4);
        leave(lab, &session);
    });
}

#[test]
fn a_provider_that_says_nothing_ends_by_the_hubs_patience() {
    let lab = Lab::open("", "--first-byte-timeout 1s --idle-timeout 1s");
    lab.withstand("providers that fall silent", POCKETS, |lab| {
        let provider = FakeProvider::start(Script::Held(Box::new(Script::Echo)));
        let session = join(lab, &provider);
        for who in ["tunnelled", "direct"] {
            assert_eq!(ask(lab, who, false).answer().status, 504, "{who}");
            provider.set(Script::StreamAndHang(vec!["data: {}\n\n".into()]));
            assert!(!ask(lab, who, true).answer().whole, "{who}: a stream that breaks is seen to be broken");
            provider.set(Script::Held(Box::new(Script::Echo)));
        }
        leave(lab, &session);
        provider.release();
    });
}

#[test]
fn a_provider_that_trickles_is_passed_on_byte_by_byte() {
    let lab = Lab::open("", "");
    lab.withstand("a provider that trickles", POCKETS, |lab| {
        let pieces: Vec<String> = "data: {\"a\":1}\n\ndata: [DONE]\n\n".chars().map(String::from).collect();
        let provider = FakeProvider::start(Script::Stream(pieces.clone()));
        let session = join(lab, &provider);
        for who in ["tunnelled", "direct"] {
            let answer = ask(lab, who, true).answer().expect(200);
            assert_eq!((answer.text(), answer.whole), (pieces.concat(), true));
        }
        leave(lab, &session);
    });
}
