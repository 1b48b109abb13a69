//! The inputs and outputs of a command: values from flags, environment variables, the config file and defaults, in this
//! order; stdout and stderr; signals; and whether the command may prompt.

use std::fmt;
use std::io::{IsTerminal, Read, stdin, stdout};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use gambi::Fingerprint;
use gambi::client::Client;
use gambi::hub::{HubKey, parse_config};
use gambi::proto::invitation::Invitation;
use gambi::proto::management::{DEFAULT_HUB, RuntimeConfig};
use gambi::proto::web::fits_a_header;

use super::commands::Flag;
use super::config_file::{self, Environment};
use super::failure::Failure;
use super::find_hub::{Found, find_hub};
use super::output::{Format, Output};
use super::parse::{INVITE, Parsed};
use super::prompt;
use super::signals::Signals;
use super::values;

/// Reads the invitation, if one was given, and sets the flags that it stands for.
fn accept_invitation(parsed: &mut Parsed) -> Result<Option<Invitation>, Failure> {
    let Some(text) = parsed.value(INVITE) else { return Ok(None) };
    let invitation = Invitation::parse(text)
        .map_err(|e| Failure::usage(e.to_string()).hint("Copy it again, as `gambi room invite` printed it."))?;
    for flag in ["hub", "room", "hub-fingerprint"] {
        if parsed.has(flag) {
            return Err(Failure::usage(format!("--{flag} and an invitation exclude each other")));
        }
    }
    parsed.give("hub", invitation.hub.clone());
    parsed.give("room", invitation.room.clone());
    Ok(Some(invitation))
}

/// Looks up an environment variable.
pub type Vars = dyn Fn(&str) -> Option<String>;

/// The inputs and outputs of a command.
pub struct Context<'v> {
    parsed: Parsed,
    /// What the command was invited with. Secrets for other hubs are not sent to the invitation's.
    invitation: Option<Invitation>,
    vars: &'v Vars,
    /// The selected environment of the config file.
    pub environment: Environment,
    /// The output for results and progress.
    pub out: Output,
    /// SIGINT and SIGTERM.
    pub signals: Signals,
    may_ask: bool,
    must_ask: bool,
}

impl<'v> Context<'v> {
    /// Resolves the flags that all commands share.
    ///
    /// # Errors
    /// When one of these flags or the config file is invalid.
    pub fn new(mut parsed: Parsed, vars: &'v Vars, signals: Signals) -> Result<Self, Failure> {
        let invitation = accept_invitation(&mut parsed)?;
        let format = parsed.value("format").map(str::to_owned).or_else(|| vars("GAMBI_FORMAT"));
        let format = match format.as_deref().filter(|text| !text.is_empty()) {
            _ if parsed.has("json") => Format::Json,
            Some(text) => Format::parse(text)?,
            // Of a chat, a pipe gets what a person would read.
            None if stdout().is_terminal() || parsed.command.path == ["chat"] => Format::Text,
            None => Format::Json,
        };
        let out = Output::new(format, parsed.command.streams, parsed.has("quiet"), parsed.has("verbose"));
        let wanted = parsed.value("env").map(str::to_owned).or_else(|| vars("GAMBI_ENV"));
        let path = config_file::path(vars);
        let environment = config_file::environment(path.as_deref(), wanted.as_deref().filter(|name| !name.is_empty()))?;
        let never =
            parsed.has("no-interactive") || vars("GAMBI_NO_INTERACTIVE").is_some_and(|v| v != "0" && !v.is_empty());
        let must_ask = parsed.has("interactive");
        let terminals = stdin().is_terminal() && stdout().is_terminal();
        if must_ask && never {
            return Err(Failure::usage("--interactive and --no-interactive exclude each other"));
        }
        if must_ask && !terminals {
            return Err(Failure::usage("--interactive needs a terminal as stdin and stdout"));
        }
        Ok(Context { parsed, invitation, vars, environment, out, signals, may_ask: terminals && !never, must_ask })
    }

    /// A flag's value; the last one if it was repeated.
    pub fn value(&self, flag: &str) -> Option<&str> {
        self.parsed.value(flag)
    }

