//! `gambi provider`: serves the echo provider.

use std::time::Duration;

use serde_json::json;

use gambi::provider::{Provider, ProviderOptions};

use super::context::Context;
use super::failure::Failure;
use super::output::pairs;
use super::style;
use super::urls::Urls;
use crate::monitor::clean::one_line;

/// Serves until a signal arrives.
pub fn serve(context: &Context<'_>) -> Result<(), Failure> {
    let standard = ProviderOptions::default();
    let options = ProviderOptions {
        host: context.value("host").unwrap_or(&standard.host).to_owned(),
        port: context.port()?.unwrap_or(standard.port),
        model: context.value("model").unwrap_or(&standard.model).to_owned(),
        delay: delay(context)?.unwrap_or(standard.delay),
    };
    if options.model.trim().is_empty() {
        return Err(Failure::usage("--model must not be empty"));
    }
    let signals = context.signals.listen();
    let model = options.model.clone();
    let provider = Provider::bind(options)?;
    let url = Urls::new("http", provider.addr(), None).hub;
    let (paint, shown) = (style::out(), one_line(&model));
    let join = format!("gambi join -r CODE -m {shown} -e {url}");
    let lines = [
        ("Provider:", format!("{}   model \"{shown}\", which repeats what it is told", paint.bold(&paint.cyan(&url)))),
        ("Join with:", paint.cyan(&join)),
        ("Stop it:", "Ctrl-C".to_owned()),
    ];
    let text = pairs(&lines);
    context.out.event("started", &json!({ "url": url, "model": model }), &text)?;
    if let Ok(signal) = signals.recv() {
        let data = json!({ "signal": signal.to_string() });
        context.out.event("signal_received", &data, "")?;
        provider.shutdown();
        context.out.event("stopped", &data, "Stopped.")?;
    }
    Ok(())
}

/// The value of `--delay`: the pause before each piece of a response.
pub fn delay(context: &Context<'_>) -> Result<Option<Duration>, Failure> {
    let parse = |text: &str| text.parse().ok().filter(|&ms| ms <= 60_000).map(Duration::from_millis);
    context.parsed("delay", parse, "milliseconds, at most 60000")
}
