//! Draws the screen: pure functions of the [`App`].

mod cards;
mod charts;
mod chat;
mod dialogs;
mod events;
mod layout;
mod participants;
mod queue;
mod rooms;
mod scroll;
#[cfg(test)]
mod tests;
mod theme;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use layout::NARROW;
pub use theme::Theme;

use super::app::{App, Pane};
use crate::monitor::state::Link;
use crate::monitor::text::{clock, span, width};
use crate::monitor::words::{action, link, pane};

/// Below this size (columns, rows) only a note that the terminal is too small is shown.
const MIN_SIZE: (u16, u16) = (40, 10);

/// The footer's keys, the most important ones first.
const KEYS: &[(&str, &str)] = &[
    ("Tab", "pane"),
    ("Space", "watch"),
    ("Enter", "more"),
    ("c", pane::CHAT),
    ("n", action::NEW_ROOM),
    ("j", "join"),
    ("?", "help"),
    ("q", "quit"),
    ("l", "leave"),
    ("w", pane::QUEUE),
    ("m", pane::ACTIVITY),
    ("/", action::FILTER),
    ("f", "kinds"),
    ("s", "sort"),
    ("p", "password"),
    ("r", "refresh"),
    ("Esc", "show all"),
];
const CHAT_KEYS: &[(&str, &str)] = &[
    ("Enter", action::SEND),
    ("Esc", "stop, close"),
    ("Up, Down, PgUp, PgDn", "scroll"),
    ("Tab", "pane"),
    ("Ctrl-T", "who answers"),
    ("Ctrl-R", action::TRY_AGAIN),
    ("Ctrl-N", action::NEW_CHAT),
    ("Ctrl-J", "new line"),
    ("Ctrl-U, Ctrl-W", "delete"),
];

/// Draws the whole screen.
pub fn draw(frame: &mut Frame<'_>, app: &App, theme: Theme, now: u64) {
    let area = frame.area();
    if area.width < MIN_SIZE.0 || area.height < MIN_SIZE.1 {
        frame.render_widget(Paragraph::new("The terminal is too small."), area);
        return;
    }
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)]).areas(area);
    frame.render_widget(Paragraph::new(header(app, theme, now, head.width)), head);
    layout::draw(frame, body, app, theme, now);
    frame.render_widget(Paragraph::new(footer(app, theme, foot.width)), foot);
    dialogs::draw(frame, body, app, theme, now);
}

fn header(app: &App, theme: Theme, now: u64, columns: u16) -> Line<'static> {
    let state = &app.state;
    let tally = state.tally(now);
    let (link, style) = link_words(&state.link, theme, now);
    let right = match columns {
        ..NARROW => format!(" {} {} ", tally.words("up", "off", " "), clock(now)),
        _ => format!("  {}  {} ", tally.words("online", "offline", "  "), clock(now)),
    };
    let left = usize::from(columns).saturating_sub(8 + 2 + width(&link) + width(&right));
    let url = crate::monitor::text::clean(&state.url);
    let left = match left {
        ..12 => " ".to_owned(),
        _ => format!(" gambi  {}  ", theme.fit(&url, left.min(width(&url)))),
    };
    let gap = usize::from(columns).saturating_sub(width(&left) + width(&link) + width(&right));
    Line::from(vec![
        Span::styled(left, theme.head()),
        Span::styled(link, style),
        Span::raw(" ".repeat(gap)),
        Span::styled(right, theme.dim()),
    ])
}

fn link_words(link: &Link, theme: Theme, now: u64) -> (String, Style) {
    match link {
        Link::Connecting => (link::CONNECTING.into(), theme.warning()),
        Link::Up => (link::UP.into(), theme.good()),
        Link::Lost { retry_at: Some(at), .. } => (
            format!("{}, retry in {}", link::LOST.to_uppercase(), span(at.saturating_sub(now).saturating_add(999))),
            theme.bad(),
        ),
        Link::Lost { retry_at: None, .. } => (link::LOST.to_uppercase(), theme.bad()),
    }
}

/// The notice if there is one, else the most important keys.
fn footer(app: &App, theme: Theme, columns: u16) -> Line<'static> {
    if let Some(notice) = &app.notice {
        let style = if notice.failed { theme.bad() } else { theme.good() };
        return Line::styled(format!(" {}", theme.displayable(&notice.text)), style);
    }
    let keys = if app.pane == Pane::Chat { CHAT_KEYS } else { KEYS };
    let mut spans = vec![Span::raw(" ")];
    let mut left = usize::from(columns).saturating_sub(1);
    for &(key, what) in keys {
        let Some(rest) = left.checked_sub(key.len() + what.len() + 3) else { break };
        left = rest;
        spans.extend([
            Span::styled(key, theme.head()),
            Span::styled(format!(" {}  ", what.to_lowercase()), theme.dim()),
        ]);
    }
    Line::from(spans)
}
