//! `gambi participant join`, `leave` and `heartbeat`.

use std::thread;

use crossbeam_channel::{Receiver, bounded, select};
use serde_json::{Value, json};

use gambi::client::Client;
use gambi::participant::{
    Builder, CloseEvent, CloseReason, Prepared, Reconnect, ReconnectEvent, Session, machine_specs,
};
use gambi::proto::management::{DEFAULT_ENDPOINT, MAX_CONCURRENCY, Participant, RuntimeConfig, Status};

use super::context::Context;
use super::failure::Failure;
use super::output::table;
use super::room::redact;
use super::signals::Signal;
use super::token;
use crate::monitor::clean::one_line;

/// The resolved flags of a join.
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

/// Joins a room and serves it until a signal arrives or the session is lost.
pub fn join(context: &Context<'_>) -> Result<(), Failure> {
    let mut plan = Plan::resolve(context)?;
    if context.has("dry-run") {
        return plan.dry_run(context);
    }
    plan.ensure_token()?;
    if context.has("reconnect") {
        return join_with_reconnect(context, &plan);
    }
    if plan.password.is_none() && context.may_ask() && plan.client.rooms().get(&plan.room)?.password_protected {
        plan.password = context.password(true)?;
    }
    let prepared = prepare(context, &plan)?;
    // Up to here a signal ends the process at once; from here on there is a registration to take back.
    let signals = context.signals.listen();
    let session = open_session(context, &plan, prepared)?;
    context.out.event("tunnel_connected", &plan.identity(), &plan.connected_text())?;
    serve(context, &plan, &session, &signals)
}

/// Probes the provider and reports what was found.
fn prepare(context: &Context<'_>, plan: &Plan) -> Result<Prepared, Failure> {
    context.out.detail(&format!("probing {}", plan.endpoint));
    let prepared = context.out.while_waiting("Asking the provider...", || plan.builder().prepare())?;
    let registration = prepared.registration();
    let data = json!({
        "participantId": plan.id, "nickname": registration.nickname, "room": plan.room, "hubUrl": plan.client.hub_url(),
        "model": registration.model, "endpoint": registration.endpoint, "specs": registration.specs,
        "capabilities": registration.capabilities, "models": prepared.probe().models,
    });
    context.out.event("prepared", &data, &format!("{} has the model {}.", registration.endpoint, plan.model))?;
    Ok(prepared)
}

/// Registers the participant and opens its tunnel.
fn open_session(context: &Context<'_>, plan: &Plan, prepared: Prepared) -> Result<Session, Failure> {
    let joined = prepared.register()?;
    let registered = joined.registered();
    let data = json!({
        "participant": registered.participant, "roomId": registered.room_id, "tunnel": { "url": registered.tunnel.url },
    });
    let reported = context.out.event("registered", &data, &format!("Registered as {}.", plan.nickname));
    let session = joined.open_tunnel().inspect_err(|error| {
        let data = json!({ "reason": "tunnel_closed", "message": error.to_string() });
        // The caller reports the error itself, whether or not this event can be written.
        let _ = context.out.event("tunnel_failed", &data, "");
    })?;
    // Checked only now: if stdout is closed, dropping the session takes the registration back.
    reported?;
    Ok(session)
}

/// Joins, and joins again whenever the session is lost.
fn join_with_reconnect(context: &Context<'_>, plan: &Plan) -> Result<(), Failure> {
    let signals = context.signals.listen();
    let reconnect = Reconnect::new(plan.builder());
    let handle = reconnect.handle();
    let (received, leaving) = bounded(1);
    thread::Builder::new().name("stop".into()).spawn(move || {
        if let Ok(signal) = signals.recv() {
            let _ = received.send(signal.to_string());
            handle.close();
        }
    })?;
    let closer = reconnect.handle();
    let mut reported = Ok(());
    let ended = reconnect.run(|event| {
        if let Err(failure) = report(context, plan, event) {
            // Nothing reads the results any more.
            closer.close();
            reported = Err(failure);
        }
    });
    reported?;
    ended?;
    if let Ok(signal) = leaving.try_recv() {
        context.out.event("leaving", &plan.leaving(&signal), &format!("{signal}: leaving."))?;
    }
    context.out.event("left", &plan.identity(), "Left.")
}

/// Prints what happened to a session that is kept up.
fn report(context: &Context<'_>, plan: &Plan, event: ReconnectEvent<'_>) -> Result<(), Failure> {
    let out = &context.out;
    match event {
        ReconnectEvent::Joined(session) => {
            let data = json!({ "participant": session.participant(), "roomId": session.room_id() });
            out.event("registered", &data, "")?;
            out.event("tunnel_connected", &plan.identity(), &plan.connected_text())
        }
        ReconnectEvent::Lost(end) => lost(context, &end).map(|failure| out.note(&failure.to_string())),
        ReconnectEvent::Waiting { error, pause } => {
            let millis = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            let text = format!("{}; again in {:.1} s.", one_line(&error.to_string()), pause.as_secs_f64());
            out.event("waiting", &json!({ "message": error.to_string(), "pauseMs": millis }), &text)
        }
        _ => Ok(()),
    }
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

/// Waits until the session ends, or ends it on a signal.
fn serve(context: &Context<'_>, plan: &Plan, session: &Session, signals: &Receiver<Signal>) -> Result<(), Failure> {
    let (ended, end) = bounded(1);
    let handle = session.handle();
    thread::Builder::new().name("end".into()).spawn(move || ended.send(handle.wait_until_closed()))?;
    select! {
        recv(signals) -> signal => {
            let signal = signal.map(|signal| signal.to_string()).unwrap_or_default();
            let reported = context.out.event("leaving", &plan.leaving(&signal), &format!("{signal}: leaving."));
            session.close();
            reported?;
            context.out.event("left", &plan.identity(), "Left.")
        }
        recv(end) -> end => {
            let end = end.unwrap_or_else(|_| CloseEvent::closed());
            Err(lost(context, &end)?)
        }
    }
}

/// Reports a lost session, and returns it as the command's failure.
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
            // Only the older command generates an id. With a stable one, a retry is the same participant.
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

    /// The data of events that name only the participant and its room.
    fn identity(&self) -> Value {
        json!({ "participantId": self.id, "room": self.room })
    }

    /// The data of the event that a signal ends the session.
    fn leaving(&self, signal: &str) -> Value {
        json!({ "signal": signal, "participantId": self.id, "room": self.room })
    }

    fn connected_text(&self) -> String {
        format!("In the room {}, by tunnel. Leave with Ctrl-C.", one_line(&self.room))
    }

    /// Creates the file of the participant's token, if the flag names one that does not exist.
    fn ensure_token(&mut self) -> Result<(), Failure> {
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
        .ok_or_else(|| Failure::usage(format!("--{flag} must be of the form NAME=VALUE")))
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
    own_client(context)?.participants(&room).remove(&id)?;
    context.out.result(&json!({ "success": true }), || format!("{id} has left the room {room}."))
}

/// Sends one heartbeat of a participant.
pub fn heartbeat(context: &Context<'_>) -> Result<(), Failure> {
    let (room, id) = (context.required("room")?, context.required("participant-id")?);
    let beat = own_client(context)?.participants(&room).heartbeat(&id)?;
    context.out.result(&beat, || format!("{id} is {}.", json!(beat.status).as_str().unwrap_or_default()))
}
