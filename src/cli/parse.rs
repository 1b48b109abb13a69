//! Parses arguments into a command and its flags. Pure: it reads no environment and does not validate values.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};

use gambi::proto::invitation::Invitation;
use lexopt::Arg;

use super::commands::{COMMANDS, COMMON, Command, Flag};
use super::failure::Failure;
use super::manual::{self, TOPICS, Topic};
use super::synonyms;

/// The flag that collects the arguments after `--`, for commands that have it.
pub const TRAILING: &str = "arg";
/// The flag of an invitation.
pub const INVITE: &str = "invite";

/// What the arguments request.
#[derive(Debug)]
pub enum Request {
    /// No arguments: show how to start.
    Start,
    /// Help on the commands that begin with these words; on all commands if there are none.
    Help(Vec<String>),
    /// A page of the manual.
    Topic(&'static Topic),
    /// Show the version.
    Version,
    /// Run a command.
    Run(Parsed),
}

/// A command and the flags that were given.
#[derive(Debug)]
pub struct Parsed {
    /// The selected entry of [`COMMANDS`].
    pub command: &'static Command,
    /// Values by long name; a switch has one empty value each time it is given.
    values: HashMap<&'static str, Vec<String>>,
}

impl Parsed {
    /// A flag's value; the last one if it was repeated.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values(name).last().map(String::as_str)
    }

    /// All values of a flag, in the order given.
    pub fn values(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    /// Sets the value of a flag that was not given.
    pub fn give(&mut self, name: &'static str, value: String) {
        self.values.insert(name, vec![value]);
    }

    /// Whether a flag or switch was given.
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }
}

/// Parses the arguments, without the program's name.
///
/// # Errors
/// When a command or flag is unknown or incomplete; the hint says where to find help.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Request, Failure> {
    let mut parser = lexopt::Parser::from_args(args);
    let mut words: Vec<String> = Vec::new();
    let mut values: HashMap<&'static str, Vec<String>> = HashMap::new();
    loop {
        let command = find(&words);
        let Some(arg) = parser.next().map_err(|e| wrong(&e.to_string(), &words))? else { break };
        let flag = match &arg {
            Arg::Value(word) if command.is_none() => {
                words.push(word.to_string_lossy().into_owned());
                check(&words)?;
                continue;
            }
            Arg::Value(word) => {
                let Some(name) = invitation(command, word).or_else(|| value_target(command, &values)) else {
                    return Err(wrong(&format!("unexpected argument \"{}\"", word.to_string_lossy()), &words));
                };
                values.entry(name).or_default().push(text(Ok(word.clone()), &words)?);
                continue;
            }
            named => flag(command, &written(named)),
        };
        let Some(flag) = flag else {
            return Err(unknown_flag(command, &written(&arg), &words));
        };
        match flag.name {
            "help" => return Ok(Request::Help(words)),
            "version" => return Ok(Request::Version),
            name => {
                let value = if flag.value.is_some() { text(parser.value(), &words)? } else { String::new() };
                values.entry(name).or_default().push(value);
            }
        }
    }
    finish(words, values)
}

/// The request that all arguments together make.
fn finish(mut words: Vec<String>, values: HashMap<&'static str, Vec<String>>) -> Result<Request, Failure> {
    match find(&words) {
        Some(command) => Ok(Request::Run(Parsed { command, values })),
        None if words.first().is_some_and(|word| word == "help") => Ok(match topic(&words[1..]) {
            Some(topic) => Request::Topic(topic),
            None => Request::Help(words.split_off(1)),
        }),
        None if words.is_empty() && values.is_empty() => Ok(Request::Start),
        None => {
            let next: Vec<_> = below(&words).iter().map(|c| c.name()).collect();
            Err(wrong("a command is missing", &words).hint(format!("The commands are: {}.", next.join(", "))))
        }
    }
}

/// The command with exactly these words.
pub fn find(words: &[String]) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.path == words)
}

