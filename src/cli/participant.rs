//! `gambi participant list`, `leave` and `heartbeat`, and the headers for a provider.

use serde_json::json;

use gambi::client::Client;
use gambi::proto::management::Participant;

use super::context::Context;
use super::failure::Failure;
use super::output::table;
use super::token;

/// Lists a room's participants.
pub fn list(context: &Context<'_>) -> Result<(), Failure> {
    let room = context.required("room")?;
    let client = context.room_client()?;
    let participants = client.participants(&room).list()?;
    context.out.result(&participants, client.last_request_id(), || {
        if participants.is_empty() {
            return "The room has no participants. `gambi join` adds one.".to_owned();
        }
        let status = |p: &Participant| match json!(p.status).as_str() {
            _ if p.draining && p.connection.connected => "draining".to_owned(),
            _ if p.provider_down && p.connection.connected => "provider down".to_owned(),
            status => status.unwrap_or_default().to_owned(),
        };
        let model = |p: &Participant| match p.models.len() {
            0 | 1 => p.model.clone(),
            count => format!("{} (+{})", p.model, count - 1),
        };
        let row = |p: &Participant| vec![p.id.clone(), status(p), model(p), p.nickname.clone()];
        table(&["ID", "STATUS", "MODEL", "NICKNAME"], &participants.iter().map(row).collect::<Vec<_>>())
    })
}

/// A client with the participant's token, for commands that act as the participant.
fn own_client(context: &Context<'_>) -> Result<Client, Failure> {
    let client = context.room_client()?;
    let Some(path) = context.value("token-file") else { return Ok(client) };
    let token = token::read(path)?.ok_or_else(|| Failure::usage(format!("--token-file: there is no {path}")))?;
    Ok(client.with_participant_token(&token))
}

/// Removes a participant from its room.
pub fn leave(context: &Context<'_>) -> Result<(), Failure> {
    let (room, id) = (context.required("room")?, context.required("participant-id")?);
    let client = own_client(context)?;
    client.participants(&room).remove(&id)?;
    context
        .out
        .result(&json!({ "success": true }), client.last_request_id(), || format!("{id} has left the room {room}."))
}

/// Sends one heartbeat of a participant.
pub fn heartbeat(context: &Context<'_>) -> Result<(), Failure> {
    let (room, id) = (context.required("room")?, context.required("participant-id")?);
    let client = own_client(context)?;
    let beat = client.participants(&room).heartbeat(&id)?;
    context.out.result(&beat, client.last_request_id(), || {
        format!("{id} is {}.", json!(beat.status).as_str().unwrap_or_default())
    })
}

/// Headers for the provider: the config file's and the flags'. A flag overrides a header of the same name.
pub fn headers(context: &Context<'_>) -> Result<Vec<(String, String)>, Failure> {
    let mut headers: Vec<(String, String)> = Vec::new();
    let mut set = |name: &str, value: String| {
        headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        headers.push((name.to_owned(), value));
    };
    for (name, value) in &context.environment.headers {
        set(name, value.clone());
    }
    for text in context.values("header") {
        let (name, value) = pair("header", text)?;
        set(name, value.to_owned());
    }
    for text in context.values("header-env") {
        let (name, variable) = pair("header-env", text)?;
        let value = context.variable(variable).ok_or_else(|| {
            Failure::usage(format!("--header-env {name}: the environment variable {variable} is not set"))
        })?;
        set(name, value);
    }
    Ok(headers)
}

/// Splits NAME=VALUE. The error does not show the text, as the value may be a secret.
fn pair<'a>(flag: &str, text: &'a str) -> Result<(&'a str, &'a str), Failure> {
    text.split_once('=')
        .map(|(name, value)| (name.trim(), value.trim()))
        .filter(|(name, value)| !name.is_empty() && !value.is_empty())
        .ok_or_else(|| {
            let (value, example) = match flag {
                "header-env" => ("VARIABLE", "Authorization=PROVIDER_KEY, where that variable has \"Bearer ...\""),
                _ => ("VALUE", "X-Team=lab"),
            };
            Failure::usage(format!("--{flag} must be NAME={value}")).hint(format!("For example: --{flag} {example}."))
        })
}
