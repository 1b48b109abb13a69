//! The command line: parse, then resolve, then act. Uses the library's public API only.

mod chat;
mod commands;
mod config_file;
mod context;
mod demo;
mod discover;
mod events;
mod failure;
mod find_hub;
mod help;
mod hub;
mod hub_tls;
mod invite;
mod join;
mod manual;
mod markdown;
mod monitor;
mod output;
mod parse;
mod participant;
mod prompt;
#[cfg(test)]
mod properties;
mod provider;
mod room;
mod service;
mod shells;
mod signals;
mod stats;
mod synonyms;
mod token;
mod values;

use std::ffi::OsString;
use std::io::{IsTerminal, stdout};

use context::{Context, Vars};
use failure::{DONE, Failure};
use parse::Request;
use signals::Signals;

/// Runs the command that the arguments select (without the program's name). Returns the exit code.
pub fn run(args: impl IntoIterator<Item = OsString>, vars: &Vars) -> u8 {
    match attempt(args, vars) {
        Ok(()) => DONE,
        Err(failure) => {
            if !matches!(failure, Failure::ClosedPipe) {
                output::failure(&failure);
            }
            failure.exit_code()
        }
    }
}

fn attempt(args: impl IntoIterator<Item = OsString>, vars: &Vars) -> Result<(), Failure> {
    let parsed = match parse::parse(args)? {
        Request::Start => return output::line(help::START.trim_end()),
        Request::Help(words) => return output::line(help::help(&words).trim_end()),
        Request::Topic(topic) => {
            let set = |name| vars(name).filter(|value| !value.is_empty());
            let dumb = set("TERM").is_none_or(|term| term == "dumb") || set("NO_COLOR").is_some();
            return output::line(help::topic(topic, stdout().is_terminal() && !dumb).trim_end());
        }
        Request::Version => return output::line(concat!("gambi ", env!("CARGO_PKG_VERSION"))),
        Request::Run(parsed) => parsed,
    };
    let command = parsed.command;
    let context = Context::new(parsed, vars, Signals::install()?)?;
    match command.path {
        ["hub", "serve"] | ["serve"] => hub::serve(&context),
        ["room", "create"] | ["create"] => room::create(&context),
        ["room", "list"] | ["list"] => room::list(&context),
        ["room", "get"] => room::get(&context),
        ["room", "stats"] => stats::stats(&context),
        ["participant", "join"] | ["join"] => join::join(&context),
        ["room", "delete"] => room::delete(&context),
        ["room", "invite"] => invite::invite(&context),
        ["participant", "list"] => participant::list(&context),
        ["models"] => chat::models(&context),
        ["chat"] => chat::chat(&context),
        ["discover"] => discover::discover(&context),
        ["completions"] => shells::completions(&context),
        ["service"] => service::service(&context),
        ["man"] => shells::man(&context),
        // Always JSON, as `GET /openapi.json` returns it, whatever `--format` says.
        ["openapi"] => output::line(gambi::hub::openapi().trim_end()),
        ["participant", "leave"] => participant::leave(&context),
        ["participant", "heartbeat"] => participant::heartbeat(&context),
        ["events", "watch"] => events::watch(&context),
        ["monitor"] => monitor::monitor(&context),
        ["provider"] => provider::serve(&context),
        ["demo"] => demo::run(&context),
        other => unreachable!("the command table has an entry without a handler: {other:?}"),
    }
}
