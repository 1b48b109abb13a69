//! `gambi hub serve`.

use std::any::Any;
use std::io::{IsTerminal, stderr};
use std::net::SocketAddr;
#[cfg(feature = "mdns")]
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use gambi::hub::{
    DeclaredRoom, DirectPolicy, Hub, HubKey, HubOptions, KeysFile, Limits, Log, LogFormat, LogLevel, RoomPassword,
    ServerTls, Timeouts, UsageFile, parse_config,
};
use gambi::proto::names::is_room_code;
use gambi::proto::time::millis;
use gambi::proto::web::without_scheme;

use super::banner::Banner;
use super::context::Context;
use super::failure::Failure;
#[cfg(feature = "mdns")]
use super::output::pairs;
use super::urls::{Urls, scheme};
use super::{hub_tls, style, values};

/// How and what a hub logs if nothing says otherwise.
pub const LOG_FORMAT: LogFormat = LogFormat::Text;
pub const LOG_LEVEL: LogLevel = LogLevel::Info;
/// How long requests in flight may take to end, if `--drain-timeout` is not given.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// How long requests in flight may take to end after a signal.
///
/// # Errors
/// When `--drain-timeout` is no time.
pub fn drain_timeout(context: &Context<'_>) -> Result<Duration, Failure> {
    let given = context.parsed("drain-timeout", time_or_none, "a time such as 30s, or 0")?;
    Ok(given.unwrap_or(DRAIN_TIMEOUT))
}

fn time_or_none(text: &str) -> Option<Duration> {
    if text == "0" { Some(Duration::ZERO) } else { values::time(text) }
}

/// Runs a hub until a signal arrives.
pub fn serve(context: &Context<'_>) -> Result<(), Failure> {
    let options = options(context)?;
    let mdns = wants_mdns(context)?;
    if context.has("dry-run") {
        return dry_run(context, &options, mdns);
    }
    let drain_timeout = drain_timeout(context)?;
    let signals = context.signals.listen();
    let (host, public_url, tls) = (options.host.clone(), options.public_url.clone(), options.tls.clone());
    let banner = Banner::of(context, &options);
    if let Some(warning) = too_few_descriptors(&options.limits) {
        context.out.note(&warning);
    }
    if options.key.is_none() && options.keys.as_ref().is_some_and(|keys| keys.admins() == 0) {
        context.out.note(NO_ADMIN);
    }
    let hub = start(context, options)?;
    if let Some(tls) = &tls {
        hub_tls::reload_on_hangup(context, tls)?;
    }
    let urls = Urls::new(scheme(tls.is_some()), hub.addr(), public_url);
    let port = hub.addr().port();
    let fingerprint = tls.as_ref().map(|tls| tls.fingerprint().to_string());
    let mut data = json!({ "host": host, "port": port, "mdns": mdns, "hubUrl": urls.hub, "bindUrl": urls.bind });
    if let Some(fingerprint) = &fingerprint {
        data["fingerprint"] = json!(fingerprint);
    }
    let own = fingerprint.filter(|_| hub_tls::is_own(context));
    context.out.event("started", &data, &banner.text(&urls, own.as_deref()))?;
    let announcement = announce(context, hub.addr(), tls.as_ref(), mdns)?;
    // The sender lives as long as the process, so the channel is never closed.
    if let Ok(signal) = signals.recv() {
        let data = json!({ "signal": signal.to_string() });
        context.out.event("signal_received", &data, &format!("{signal}: stopping. A second signal stops at once."))?;
        drop(announcement);
        if !hub.drain(drain_timeout) {
            context.out.note("Some requests were aborted: they did not end within --drain-timeout.");
        }
        context.out.event("stopped", &data, "Stopped.")?;
    }
    Ok(())
}

/// What is said where nobody can manage rooms. It is no mistake: rooms may be declared.
const NO_ADMIN: &str = "Note: no key of --keys is an administrator's and there is no --key-file, so the only rooms are those of --room and --rooms.";

