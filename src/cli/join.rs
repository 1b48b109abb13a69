//! `gambi participant join`: probes the provider, registers, opens the tunnel, and serves until a signal arrives.

use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded, select};
use serde_json::{Value, json};

use gambi::Error;
use gambi::client::Client;
use gambi::participant::{
    Builder, CloseEvent, CloseReason, Joined, Prepared, Reconnect, ReconnectEvent, Session, machine_specs,
};
use gambi::proto::management::{DEFAULT_ENDPOINT, MAX_CONCURRENCY, MAX_WEIGHT, Registration, RuntimeConfig};
use gambi::proto::time::millis;

use super::context::Context;
use super::failure::Failure;
use super::guided_join::{self, Choices};
use super::hub::drain_timeout;
use super::output::Output;
use super::participant::headers;
use super::room::redact;
use super::signals::Signal;
use super::token;
use crate::monitor::clean::one_line;

/// The resolved flags of a join.
struct Plan {
    client: Client,
    room: String,
    id: String,
    /// Empty for all models of the provider.
    models: Vec<String>,
    nickname: String,
    endpoint: String,
    password: Option<String>,
    headers: Vec<(String, String)>,
    config: Option<RuntimeConfig>,
    concurrency: u32,
    weight: Option<u32>,
    fallback: bool,
    aliases: Vec<String>,
    specs: bool,
    json_frames: bool,
    key: Option<String>,
    token_file: Option<String>,
    token: Option<String>,
    /// How long answers in progress may take to end after a signal.
    drain_timeout: Duration,
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
    let prepared = plan.prepare(context)?;
    report_prepared(context, &plan, &prepared)?;
    // Up to here a signal ends the process at once. From here on the registration must be removed first.
    let signals = context.signals.listen();
    let session = open_session(context, &plan, prepared)?;
    let handle = session.handle();
    context.signals.on_hangup(move || handle.refresh_models())?;
    report_connected(context, &plan)?;
    serve(context, &plan, &session, &signals)
}

/// Registers the participant and opens its tunnel.
fn open_session(context: &Context<'_>, plan: &Plan, prepared: Prepared) -> Result<Session, Failure> {
    let joined = prepared.register()?;
    let reported = report_registered(context, plan, &joined);
    let session = joined.open_tunnel().inspect_err(|error| {
        // The caller reports the error itself, whether or not this event can be written.
        let _ = report_tunnel_failed(context, plan, error);
    })?;
    // Checked only now: if stdout is closed, dropping the session removes the registration.
    reported?;
    Ok(session)
}

/// Joins, and joins again whenever the session is lost.
fn join_with_reconnect(context: &Context<'_>, plan: &Plan) -> Result<(), Failure> {
    let signals = context.signals.listen();
    let reconnect = Reconnect::new(plan.reporting_builder(context));
    let handle = reconnect.handle();
    let leaving = Leaving::of(context, plan);
    let (left, reported_leaving) = bounded(1);
    thread::Builder::new().name("stop".into()).spawn(move || {
        if let Ok(signal) = signals.recv() {
            let reported = leaving.report(&signal.to_string(), handle.drain());
            if !handle.wait_until_drained(leaving.drain_timeout) {
                leaving.report_aborted();
            }
            handle.close();
            let _ = left.send(reported);
        }
    })?;
    let refresher = reconnect.handle();
    context.signals.on_hangup(move || refresher.refresh_models())?;
    let closer = reconnect.handle();
    let mut reported = Ok(());
    let ended = reconnect.run(|event| {
        if let Err(failure) = report(context, plan, event) {
            // Stdout is closed, so that no result can be printed any more.
            closer.close();
            reported = Err(failure);
        }
    });
    reported?;
    ended?;
    // It has ended without an error, so by a signal. The participant is removed when this arrives.
    if let Ok(reported) = reported_leaving.recv() {
        reported?;
    }
    context.out.event("left", &plan.identity(), "Left.")
}