/// The flag for an invitation, if the argument is one and the command takes any.
fn invitation(command: Option<&'static Command>, word: &OsStr) -> Option<&'static str> {
    let flag = command?.flags.iter().find(|flag| flag.name == INVITE)?;
    word.to_str().filter(|word| Invitation::is_meant(word)).map(|_| flag.name)
}

/// The flag that takes an argument without dashes: the positional one while it has no value, then [`TRAILING`].
fn value_target(
    command: Option<&'static Command>,
    values: &HashMap<&'static str, Vec<String>>,
) -> Option<&'static str> {
    let command = command?;
    let positional = command.positional.filter(|flag| !values.contains_key(flag.name));
    let trailing = || command.flags.iter().copied().find(|flag| flag.name == TRAILING);
    positional.or_else(trailing).map(|flag| flag.name)
}

/// The commands whose paths begin with these words.
pub fn below(words: &[String]) -> Vec<&'static Command> {
    let begins = |c: &&Command| c.path.len() >= words.len() && c.path.iter().zip(words).all(|(a, b)| a == b);
    COMMANDS.iter().filter(begins).collect()
}

/// The page of the manual that these words name.
fn topic(words: &[String]) -> Option<&'static Topic> {
    if let [name] = words { manual::find(name) } else { None }
}

/// Rejects a word that begins no command or topic at once, before flags are parsed.
fn check(words: &[String]) -> Result<(), Failure> {
    let is_help = words[0] == "help";
    let rest = if is_help { &words[1..] } else { words };
    if !below(rest).is_empty() || (is_help && topic(rest).is_some()) {
        return Ok(());
    }
    let kind = if is_help { "command or topic" } else { "command" };
    let failure = wrong(&format!("there is no {kind} \"{}\"", rest.join(" ")), &[]);
    Err(match nearest(rest, is_help) {
        Some(meant) if is_help => {
            failure.hint(format!("Did you mean `gambi help {meant}`? `gambi help` lists commands and topics."))
        }
        Some(meant) => failure.hint(format!("Did you mean `gambi {meant}`? `gambi --help` lists all commands.")),
        None => failure,
    })
}

/// The command or topic that was probably meant.
fn nearest(words: &[String], with_topics: bool) -> Option<String> {
    let typed = words.join(" ");
    let beginning = |command: &Command| command.path[..words.len().min(command.path.len())].join(" ");
    let topics = TOPICS.iter().filter(|_| with_topics).map(|topic| topic.name.to_owned());
    closest(&typed, COMMANDS.iter().map(beginning).chain(topics))
}

/// The name that is nearest to what was typed, if at most a third of the letters differ.
pub fn closest(typed: &str, names: impl Iterator<Item = String>) -> Option<String> {
    names
        .map(|name| (distance(&name, typed), name))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance * 3 <= typed.len())
        .map(|(_, name)| name)
}

/// The error about a flag that the command does not have, with the one that was probably meant.
fn unknown_flag(command: Option<&'static Command>, typed: &str, words: &[String]) -> Failure {
    let failure = wrong(&format!("unknown flag {typed}"), words);
    let path = command.map_or(&[][..], |command| command.path);
    let own = command.map_or(&[][..], |command| command.flags).iter().chain(COMMON);
    let names = own.flat_map(|flag| synonyms::names(path, flag)).filter(|name| name.starts_with("--"));
    match closest(typed.trim_start_matches('-'), names.map(|name| name.trim_start_matches('-').to_owned())) {
        Some(meant) if typed.starts_with("--") => {
            let help = failure.hint_text().unwrap_or_default();
            failure.hint(format!("Did you mean --{meant}? {help}"))
        }
        _ => failure,
    }
}

