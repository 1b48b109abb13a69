//! Calls as servers send them.

use serde_json::json;

use super::*;

/// The calls that a stream's pieces make, one piece a chunk: id, name and arguments of each.
fn calls(pieces: &[Value]) -> Vec<(String, String, String)> {
    let (mut calls, mut texts): (Vec<OpenCall>, Vec<String>) = (Vec::new(), Vec::new());
    for (entry, chunk) in pieces.iter().zip(1..) {
        let piece = CallPiece::read(entry).unwrap();
        let at = owner(&calls, &piece, chunk).unwrap_or_else(|| {
            calls.push(OpenCall::begin(&piece));
            texts.push(String::new());
            calls.len() - 1
        });
        texts[at].push_str(calls[at].take(&piece, chunk));
    }
    calls.into_iter().zip(texts).map(|(call, text)| (call.id.unwrap_or_default(), call.name, text)).collect()
}

/// `None` stands for a member that is left out.
fn piece(number: Option<u64>, id: Option<&str>, name: Option<&str>, arguments: Option<&str>) -> Value {
    let mut entry = json!({ "type": "function", "function": {} });
    let members = [("index", number.map(|n| json!(n))), ("id", id.map(|id| json!(id)))];
    for (key, value) in members.into_iter().filter_map(|(key, value)| Some((key, value?))) {
        entry[key] = value;
    }
    for (key, value) in [("name", name), ("arguments", arguments)] {
        if let Some(value) = value {
            entry["function"][key] = json!(value);
        }
    }
    entry
}

type Call<'a> = (&'a str, &'a str, &'a str);