/// Prints that the provider is down, or answers again.
fn report_provider(out: Output, identity: &Value, endpoint: &str, is_up: bool) {
    let (event, text) = if is_up {
        ("provider_up", format!("{endpoint} answers again: the hub sends requests."))
    } else {
        ("provider_down", format!("{endpoint} does not answer: the hub sends no requests until it does."))
    };
    // If stdout is closed, the session's own thread finds out.
    let _ = out.event(event, identity, &text);
}

/// Prints an event of a reconnecting session.
fn report(context: &Context<'_>, plan: &Plan, event: ReconnectEvent<'_>) -> Result<(), Failure> {
    let out = &context.out;
    match event {
        ReconnectEvent::Prepared(prepared) => report_prepared(context, plan, prepared),
        ReconnectEvent::Registered(joined) => report_registered(context, plan, joined),
        ReconnectEvent::TunnelFailed(error) => report_tunnel_failed(context, plan, error),
        ReconnectEvent::Joined(_) => report_connected(context, plan),
        ReconnectEvent::Lost(end) => report_lost(context, plan, &end).map(|failure| out.note(&failure.to_string())),
        // The error that follows is printed as the command's failure.
        ReconnectEvent::Ended(end) => report_lost(context, plan, &end).map(drop),
        ReconnectEvent::Waiting { error, pause } => {
            let text = format!("{}; next attempt in {:.1} s.", one_line(&error.to_string()), pause.as_secs_f64());
            out.event("waiting", &json!({ "message": error.to_string(), "pauseMs": millis(pause) }), &text)
        }
        _ => Ok(()),
    }
}

fn report_prepared(context: &Context<'_>, plan: &Plan, prepared: &Prepared) -> Result<(), Failure> {
    let registration = prepared.registration();
    let data = json!({
        "participantId": plan.id, "nickname": registration.nickname, "room": plan.room, "hubUrl": plan.client.hub_url(),
        "model": registration.model, "endpoint": registration.endpoint, "specs": registration.specs,
        "capabilities": registration.capabilities, "models": prepared.probe().models, "connection": connection(),
    });
    context.out.event("prepared", &data, &format!("{} has {}.", registration.endpoint, offered(registration)))
}

/// What a registration offers, as the object of a sentence.
fn offered(registration: &Registration) -> String {
    match registration.models.len() {
        0 | 1 => format!("the model {}", registration.model),
        count => format!("{count} models, such as {}", registration.model),
    }
}

/// How the participant will be connected, as the hub describes it in a participant's `connection`.
fn connection() -> Value {
    json!({ "kind": "tunnel" })
}

fn report_registered(context: &Context<'_>, plan: &Plan, joined: &Joined) -> Result<(), Failure> {
    let registered = joined.registered();
    let data = json!({
        "participant": registered.participant, "roomId": registered.room_id, "tunnel": { "url": registered.tunnel.url },
    });
    context.out.event("registered", &data, &format!("Registered as {}.", plan.nickname))
}

fn report_connected(context: &Context<'_>, plan: &Plan) -> Result<(), Failure> {
    let text = format!("Connected to the room {} through a tunnel. Ctrl-C leaves it.", one_line(&plan.room));
    context.out.event("tunnel_connected", &plan.identity(), &text)
}

fn report_tunnel_failed(context: &Context<'_>, plan: &Plan, error: &Error) -> Result<(), Failure> {
    context.out.event("tunnel_failed", &plan.loss(CloseReason::TunnelClosed, &error.to_string()), "")
}

/// Waits until the session ends, or ends it on a signal.
fn serve(context: &Context<'_>, plan: &Plan, session: &Session, signals: &Receiver<Signal>) -> Result<(), Failure> {
    let (ended, end) = bounded(1);
    let handle = session.handle();
    thread::Builder::new().name("end".into()).spawn(move || ended.send(handle.wait_until_closed()))?;
    select! {
        recv(signals) -> signal => {
            let signal = signal.map(|signal| signal.to_string()).unwrap_or_default();
            let (leaving, handle) = (Leaving::of(context, plan), session.handle());
            let reported = leaving.report(&signal, handle.drain());
            if !handle.wait_until_drained(leaving.drain_timeout) {
                leaving.report_aborted();
            }
            session.close();
            reported?;
            context.out.event("left", &plan.identity(), "Left.")
        }
        recv(end) -> end => {
            let end = end.unwrap_or_else(|_| CloseEvent::closed());
            Err(report_lost(context, plan, &end)?)
        }
    }
}

