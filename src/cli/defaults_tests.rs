//! Every default that the help states is the one that the code takes.

use std::time::Duration;

use gambi::hub::{Hub, HubOptions, UsageFile};
use gambi::proto::management::{CreateRoom, DEFAULT_ENDPOINT, DEFAULT_HUB, Participant, Registration};
use gambi::provider::ProviderOptions;

use super::commands::{COMMANDS, Command, Flag};
use super::context::Context;
use super::parse::{Request, parse};
use super::service::Manager;
use super::signals::Signals;
use super::{demo, hub, room, service, stats, usage};
use crate::chat::selection::SELECTOR;
use crate::monitor::state::MAX_WATCHED;

/// What the help states, such as `3000` of `[default 3000]` or of `[GAMBI_X; default 3000]`.
fn stated(flag: &Flag) -> Option<&'static str> {
    let (_, rest) = flag.help.split_once("default")?;
    rest.split_once(']').map(|(text, _)| text.trim_start_matches([':', ' ']))
}

fn time(time: Duration) -> String {
    match time.as_secs() {
        hours if hours % 3600 == 0 && hours > 0 => format!("{}h", hours / 3600),
        secs => format!("{secs}s"),
    }
}

fn time_or_never(limit: Option<Duration>) -> String {
    limit.map_or("never".to_owned(), time)
}

fn size(bytes: u64) -> String {
    if bytes.is_multiple_of(1 << 20) { format!("{}MiB", bytes >> 20) } else { format!("{}KiB", bytes >> 10) }
}

/// The options of a hub that is started without a flag.
fn hub_options() -> HubOptions {
    let Ok(Request::Run(parsed)) = parse(["hub", "serve"].map(Into::into)) else { panic!("it is a command") };
    let context = Context::new(parsed, &|_| None, Signals::default()).unwrap();
    hub::options(&context).unwrap()
}

/// A participant that states neither a concurrency nor a weight.
fn plain_participant() -> Participant {
    let hub = Hub::bind(HubOptions { host: "127.0.0.1".into(), port: 0, ..HubOptions::default() }).unwrap();
    let client = gambi::client::Client::new(&format!("http://{}", hub.addr())).unwrap();
    let room = client.rooms().create(&CreateRoom { name: "x".into(), ..CreateRoom::default() }).unwrap().room;
    let registration = Registration {
        nickname: "a".into(),
        model: "m".into(),
        endpoint: DEFAULT_ENDPOINT.into(),
        ..Registration::default()
    };
    client.participants(&room.code).upsert("a", &registration).unwrap().0.participant
}

/// The default of a flag in the code, in the words of the help. `None` for one that this test does not know.
fn coded(command: &Command, flag: &Flag, hub: &HubOptions, plain: &Participant) -> Option<String> {
    let (limits, timeouts, provider) = (&hub.limits, &hub.timeouts, ProviderOptions::default());
    Some(match (command.path, flag.name) {
        (["provider"], "host") | (["demo"], "host") => provider.host,
        (["provider"], "port") => provider.port.to_string(),
        (["provider"], "model") => provider.model,
        (["provider"], "delay") => provider.delay.as_millis().to_string(),
        (["demo"], "port") => demo::PORT.to_string(),
        (["demo"], "delay") => demo::DELAY.as_millis().to_string(),
        (["chat"], "model") => SELECTOR.to_owned(),
        (["discover"], "timeout") => time(listen()),
        (["room", "stats"], "over") => stats::OVER.to_owned(),
        (["room", "list"] | ["list"], "sort") => room::SORT.to_owned(),
        (["service"], "for") => service::ROLE.to_owned(),
        (["service"], "bin") => {
            assert_eq!(Manager::Launchd.bin(), Manager::Systemd.bin());
            format!("{}; openwrt {}", Manager::Systemd.bin(), Manager::OpenWrt.bin())
        }
        (["monitor"], "room") => format!("the first {}", if MAX_WATCHED == 20 { "twenty" } else { "others" }),
        (_, "hub") => DEFAULT_HUB.to_owned(),
        // `tests/cli.rs` checks both.
        (_, "format") => {
            "text on a terminal and for chat, otherwise json, or ndjson for commands that stream".to_owned()
        }
        (_, "nickname") => "MODEL@ID6, or the id with --models all".to_owned(),
        (_, "endpoint") => DEFAULT_ENDPOINT.to_owned(),
        (_, "concurrency") => plain.concurrency.to_string(),
        (_, "weight") => plain.weight.to_string(),
        (_, "drain-timeout") => time(hub::DRAIN_TIMEOUT),
        (_, "host") => hub.host.clone(),
        (_, "port") => hub.port.to_string(),
        (_, "cors") if hub.cors.is_none() => "the hub's own".to_owned(),
        (_, "max-head") => size(limits.head_bytes as u64),
        (_, "max-headers") => limits.headers.to_string(),
        (_, "max-body") => size(limits.body_bytes),
        (_, "head-timeout") => time(limits.head_time),
        (_, "body-timeout") => time(limits.body_gap),
        (_, "keep-alive-timeout") => time(limits.idle),
        (_, "write-timeout") => time(limits.write),
        (_, "max-connections") => limits.connections.to_string(),
        // `machine.rs` checks the fractions; a machine with less memory than 1 GiB has less than the largest default.
        (_, "memory") if limits.memory <= 256 << 20 => "a quarter of the machine's, at most 256MiB".to_owned(),
        (_, "registry-memory") if hub.registry_memory <= 64 << 20 => {
            "a sixteenth of the machine's, at most 64MiB".to_owned()
        }
        (_, "queue-timeout") => time(timeouts.queue),
        (_, "queue-limit") => timeouts.queue_limit.to_string(),
        (_, "first-byte-timeout") => format!("{}s", timeouts.first_byte.as_secs()),
        (_, "idle-timeout") => time(timeouts.idle),
        (_, "direct") => format!("{:?}", hub.direct).to_lowercase(),
        (_, "room-ttl") => time_or_never(hub.room_ttl),
        (_, "empty-room-ttl") => time_or_never(hub.empty_room_ttl),
        (_, "watch-time") => time_or_never(hub.max_stream_duration),
        (_, "offline-ttl") => time_or_never(hub.offline_ttl),
        (_, "usage-max-size") => size(UsageFile::MAX_SIZE),
        (["usage"], "by") => usage::BY.name().to_owned(),
        (_, "log-format") => hub::LOG_FORMAT.name().to_owned(),
        (_, "log-level") => hub::LOG_LEVEL.name().to_owned(),
        _ => return None,
    })
}

#[cfg(feature = "mdns")]
fn listen() -> Duration {
    super::find_hub::LISTEN
}

#[cfg(not(feature = "mdns"))]
fn listen() -> Duration {
    Duration::from_secs(2)
}

#[test]
fn every_default_that_the_help_states_is_that_of_the_code() {
    let (hub, plain) = (hub_options(), plain_participant());
    let mut checked = 0;
    for command in COMMANDS {
        for flag in command.all_flags() {
            let Some(stated) = stated(flag) else { continue };
            let coded = coded(command, flag, &hub, &plain);
            assert_eq!(coded.as_deref(), Some(stated), "gambi {} --{}", command.name(), flag.name);
            checked += 1;
        }
    }
    assert!(checked > 60, "{checked}");
}
