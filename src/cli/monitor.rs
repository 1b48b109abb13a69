//! `gambi monitor`: the terminal interface if it was built in, else a plain table that is redrawn every second; without a
//! terminal, the changes as events.

use std::io::{IsTerminal, stdout};
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::Receiver;
use serde_json::json;

use gambi::client::Client;
use gambi::hub::{Hub, HubKey, HubOptions, ServerTls};

use super::context::Context;
use super::failure::Failure;
#[cfg(feature = "tui")]
use super::participant;
use super::signals::Signal;
use super::urls::{Urls, scheme};
use super::{hub, key, terminal};
use crate::monitor::HubMonitor;
use crate::monitor::changes::{Change, Changes};
use crate::monitor::clean::one_line;
use crate::monitor::table;
use crate::monitor::text::{brief, clock, speed};
#[cfg(feature = "tui")]
use crate::tui;

/// The interval at which the table is redrawn, or changes are printed.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// Flags of the hub that `--serve` starts.
const ONLY_SERVING: [&str; 7] = ["tls", "tls-cert", "tls-key", "keys", "usage", "usage-max-size", "default-room"];

/// Shows the hub's state until a signal arrives or stdout is closed.
pub fn monitor(context: &Context<'_>) -> Result<(), Failure> {
    check_flags(context)?;
    let signals = context.signals.listen();
    let serving = if context.has("serve") { Some(EmbeddedHub::start(context)?) } else { None };
    let (client, rooms) = match &serving {
        Some(serving) => (serving.client()?, Vec::new()),
        None => (context.client()?, context.values("room").to_vec()),
    };
    let password = if rooms.is_empty() { None } else { context.password(false)? };
    let mut watching = HubMonitor::start(client.clone(), &rooms, password.as_deref())?;
    if let Some(serving) = &serving {
        watching.state.url = serving.urls.for_others().to_owned();
    }
    let screen = stdout().is_terminal() && context.variable("TERM").is_some_and(|term| term != "dumb");
    #[cfg(feature = "tui")]
    if context.out.is_text() && screen && std::io::stdin().is_terminal() && !context.has("plain") {
        let key = serving.as_ref().map_or_else(|| context.key(), |serving| Ok(serving.key.clone()))?;
        return interface(context, client, key, watching, &signals);
    }
    if context.out.is_text() && screen {
        return redraw(context, &mut watching, &signals);
    }
    let mut changes = Changes::default();
    watching.show(&signals, REFRESH_INTERVAL, |state, now| {
        let mut changed = changes.since(state, now).into_iter();
        changed.try_for_each(|change| context.out.event(change.kind, &change.data, &line(&change, now)))
    })
}

/// Rejects flags that exclude or need each other.
fn check_flags(context: &Context<'_>) -> Result<(), Failure> {
    if context.has("serve") && context.value("hub").is_some() {
        return Err(
            Failure::usage("--serve and --hub exclude each other").hint("--serve watches the hub that it starts.")
        );
    }
    if !context.has("serve")
        && let Some(flag) = ONLY_SERVING.iter().find(|flag| context.value(flag).is_some())
    {
        return Err(Failure::usage(format!("--{flag} needs --serve: it is for the hub that the monitor starts")));
    }
    let password = context.value("password").or(context.value("password-file"));
    if password.is_some() && (context.has("serve") || context.values("room").is_empty()) {
        return Err(Failure::usage("--room is missing: a password needs its room")
            .hint("Name the private rooms to watch with --room CODE."));
    }
    Ok(())
}

/// A hub in this process. It stops when dropped.
struct EmbeddedHub {
    _hub: Hub,
    _announcement: hub::Announcement,
    urls: Urls,
    /// The URL by which this process reaches it.
    own_url: String,
    /// The key by which this process reaches it.
    key: Option<String>,
    /// Its certificate, if it serves TLS.
    tls: Option<ServerTls>,
}