/// Starts a hub that reads its file of keys again on SIGHUP.
///
/// # Errors
/// When the hub cannot start.
pub fn start(context: &Context<'_>, options: HubOptions) -> Result<Hub, Failure> {
    let hub = Hub::bind(options)?;
    if context.has("keys") {
        let handle = hub.handle();
        context.signals.on_hangup(move || handle.reload_keys())?;
    }
    Ok(hub)
}

/// A warning if the descriptor limit does not allow as many connections as configured.
fn too_few_descriptors(limits: &Limits) -> Option<String> {
    let (wanted, allowed) = (limits.connections, limits.max_connections());
    (allowed < wanted).then(|| {
        format!(
            "Warning: --max-connections is {allowed} instead of {wanted}, as this process may not open more files; raise the limit with ulimit -n."
        )
    })
}

/// Whether the hub should be announced by mDNS.
pub fn wants_mdns(context: &Context<'_>) -> Result<bool, Failure> {
    let mdns = context.has("mdns") || context.environment.serve.mdns.unwrap_or(false);
    if mdns && !cfg!(feature = "mdns") {
        return Err(Failure::usage("this gambi was built without mDNS").hint("Leave out --mdns."));
    }
    Ok(mdns)
}

/// The hub's options, from flags, environment and config file.
pub fn options(context: &Context<'_>) -> Result<HubOptions, Failure> {
    let serve = &context.environment.serve;
    let standard = HubOptions::default();
    let host = context.value("host").or(serve.host.as_deref()).unwrap_or(&standard.host).trim().to_owned();
    if host.is_empty() {
        return Err(Failure::usage("--host must not be empty"));
    }
    let registry_memory = memory(context, "registry-memory", serve.registry_memory.as_deref())?;
    let registry_memory = registry_memory.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    Ok(HubOptions {
        host,
        port: context.port()?.or(serve.port).unwrap_or(standard.port),
        tls: hub_tls::load(context)?,
        limits: limits(context)?,
        timeouts: timeouts(context)?,
        hedge_after_min: standard.hedge_after_min.filter(|_| !context.has("no-hedge")),
        cors: context.parsed("cors", origin, "an origin such as https://app.example, or *")?,
        code_prefix: context
            .parsed("code-prefix", |text| text.parse().ok(), "one or two letters or digits other than 0, O, 1 and I")?
            .unwrap_or_default(),
        public_url: context.parsed("public-url", web_url, "an absolute http or https URL")?,
        key: context.key()?.as_deref().and_then(HubKey::new),
        keys: context.value("keys").map(KeysFile::read).transpose()?,
        strict: context.has("strict"),
        dashboard: !context.has("no-dashboard"),
        default_room: default_room(context)?,
        max_stream_duration: context.time("watch-time")?,
        allowed_hosts: context.values("known-as").to_vec(),
        trusted_proxies: context.values("trusted-proxy").iter().map(|text| text.parse()).collect::<Result<_, _>>()?,
        direct: context.parsed("direct", direct, "off, private or any")?.unwrap_or(standard.direct),
        room_ttl: context.time("room-ttl")?,
        empty_room_ttl: context.time("empty-room-ttl")?,
        offline_ttl: match context.parsed("offline-ttl", time_or_none, "a time such as 1h, or 0")? {
            Some(time) => Some(time).filter(|time| !time.is_zero()),
            None => standard.offline_ttl,
        },
        registry_memory: registry_memory.unwrap_or(standard.registry_memory),
        rooms: rooms(context)?,
        usage: usage(context)?,
        log: Some(Log::to_stderr().level(log_level(context)?).format(shown_format(context)?)),
        ..standard
    })
}

fn usage(context: &Context<'_>) -> Result<Option<UsageFile>, Failure> {
    let size = context.parsed("usage-max-size", values::size, "a size such as 64MiB, and more than zero")?;
    let Some(file) = context.value("usage").map(UsageFile::new) else { return Ok(None) };
    Ok(Some(match size {
        Some(size) => file.max_size(size),
        None => file,
    }))
}

