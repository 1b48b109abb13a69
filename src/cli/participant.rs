//! `gambi participant join`, `leave` and `heartbeat`.

use std::thread;

use crossbeam_channel::{Receiver, bounded, select};
use serde_json::{Value, json};

use gambi::client::Client;
use gambi::participant::{Builder, CloseEvent, CloseReason, Reconnect, ReconnectEvent, Session, machine_specs};
use gambi::proto::management::{DEFAULT_ENDPOINT, MAX_CONCURRENCY, Participant, RuntimeConfig, Status};

use super::context::Context;
use super::failure::Failure;
use super::output::table;
use super::room::redact;
use super::signals::Signal;
use super::token;
use crate::monitor::clean::one_line;

/// Everything that a join needs to know.
struct Plan {
    client: Client,
    room: String,
    id: String,
    model: String,
    nickname: String,
    endpoint: String,
    password: Option<String>,
    headers: Vec<(String, String)>,
    config: Option<RuntimeConfig>,
    concurrency: u32,
    aliases: Vec<String>,
    specs: bool,
    json_frames: bool,
    key: Option<String>,
    token_file: Option<String>,
    token: Option<String>,
}

/// Joins a room and serves it until a signal comes or the session is lost.
pub fn join(context: &Context<'_>) -> Result<(), Failure> {
    let mut plan = Plan::resolve(context)?;
    if context.has("dry-run") {
        return plan.dry_run(context);
    }
    plan.keep_token()?;
    if context.has("reconnect") {
        return stay(context, &plan);
    }
    if plan.password.is_none() && context.may_ask() && plan.client.rooms().get(&plan.room)?.password_protected {
        plan.password = context.password(true)?;
    }
    context.out.detail(&format!("probing {}", plan.endpoint));
    let prepared = context.out.while_waiting("Asking the provider...", || plan.builder().prepare())?;
    let registration = prepared.registration();
    let data = json!({
        "participantId": plan.id, "nickname": registration.nickname, "room": plan.room, "hubUrl": plan.client.hub_url(),
        "model": registration.model, "endpoint": registration.endpoint, "specs": registration.specs,
        "capabilities": registration.capabilities, "models": prepared.probe().models,
    });
    context.out.event("prepared", &data, &format!("{} has the model {}.", registration.endpoint, plan.model))?;
    // Up to here a signal ends the process at once; from here on there is something to take back.
    let signals = context.signals.listen();
    let joined = prepared.register()?;
    let registered = joined.registered();
    let data = json!({
        "participant": registered.participant, "roomId": registered.room_id, "tunnel": { "url": registered.tunnel.url },
    });
    let told = context.out.event("registered", &data, &format!("Registered as {}.", plan.nickname));
    let session = joined.open_tunnel().inspect_err(|error| {
        let data = json!({ "reason": "tunnel_closed", "message": error.to_string() });
        // The error itself is told by the caller, whether or not this can be.
        let _ = context.out.event("tunnel_failed", &data, "");
    })?;
    // Only now: should nobody read the results any more, the session's end takes the registration back.
    told?;
    let data = json!({ "participantId": plan.id, "room": plan.room });
    let text = format!("In the room {}, by tunnel. Leave with Ctrl-C.", one_line(&plan.room));
    context.out.event("tunnel_connected", &data, &text)?;
    serve(context, &plan, &session, &signals)
}

/// Joins, and joins again whenever the session is lost.
fn stay(context: &Context<'_>, plan: &Plan) -> Result<(), Failure> {
    let signals = context.signals.listen();
    let reconnect = Reconnect::new(plan.builder());
    let (handle, out) = (reconnect.handle(), context.out);
    let place = json!({ "participantId": plan.id, "room": plan.room });
    let (asked, leaving) = bounded(1);
    thread::Builder::new().name("stop".into()).spawn(move || {
        if let Ok(signal) = signals.recv() {
            let _ = asked.send(signal.to_string());
            handle.close();
        }
    })?;
    let closer = reconnect.handle();
    let mut told = Ok(());
    let ended = reconnect.run(|step| {
        let telling = match step {
            ReconnectEvent::Joined(session) => {
                let data = json!({ "participant": session.participant(), "roomId": session.room_id() });
                let text = format!("In the room {}, by tunnel. Leave with Ctrl-C.", one_line(&plan.room));
                out.event("registered", &data, "").and_then(|()| out.event("tunnel_connected", &place, &text))
            }
            ReconnectEvent::Lost(end) => lost(context, &end).map(|failure| context.out.note(&failure.to_string())),
            ReconnectEvent::Waiting { error, pause } => {
                let millis = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                let text = format!("{}; again in {:.1} s.", one_line(&error.to_string()), pause.as_secs_f64());
                out.event("waiting", &json!({ "message": error.to_string(), "pauseMs": millis }), &text)
            }
            _ => Ok(()),
        };
        if telling.is_err() {
            // Nobody reads the results any more.
            closer.close();
            told = telling;
        }
    });
    told?;
    ended?;
    if let Ok(signal) = leaving.try_recv() {
        let data = json!({ "signal": signal, "participantId": plan.id, "room": plan.room });
        out.event("leaving", &data, &format!("{signal}: leaving."))?;
    }
    out.event("left", &place, "Left.")
}

