//! `gambi service`: prints a unit for the system's service manager. Flags are checked as the command itself checks
//! them. The templates are in service/; this file fills them in and quotes for each format.

use std::ffi::OsString;

use super::commands::Command;
use super::context::Context;
use super::failure::Failure;
use super::hub;
use super::output;
use super::parse::{self, Parsed, Request};
use super::values;

/// Flags whose value is visible in the list of processes, and the environment variable to use instead.
const SECRET_FLAGS: &[(&str, &str)] = &[("password", "GAMBI_ROOM_PASSWORD"), ("header", "one that --header-env names")];
/// Flags that a service cannot have.
const INTERACTIVE_FLAGS: &[&str] = &["dry-run", "interactive"];
/// Flags that name a file, which a service account with a dynamic user may not be able to read.
const FILE_FLAGS: &[&str] = &["key-file", "keys", "rooms", "config", "password-file", "tls-cert", "tls-key"];
/// Where a hub with `--tls self` keeps its key: in a directory of the service's own.
const STATE_DIRECTORY: &str = "StateDirectory=gambi\nEnvironment=XDG_STATE_HOME=%S\n";
/// Prefix of a word that names a systemd credential. No argument begins with it, since control characters are rejected.
const CREDENTIAL_PREFIX: &str = "\0";
/// How much longer than the drain timeout the service manager waits before it kills the process, seconds.
const STOP_MARGIN: u64 = 5;

/// What a service runs if `--for` is not given.
pub const ROLE: &str = "hub";

/// Prints a unit.
pub fn service(context: &Context<'_>) -> Result<(), Failure> {
    let manager = Manager::parse(&context.required("manager")?)?;
    let role = context.value("for").unwrap_or(ROLE);
    let bin = context.value("bin").unwrap_or(manager.bin());
    output::line(unit(manager, role, bin, context.values("arg"))?.trim_end())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    Systemd,
    OpenWrt,
    Launchd,
}

impl Manager {
    fn parse(text: &str) -> Result<Self, Failure> {
        match text {
            "systemd" => Ok(Manager::Systemd),
            "openwrt" => Ok(Manager::OpenWrt),
            "launchd" => Ok(Manager::Launchd),
            _ => {
                Err(Failure::usage(format!("the service manager must be systemd, openwrt or launchd, not \"{text}\"")))
            }
        }
    }

    fn template(self) -> &'static str {
        match self {
            Manager::Systemd => include_str!("service/systemd.unit"),
            Manager::OpenWrt => include_str!("service/openwrt.init"),
            Manager::Launchd => include_str!("service/launchd.plist"),
        }
    }

    /// The default path of a manually installed binary.
    pub fn bin(self) -> &'static str {
        if self == Manager::OpenWrt { "/usr/bin/gambi" } else { "/usr/local/bin/gambi" }
    }

    /// The command line, quoted for this format.
    fn command(self, words: &[String]) -> String {
        let quoted = |quote: fn(&str) -> String| words.iter().map(|word| quote(word)).collect::<Vec<_>>();
        match self {
            Manager::Systemd => quoted(systemd_word).join(" "),
            Manager::OpenWrt => quoted(shell_word).join(" "),
            Manager::Launchd => quoted(plist_word).join("\n"),
        }
    }
}

fn unit(manager: Manager, role: &str, bin: &str, args: &[String]) -> Result<String, Failure> {
    check_bin(bin)?;
    let parsed = parsed(role, args)?;
    let mut credentials = state_directory(manager, &parsed)?.to_owned();
    let mut words: Vec<String> = [bin].iter().chain(parsed.command.path).map(|&word| word.to_owned()).collect();
    for (flag, value) in given(&parsed) {
        words.push(format!("--{flag}"));
        match value {
            Some(path) if manager == Manager::Systemd && FILE_FLAGS.contains(&flag) => {
                credentials.push_str(&format!("LoadCredential={flag}:{}\n", credential_path(flag, path)?));
                words.push(format!("{CREDENTIAL_PREFIX}{flag}"));
            }
            Some(value) => words.push(value.to_owned()),
            None => {}
        }
    }
    if role == "participant" && !parsed.has("reconnect") {
        words.push("--reconnect".to_owned());
    }
    // Replaced last: the user's words may contain placeholders.
    Ok(manager
        .template()
        .replace("{role}", role)
        .replace("{stop}", &stop_seconds(&parsed)?.to_string())
        .replace("{credentials}", &credentials)
        .replace("{command}", &manager.command(&words)))
}

/// The lines for a hub that keeps a key of its own.
fn state_directory(manager: Manager, parsed: &Parsed) -> Result<&'static str, Failure> {
    match (parsed.has("tls"), manager, parsed.has("tls-key")) {
        (true, Manager::Systemd, true) => {
            Err(Failure::usage("the service keeps the key of --tls self in a directory of its own")
                .hint("Leave --tls-key out."))
        }
        (true, Manager::Systemd, false) => Ok(STATE_DIRECTORY),
        (true, _, false) => Err(Failure::usage("--tls-key is missing: a service has no home directory")
            .hint("Name a file for the key of --tls self, such as --tls-key /etc/gambi/hub.pem.")),
        _ => Ok(""),
    }
}