/// Edit distance, with a swap of neighbouring letters as one edit (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// The flag with a name as it was typed, such as `-p` or `--port`.
pub fn flag(command: Option<&'static Command>, typed: &str) -> Option<&'static Flag> {
    let path = command.map_or(&[][..], |command| command.path);
    let mut own = command.map_or(&[][..], |command| command.flags).iter().chain(COMMON).copied();
    match synonyms::resolve(path, typed) {
        Some(name) => own.find(|flag| flag.name == name),
        None => own.find(|flag| synonyms::names(path, flag).iter().any(|name| name == typed)),
    }
}

fn text(value: Result<OsString, lexopt::Error>, words: &[String]) -> Result<String, Failure> {
    let value = value.map_err(|e| wrong(&e.to_string(), words))?;
    value.into_string().map_err(|_| wrong("a flag's value is not UTF-8", words))
}

fn written(arg: &Arg<'_>) -> String {
    match arg {
        Arg::Long(name) => format!("--{name}"),
        Arg::Short(name) => format!("-{name}"),
        Arg::Value(value) => value.to_string_lossy().into_owned(),
    }
}

fn wrong(message: &str, words: &[String]) -> Failure {
    let known = if below(words).is_empty() { &[][..] } else { words };
    let help: Vec<&str> = ["gambi"].into_iter().chain(known.iter().map(String::as_str)).collect();
    Failure::usage(message).hint(format!("`{} --help` shows the usage.", help.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &str) -> Result<Request, Failure> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn parsed(line: &str) -> Parsed {
        match run(line) {
            Ok(Request::Run(parsed)) => parsed,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn flags_are_read_in_every_form() {
        for line in
            ["room create --name Lab -p x", "room create -nLab --password=x", "--format json room create -n=Lab -p=x"]
        {
            let parsed = parsed(line);
            assert_eq!((parsed.value("name"), parsed.value("password")), (Some("Lab"), Some("x")), "{line}");
        }
        let join = parsed("participant join --header A=1 --header B=2 --no-specs");
        assert_eq!(join.values("header"), ["A=1", "B=2"]);
        assert!(join.has("no-specs") && !join.has("dry-run"));
    }

    #[test]
    fn a_renamed_flag_is_taken_by_its_old_name() {
        for line in ["hub serve --memory 64MiB", "hub serve --body-memory=64MiB"] {
            assert_eq!(parsed(line).value("memory"), Some("64MiB"), "{line}");
        }
    }

    #[test]
    fn flat_names_have_the_flags_that_were_released() {
        let serve = parsed("serve -p 8080 -h 127.0.0.1 -m -q");
        assert_eq!((serve.value("port"), serve.value("host")), (Some("8080"), Some("127.0.0.1")));
        assert!(serve.has("mdns") && serve.has("quiet"));
        assert_eq!(parsed("monitor -h http://hub:3000").value("hub"), Some("http://hub:3000"));
        for line in ["join -c ABC234 -m m", "join --code ABC234 -m m", "join ABC234 -m m", "join --room ABC234 -m m"] {
            assert_eq!(parsed(line).value("room"), Some("ABC234"), "{line}");
        }
        let join = parsed("join ABC234 -m a -e http://e -n b -p c --network-endpoint http://h:1 --no-network-rewrite");
        let values = ["model", "endpoint", "nickname", "password"].map(|flag| join.value(flag).unwrap());
        assert_eq!(values, ["a", "http://e", "b", "c"]);
        assert!(matches!(run("-v"), Ok(Request::Version)) && matches!(run("list -v"), Ok(Request::Version)));
    }

    #[test]
    fn other_commands_keep_their_own_flags() {
        assert!(matches!(run("hub serve -h"), Ok(Request::Help(words)) if words == ["hub", "serve"]));
        assert!(matches!(run("serve --help"), Ok(Request::Help(words)) if words == ["serve"]));
        for line in
            ["hub serve -p 1", "hub serve -m", "hub serve -q", "participant join -c X", "participant join --code X"]
        {
            assert!(run(line).is_err(), "{line}");
        }
        assert!(run("participant join --no-network-rewrite").is_err());
    }

    #[test]
    fn older_names_take_their_first_value_without_a_flag() {
        assert_eq!(parsed("create Lab --password x").value("name"), Some("Lab"));
        assert_eq!(parsed("join --model m ABC234").value("room"), Some("ABC234"));
        assert!(run("create one two").is_err() && run("room create one").is_err());
    }

    #[test]
    fn what_follows_two_dashes_is_left_for_another_command() {
        let service = parsed("service systemd --for hub -- --mdns --room LAB001=Lab");
        assert_eq!(service.value("manager"), Some("systemd"));
        assert_eq!(service.values("arg"), ["--mdns", "--room", "LAB001=Lab"]);
        assert!(run("service systemd --mdns").is_err());
    }

    #[test]
    fn what_is_unknown_is_named() {
        for (line, part) in [
            ("rom create", "rom"),
            ("room make", "room make"),
            ("room create --nam x", "--nam"),
            ("room create -x", "-x"),
            ("room create extra", "extra"),
            ("room create --name", "--name"),
            ("room list --reverse=yes", "--reverse"),
            ("room", "missing"),
            ("--mdns hub serve", "--mdns"),
            ("help rom", "rom"),
            ("help security now", "security now"),
        ] {
            let Err(failure) = run(line) else { panic!("{line} was taken") };
            let text = failure.to_string();
            assert!(text.contains(part), "{line}: {text}");
            assert_eq!(failure.exit_code(), 2, "{line}");
            assert!(failure.hint_text().is_some(), "{line}");
        }
    }

    #[test]
    fn what_was_meant_is_guessed() {
        for (line, meant) in
            [("rom create", "room"), ("hub sevre", "hub serve"), ("particpant join", "participant"), ("caht", "chat")]
        {
            let hint = run(line).unwrap_err().hint_text().unwrap();
            assert!(hint.contains(meant), "{line}: {hint}");
        }
        for (line, meant) in [("help securty", "help security"), ("help chta", "help chat")] {
            let hint = run(line).unwrap_err().hint_text().unwrap();
            assert!(hint.starts_with(&format!("Did you mean `gambi {meant}`?")), "{line}: {hint}");
        }
        for (line, meant) in [
            ("hub serve --prot 1", "--port"),
            ("hub serve --mdsn", "--mdns"),
            ("join --cod=X", "--code"),
            ("chat --promt x", "--prompt"),
            ("room list --fromat json", "--format"),
            ("--verson", "--version"),
            ("participant join --pasword-file=x", "--password-file"),
        ] {
            let hint = run(line).unwrap_err().hint_text().unwrap();
            assert!(hint.starts_with(&format!("Did you mean {meant}? `gambi ")), "{line}: {hint}");
        }
        for line in ["hub serve --xyzzy", "hub serve -x", "room list --no"] {
            assert!(!run(line).unwrap_err().hint_text().unwrap().contains("mean"), "{line}");
        }
        assert!(!run("security").unwrap_err().hint_text().unwrap().contains("Did you mean `gambi security`"));
        assert!(!run("xyzzy").unwrap_err().hint_text().unwrap().contains("mean"));
    }

    #[test]
    fn help_and_version_win() {
        assert!(matches!(run(""), Ok(Request::Start)));
        assert!(matches!(run("--help"), Ok(Request::Help(words)) if words.is_empty()));
        assert!(matches!(run("room --help"), Ok(Request::Help(words)) if words == ["room"]));
        assert!(matches!(run("help room create"), Ok(Request::Help(words)) if words == ["room", "create"]));
        assert!(matches!(run("help security"), Ok(Request::Topic(topic)) if topic.name == "security"));
        assert!(matches!(run("help monitor"), Ok(Request::Topic(topic)) if topic.name == "monitor"));
        assert!(matches!(run("monitor --help"), Ok(Request::Help(words)) if words == ["monitor"]));
        assert!(matches!(run("room create -h --nonsense"), Ok(Request::Help(_))));
        assert!(matches!(run("-V"), Ok(Request::Version)));
    }
}