fn default_room(context: &Context<'_>) -> Result<Option<String>, Failure> {
    let stated = context.environment.serve.default_room.as_deref();
    let code = |text: &str| is_room_code(text).then(|| text.to_ascii_uppercase());
    context.chosen("default-room", "GAMBI_DEFAULT_ROOM", stated, code, "a room's code of six letters and digits")
}

fn log_format(context: &Context<'_>) -> Result<LogFormat, Failure> {
    let stated = context.environment.serve.log_format.as_deref();
    let format = context.chosen("log-format", "GAMBI_LOG_FORMAT", stated, LogFormat::named, "text or json")?;
    Ok(format.unwrap_or(LOG_FORMAT))
}

/// The format of the log's lines: short ones where a person reads them and nobody has named a format.
fn shown_format(context: &Context<'_>) -> Result<LogFormat, Failure> {
    let format = log_format(context)?;
    let named = context.value("log-format").is_some()
        || context.variable("GAMBI_LOG_FORMAT").is_some()
        || context.environment.serve.log_format.is_some();
    let short = LogFormat::Short { colours: style::err().is_on() };
    Ok(if named || !stderr().is_terminal() { format } else { short })
}

/// `--quiet` reduces the log to errors, unless a level is given.
fn log_level(context: &Context<'_>) -> Result<LogLevel, Failure> {
    let stated = context.environment.serve.log_level.as_deref();
    let must_be = "off, error, warn, info or debug";
    let level = context.chosen("log-level", "GAMBI_LOG_LEVEL", stated, LogLevel::named, must_be)?;
    Ok(level.unwrap_or(if context.has("quiet") { LogLevel::Error } else { LOG_LEVEL }))
}

fn direct(text: &str) -> Option<DirectPolicy> {
    match text {
        "off" => Some(DirectPolicy::Off),
        "private" => Some(DirectPolicy::Private),
        "any" => Some(DirectPolicy::Any),
        _ => None,
    }
}

/// An entry of the file of `--rooms`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RoomInFile {
    code: String,
    name: String,
    password: Option<String>,
    password_hash: Option<String>,
    #[serde(default)]
    private: bool,
    defaults: Option<Value>,
}

/// The rooms declared by `--room` and `--rooms`.
fn rooms(context: &Context<'_>) -> Result<Vec<DeclaredRoom>, Failure> {
    let mut rooms = Vec::new();
    for text in context.values("room") {
        let (code, name) = text
            .split_once('=')
            .ok_or_else(|| Failure::usage(format!("--room must be CODE=NAME, such as LAB234=Lab, not \"{text}\"")))?;
        rooms.push(DeclaredRoom { code: code.trim().into(), name: name.trim().into(), ..DeclaredRoom::default() });
    }
    if let Some(path) = context.value("rooms") {
        let wrong = |e: &dyn std::fmt::Display| Failure::usage(format!("--rooms: {path} is not valid: {e}"));
        let text = std::fs::read_to_string(path).map_err(|e| wrong(&e))?;
        let listed: Vec<RoomInFile> = serde_json::from_str(&text).map_err(|e| wrong(&e))?;
        for room in listed {
            rooms.push(declared(room).map_err(|e| wrong(&e))?);
        }
    }
    Ok(rooms)
}

fn declared(room: RoomInFile) -> Result<DeclaredRoom, String> {
    let password = match (room.password, room.password_hash) {
        (Some(_), Some(_)) => return Err(format!("{} has a password and a passwordHash: give one", room.code)),
        (password, hash) => password.map(RoomPassword::Plain).or(hash.map(RoomPassword::Hashed)),
    };
    let defaults = room.defaults.as_ref().map(parse_config).transpose();
    let defaults = defaults.map_err(|e| format!("the defaults of {}: {e}", room.code))?;
    Ok(DeclaredRoom { code: room.code, name: room.name, password, private: room.private, defaults })
}