/// Lists a room's participants.
pub fn list(context: &Context<'_>) -> Result<(), Failure> {
    let room = context.required("room")?;
    let participants = context.room_client()?.participants(&room).list()?;
    context.out.list(&participants, || {
        if participants.is_empty() {
            return "Nobody is there. `gambi participant join` brings somebody.".to_owned();
        }
        let status = |status: &Status| json!(status).as_str().unwrap_or_default().to_owned();
        let row = |p: &Participant| vec![p.id.clone(), status(&p.status), p.model.clone(), p.nickname.clone()];
        table(&["ID", "STATUS", "MODEL", "NICKNAME"], &participants.iter().map(row).collect::<Vec<_>>())
    })
}

/// Waits for the session's end, or for a signal to end it.
fn serve(context: &Context<'_>, plan: &Plan, session: &Session, signals: &Receiver<Signal>) -> Result<(), Failure> {
    let (ended, end) = bounded(1);
    let handle = session.handle();
    thread::Builder::new().name("end".into()).spawn(move || ended.send(handle.wait_until_closed()))?;
    select! {
        recv(signals) -> signal => {
            let signal = signal.map(|signal| signal.to_string()).unwrap_or_default();
            let data = json!({ "signal": signal, "participantId": plan.id, "room": plan.room });
            let told = context.out.event("leaving", &data, &format!("{signal}: leaving."));
            session.close();
            told?;
            context.out.event("left", &json!({ "participantId": plan.id, "room": plan.room }), "Left.")
        }
        recv(end) -> end => {
            let end = end.unwrap_or_else(|_| CloseEvent::closed());
            Err(lost(context, &end)?)
        }
    }
}

fn lost(context: &Context<'_>, end: &CloseEvent) -> Result<Failure, Failure> {
    let message = end.error.as_ref().map_or("the session ended".to_owned(), ToString::to_string);
    let kind = if end.reason == CloseReason::HeartbeatFailed { "heartbeat_failed" } else { "tunnel_failed" };
    context.out.event(kind, &json!({ "reason": end.reason.as_str(), "message": message }), "")?;
    Ok(Failure::Lost(format!("the session was lost ({}): {message}", end.reason)))
}

