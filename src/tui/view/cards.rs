//! The selected participant's details.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use gambi::proto::management::{Participant, Support};

use super::theme::Theme;
use crate::monitor::model::{Member, Room};
use crate::monitor::text::{brief, clean, fit, span, speed};
use crate::tui::app::App;

/// Draws the details as a pane.
pub fn draw(frame: &mut Frame<'_>, area: Rect, app: &App, theme: Theme, now: u64) {
    let block = theme.block("Participant", false);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    frame.render_widget(Paragraph::new(lines(app, theme, now, usize::from(inner.width))), inner);
}

/// The details as lines of at most `columns` columns.
pub fn lines(app: &App, theme: Theme, now: u64, columns: usize) -> Vec<Line<'static>> {
    let Some((room, member)) = app.member(now) else {
        return vec![Line::styled("No participant is selected.", theme.dim())];
    };
    let now = app.state.hub_time(now);
    let health = app.state.health(member, now);
    let own = app.own.contains_key(&(room.info.code.clone(), member.info.id.clone()));
    let fields = facts(room, member, own, now).into_iter().filter(|(_, value)| !value.is_empty());
    let mut lines = vec![Line::from(vec![
        Span::styled(fit("Status", 11), theme.dim()),
        Span::styled(format!("{} {}", theme.symbol(health), health.word()), theme.health(health)),
    ])];
    lines.extend(fields.map(|(label, value)| {
        let value = theme.fit(&value, columns.saturating_sub(11)).trim_end().to_owned();
        Line::from(vec![Span::styled(fit(label, 11), theme.dim()), Span::raw(value)])
    }));
    lines
}

fn facts(room: &Room, member: &Member, own: bool, now: u64) -> Vec<(&'static str, String)> {
    let (info, stats) = (&member.info, &member.stats);
    let ago = |at: u64| format!("{} ago", span(now.saturating_sub(at)));
    let first = stats.ttft(now).map_or("-".to_owned(), brief);
    let slow = stats.ttft_p95().map(|millis| format!(" (p95: {})", brief(millis))).unwrap_or_default();
    let rate = stats.tokens_per_second(now).map_or("-".to_owned(), speed);
    vec![
        ("Name", member.name.clone()),
        ("Id", clean(&info.id)),
        ("Room", format!("{} {}", room.info.code, room.name)),
        ("Model", member.model.clone()),
        ("Models", clean(&info.models.join(", "))),
        ("Aliases", clean(&info.aliases.join(", "))),
        (
            "Requests",
            format!(
                "{} of {} in flight, {} seen, {} failed",
                member.in_flight(),
                info.concurrency,
                stats.requests,
                stats.errors
            ),
        ),
        ("Speed", format!("first token {first}{slow}, {rate} tokens/s")),
        ("Connection", connection(info, now)),
        ("Seen", format!("{}, joined {}", ago(info.last_seen), ago(info.joined_at))),
        ("Endpoint", clean(&info.endpoint)),
        ("Takes", takes(info)),
        ("Machine", machine(info)),
        ("Runs", if own { "in this monitor (*): press l to leave".into() } else { String::new() }),
        ("Settings", if info.config.has_instructions { "with instructions".into() } else { String::new() }),
    ]
}

fn connection(info: &Participant, now: u64) -> String {
    let connection = &info.connection;
    match (connection.is_direct(), connection.connected, connection.last_tunnel_seen_at) {
        (true, ..) => "direct, called by the hub".into(),
        (_, false, _) => "tunnel closed".into(),
        (_, true, Some(at)) => format!("tunnel, last message {} ago", span(now.saturating_sub(at))),
        (_, true, None) => "tunnel".into(),
    }
}

fn takes(info: &Participant) -> String {
    let can = |support: Support| match support {
        Support::Supported => "yes",
        Support::Unsupported => "no",
        Support::Unknown => "unknown",
    };
    let capabilities = info.capabilities;
    let (chat, responses) = (can(capabilities.chat_completions), can(capabilities.open_responses));
    let ollama = if capabilities.ollama == Support::Supported { ", Ollama's own API" } else { "" };
    format!("{} at once; chat {chat}, responses {responses}{ollama}", info.concurrency)
}

fn machine(info: &Participant) -> String {
    let specs = &info.specs;
    let mut parts: Vec<String> = specs.gpu.iter().map(|gpu| clean(gpu)).collect();
    parts.extend(specs.vram.as_ref().map(|gb| format!("{gb} GB VRAM")));
    parts.extend(specs.cpu.iter().map(|cpu| clean(cpu)));
    parts.extend(specs.ram.as_ref().or(specs.memory_gb.as_ref()).map(|gb| format!("{gb} GB RAM")));
    parts.join(", ")
}