#[track_caller]
fn check(pieces: &[Value], expected: &[Call<'_>]) {
    let calls = calls(pieces);
    let calls: Vec<Call<'_>> = calls.iter().map(|(id, name, text)| (&**id, &**name, &**text)).collect();
    assert_eq!(calls, expected);
}

const ARGS: &str = r#"{"a":1}"#;
const TWO: [Call<'_>; 2] = [("a", "f", ARGS), ("b", "g", ARGS)];
const TWICE: [Call<'_>; 2] = [("a", "f", r#"{"a":1}"#), ("b", "f", r#"{"a":2}"#)];

#[test]
fn numbers_tell_interleaved_calls_apart() {
    let (zero, one) = (Some(0), Some(1));
    check(
        &[
            piece(zero, Some("a"), Some("f"), Some("")),
            piece(one, Some("b"), Some("g"), Some("")),
            piece(zero, None, None, Some(r#"{"a""#)),
            piece(one, Some(""), Some(""), Some(ARGS)),
            piece(zero, None, None, Some(":1}")),
        ],
        &TWO,
    );
    // All calls of the answer have the same id.
    check(
        &[
            piece(zero, Some("x"), Some("f"), Some(r#"{"a""#)),
            piece(one, Some("x"), Some("f"), Some(r#"{"a""#)),
            piece(zero, Some("x"), None, Some(":1}")),
            piece(one, Some("x"), None, Some(":2}")),
        ],
        &[("x", "f", r#"{"a":1}"#), ("x", "f", r#"{"a":2}"#)],
    );
}

#[test]
fn ids_tell_calls_of_one_number_apart() {
    let zero = Some(0);
    check(&[piece(zero, Some("a"), Some("f"), Some(ARGS)), piece(zero, Some("b"), Some("g"), Some(ARGS))], &TWO);
    check(
        &[
            piece(zero, Some("a"), Some("f"), Some("")),
            piece(zero, None, None, Some(ARGS)),
            piece(zero, Some("b"), Some("f"), Some("")),
            piece(zero, None, None, Some(r#"{"a":"#)),
            piece(zero, None, None, Some("2}")),
        ],
        &TWICE,
    );
    // Interleaved, with the id on each piece.
    check(
        &[
            piece(zero, Some("a"), Some("f"), Some(r#"{"a":"#)),
            piece(zero, Some("b"), Some("f"), Some(r#"{"a":"#)),
            piece(zero, Some("a"), None, Some("1}")),
            piece(zero, Some("b"), None, Some("2}")),
        ],
        &TWICE,
    );
}

#[test]
fn calls_without_numbers_are_told_apart() {
    check(&[piece(None, Some("a"), Some("f"), Some(ARGS)), piece(None, Some("b"), Some("g"), Some(ARGS))], &TWO);
    check(
        &[
            piece(None, Some("a"), Some("f"), None),
            piece(None, Some("b"), Some("g"), Some("{")),
            piece(None, None, None, Some("}")),
            piece(None, Some("a"), None, Some(ARGS)),
        ],
        &[("a", "f", ARGS), ("b", "g", "{}")],
    );
}

#[test]
fn calls_without_ids_are_told_apart() {
    for number in [None, Some(0)] {
        check(
            &[
                piece(number, None, Some("f"), Some(ARGS)),
                piece(number, None, Some("g"), Some("")),
                piece(number, None, None, Some(r#"{"a":"#)),
                piece(number, None, None, Some("1}")),
                piece(number, None, Some("g"), Some(ARGS)),
            ],
            &[("", "f", ARGS), ("", "g", ARGS), ("", "g", ARGS)],
        );
    }
    let longer = [
        piece(Some(0), None, Some("f"), Some(ARGS)),
        piece(Some(0), None, Some("fg"), Some("")),
        piece(Some(0), None, None, Some(ARGS)),
    ];
    check(&longer, &[("", "f", ARGS), ("", "fg", ARGS)]);
    let bare = [piece(None, None, Some("f"), Some("")), piece(None, None, Some("g"), Some("{}"))];
    check(&bare, &[("", "f", ""), ("", "g", "{}")]);
}

#[test]
fn an_id_that_changes_with_each_piece_makes_no_new_call() {
    for number in [None, Some(0)] {
        for name in [None, Some("f")] {
            check(
                &[
                    piece(number, Some("a"), Some("f"), Some(r#"{"a""#)),
                    piece(number, Some("b"), name, Some(":")),
                    piece(number, Some("c"), name, Some("1}")),
                ],
                &[("a", "f", ARGS)],
            );
            check(
                &[
                    piece(number, Some("a"), Some("f"), Some("")),
                    piece(number, Some("b"), name, Some(r#"{"a""#)),
                    piece(number, Some("c"), name, Some(":1}")),
                ],
                &[("a", "f", ARGS)],
            );
        }
    }
}

#[test]
fn a_name_may_be_late_in_pieces_or_repeated() {
    for number in [None, Some(0)] {
        let rest = [piece(number, None, None, Some(r#"{"a""#)), piece(number, None, None, Some(":1}"))];
        let heads = [
            vec![piece(number, Some("a"), None, None), piece(number, None, Some("find"), None)],
            vec![piece(number, Some("a"), Some("fi"), Some("")), piece(number, None, Some("nd"), Some(""))],
            vec![piece(number, Some("a"), Some("fi"), Some("")), piece(number, None, Some("find"), Some(""))],
            vec![piece(number, None, Some("find"), None), piece(number, Some("a"), None, None)],
            vec![piece(number, Some("a"), Some("find"), Some("")), piece(number, Some("a"), Some("find"), None)],
        ];
        for head in heads {
            check(&[head, rest.to_vec()].concat(), &[("a", "find", ARGS)]);
        }
        let repeated = [r#"{"a""#, ":1", "}", ""].map(|text| piece(number, Some("a"), Some("find"), Some(text)));
        check(&repeated, &[("a", "find", ARGS)]);
    }
    let late = [piece(Some(0), Some("a"), None, Some(ARGS)), piece(Some(0), None, Some("find"), None)];
    check(&late, &[("a", "find", ARGS)]);
}

#[test]
fn a_call_that_is_sent_again_whole_stays_one() {
    check(
        &[
            piece(Some(0), Some("a"), Some("f"), Some("")),
            piece(Some(0), None, None, Some(r#"{"a""#)),
            piece(Some(0), None, None, Some(":1}")),
            piece(Some(0), Some("a"), Some("f"), Some(ARGS)),
            piece(Some(0), None, None, Some("\n")),
        ],
        &[("a", "f", ARGS)],
    );
}

#[test]
fn all_calls_may_be_sent_again_at_the_end_with_numbers_of_their_own() {
    let zero = |id, name| piece(Some(0), Some(id), Some(name), Some(ARGS));
    check(&[zero("a", "f"), zero("b", "g"), zero("a", "f"), piece(Some(1), Some("b"), Some("g"), Some(ARGS))], &TWO);
}

#[test]
fn a_number_may_be_late() {
    let pieces = [
        piece(None, Some("a"), Some("f"), None),
        piece(Some(0), None, None, Some(r#"{"a""#)),
        piece(Some(0), None, None, Some(":1}")),
        piece(Some(1), Some("b"), Some("g"), Some(ARGS)),
    ];
    check(&pieces, &TWO);
}

#[test]
fn braces_in_texts_complete_nothing() {
    let text = r#"{"a":"}\"}"#;
    assert!(!Arguments::of(text).complete && Arguments::of(&format!(r#"{text}"}}"#)).complete);
    assert!(!Arguments::of("").begun && !Arguments::of(" \n").begun);
}

#[test]
fn an_entry_may_have_an_object_as_arguments_or_no_inner_object() {
    let entry = json!({ "name": "f", "arguments": { "a": 1 }, "index": "2" });
    let piece = CallPiece::read(&entry).unwrap();
    assert_eq!((piece.name, &*piece.arguments, piece.number), (Some("f"), ARGS, Some(2)));
    for nothing in [json!({}), json!(5), json!({ "index": 0, "id": "", "function": { "name": null } })] {
        assert!(CallPiece::read(&nothing).is_none());
    }
}
