//! Further names of flags. The flat commands, such as `serve`, have letters that mean something else, or nothing, under the
//! other commands.

use super::commands::{COMMON, Command, Flag};

/// A further name of a flag.
struct Synonym {
    /// The words of the command that has it; none if every command has it.
    path: &'static [&'static str],
    /// The name as it is typed. It hides a common flag with the same letter.
    typed: &'static str,
    /// The long name of the flag that it stands for.
    flag: &'static str,
}

static SYNONYMS: &[Synonym] = &[
    Synonym { path: &[], typed: "-v", flag: "version" },
    Synonym { path: &["serve"], typed: "-p", flag: "port" },
    Synonym { path: &["serve"], typed: "-h", flag: "host" },
    Synonym { path: &["serve"], typed: "-m", flag: "mdns" },
    Synonym { path: &["serve"], typed: "-q", flag: "quiet" },
    Synonym { path: &["join"], typed: "-c", flag: "room" },
    Synonym { path: &["join"], typed: "--code", flag: "room" },
    Synonym { path: &["monitor"], typed: "-h", flag: "hub" },
];

/// Former names of flags. They are accepted and not documented.
const FORMER: [(&str, &str); 1] = [("--body-memory", "memory")];

fn of(path: &[&str]) -> impl Iterator<Item = &'static Synonym> {
    SYNONYMS.iter().filter(move |synonym| synonym.path.is_empty() || synonym.path == path)
}

/// The long name of the flag that `typed` stands for under the command with these words, if it is a synonym.
pub fn resolve(path: &[&str], typed: &str) -> Option<&'static str> {
    let former = || FORMER.iter().find(|(name, _)| *name == typed).map(|(_, flag)| *flag);
    of(path).find(|synonym| synonym.typed == typed).map(|synonym| synonym.flag).or_else(former)
}

/// All names of a flag under the command with these words, such as `-p` and `--port`. Letters come first. Without words,
/// the names that every command has.
pub fn names(path: &[&str], flag: &Flag) -> Vec<String> {
    let hidden = |name: &String| of(path).any(|synonym| synonym.typed == name && synonym.flag != flag.name);
    let own = of(path).filter(|synonym| synonym.flag == flag.name).map(|synonym| synonym.typed.to_owned());
    let letter = flag.short.map(|letter| format!("-{letter}")).filter(|name| !hidden(name));
    let mut names: Vec<String> = letter.into_iter().chain([format!("--{}", flag.name)]).chain(own).collect();
    names.sort_by_key(|name| name.starts_with("--"));
    names
}

/// A command's own flags, and the common ones that have a further name under it.
pub fn documented_flags(command: &Command) -> Vec<&'static Flag> {
    let renamed = |flag: &&&Flag| SYNONYMS.iter().any(|s| s.path == command.path && s.flag == flag.name);
    command.flags.iter().chain(COMMON.iter().filter(renamed)).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::commands::COMMANDS;

    #[test]
    fn every_synonym_stands_for_a_flag_of_its_command() {
        for synonym in SYNONYMS {
            let commands: Vec<_> =
                COMMANDS.iter().filter(|c| synonym.path.is_empty() || c.path == synonym.path).collect();
            assert!(!commands.is_empty(), "{}", synonym.typed);
            assert!(commands.iter().all(|c| c.all_flags().any(|f| f.name == synonym.flag)), "{}", synonym.typed);
        }
    }

    #[test]
    fn no_command_has_two_flags_of_one_name() {
        for command in COMMANDS {
            let mut all: Vec<String> = command.all_flags().flat_map(|flag| names(command.path, flag)).collect();
            let count = all.len();
            all.sort();
            all.dedup();
            assert_eq!(all.len(), count, "{}", command.name());
        }
    }

    #[test]
    fn a_synonym_hides_the_letter_of_a_common_flag_under_its_command_only() {
        let flag = |name: &str| COMMON.iter().find(|flag| flag.name == name).unwrap();
        assert_eq!(names(&["serve"], flag("help")), ["--help"]);
        assert_eq!(names(&["hub", "serve"], flag("help")), ["-h", "--help"]);
        assert_eq!(names(&["monitor"], flag("hub")), ["-H", "-h", "--hub"]);
        assert_eq!(names(&[], flag("version")), ["-V", "-v", "--version"]);
    }
}
