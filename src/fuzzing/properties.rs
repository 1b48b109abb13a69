//! Every reader of peers' bytes, on the small stack of a connection's thread, with input made to hurt it: what means something
//! to it, repeated and adjacent, cut anywhere, deep and long.

use std::sync::mpsc::{Sender, channel};
use std::sync::{LazyLock, Mutex};
use std::thread;

use proptest::prelude::*;

use crate::sync::{STACK_SIZE, lock};

type Reader = fn(&[u8]);

const READERS: [(&str, Reader); 14] = [
    ("usage", super::usage),
    ("response_id", super::response_id),
    ("events", super::events),
    ("request", super::request),
    ("whole_chat", super::whole_chat),
    ("streamed_chat", super::streamed_chat),
    ("message", super::message),
    ("head", super::head),
    ("answer_start", super::answer_start),
    ("chunked", super::chunked),
    ("frame", super::frame),
    ("selector", super::selector),
    ("scan", super::scan),
    ("body", super::body),
];

/// Runs all readers on a small stack, and says which one panicked.
fn read(data: Vec<u8>) -> Result<(), String> {
    type Job = (Vec<u8>, Sender<Result<(), String>>);
    static THREAD: LazyLock<Mutex<Sender<Job>>> = LazyLock::new(|| {
        let (jobs, work) = channel::<Job>();
        let run = move || {
            for (data, done) in work {
                let broken = READERS.iter().find(|(_, reader)| std::panic::catch_unwind(|| reader(&data)).is_err());
                let _ = done.send(broken.map_or(Ok(()), |(name, _)| Err(format!("{name} broke"))));
            }
        };
        thread::Builder::new().stack_size(STACK_SIZE).spawn(run).expect("a thread");
        Mutex::new(jobs)
    });
    let (done, result) = channel();
    lock(&THREAD).send((data, done)).map_err(|e| e.to_string())?;
    result.recv().map_err(|e| e.to_string())?
}

/// What means something to one of the readers.
const TOKENS: [&str; 68] = [
    "\"usage\"",
    "\"id\"",
    "\"response\"",
    "\"type\"",
    "\"input\"",
    "\"messages\"",
    "\"role\"",
    "\"content\"",
    "\"choices\"",
    "\"delta\"",
    "\"message\"",
    "\"tool_calls\"",
    "\"index\"",
    "\"function\"",
    "\"arguments\"",
    "\"name\"",
    "\"tools\"",
    "\"finish_reason\"",
    "\"error\"",
    "\"headers\"",
    "\"requestId\"",
    "\"status\"",
    "\"stage\"",
    "\"chunk\"",
    "\"YQ==\"",
    "\"tunnel.response.start\"",
    "\"tunnel.response.error\"",
    "\"tunnel.request\"",
    "\"prompt_tokens\"",
    "\"user\"",
    "\"stop\"",
    "\"model\"",
    "\"stream\"",
    "\"",
    "\\",
    "\\\"",
    "\\u0041",
    "\\ud83d",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "null",
    "true",
    "200",
    "1e999",
    "data:",
    "data: {",
    "data: [DONE]",
    "event: x",
    "id:",
    "\r",
    "\n",
    "\r\n",
    "\n\n",
    "\r\n\r\n",
    "GET / HTTP/1.1\r\n",
    "Host: h\r\n",
    "Content-Length: 5\r\n",
    "5\r\nhello\r\n",
    "0\r\n\r\n",
    "ffffffffffffffff\r\n",
    "\u{81}",
    "\u{feff}",
    "any",
    "model:",
];

fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let token = prop::sample::select(TOKENS.to_vec()).prop_map(|token| token.as_bytes().to_vec());
    let bit = prop_oneof![
        16 => token.clone(),
        2 => (token, 2usize..40).prop_map(|(token, times)| token.repeat(times)),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ];
    (any::<u8>(), prop::collection::vec(bit, 0..40))
        .prop_map(|(length, bits)| [vec![length % 6], bits.concat()].concat())
}

/// Sound JSON whose members are those that mean something, so that more than the parser is reached.
fn meant() -> impl Strategy<Value = Vec<u8>> {
    let quoted: Vec<&str> = TOKENS.into_iter().filter(|token| token.len() > 3 && token.starts_with('"')).collect();
    let text = prop::sample::select(quoted.clone()).prop_map(str::to_owned);
    let leaf =
        prop_oneof![3 => text, 1 => Just("7".to_owned()), 1 => Just("null".to_owned()), 1 => Just("true".to_owned())];
    let json = leaf.prop_recursive(6, 40, 6, move |inner| {
        let pair =
            (prop::sample::select(quoted.clone()), inner.clone()).prop_map(|(key, value)| format!("{key}:{value}"));
        prop_oneof![
            3 => prop::collection::vec(pair, 0..6).prop_map(|pairs| format!("{{{}}}", pairs.join(","))),
            1 => prop::collection::vec(inner, 0..6).prop_map(|items| format!("[{}]", items.join(","))),
        ]
    });
    (prop_oneof![Just(""), Just("\u{1}"), Just("\u{2}data: ")], json, prop_oneof![Just(""), Just("\n\n")])
        .prop_map(|(before, json, after)| format!("{before}{json}{after}").into_bytes())
}