/// A memory limit in bytes, from its flag or the config file.
fn memory(context: &Context<'_>, flag: &str, stated: Option<&str>) -> Result<Option<u64>, Failure> {
    let Some(text) = context.value(flag).or(stated) else { return Ok(None) };
    let wrong = || Failure::usage(format!("--{flag} must be a size such as 64MiB, and more than zero, not \"{text}\""));
    values::size(text).map(Some).ok_or_else(wrong)
}

fn limits(context: &Context<'_>) -> Result<Limits, Failure> {
    let standard = Limits::default();
    let size = |flag| context.parsed(flag, values::size, "a size such as 32KiB or 32MiB, and more than zero");
    let count = |flag| {
        let parse = |text: &str| text.parse().ok().filter(|&n: &usize| n > 0);
        context.parsed(flag, parse, "a whole number above 0")
    };
    let head = size("max-head")?.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    Ok(Limits {
        head_bytes: head.unwrap_or(standard.head_bytes),
        headers: count("max-headers")?.unwrap_or(standard.headers),
        body_bytes: size("max-body")?.unwrap_or(standard.body_bytes),
        head_time: context.time("head-timeout")?.unwrap_or(standard.head_time),
        body_gap: context.time("body-timeout")?.unwrap_or(standard.body_gap),
        idle: context.time("keep-alive-timeout")?.unwrap_or(standard.idle),
        write: context.time("write-timeout")?.unwrap_or(standard.write),
        connections: count("max-connections")?.unwrap_or(standard.connections),
        memory: memory(context, "memory", context.environment.serve.memory.as_deref())?.unwrap_or(standard.memory),
    })
}

fn timeouts(context: &Context<'_>) -> Result<Timeouts, Failure> {
    let standard = Timeouts::default();
    let limit = |text: &str| text.parse().ok();
    Ok(Timeouts {
        queue: context.parsed("queue-timeout", time_or_none, "a time such as 30s, or 0")?.unwrap_or(standard.queue),
        queue_limit: context.parsed("queue-limit", limit, "a whole number")?.unwrap_or(standard.queue_limit),
        first_byte: context.time("first-byte-timeout")?.unwrap_or(standard.first_byte),
        idle: context.time("idle-timeout")?.unwrap_or(standard.idle),
        ..standard
    })
}

/// A CORS origin as browsers send it (RFC 6454, section 6.1): `https://app.example`, or with another scheme, as
/// `chrome-extension://abc`. It is sent as a header value, so it must be printable and in one line.
fn origin(text: &str) -> Option<String> {
    if text == "*" || web_url(text).is_some() {
        return Some(text.trim().trim_end_matches('/').to_owned())
            .filter(|text| text.bytes().all(|b| b.is_ascii_graphic()));
    }
    let (scheme, host) = text.split_once("://")?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b));
    let is_host = host.bytes().all(|b| b.is_ascii_graphic() && !b"/?#,\"".contains(&b));
    (is_scheme && !["http", "https"].contains(&scheme) && is_host).then(|| text.to_owned())
}

fn web_url(text: &str) -> Option<String> {
    let text = text.trim().trim_end_matches('/');
    let rest = without_scheme(text)?;
    let plain = rest.bytes().all(|b| b.is_ascii_graphic() && !b"?#".contains(&b));
    (plain && !rest.is_empty() && !rest.starts_with(['/', ':'])).then(|| text.to_owned())
}

