//! The config file: its location, its format, and the selection of an environment.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::failure::Failure;

/// The config file's JSON.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct ConfigFile {
    default_env: Option<String>,
    envs: BTreeMap<String, Environment>,
}

/// Defaults for one environment, such as `local` or `lab`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Environment {
    /// The hub's URL.
    pub hub_url: Option<String>,
    /// The provider's base URL.
    pub endpoint: Option<String>,
    /// Headers sent to the provider.
    pub headers: BTreeMap<String, String>,
    /// Whether to send no description of the machine.
    pub no_specs: Option<bool>,
    /// Defaults for `hub serve`.
    pub serve: Serve,
}

/// Defaults for `hub serve`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Serve {
    /// Address to listen on.
    pub host: Option<String>,
    /// Port to listen on.
    pub port: Option<u16>,
    /// Whether to announce the hub by mDNS.
    pub mdns: Option<bool>,
    /// Code of the room that is served at the root too.
    pub default_room: Option<String>,
    /// Log format: `text` or `json`.
    pub log_format: Option<String>,
    /// Log level.
    pub log_level: Option<String>,
    /// Memory limit for data that peers make the hub hold, such as `64MiB`.
    pub memory: Option<String>,
    /// Memory limit for rooms and participants, such as `64MiB`.
    pub registry_memory: Option<String>,
}

/// The file's location (XDG Base Directory Specification: a relative `XDG_CONFIG_HOME` is ignored).
pub fn path(vars: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let xdg = vars("XDG_CONFIG_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let base =
        xdg.or_else(|| vars("HOME").filter(|home| !home.is_empty()).map(|home| Path::new(&home).join(".config")))?;
    Some(base.join("gambi").join("config.json"))
}

/// The place of a file that the program itself keeps, such as `hub.pem` (a relative `XDG_STATE_HOME` is ignored).
pub fn state_path(vars: &dyn Fn(&str) -> Option<String>, name: &str) -> Option<PathBuf> {
    let xdg = vars("XDG_STATE_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let home = || vars("HOME").filter(|home| !home.is_empty()).map(|home| Path::new(&home).join(".local/state"));
    Some(xdg.or_else(home)?.join("gambi").join(name))
}

/// The environment named `wanted`, else the file's default, else an empty one.
///
/// # Errors
/// When the file can't be read or parsed, or has no environment of that name.
pub fn environment(path: Option<&Path>, wanted: Option<&str>) -> Result<Environment, Failure> {
    let text = match path.map(|path| (path, fs::read_to_string(path))) {
        None => None,
        Some((_, Ok(text))) => Some(text),
        Some((_, Err(error))) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => None,
        Some((path, Err(error))) => {
            return Err(Failure::usage(format!("the config file {} cannot be read: {error}", path.display())));
        }
    };
    let place = path.map_or_else(|| "the config file".to_owned(), |path| format!("the config file {}", path.display()));
    let Some(text) = text else {
        return match wanted {
            None => Ok(Environment::default()),
            Some(name) => Err(Failure::usage(format!("there is no environment \"{name}\": {place} does not exist"))),
        };
    };
    choose(&text, wanted, &place)
}

pub(super) fn choose(text: &str, wanted: Option<&str>, place: &str) -> Result<Environment, Failure> {
    let file: ConfigFile = serde_json::from_str(text)
        .map_err(|e| Failure::usage(format!("{place} is broken: {e}")).hint("Mend it, or move it away."))?;
    let Some(name) = wanted.or(file.default_env.as_deref()) else { return Ok(Environment::default()) };
    file.envs.get(name).cloned().ok_or_else(|| {
        let known: Vec<_> = file.envs.keys().map(String::as_str).collect();
        let hint = if known.is_empty() { "It has none.".into() } else { format!("It has: {}.", known.join(", ")) };
        Failure::usage(format!("{place} has no environment \"{name}\"")).hint(hint)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{"defaultEnv": "local", "envs": {
        "local": {"hubUrl": "http://a:1", "noSpecs": true, "headers": {"X": "1"}, "serve": {"port": 4000, "mdns": true}},
        "lab": {"hubUrl": "http://b:2"}}}"#;

    #[test]
    fn an_environment_is_chosen_by_name_or_by_default() {
        let local = choose(FILE, None, "f").unwrap();
        assert_eq!(
            (local.hub_url.as_deref(), local.no_specs, local.serve.port),
            (Some("http://a:1"), Some(true), Some(4000))
        );
        assert_eq!(choose(FILE, Some("lab"), "f").unwrap().hub_url.as_deref(), Some("http://b:2"));
        assert_eq!(choose("{}", None, "f").unwrap(), Environment::default());
    }

    #[test]
    fn files_of_our_own_are_in_the_state_directory() {
        let set =
            |name: &'static str, value: &'static str| move |asked: &str| (asked == name).then(|| value.to_owned());
        assert_eq!(state_path(&set("XDG_STATE_HOME", "/s"), "f").unwrap(), Path::new("/s/gambi/f"));
        assert_eq!(state_path(&set("HOME", "/h"), "f").unwrap(), Path::new("/h/.local/state/gambi/f"));
        assert_eq!(state_path(&set("XDG_STATE_HOME", "relative"), "f"), None);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let message = |text, wanted| choose(text, wanted, "the config file /c").unwrap_err().to_string();
        assert!(message("{\n  \"envs\": [}", None).contains("/c is broken"));
        assert!(message("{\n  \"envs\": 3}", None).contains("line 2 column"));
        for misspelt in [r#"{"Envs":{}}"#, r#"{"envs":{"a":{"hubURL":"x"}}}"#, r#"{"envs":{"a":{"serve":{"prt":3}}}}"#]
        {
            assert!(message(misspelt, None).contains("unknown field"), "{misspelt}");
        }
        assert!(message(FILE, Some("home")).contains("\"home\""));
        assert!(message(r#"{"envs": {"a": {"serve": {"port": 70000}}}}"#, None).contains("70000"));
        assert!(message(r#"{"defaultEnv": "gone"}"#, None).contains("\"gone\""));
    }

    #[test]
    fn the_file_is_where_xdg_says() {
        let at = |vars: &[(&str, &str)]| {
            let vars: Vec<(String, String)> = vars.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect();
            path(&move |name| vars.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()))
        };
        assert_eq!(at(&[("XDG_CONFIG_HOME", "/x"), ("HOME", "/h")]), Some("/x/gambi/config.json".into()));
        assert_eq!(at(&[("XDG_CONFIG_HOME", "x"), ("HOME", "/h")]), Some("/h/.config/gambi/config.json".into()));
        assert_eq!(at(&[]), None);
    }
}