/// What is rare in JSON, sound or not.
const ODD: [&str; 32] = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    " ",
    "\t\r\n",
    "null",
    "true",
    "-0",
    "01",
    "1e400",
    "-1.5E+7",
    "123456789012345678901234567890",
    "1.",
    "\"model\"",
    "\"\\u006dodel\"",
    "\"\\u006Dodel\"",
    "\"mod\\u0065l\"",
    "\"\\ud83d\\ude00\"",
    "\"\\ud83d\"",
    "\"\\ude00x\"",
    "\"\\u0000\"",
    "\"\"",
    "\"\\/\\b\\f\"",
    "\"ü😀\"",
    "\"a\0b\"",
    "\u{feff}",
    "\u{a0}",
    "/**/",
    "NaN",
];

/// An object of odd keys and values, whole or with a flaw somewhere.
fn odd_object() -> impl Strategy<Value = Vec<u8>> {
    let odd = || prop::sample::select(ODD.to_vec()).prop_map(str::to_owned);
    let text = || prop::sample::select(ODD[16..28].to_vec()).prop_map(str::to_owned);
    let value = prop_oneof![
        4 => prop::sample::select(ODD[8..27].to_vec()).prop_map(str::to_owned),
        1 => odd(),
        1 => (1usize..300).prop_map(|depth| "[".repeat(depth) + &"]".repeat(depth)),
        1 => (text(), text()).prop_map(|(key, value)| format!("{{{key}:[{value},1]}}")),
    ];
    let pair = (text(), value).prop_map(|(key, value)| format!("{key} : {value}"));
    let object = prop::collection::vec(pair, 0..40).prop_map(|pairs| format!("{{{}}}", pairs.join(" ,")));
    let flaw = prop_oneof![3 => Just(Vec::new()), 2 => odd().prop_map(String::into_bytes), 1 => Just(vec![0xff])];
    let before = prop_oneof![4 => Just(""), 1 => Just("\u{feff}"), 1 => Just(" \n")];
    (before, object, flaw, any::<prop::sample::Index>()).prop_map(|(before, object, flaw, at)| {
        let mut data = [before, &object].concat().into_bytes();
        let at = at.index(data.len() + 1);
        data.splice(at..at, flaw);
        data
    })
}

/// Each case is read by all readers: a quarter of what other properties take is enough.
fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { failure_persistence: None, cases: default.cases.div_ceil(4), ..default }
}

proptest! {
    // What broke a property becomes a test beside the code, not a file of seeds.
    #![proptest_config(config())]

    #[test]
    fn readers_bear_what_means_something_to_them_in_any_order(data in hostile()) {
        prop_assert_eq!(read(data), Ok(()));
    }

    #[test]
    fn json_with_a_flaw_is_scanned_as_serde_json_reads_it(
        mut data in meant(), at in any::<prop::sample::Index>(), flaw in "[\\[\\]{},:\"0-9eE.tn+-]?",
    ) {
        let at = at.index(data.len() + 1);
        data.splice(at..at, flaw.into_bytes());
        super::scan(&data);
    }

    #[test]
    fn odd_objects_are_read_as_serde_json_reads_them(data in odd_object()) {
        super::scan(&data);
    }

    #[test]
    fn readers_bear_json_that_means_something_to_them(data in meant()) {
        prop_assert_eq!(read(data), Ok(()));
    }
}

#[test]
fn readers_take_constant_stack_however_deep_the_nesting() {
    for (open, close) in [("[", "]"), ("{\"usage\":", "}"), ("[{\"id\":", "}]")] {
        let deep = open.repeat(100_000) + "1" + &close.repeat(100_000);
        for around in [
            ("{\"id\":", "}"),
            ("{\"model\":\"m\",\"input\":", "}"),
            ("{\"input\":\"x\",\"tools\":", "}"),
            ("{\"choices\":[{\"message\":", "}]}"),
            ("\u{7f}data: {\"response\":", "}\n\n"),
            ("{\"type\":\"tunnel.response.start\",\"requestId\":\"r\",\"status\":200,\"headers\":", "}"),
            ("{\"type\":\"tunnel.request\",\"requestId\":\"r\",\"method\":\"POST\",\"path\":\"/\",\"body\":", "}"),
        ] {
            assert_eq!(read([around.0, &deep, around.1].concat().into_bytes()), Ok(()), "{open} in {around:?}");
        }
        // As deep as the parser goes.
        for depth in [60, 120, 126, 127, 128] {
            let json = format!("{{\"input\":{}1{},\"id\":1}}", open.repeat(depth), close.repeat(depth));
            assert_eq!(read(json.into_bytes()), Ok(()), "{depth} {open}");
        }
    }
}

#[test]
fn readers_bear_a_token_repeated_without_end() {
    for token in TOKENS {
        let data = ["\u{7f}", &token.repeat((8 << 10) / token.len())].concat();
        assert_eq!(read(data.into_bytes()), Ok(()), "{token:?}");
    }
}

#[test]
fn readers_bear_sixteen_mebibytes() {
    let data = ["\u{7f}", &"data: {\"id\":\"usage\"}\n\n".repeat(50), &"x".repeat(16 << 20)].concat();
    assert_eq!(read(data.into_bytes()), Ok(()));
}