impl Plan {
    fn resolve(context: &Context<'_>) -> Result<Self, Failure> {
        let room = context.required("room")?;
        let model = context.required("model")?;
        let id = match context.value("participant-id") {
            // The older command makes one up. A stable one is better: a retry with it is the same participant.
            None if context.is_flat() => gambi::participant::fresh_id()?,
            _ => context.required("participant-id")?,
        };
        let endpoint = context.value("endpoint").map(str::to_owned).or_else(|| context.environment.endpoint.clone());
        let default_nickname = || format!("{model}@{}", id.chars().take(6).collect::<String>());
        let specs = !context.has("no-specs") && !context.environment.no_specs.unwrap_or(false);
        Ok(Plan {
            client: context.client()?,
            nickname: context.value("nickname").map_or_else(default_nickname, str::to_owned),
            endpoint: endpoint.unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned()),
            password: context.password(false)?,
            headers: headers(context)?,
            config: context.config()?,
            concurrency: concurrency(context)?,
            aliases: context.values("alias").to_vec(),
            specs,
            json_frames: context.has("json-frames"),
            key: context.key()?,
            token: context.value("token-file").map(token::read).transpose()?.flatten(),
            token_file: context.value("token-file").map(str::to_owned),
            room,
            id,
            model,
        })
    }

    /// Makes the file for the participant's token, if one is wanted and not there.
    fn keep_token(&mut self) -> Result<(), Failure> {
        if let (None, Some(path)) = (&self.token, &self.token_file) {
            self.token = Some(token::make(path)?);
        }
        Ok(())
    }

    fn builder(&self) -> Builder {
        let mut builder = Session::builder(self.client.hub_url(), &self.room)
            .participant_id(&self.id)
            .model(&self.model)
            .nickname(&self.nickname)
            .endpoint(&self.endpoint);
        for (name, value) in &self.headers {
            builder = builder.auth_header(name, value);
        }
        if let Some(password) = &self.password {
            builder = builder.password(password);
        }
        if let Some(config) = &self.config {
            builder = builder.config(config.clone());
        }
        if let Some(key) = &self.key {
            builder = builder.hub_key(key);
        }
        if let Some(token) = &self.token {
            builder = builder.participant_token(token);
        }
        if self.concurrency > 1 {
            builder = builder.concurrency(self.concurrency);
        }
        for alias in &self.aliases {
            builder = builder.alias(alias);
        }
        if self.specs {
            builder = builder.specs(machine_specs());
        }
        if self.json_frames {
            builder = builder.json_frames();
        }
        builder
    }

    fn dry_run(&self, context: &Context<'_>) -> Result<(), Failure> {
        let headers: serde_json::Map<String, Value> =
            self.headers.iter().map(|(name, _)| (name.clone(), json!("[redacted]"))).collect();
        let mut plan = json!({
            "dryRun": true, "hubUrl": self.client.hub_url(), "room": self.room, "participantId": self.id,
            "nickname": self.nickname, "model": self.model, "endpoint": self.endpoint, "password": self.password,
            "headers": headers, "config": self.config, "concurrency": self.concurrency, "aliases": self.aliases, "specs": self.specs.then(machine_specs),
            "jsonFrames": self.json_frames.then_some(true),
        });
        redact(&mut plan, "/config/instructions");
        if self.password.is_some() {
            redact(&mut plan, "/password");
        }
        if let Value::Object(map) = &mut plan {
            map.retain(|_, value| !value.is_null());
        }
        let text = format!(
            "Would join the room {} on {} as {} ({}), with the model {} of {}.",
            self.room,
            self.client.hub_url(),
            self.nickname,
            self.id,
            self.model,
            self.endpoint
        );
        context.out.result(&plan, || one_line(&text))
    }
}

fn concurrency(context: &Context<'_>) -> Result<u32, Failure> {
    let parse = |text: &str| text.parse().ok().filter(|n| (1..=MAX_CONCURRENCY).contains(n));
    let must_be = format!("a whole number from 1 to {MAX_CONCURRENCY}");
    Ok(context.parsed("concurrency", parse, &must_be)?.unwrap_or(1))
}

/// Headers for the provider: the config file's, then the flags', of which those with the same name win.
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

/// The value may be a secret: the error does not hold it.
fn pair<'a>(flag: &str, text: &'a str) -> Result<(&'a str, &'a str), Failure> {
    text.split_once('=')
        .map(|(name, value)| (name.trim(), value.trim()))
        .filter(|(name, value)| !name.is_empty() && !value.is_empty())
        .ok_or_else(|| Failure::usage(format!("--{flag} must be of the form NAME=VALUE")))
}

/// The hub, for a command that speaks for a participant.
fn own_client(context: &Context<'_>) -> Result<Client, Failure> {
    let client = context.room_client()?;
    let Some(path) = context.value("token-file") else { return Ok(client) };
    let token = token::read(path)?.ok_or_else(|| Failure::usage(format!("--token-file: there is no {path}")))?;
    Ok(client.with_participant_token(&token))
}

/// Takes a participant out of its room.
pub fn leave(context: &Context<'_>) -> Result<(), Failure> {
    let (room, id) = (context.required("room")?, context.required("participant-id")?);
    own_client(context)?.participants(&room).remove(&id)?;
    context.out.result(&json!({ "success": true }), || format!("{id} has left the room {room}."))
}

/// Says that a participant is alive.
pub fn heartbeat(context: &Context<'_>) -> Result<(), Failure> {
    let (room, id) = (context.required("room")?, context.required("participant-id")?);
    let beat = own_client(context)?.participants(&room).heartbeat(&id)?;
    context.out.result(&beat, || format!("{id} is {}.", json!(beat.status).as_str().unwrap_or_default()))
}
