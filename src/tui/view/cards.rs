//! All about the participant that is selected.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use gambi::proto::management::{ConnectionKind, Participant, Support};

use super::look::Look;
use crate::monitor::people::{Member, Room};
use crate::monitor::text::{brief, clean, fit, span, speed};
use crate::tui::app::App;

/// Draws it as a part of the screen.
pub fn draw(frame: &mut Frame<'_>, area: Rect, app: &App, look: Look, now: u64) {
    let block = look.block("Participant", false);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    frame.render_widget(Paragraph::new(lines(app, look, now, usize::from(inner.width))), inner);
}

/// What is known of the participant that is selected.
pub fn lines(app: &App, look: Look, now: u64, columns: usize) -> Vec<Line<'static>> {
    let Some((room, member)) = app.member(now) else {
        return vec![Line::styled("Nobody is selected.", look.dim())];
    };
    let now = app.state.hub_time(now);
    let health = member.health(now);
    let own = app.own.contains_key(&(room.told.code.clone(), member.told.id.clone()));
    let fields = facts(room, member, own, now).into_iter().filter(|(_, value)| !value.is_empty());
    let mut lines = vec![Line::from(vec![
        Span::styled(fit("Health", 11), look.dim()),
        Span::styled(format!("{} {}", look.sign(health), health.word()), look.health(health)),
    ])];
    lines.extend(fields.map(|(label, value)| {
        let value = look.fit(&value, columns.saturating_sub(11)).trim_end().to_owned();
        Line::from(vec![Span::styled(fit(label, 11), look.dim()), Span::raw(value)])
    }));
    lines
}

fn facts(room: &Room, member: &Member, own: bool, now: u64) -> Vec<(&'static str, String)> {
    let (told, figures) = (&member.told, &member.figures);
    let ago = |at: u64| format!("{} ago", span(now.saturating_sub(at)));
    let first = figures.ttft(now).map_or("-".to_owned(), brief);
    let slow = figures.slow_ttft().map(|millis| format!(" (95 in 100: {})", brief(millis))).unwrap_or_default();
    let rate = figures.speed(now).map_or("-".to_owned(), speed);
    vec![
        ("Name", member.name.clone()),
        ("Id", clean(&told.id)),
        ("Room", format!("{} {}", room.told.code, room.name)),
        ("Model", member.model.clone()),
        ("Aliases", clean(&told.aliases.join(", "))),
        ("Requests", format!("{} now, {} seen, {} failed", member.in_flight(), figures.requests, figures.errors)),
        ("Speed", format!("first token {first}{slow}, {rate} tokens/s")),
        ("Connection", connection(told, now)),
        ("Seen", format!("{}, joined {}", ago(told.last_seen), ago(told.joined_at))),
        ("Endpoint", clean(&told.endpoint)),
        ("Takes", takes(told)),
        ("Machine", machine(told)),
        ("Runs", if own { "* in this monitor: l leaves".into() } else { String::new() }),
        ("Settings", if told.config.has_instructions { "with instructions".into() } else { String::new() }),
    ]
}

fn connection(told: &Participant, now: u64) -> String {
    let connection = &told.connection;
    match (connection.kind, connection.connected, connection.last_tunnel_seen_at) {
        (ConnectionKind::Direct, ..) => "called by the hub".into(),
        (_, false, _) => "tunnel closed".into(),
        (_, true, Some(at)) => format!("tunnel, heard {} ago", span(now.saturating_sub(at))),
        (_, true, None) => "tunnel".into(),
    }
}

fn takes(told: &Participant) -> String {
    let can = |support: Support| match support {
        Support::Supported => "yes",
        Support::Unsupported => "no",
        Support::Unknown => "unknown",
    };
    let capabilities = told.capabilities;
    let (chat, responses) = (can(capabilities.chat_completions), can(capabilities.open_responses));
    format!("{} at once; chat {chat}, responses {responses}", told.concurrency)
}

fn machine(told: &Participant) -> String {
    let specs = &told.specs;
    let mut parts: Vec<String> = specs.gpu.iter().map(|gpu| clean(gpu)).collect();
    parts.extend(specs.vram.as_ref().map(|gb| format!("{gb} GB VRAM")));
    parts.extend(specs.cpu.iter().map(|cpu| clean(cpu)));
    parts.extend(specs.ram.as_ref().or(specs.memory_gb.as_ref()).map(|gb| format!("{gb} GB RAM")));
    parts.join(", ")
}