impl EmbeddedHub {
    fn start(context: &Context<'_>) -> Result<Self, Failure> {
        // No log: it would overwrite the screen.
        let mut options = HubOptions { log: None, ..hub::options(context)? };
        let mut key = context.key()?;
        if key.is_none() && options.keys.is_some() {
            // People's keys close the hub for this process too, so it gets a key that nobody else knows.
            let drawn = key::random()?;
            options.key = HubKey::new(&drawn);
            key = Some(drawn);
        }
        let mdns = hub::wants_mdns(context)?;
        let tls = options.tls.clone();
        let hub = hub::start(context, options)?;
        let scheme = scheme(tls.is_some());
        let urls = Urls::new(scheme, hub.addr(), None);
        let fingerprint = tls.as_ref().map(|tls| tls.fingerprint().to_string());
        let mut data = json!({ "hubUrl": urls.hub, "bindUrl": urls.bind });
        if let Some(fingerprint) = fingerprint {
            data["fingerprint"] = json!(fingerprint);
        }
        context.out.event("started", &data, "")?;
        let announcement = hub::announce(context, hub.addr(), tls.as_ref(), mdns)?;
        let own_url = Urls::own(scheme, hub.addr());
        Ok(EmbeddedHub { _hub: hub, _announcement: announcement, urls, own_url, key, tls })
    }

    fn client(&self) -> Result<Client, Failure> {
        let fingerprint = self.tls.as_ref().map(ServerTls::fingerprint);
        let client = Client::new(&self.own_url)?.with_fingerprint(fingerprint)?;
        Ok(self.key.iter().fold(client, |client, key| client.with_key(key)))
    }
}

/// The terminal interface.
#[cfg(feature = "tui")]
fn interface(
    context: &Context<'_>,
    client: Client,
    key: Option<String>,
    watching: HubMonitor,
    signals: &Receiver<Signal>,
) -> Result<(), Failure> {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| context.variable(name));
    let settings = tui::Settings {
        credentials: tui::JoinCredentials { key, headers: participant::headers(context)? },
        endpoint: context.endpoint().unwrap_or_else(|| gambi::proto::management::DEFAULT_ENDPOINT.to_owned()),
        theme: tui::Theme {
            colour: context.variable("NO_COLOR").is_none(),
            // Without a locale, UTF-8 is assumed. The font of the Linux console has too few characters.
            unicode: context.variable("TERM").is_none_or(|term| term != "linux")
                && locale.is_none_or(|name| name.to_lowercase().replace('-', "").contains("utf8")),
        },
        suspend: super::signals::suspend,
        client,
    };
    context.signals.catch_hangup()?;
    context.signals.set_cleanup(Some(tui::term::restore));
    Ok(tui::run(watching, settings, signals)?)
}

/// Redraws the table from the first line of the screen. It changes no terminal mode, so none must be restored.
fn redraw(context: &Context<'_>, watching: &mut HubMonitor, signals: &Receiver<Signal>) -> Result<(), Failure> {
    let resized = context.signals.resized()?;
    let mut size = (80, 24);
    watching.show(signals, REFRESH_INTERVAL, |state, now| {
        if resized.swap(false, Ordering::Relaxed) {
            size = terminal::size(|name| context.variable(name));
        }
        let (columns, rows) = size;
        let lines = table::lines(state, now, columns.saturating_sub(1), rows.saturating_sub(1));
        context
            .out
            .piece(&format!("\x1b[H{}\x1b[J", lines.iter().map(|l| format!("{l}\x1b[K\r\n")).collect::<String>()))
    })
}

/// A change as a line for people.
fn line(change: &Change, now: u64) -> String {
    let data = &change.data;
    let text = |key: &str| data[key].as_str().unwrap_or_default().to_owned();
    let mut parts = vec![clock(now)];
    match change.kind {
        "hub" => parts.extend([text("hubUrl"), text("status"), text("message"), text("limits")]),
        "room" => {
            let participants = format!("{} participants", data["participants"]);
            parts.extend([text("room"), text("name"), participants, text("refused")]);
        }
        "participant" => parts.extend([text("room"), text("id"), text("health"), text("model")]),
        "participant_gone" => parts.extend([text("room"), text("id"), "removed".into()]),
        _ => parts.extend([text("room"), "removed".into()]),
    }
    parts.extend(data["inFlight"].as_u64().filter(|&n| n > 0).map(|n| format!("{n} in flight")));
    let counted = |key: &str| data[key].as_u64().filter(|&n| n > 0).map(|n| format!("{n} {key}"));
    parts.extend(["requests", "errors"].into_iter().filter_map(counted));
    parts.extend(data["ttftMs"].as_u64().map(|millis| format!("first token {}", brief(millis))));
    parts.extend(data["tokensPerSecond"].as_f64().map(|rate| format!("{} tokens/s", speed(rate))));
    parts.retain(|part| !part.is_empty());
    one_line(&parts.join("  "))
}
