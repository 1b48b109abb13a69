//! The command line: parse, then resolve, then act. Uses the library's public API only.

mod advice;
mod banner;
mod chat;
mod commands;
mod completions;
mod config_file;
mod context;
#[cfg(test)]
mod defaults_tests;
mod demo;
mod discover;
mod events;
mod failure;
mod find_hub;
mod guided_join;
mod help;
mod hub;
mod hub_tls;
mod invite;
mod join;
mod key;
mod man_page;
mod manual;
mod markdown;
mod monitor;
mod output;
mod parse;
mod participant;
mod private_file;
mod progress;
mod prompt;
#[cfg(test)]
mod properties;
mod provider;
mod provider_places;
mod room;
mod service;
mod signals;
mod stats;
mod style;
mod synonyms;
mod terminal;
mod token;
mod urls;
mod usage;
mod values;

use std::ffi::OsString;
use std::io::{IsTerminal, stdout};

use context::{Context, Vars};
use failure::{DONE, Failure};
use parse::Request;
use signals::Signals;

/// What `gambi version` and `--version` print.
const VERSION: &str = concat!("gambi ", env!("CARGO_PKG_VERSION"));

/// Runs the command that the arguments select (without the program's name). Returns the exit code.
pub fn run(args: impl IntoIterator<Item = OsString>, vars: &Vars) -> u8 {
    style::decide(vars);
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

/// The width of the help: the terminal's, or no limit where it is read by a program.
fn columns() -> usize {
    if !stdout().is_terminal() {
        return usize::MAX;
    }
    terminal::columns(stdout()).min(120)
}

fn attempt(args: impl IntoIterator<Item = OsString>, vars: &Vars) -> Result<(), Failure> {
    let parsed = match parse::parse(args)? {
        Request::Start => return output::line(help::START.trim_end()),
        Request::Help(words) => return output::line(help::help(&words, columns()).trim_end()),
        Request::Topic(topic) => {
            return output::line(help::topic(topic, style::out().is_on(), columns()).trim_end());
        }
        Request::Version => return output::line(VERSION),
        Request::Run(parsed) => parsed,
    };
    let context = Context::new(parsed, vars, Signals::install()?)?;
    let done = dispatch(&context).map_err(|failure| advice::advise(failure, &context));
    // A command that streams ends by a signal, at which the system itself drops what was typed.
    if context.may_ask() && !context.streams() {
        prompt::discard_rest();
    }
    done
}

/// Runs the command.
fn dispatch(context: &Context<'_>) -> Result<(), Failure> {
    match context.path() {
        ["hub", "serve"] | ["serve"] => hub::serve(context),
        ["room", "create"] | ["create"] => room::create(context),
        ["room", "list"] | ["list"] => room::list(context),
        ["key", "new"] => key::new(context),
        ["room", "get"] => room::get(context),
        ["room", "stats"] => stats::stats(context),
        ["participant", "join"] | ["join"] => join::join(context),
        ["room", "delete"] => room::delete(context),
        ["room", "invite"] => invite::invite(context),
        ["participant", "list"] => participant::list(context),
        ["models"] => chat::models(context),
        ["chat"] => chat::chat(context),
        ["discover"] => discover::discover(context),
        ["completions"] => completions::completions(context),
        ["service"] => service::service(context),
        ["usage"] => usage::usage(context),
        ["man"] => man_page::man(context),
        ["version"] => output::line(VERSION),
        // Always JSON, as `GET /openapi.json` returns it, whatever `--format` says.
        ["openapi"] => output::line(gambi::hub::openapi().trim_end()),
        ["participant", "leave"] => participant::leave(context),
        ["participant", "heartbeat"] => participant::heartbeat(context),
        ["events", "watch"] => events::watch(context),
        ["monitor"] => monitor::monitor(context),
        ["provider"] => provider::serve(context),
        ["demo"] => demo::run(context),
        other => unreachable!("the command table has an entry without a handler: {other:?}"),
    }
}