/// Parses and checks the service's flags as the command itself does.
fn parsed(role: &str, args: &[String]) -> Result<Parsed, Failure> {
    let path = match role {
        "hub" => ["hub", "serve"],
        "participant" => ["participant", "join"],
        _ => return Err(Failure::usage(format!("--for must be hub or participant, not \"{role}\""))),
    };
    if let Some(bad) = args.iter().find(|arg| arg.chars().any(char::is_control)) {
        return Err(Failure::usage(format!("a unit cannot hold the line break or control character in {bad:?}")));
    }
    let words = path.iter().map(OsString::from).chain(args.iter().map(OsString::from));
    let Request::Run(parsed) = parse::parse(words)? else {
        return Err(Failure::usage("a service cannot be a request for help or for the version"));
    };
    check(&parsed)?;
    Ok(parsed)
}

fn check(parsed: &Parsed) -> Result<(), Failure> {
    if let Some((flag, variable)) = SECRET_FLAGS.iter().find(|(flag, _)| parsed.has(flag)) {
        return Err(Failure::usage(format!("--{flag} would make its secret visible in the list of processes"))
            .hint(format!("Put it into the service's environment file, as {variable}.")));
    }
    if let Some(flag) = INTERACTIVE_FLAGS.iter().find(|flag| parsed.has(flag)) {
        return Err(Failure::usage(format!("a service cannot have --{flag}")));
    }
    if let Some(flag) = FILE_FLAGS.iter().find(|flag| parsed.value(flag).is_some_and(|path| !path.starts_with('/'))) {
        return Err(Failure::usage(format!("--{flag} must be an absolute path, a service has no working directory")));
    }
    let needed = if parsed.command.path[0] == "hub" { &[][..] } else { &["room", "participant-id", "model"] };
    match needed.iter().find(|flag| !parsed.has(flag)) {
        Some(flag) => Err(Failure::usage(format!("--{flag} is missing"))
            .hint(format!("Give it after `--`, as in: gambi service systemd --for participant -- --{flag} ..."))),
        None => Ok(()),
    }
}

/// The given flags and their values, in the order of the help.
fn given(parsed: &Parsed) -> Vec<(&'static str, Option<&str>)> {
    let command: &'static Command = parsed.command;
    let mut given = Vec::new();
    for flag in command.all_flags().filter(|flag| parsed.has(flag.name)) {
        match flag.value {
            Some(_) => given.extend(parsed.values(flag.name).iter().map(|value| (flag.name, Some(value.as_str())))),
            None => given.push((flag.name, None)),
        }
    }
    given
}

fn stop_seconds(parsed: &Parsed) -> Result<u64, Failure> {
    let Some(text) = parsed.value("drain-timeout") else { return Ok(hub::DRAIN_TIMEOUT.as_secs() + STOP_MARGIN) };
    let drain = match text {
        "0" => Some(0),
        text => values::time(text).map(|time| time.as_millis().div_ceil(1000) as u64),
    };
    let bad = || Failure::usage(format!("--drain-timeout must be a time such as 30s, or 0, not \"{text}\""));
    Ok(drain.ok_or_else(bad)? + STOP_MARGIN)
}

/// The program's path is not quoted in any of the formats, so it may contain only characters that need no quotes.
fn check_bin(bin: &str) -> Result<(), Failure> {
    if bin.starts_with('/') && bin.chars().all(is_plain) {
        return Ok(());
    }
    Err(Failure::usage(format!("--bin must be an absolute path of letters, digits and ._-+/, not \"{bin}\"")))
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-+/".contains(c)
}

/// A path in `LoadCredential=ID:PATH`, where only a percent sign can be escaped.
fn credential_path(flag: &str, path: &str) -> Result<String, Failure> {
    match path.chars().find(|&c| !is_plain(c) && c != '%') {
        Some(c) => Err(Failure::usage(format!("systemd cannot take {c:?} in the path of --{flag}"))),
        None => Ok(path.replace('%', "%%")),
    }
}

fn systemd_word(word: &str) -> String {
    if let Some(name) = word.strip_prefix(CREDENTIAL_PREFIX) {
        return format!("%d/{name}");
    }
    let plain = |c: char| is_plain(c) || ":=,@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let escaped = word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    format!("\"{escaped}\"")
}

fn shell_word(word: &str) -> String {
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    single_quoted(word)
}

