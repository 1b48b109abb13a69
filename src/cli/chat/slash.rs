//! What a person's input in a conversation means: a prompt, or a command after a slash. Pure.

use crate::cli::parse::closest;

/// The commands of a conversation: names, arguments, and what they do.
pub const COMMANDS: [(&str, &str, &str); 7] = [
    ("/help", "", "List these commands"),
    ("/model", "[NAME]", "List who can answer, or choose: an id, a model, or any"),
    ("/system", "[TEXT]", "Show the system message, or set it; \"\" removes it"),
    ("/clear", "", "Forget the conversation so far"),
    ("/retry", "", "Ask the last question again"),
    ("/save", "FILE", "Write the conversation to a new file, as Markdown"),
    ("/quit", "", "End the conversation"),
];

/// What was entered.
#[derive(Debug, PartialEq)]
pub enum Input<'t> {
    /// Nothing but white space.
    Blank,
    /// To be sent.
    Prompt(&'t str),
    Help,
    /// The selector to be used.
    Model(Option<&'t str>),
    /// The system message to be used.
    System(Option<&'t str>),
    Clear,
    Retry,
    /// The file's name; it may be missing.
    Save(Option<&'t str>),
    Quit,
    /// A command that there is not, and the one that was probably meant.
    Unknown(&'t str, Option<String>),
}

/// Reads what was entered. A text of several lines is a prompt, and so is what begins with two slashes, of which one is sent.
pub fn read(text: &str) -> Input<'_> {
    let text = text.trim_end();
    let command = text.trim_start();
    if command.is_empty() {
        return Input::Blank;
    }
    if command.starts_with("//") {
        return Input::Prompt(&command[1..]);
    }
    if !command.starts_with('/') || command.contains('\n') {
        return Input::Prompt(text);
    }
    let (name, argument) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
    let argument = Some(argument.trim()).filter(|argument| !argument.is_empty());
    match name {
        "/help" | "/?" => Input::Help,
        "/model" | "/models" => Input::Model(argument),
        "/system" => Input::System(argument),
        "/clear" => Input::Clear,
        "/retry" => Input::Retry,
        "/save" => Input::Save(argument),
        "/quit" | "/exit" | "/bye" => Input::Quit,
        _ => Input::Unknown(name, closest(name, COMMANDS.iter().map(|(name, ..)| (*name).to_owned()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_begins_a_command_and_two_begin_a_prompt() {
        for (text, input) in [
            (" \n", Input::Blank),
            ("Hi there ", Input::Prompt("Hi there")),
            ("  indented", Input::Prompt("  indented")),
            ("//etc is a directory", Input::Prompt("/etc is a directory")),
            ("/* a comment\n*/", Input::Prompt("/* a comment\n*/")),
            ("/model", Input::Model(None)),
            ("/model  model:llama3 ", Input::Model(Some("model:llama3"))),
            ("/system Be brief.  Be kind.", Input::System(Some("Be brief.  Be kind."))),
            ("/save my notes.md", Input::Save(Some("my notes.md"))),
            (" /quit", Input::Quit),
            ("/sace x", Input::Unknown("/sace", Some("/save".into()))),
            ("/etc/passwd", Input::Unknown("/etc/passwd", None)),
            ("/", Input::Unknown("/", None)),
        ] {
            assert_eq!(read(text), input, "{text:?}");
        }
    }

    #[test]
    fn every_listed_command_is_read_as_one() {
        for (name, ..) in COMMANDS {
            assert!(!matches!(read(name), Input::Unknown(..) | Input::Prompt(_)), "{name}");
        }
    }
}
