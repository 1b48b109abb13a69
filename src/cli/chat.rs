//! `gambi chat` and `gambi models`.

use std::io::{IsTerminal, Read, stdin};

use serde_json::json;
use serde_json::value::RawValue;

use gambi::client::{Chat, Room};

use super::context::Context;
use super::conversation::{Prompt, PromptReader};
use super::failure::Failure;
use super::output::{self, Output, table};
use super::prompt;
use crate::monitor::clean::multi_line;

/// The most bytes of an answer that are kept as context for the next prompt. Longer answers are printed in full.
const MAX_KEPT_BYTES: usize = 4 << 20;
/// Ends a conversation.
const QUIT: &str = "/quit";
/// What is told when a line was cut off.
const TOO_LONG: &str =
    "A line was too long for the terminal, so nothing was sent. Send it from a file: gambi chat --room CODE < FILE";
/// The selector if `--model` is not given.
pub const SELECTOR: &str = "any";

/// Sends one prompt; without a prompt on an interactive terminal, starts a conversation.
pub fn chat(context: &Context<'_>) -> Result<(), Failure> {
    let code = context.required("room")?;
    let prompt = context.value("prompt").map(str::to_owned);
    let room = context.room_client()?.room(&code);
    let mut chat = room.chat().selector(context.value("model").unwrap_or(SELECTOR));
    if let Some(system) = context.value("system") {
        chat = chat.system(system);
    }
    match prompt {
        Some(prompt) => once(context, chat.user(&prompt)),
        None if context.may_ask() => converse(context, &room, chat),
        None if stdin().is_terminal() => {
            Err(Failure::usage("a prompt is missing").hint("Give it as `gambi chat ... \"PROMPT\"`."))
        }
        None => {
            let mut prompt = String::new();
            stdin().read_to_string(&mut prompt).map_err(|e| Failure::usage(format!("stdin cannot be read: {e}")))?;
            if prompt.trim().is_empty() {
                return Err(Failure::usage("the prompt on stdin is empty"));
            }
            once(context, chat.user(prompt.trim_end()))
        }
    }
}

fn once(context: &Context<'_>, chat: Chat) -> Result<(), Failure> {
    let out = &context.out;
    if out.is_json() {
        let answer = out.while_waiting("Waiting for the answer...", || chat.send())?;
        // The provider's document unchanged, with the order of its keys and its numbers as they are.
        let data = RawValue::from_string(answer.json).map_err(std::io::Error::from)?;
        return out.result(&data, answer.request_id, String::new);
    }
    if out.is_text() {
        print_answer(out, chat)?;
        return output::line("");
    }
    let mut stream = out.while_waiting("Waiting for a participant...", || chat.stream())?;
    while let Some(json) = stream.next_json() {
        output::line(&json?)?;
    }
    Ok(())
}

/// Prints an answer as it arrives. Returns its first [`MAX_KEPT_BYTES`], to within a piece.
fn print_answer(out: &Output, chat: Chat) -> Result<String, Failure> {
    let mut stream = out.while_waiting("Waiting for a participant...", || chat.stream())?;
    let mut answer = String::new();
    // Only before the first piece: later it would be written into the answer.
    let mut next = out.while_waiting("Waiting for the answer...", || stream.next());
    while let Some(piece) = next {
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => {
                // The error must not continue the answer's last line.
                if !answer.is_empty() {
                    output::line("")?;
                }
                return Err(error.into());
            }
        };
        if answer.len() < MAX_KEPT_BYTES {
            answer.push_str(&piece);
        }
        out.piece(&multi_line(&piece))?;
        next = stream.next();
    }
    Ok(answer)
}

/// Reads prompts from the terminal until `/quit` or the end of input. Each request has the conversation so far.
fn converse(context: &Context<'_>, room: &Room, mut chat: Chat) -> Result<(), Failure> {
    let is_dumb = context.variable("TERM").is_none_or(|term| term == "dumb");
    let reader = PromptReader::open(&context.signals, is_dumb);
    context.out.note(&format!("Chatting with {}. Ctrl-D or {QUIT} ends the conversation.", room.openai_base_url()));
    loop {
        let prompt = match reader.read("> ") {
            Prompt::Text(text) => text,
            Prompt::TooLong => {
                prompt::discard_rest();
                context.out.note(TOO_LONG);
                continue;
            }
            Prompt::End => {
                // The shell's prompt must not continue this one's line.
                context.out.note("");
                return Ok(());
            }
        };
        match prompt.trim() {
            "" => {}
            QUIT => return Ok(()),
            _ => {
                chat = chat.user(prompt.trim_end());
                let answer = print_answer(&context.out, chat.clone())?;
                output::line("")?;
                chat = chat.assistant(&answer);
            }
        }
    }
}

/// Lists the participants and models that a request can select.
pub fn models(context: &Context<'_>) -> Result<(), Failure> {
    let code = context.required("room")?;
    let models = context.room_client()?.room(&code).models()?;
    let values: Vec<_> =
        models.iter().map(|m| json!({ "id": m.id, "nickname": m.nickname, "model": m.model })).collect();
    context.out.result(&values, None, || {
        if models.is_empty() {
            return "The room has no participants online. `gambi participant join` adds one.".to_owned();
        }
        let rows: Vec<_> = models.iter().map(|m| vec![m.id.clone(), m.model.clone(), m.nickname.clone()]).collect();
        table(&["ID", "MODEL", "NICKNAME"], &rows)
    })
}