/// A word in single quotes, for a shell.
pub fn single_quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn plist_word(word: &str) -> String {
    let escaped = word.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("\t\t<string>{escaped}</string>")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(manager: Manager, role: &str, args: &[&str]) -> Result<String, Failure> {
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        unit(manager, role, manager.bin(), &args)
    }

    #[test]
    fn every_format_quotes_special_characters() {
        let odd = "A1B2C3=it's \"50%\" of $HOME \\ <b>&";
        for (manager, line) in [
            (Manager::Systemd, r#"--room "A1B2C3=it's \"50%%\" of $$HOME \\ <b>&""#),
            (Manager::OpenWrt, r#"--room 'A1B2C3=it'\''s "50%" of $HOME \ <b>&'"#),
            (Manager::Launchd, r#"<string>A1B2C3=it's "50%" of $HOME \ &lt;b&gt;&amp;</string>"#),
        ] {
            let text = made(manager, "hub", &["--room", odd]).unwrap();
            assert!(text.contains(line), "{text}");
        }
        assert_eq!(systemd_word(""), "\"\"");
        assert_eq!(systemd_word(";"), "\";\"");
        assert_eq!(shell_word(""), "''");
    }

    #[test]
    fn all_placeholders_are_replaced_and_braces_in_arguments_are_kept() {
        for manager in [Manager::Systemd, Manager::OpenWrt, Manager::Launchd] {
            let text = made(manager, "hub", &["--room", "LAB001={stop}"]).unwrap();
            assert!(text.contains("LAB001={stop}"), "{text}");
            for name in ["{role}", "{command}", "{credentials}"] {
                assert!(!text.contains(name), "{name}: {text}");
            }
        }
    }

    #[test]
    fn files_become_credentials_only_for_systemd() {
        let args = ["--key-file", "/etc/gambi/hub.key", "--mdns"];
        let text = made(Manager::Systemd, "hub", &args).unwrap();
        assert!(text.contains("\nLoadCredential=key-file:/etc/gambi/hub.key\n"), "{text}");
        assert!(text.contains("--mdns --key-file %d/key-file\n"), "{text}");
        let text = made(Manager::OpenWrt, "hub", &args).unwrap();
        assert!(text.contains("--key-file /etc/gambi/hub.key\n"), "{text}");
    }

    #[test]
    fn a_hub_that_makes_a_key_has_a_place_for_it() {
        let text = made(Manager::Systemd, "hub", &["--tls", "self"]).unwrap();
        assert!(text.contains("\nStateDirectory=gambi\nEnvironment=XDG_STATE_HOME=%S\n"), "{text}");
        assert!(made(Manager::Systemd, "hub", &["--tls", "self", "--tls-key", "/k.pem"]).is_err());
        assert!(made(Manager::OpenWrt, "hub", &["--tls", "self"]).is_err());
        assert!(made(Manager::OpenWrt, "hub", &["--tls", "self", "--tls-key", "/k.pem"]).is_ok());
        let files = ["--tls-cert", "/c.pem", "--tls-key", "/k.pem"];
        let text = made(Manager::Systemd, "hub", &files).unwrap();
        assert!(
            text.contains("--tls-cert %d/tls-cert --tls-key %d/tls-key") && !text.contains("StateDirectory"),
            "{text}"
        );
    }

    #[test]
    fn the_manager_waits_longer_than_the_hub_drains() {
        for (time, stop) in [("90s", 95), ("1500ms", 7), ("0", 5), ("2m", 125)] {
            let text = made(Manager::Systemd, "hub", &["--drain-timeout", time]).unwrap();
            assert!(text.contains(&format!("TimeoutStopSec={stop}\n")), "{time}: {text}");
        }
    }

    #[test]
    fn a_participant_service_reconnects() {
        let args = ["-r", "LAB001", "--participant-id", "ann", "-m", "llama3"];
        let text = made(Manager::Launchd, "participant", &args).unwrap();
        assert_eq!(text.matches("<string>--reconnect</string>").count(), 1);
        let twice = [&args[..], &["--reconnect"]].concat();
        assert_eq!(made(Manager::Launchd, "participant", &twice).unwrap(), text);
    }

    #[test]
    fn flags_that_a_service_cannot_have_are_refused() {
        let joined = ["-r", "LAB001", "--participant-id", "ann", "-m", "llama3"];
        for (role, args, part) in [
            ("hub", &["--room", "LAB001=a\nb"][..], "line break"),
            ("hub", &["--nonsense"], "--nonsense"),
            ("hub", &["--help"], "help"),
            ("hub", &["--dry-run"], "--dry-run"),
            ("hub", &["--key-file", "hub.key"], "absolute"),
            ("hub", &["--key-file", "/a b"], "--key-file"),
            ("hub", &["--drain-timeout", "soon"], "--drain-timeout"),
            ("participant", &joined[..4], "--model"),
            ("participant", &[&joined[..], &["--password", "pw"]].concat(), "--password"),
            ("router", &[], "router"),
        ] {
            let failure = made(Manager::Systemd, role, args).unwrap_err();
            assert!(failure.to_string().contains(part), "{args:?}: {failure}");
            assert!(!failure.to_string().contains("pw\""));
        }
        assert!(unit(Manager::Systemd, "hub", "gambi", &[]).is_err());
        assert!(unit(Manager::Systemd, "hub", "/opt/my gambi", &[]).is_err());
        assert!(Manager::parse("upstart").is_err());
    }
}