    /// All values of a flag that may be repeated.
    pub fn values(&self, flag: &str) -> &[String] {
        self.parsed.values(flag)
    }

    /// Whether a switch was given.
    pub fn has(&self, flag: &str) -> bool {
        self.parsed.has(flag)
    }

    /// An environment variable; `None` if it is unset or empty.
    pub fn variable(&self, name: &str) -> Option<String> {
        (self.vars)(name).filter(|value| !value.is_empty())
    }

    /// The place of a file that the program itself keeps; `None` if the user has no home.
    pub fn state_path(&self, name: &str) -> Option<PathBuf> {
        config_file::state_path(self.vars, name)
    }

    /// What the command was invited with.
    pub fn invitation(&self) -> Option<&Invitation> {
        self.invitation.as_ref()
    }

    /// Whether the terminal, if there is one, knows no control sequences.
    pub fn has_dumb_terminal(&self) -> bool {
        self.variable("TERM").is_none_or(|term| term == "dumb")
    }

    /// The flags that the command takes.
    pub fn flags(&self) -> impl Iterator<Item = &'static Flag> {
        self.parsed.command.all_flags()
    }

    /// The words of the command.
    pub fn path(&self) -> &'static [&'static str] {
        self.parsed.command.path
    }

    /// Whether the command prints a stream of events.
    pub fn streams(&self) -> bool {
        self.parsed.command.streams
    }

    /// Whether the command was called by its older, one-word name.
    pub fn is_flat(&self) -> bool {
        self.parsed.command.path.len() == 1
    }

    /// A required flag's value. Prompts for it if the command may prompt.
    ///
    /// # Errors
    /// When it is missing or empty.
    pub fn required(&self, flag: &str) -> Result<String, Failure> {
        let spec = self.parsed.command.flags.iter().find(|f| f.name == flag);
        let given = match self.value(flag) {
            Some(value) => value.to_owned(),
            None if self.may_ask => prompt::ask(spec.map_or(flag, |f| f.help))?,
            None => {
                let value = spec.and_then(|f| f.value).unwrap_or("VALUE");
                return Err(
                    Failure::usage(format!("--{flag} is missing")).hint(format!("Give it as --{flag} {value}."))
                );
            }
        };
        let given = given.trim();
        if given.is_empty() {
            return Err(Failure::usage(format!("--{flag} must not be empty")));
        }
        Ok(given.to_owned())
    }

    /// The password from the flags or the environment; it may be empty.
    fn given_password(&self) -> Result<Option<String>, Failure> {
        match (self.value("password"), self.value("password-file")) {
            (Some(_), Some(_)) => Err(Failure::usage("--password and --password-file exclude each other")),
            (Some(password), None) => Ok(Some(password.to_owned())),
            (None, Some(path)) => {
                let wrong = |e| Failure::usage(format!("--password-file: {path} cannot be read: {e}"));
                let text = std::fs::read_to_string(path).map_err(wrong)?;
                let password = text.trim_end_matches(['\r', '\n']);
                if password.is_empty() {
                    return Err(Failure::usage(format!("--password-file: {path} is empty")));
                }
                Ok(Some(password.to_owned()))
            }
            (None, None) => Ok(match &self.invitation {
                Some(invitation) => invitation.password.clone(),
                None => self.variable("GAMBI_ROOM_PASSWORD"),
            }),
        }
    }

    /// The password from the flags or the environment, else prompted for if the command may prompt and either `needed` or
    /// `--interactive` is set. `None` if it is empty.
    ///
    /// # Errors
    /// When reading it fails.
    pub fn password(&self, needed: bool) -> Result<Option<String>, Failure> {
        match self.given_password()? {
            Some(password) => Ok(Some(password).filter(|text| !text.is_empty())),
            None if self.may_ask && (needed || self.must_ask) => {
                let label = if needed { "Password" } else { "Password (empty for none)" };
                Ok(Some(prompt::ask_secret(label, &self.signals)?).filter(|text| !text.is_empty()))
            }
            None => Ok(None),
        }
    }

    /// Whether the command may prompt: stdin and stdout are terminals, and `--no-interactive` is not set.
    pub fn may_ask(&self) -> bool {
        self.may_ask
    }

    /// The hub's URL; `auto` finds it by mDNS, and with it the fingerprint that it announces.
    ///
    /// # Errors
    /// When `auto` finds no hub, or several.
    fn hub(&self) -> Result<Found, Failure> {
        let named = self.named_hub();
        if named != "auto" {
            return Ok((named, None));
        }
        let (url, fingerprint) =
            find_hub(&self.out, self.value("room").or(self.value("code")), self.key()?.as_deref())?;
        self.out.detail(&format!("found {url}"));
        Ok((url, fingerprint))
    }

    /// The hub's key, if one is given.
    ///
    /// # Errors
    /// When its file can't be read, or it can't be sent as a header.
    pub fn key(&self) -> Result<Option<String>, Failure> {
        let key = match self.value("key-file") {
            Some(path) => {
                let wrong = |e| Failure::usage(format!("--key-file: {path} cannot be read: {e}"));
                Some(std::fs::read_to_string(path).map_err(wrong)?)
            }
            None => match &self.invitation {
                Some(invitation) => invitation.key.clone(),
                None => self.variable("GAMBI_HUB_KEY"),
            },
        };
        let Some(key) = key else { return Ok(None) };
        match HubKey::new(&key) {
            Some(_) => Ok(Some(key.trim().to_owned())),
            None => {
                let place =
                    self.value("key-file").map_or_else(|| "GAMBI_HUB_KEY".into(), |path| format!("--key-file: {path}"));
                Err(Failure::usage(format!(
                    "{place} has no key in it: the hub's key must be one word of printable ASCII"
                ))
                .hint("`gambi key new` makes a key; the hub's operator knows the hub's."))
            }
        }
    }

    /// The fingerprint that the hub's certificate must have, if one is given.
    ///
    /// # Errors
    /// When it is none.
    pub fn fingerprint(&self) -> Result<Option<Fingerprint>, Failure> {
        if let Some(invitation) = &self.invitation {
            return Ok(invitation.fingerprint.map(Fingerprint::from));
        }
        let (place, text) = match self.value("hub-fingerprint") {
            Some(text) => ("--hub-fingerprint", Some(text.to_owned())),
            None => ("GAMBI_HUB_FINGERPRINT", self.variable("GAMBI_HUB_FINGERPRINT")),
        };
        let parse = |text: String| text.parse().map_err(|e| Failure::usage(format!("{place}: {e}")));
        text.map(parse).transpose()
    }

    /// The provider's URL that is named, by a flag or the config file.
    pub fn endpoint(&self) -> Option<String> {
        self.value("endpoint").map(str::to_owned).or_else(|| self.environment.endpoint.clone())
    }

    /// Whether a hub is named, by a flag, a variable or the config file.
    pub fn names_hub(&self) -> bool {
        self.value("hub").is_some() || self.variable("GAMBI_HUB").is_some() || self.environment.hub_url.is_some()
    }

    fn named_hub(&self) -> String {
        self.value("hub")
            .map(str::to_owned)
            .or_else(|| self.variable("GAMBI_HUB"))
            .or_else(|| self.environment.hub_url.clone())
            .unwrap_or_else(|| DEFAULT_HUB.to_owned())
    }

    /// A client of the hub, with the hub's key if one is given.
    ///
    /// # Errors
    /// When the URL or the key is invalid.
    pub fn client(&self) -> Result<Client, Failure> {
        self.client_of(self.hub()?)
    }

    /// A client of this hub, with the hub's key if one is given.
    ///
    /// # Errors
    /// When the URL or the key is invalid.
    pub fn client_of(&self, (url, announced): Found) -> Result<Client, Failure> {
        let client = Client::new(&url)?.with_fingerprint(self.fingerprint()?.or(announced))?;
        let client = self.key()?.iter().fold(client, |client, key| client.with_key(key));
        self.out.detail(&format!("hub: {}", client.hub_url()));
        Ok(client)
    }

    /// A client of the hub, with the password of the command's room.
    ///
    /// # Errors
    /// As [`Context::client`]; when the password can't be read or can't be sent as a header.
    pub fn room_client(&self) -> Result<Client, Failure> {
        self.client_with(self.password(false)?.as_deref())
    }

    /// A client of the hub, with a room's password.
    ///
    /// # Errors
    /// As [`Context::client`]; when the password can't be sent as a header.
    pub fn client_with(&self, password: Option<&str>) -> Result<Client, Failure> {
        let client = self.client()?;
        let Some(password) = password else { return Ok(client) };
        if !fits_a_header(password) {
            return Err(Failure::usage(
                "the password of a private room must be printable ASCII without blanks at its ends",
            ));
        }
        Ok(client.with_room_password(password))
    }

    /// A flag's value, parsed.
    ///
    /// # Errors
    /// When the value is invalid; the message names the flag and what it must be.
    pub fn parsed<T>(
        &self,
        flag: &str,
        parse: impl Fn(&str) -> Option<T>,
        must_be: &str,
    ) -> Result<Option<T>, Failure> {
        match self.value(flag) {
            None => Ok(None),
            Some(text) => parse(text)
                .map(Some)
                .ok_or_else(|| Failure::usage(format!("--{flag} must be {must_be}, not \"{text}\""))),
        }
    }

    /// A value from a flag, else an environment variable, else the config file (`stated`), parsed.
    ///
    /// # Errors
    /// When the value is invalid; the message names where it came from and what it must be.
    pub fn chosen<T>(
        &self,
        flag: &str,
        variable: &str,
        stated: Option<&str>,
        parse: impl Fn(&str) -> Option<T>,
        must_be: &str,
    ) -> Result<Option<T>, Failure> {
        let (place, text) = if let Some(text) = self.value(flag) {
            (format!("--{flag}"), Some(text.to_owned()))
        } else if let Some(text) = self.variable(variable) {
            (variable.to_owned(), Some(text))
        } else {
            (format!("the config file's value for --{flag}"), stated.map(str::to_owned))
        };
        let wrong = |text: &str| Failure::usage(format!("{place} must be {must_be}, not \"{text}\""));
        text.map(|text| parse(&text).ok_or_else(|| wrong(&text))).transpose()
    }

    /// The value of `--port`.
    ///
    /// # Errors
    /// When it is no port.
    pub fn port(&self) -> Result<Option<u16>, Failure> {
        self.parsed("port", |text| text.parse().ok(), "a port from 0 to 65535")
    }

    /// A flag's value as a duration.
    ///
    /// # Errors
    /// When it is no duration, or zero.
    pub fn time(&self, flag: &str) -> Result<Option<Duration>, Failure> {
        self.parsed(flag, values::time, "a time such as 10s, 500ms or 2m, and more than zero")
    }

    /// The generation settings of `--config`, from a file or, for `-`, from stdin.
    ///
    /// # Errors
    /// When they can't be read or are invalid.
    pub fn config(&self) -> Result<Option<RuntimeConfig>, Failure> {
        let Some(path) = self.value("config") else { return Ok(None) };
        let (place, read) = if path == "-" {
            let mut text = String::new();
            ("stdin", stdin().read_to_string(&mut text).map(|_| text))
        } else {
            (path, std::fs::read_to_string(path))
        };
        let text = read.map_err(|e| Failure::usage(format!("--config: {place} cannot be read: {e}")))?;
        let wrong = |e: &dyn fmt::Display| Failure::usage(format!("--config: {place} is not valid: {e}"));
        let value: Value = serde_json::from_str(&text).map_err(|e| wrong(&e))?;
        let config = parse_config(&value).map_err(|e| wrong(&e))?;
        for name in unknown_settings(&value, &config) {
            self.out.aside(&format!("Note: --config: {place} has \"{name}\", which is no setting and does nothing."));
        }
        Ok(Some(config))
    }
}

/// The names in a file of settings that are none: a typing error would otherwise go unseen.
fn unknown_settings<'v>(value: &'v Value, config: &RuntimeConfig) -> Vec<&'v str> {
    let known = serde_json::to_value(config).unwrap_or_default();
    let names = value.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    names.map(|(name, _)| name.as_str()).filter(|name| known.get(name).is_none()).collect()
}