/// How a signal ends a session: what is reported, and how long answers in progress may take.
struct Leaving {
    out: Output,
    data: Value,
    drain_timeout: Duration,
}

impl Leaving {
    fn of(context: &Context<'_>, plan: &Plan) -> Self {
        Leaving { out: context.out, data: plan.identity(), drain_timeout: plan.drain_timeout }
    }

    /// Reports the signal, and how many answers are still in progress.
    fn report(&self, signal: &str, answers: usize) -> Result<(), Failure> {
        let mut data = self.data.clone();
        data["signal"] = json!(signal);
        data["requests"] = json!(answers);
        let text = match answers {
            0 => format!("{signal}: leaving."),
            1 => format!("{signal}: finishing one answer. Ctrl-C again stops at once."),
            many => format!("{signal}: finishing {many} answers. Ctrl-C again stops at once."),
        };
        self.out.event("leaving", &data, &text)
    }

    fn report_aborted(&self) {
        self.out.note("Some answers were cut off: they did not end within --drain-timeout.");
    }
}

/// Reports a lost session, and returns it as the command's failure.
fn report_lost(context: &Context<'_>, plan: &Plan, end: &CloseEvent) -> Result<Failure, Failure> {
    let message = end.error.as_ref().map_or("the session ended".to_owned(), ToString::to_string);
    let kind = if end.reason == CloseReason::HeartbeatFailed { "heartbeat_failed" } else { "tunnel_failed" };
    context.out.event(kind, &plan.loss(end.reason, &message), "")?;
    Ok(Failure::Lost(format!("the session was lost ({}): {message}", end.reason)))
}