fn dry_run(context: &Context<'_>, options: &HubOptions, mdns: bool) -> Result<(), Failure> {
    let (limits, timeouts) = (&options.limits, &options.timeouts);
    let scheme = scheme(options.tls.is_some());
    let urls = Urls::planned(scheme, &options.host, options.port, options.public_url.as_deref());
    let payload = json!({
        "host": options.host, "port": options.port, "bindUrl": urls.bind, "tls": options.tls.is_some(), "mdns": mdns, "cors": options.cors,
        "publicUrl": options.public_url, "codePrefix": options.code_prefix.as_str(), "key": options.key.is_some(),
        "keys": options.keys.as_ref().map(KeysFile::count), "usage": context.value("usage"), "strict": options.strict,
        "dashboard": options.dashboard, "defaultRoom": options.default_room, "knownAs": options.allowed_hosts,
        "trustedProxies": context.values("trusted-proxy"), "direct": format!("{:?}", options.direct).to_lowercase(),
        "logFormat": log_format(context)?.name(), "logLevel": log_level(context)?.name(),
        "rooms": options.rooms.iter().map(|room| &room.code).collect::<Vec<_>>(),
        "roomTtlMs": options.room_ttl.map(millis), "emptyRoomTtlMs": options.empty_room_ttl.map(millis),
        "offlineTtlMs": options.offline_ttl.map(millis),
        "limits": {
            "headBytes": limits.head_bytes, "headers": limits.headers, "bodyBytes": limits.body_bytes,
            "headMs": millis(limits.head_time), "bodyMs": millis(limits.body_gap), "idleMs": millis(limits.idle),
            "writeMs": millis(limits.write), "connections": limits.max_connections(), "memoryBytes": limits.memory,
            "registryMemoryBytes": options.registry_memory,
            "queueMs": millis(timeouts.queue), "queueLimit": timeouts.queue_limit,
            "firstByteMs": millis(timeouts.first_byte), "answerIdleMs": millis(timeouts.idle),
            "watchMs": options.max_stream_duration.map(millis),
        },
    });
    let announced = if mdns { ", announced by mDNS" } else { "" };
    let data = json!({ "dryRun": true, "hubUrl": urls.hub, "payload": payload });
    context.out.result(&data, None, || format!("Would serve a hub on {}:{}{announced}.", options.host, options.port))
}

/// Announces a hub while it is alive.
pub type Announcement = Option<Box<dyn Any>>;

/// Announces the hub by mDNS, and after SIGHUP with the fingerprint of the certificate that it has then.
#[cfg(feature = "mdns")]
pub fn announce(
    context: &Context<'_>,
    address: SocketAddr,
    tls: Option<&ServerTls>,
    wanted: bool,
) -> Result<Announcement, Failure> {
    if !wanted {
        return Ok(None);
    }
    let announcement =
        Arc::new(gambi::discovery::announce(address.ip(), address.port(), tls.map(ServerTls::fingerprint))?);
    let name = announcement.name();
    context.out.event(
        "mdns_registered",
        &json!({ "name": name }),
        &pairs(&[("Announced:", format!("{name}; on this network, --hub auto finds it"))]),
    )?;
    if let Some(tls) = tls.cloned() {
        // After the action that reads the certificate. The announcement ends with its owner.
        let (announcement, out) = (Arc::downgrade(&announcement), context.out);
        context.signals.on_hangup(move || {
            if let Some(Err(error)) = announcement.upgrade().map(|of_hub| of_hub.set_fingerprint(tls.fingerprint())) {
                out.note(&format!("SIGHUP: {error}"));
            }
        })?;
    }
    Ok(Some(Box::new(announcement)))
}

/// Built without mDNS; `--mdns` was rejected before.
#[cfg(not(feature = "mdns"))]
pub fn announce(_: &Context<'_>, _: SocketAddr, _: Option<&ServerTls>, _: bool) -> Result<Announcement, Failure> {
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_and_urls_are_checked() {
        assert_eq!(web_url("https://hub.example/"), Some("https://hub.example".into()));
        for bad in ["hub.example", "http://", "http://a b", "http:///x", "https://h?x", "ftp://h", "http://h\r\nX: y"] {
            assert_eq!(web_url(bad), None, "{bad:?}");
        }
        assert_eq!(origin("*"), Some("*".into()));
        assert_eq!(origin("https://app.example/"), Some("https://app.example".into()));
        for app in ["chrome-extension://abc", "app://obsidian.md", "vscode-webview://x", "file://"] {
            assert_eq!(origin(app).as_deref(), Some(app));
        }
        for bad in ["x", "null", "http://", "a b://x", "app://x/y", "app://x\r\nX: y", "://x", "Ä://x"] {
            assert_eq!(origin(bad), None, "{bad:?}");
        }
    }
}
