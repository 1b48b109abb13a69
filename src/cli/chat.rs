//! `gambi chat` and `gambi models`.

mod answer;
mod conversation;
mod history;
mod input;
mod slash;
mod transcript;

use std::io::{IsTerminal, Read, stderr, stdin, stdout};

use serde_json::json;
use serde_json::value::RawValue;

use gambi::client::{Chat, Room};

use super::context::Context;
use super::failure::Failure;
use super::output::{self, table};
use crate::chat::selection::{SELECTOR, name_of};
use answer::AnswerStyle;
use conversation::Conversation;
use input::without_quotes;

/// Sends one prompt; without a prompt on an interactive terminal, starts a conversation.
pub fn chat(context: &Context<'_>) -> Result<(), Failure> {
    let code = context.required("room")?;
    let style = AnswerStyle::of(context, stdout().is_terminal() && stderr().is_terminal())?;
    let prompt = context.value("prompt").map(str::to_owned);
    let password = context.password(false)?;
    let room = context.client_with(password.as_deref())?.room(&code);
    let prompt = match prompt {
        Some(prompt) => prompt,
        None if context.may_ask() => {
            let secrets = [password, context.key()?].into_iter().flatten().collect();
            return Conversation::begin(context, room, &code, style)?.run(secrets);
        }
        None if stdin().is_terminal() => {
            return Err(Failure::usage("a prompt is missing").hint("Give it as `gambi chat ... \"PROMPT\"`."));
        }
        None => {
            let mut prompt = String::new();
            stdin().read_to_string(&mut prompt).map_err(|e| Failure::usage(format!("stdin cannot be read: {e}")))?;
            if prompt.trim().is_empty() {
                return Err(Failure::usage("the prompt on stdin is empty"));
            }
            without_quotes(prompt.trim_end()).to_owned()
        }
    };
    let mut chat = room.chat().selector(context.value("model").unwrap_or(SELECTOR));
    if let Some(system) = context.value("system") {
        chat = chat.system(system);
    }
    once(context, &room, chat.user(&prompt), style)
}

fn once(context: &Context<'_>, room: &Room, chat: Chat, style: AnswerStyle) -> Result<(), Failure> {
    let out = &context.out;
    if out.is_json() {
        let answer = out.while_waiting("Waiting for the answer...", || chat.send())?;
        // The provider's document unchanged, with the order of its keys and its numbers as they are.
        let data = RawValue::from_string(answer.json).map_err(std::io::Error::from)?;
        return out.result(&data, answer.request_id, String::new);
    }
    if out.is_text() {
        let printed = answer::print(style, chat);
        printed.end?;
        // A name is for people; a log gets the id.
        let models = if stderr().is_terminal() { room.models().unwrap_or_default() } else { Vec::new() };
        out.aside(&printed.facts.line(&name_of(&printed.facts.participant, &models)));
        return Ok(());
    }
    let mut stream = out.while_waiting("Waiting for a participant...", || chat.stream())?;
    while let Some(json) = stream.next_json() {
        output::line(&json?)?;
    }
    Ok(())
}

/// Lists the participants and models that a request can select.
pub fn models(context: &Context<'_>) -> Result<(), Failure> {
    let code = context.required("room")?;
    let client = context.room_client()?;
    let models = client.room(&code).models()?;
    if models.is_empty() {
        // A private room shows strangers no models; its participants it refuses them, and says why.
        client.participants(&code).list()?;
    }
    let values: Vec<_> =
        models.iter().map(|m| json!({ "id": m.id, "nickname": m.nickname, "model": m.model })).collect();
    context.out.result(&values, None, || {
        if models.is_empty() {
            return "The room has no participants online. `gambi join` adds one.".to_owned();
        }
        let rows: Vec<_> = models.iter().map(|m| vec![m.id.clone(), m.model.clone(), m.nickname.clone()]).collect();
        table(&["ID", "MODEL", "NICKNAME"], &rows)
    })
}