impl Plan {
    fn resolve(context: &Context<'_>) -> Result<Self, Failure> {
        let chosen = match guided_join::choose(context, named_models(context)?)? {
            Some(chosen) => chosen,
            None => Choices {
                client: context.client()?,
                room: context.required("room")?,
                id: match context.value("participant-id") {
                    // The older command and an invitation need no id. With a stable one, a retry is the same participant.
                    None if context.is_flat() || context.invitation().is_some() => gambi::participant::fresh_id()?,
                    _ => context.required("participant-id")?,
                },
                endpoint: None,
                models: named_models(context)?.unwrap_or_default(),
            },
        };
        let Choices { client, room, id, endpoint, models } = chosen;
        let endpoint = endpoint.or_else(|| context.endpoint());
        let default_nickname = || match models.first() {
            Some(model) => format!("{model}@{}", id.chars().take(6).collect::<String>()),
            None => id.clone(),
        };
        let specs = !context.has("no-specs") && !context.environment.no_specs.unwrap_or(false);
        Ok(Plan {
            client,
            nickname: context.value("nickname").map_or_else(default_nickname, str::to_owned),
            endpoint: endpoint.unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned()),
            password: context.password(false)?,
            headers: headers(context)?,
            config: context.config()?,
            concurrency: count(context, "concurrency", MAX_CONCURRENCY)?.unwrap_or(1),
            weight: count(context, "weight", MAX_WEIGHT)?,
            fallback: context.has("fallback"),
            aliases: context.values("alias").to_vec(),
            specs,
            json_frames: context.has("json-frames"),
            key: context.key()?,
            token: context.value("token-file").map(token::read).transpose()?.flatten(),
            token_file: context.value("token-file").map(str::to_owned),
            drain_timeout: drain_timeout(context)?,
            room,
            id,
            models,
        })
    }

    /// The data of events that name only the participant and its room.
    fn identity(&self) -> Value {
        json!({ "participantId": self.id, "room": self.room })
    }

    /// The data of an event about a session that could not be opened, or was lost.
    fn loss(&self, reason: CloseReason, message: &str) -> Value {
        json!({ "participantId": self.id, "room": self.room, "reason": reason.as_str(), "message": message })
    }

    /// Creates the file of the participant's token, if the flag names one that does not exist.
    fn ensure_token(&mut self) -> Result<(), Failure> {
        if let (None, Some(path)) = (&self.token, &self.token_file) {
            self.token = Some(token::make(path)?);
        }
        Ok(())
    }

    /// The session's builder, which prints when the provider goes down or comes back.
    fn reporting_builder(&self, context: &Context<'_>) -> Builder {
        let (out, identity, endpoint) = (context.out, self.identity(), self.endpoint.clone());
        self.builder().on_provider_change(move |is_up| report_provider(out, &identity, &endpoint, is_up))
    }

    fn builder(&self) -> Builder {
        let mut builder = Session::builder(self.client.hub_url(), &self.room)
            .participant_id(&self.id)
            .nickname(&self.nickname)
            .endpoint(&self.endpoint);
        builder = if self.models.is_empty() { builder.all_models() } else { builder.models(&self.models) };
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
        if let Some(fingerprint) = self.client.fingerprint() {
            builder = builder.hub_fingerprint(fingerprint);
        }
        if let Some(token) = &self.token {
            builder = builder.participant_token(token);
        }
        if self.concurrency > 1 {
            builder = builder.concurrency(self.concurrency);
        }
        if let Some(weight) = self.weight {
            builder = builder.weight(weight);
        }
        if self.fallback {
            builder = builder.fallback();
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

    /// Probes the provider.
    fn prepare(&self, context: &Context<'_>) -> Result<Prepared, Failure> {
        context.out.detail(&format!("probing {}", self.endpoint));
        Ok(context.out.while_waiting("Asking the provider...", || self.reporting_builder(context).prepare())?)
    }

    /// Probes the provider and prints the registration that would be sent, without asking the hub anything.
    fn dry_run(&self, context: &Context<'_>) -> Result<(), Failure> {
        let prepared = self.prepare(context)?;
        let mut payload = json!(prepared.registration());
        redact(&mut payload, "/password");
        redact(&mut payload, "/config/instructions");
        if !self.headers.is_empty() {
            let names = self.headers.iter().map(|(name, _)| (name.clone(), json!("[redacted]")));
            payload["authHeaders"] = names.collect::<serde_json::Map<_, _>>().into();
        }
        let endpoint = &prepared.registration().endpoint;
        let plan = json!({
            "dryRun": true, "hubUrl": self.client.hub_url(), "room": self.room, "participantId": self.id,
            "endpoint": endpoint, "connection": connection(), "models": prepared.probe().models,
            "jsonFrames": self.json_frames, "payload": payload,
        });
        let (hub, models) = (self.client.hub_url(), offered(prepared.registration()));
        let text = format!(
            "Would join the room {} on {hub} as {} ({}), with {models} of {endpoint}.",
            self.room, self.nickname, self.id
        );
        context.out.result(&plan, None, || one_line(&text))
    }
}

/// The models that the flags name, none for all of them. `None` where they name none. An invitation is for all models.
fn named_models(context: &Context<'_>) -> Result<Option<Vec<String>>, Failure> {
    let all = context.parsed("models", |text| (text == "all").then_some(()), "\"all\"; --model names single ones")?;
    match (all, context.values("model")) {
        (None, []) => Ok(context.invitation().map(|_| Vec::new())),
        (None, names) if names.iter().any(|name| name.trim().is_empty()) => {
            Err(Failure::usage("--model must not be empty"))
        }
        (None, names) => Ok(Some(names.iter().map(|name| name.trim().to_owned()).collect())),
        (Some(()), []) => Ok(Some(Vec::new())),
        (Some(()), _) => Err(Failure::usage("--models and --model exclude each other")),
    }
}

fn count(context: &Context<'_>, flag: &str, max: u32) -> Result<Option<u32>, Failure> {
    let parse = |text: &str| text.parse().ok().filter(|n| (1..=max).contains(n));
    context.parsed(flag, parse, &format!("a whole number from 1 to {max}"))
}
