//! Draws the screen: pure functions of the [`App`].

mod cards;
mod charts;
mod chat;
mod dialogs;
mod events;
mod participants;
mod rooms;
mod scroll;
#[cfg(test)]
mod tests;
mod theme;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

pub use theme::Theme;

use super::app::{App, Pane};
use crate::monitor::state::Link;
use crate::monitor::text::{clock, span, width};

/// Below this size (columns, rows) only a note that the terminal is too small is shown.
const MIN_SIZE: (u16, u16) = (40, 10);
/// Below this many columns, rooms and participants are not side by side: only the focused one is shown.
const NARROW: u16 = 60;
/// Below this many rows, a chat that has the focus is shown alone.
const LOW: u16 = 16;
/// From this size on, details and charts have a column of their own.
const WIDE: (u16, u16) = (150, 24);

/// The footer's keys, the most important ones first.
const KEYS: &[(&str, &str)] = &[
    ("Tab", "pane"),
    ("Space", "watch"),
    ("Enter", "more"),
    ("c", "chat"),
    ("n", "new"),
    ("j", "join"),
    ("?", "help"),
    ("q", "quit"),
    ("l", "leave"),
    ("m", "charts"),
    ("/", "filter"),
    ("f", "kinds"),
    ("s", "sort"),
    ("p", "password"),
    ("r", "refresh"),
    ("Esc", "show all"),
];
const CHAT_KEYS: &[(&str, &str)] = &[
    ("Enter", "send"),
    ("Esc", "stop, close"),
    ("Up, Down, PgUp, PgDn", "scroll"),
    ("Tab", "pane"),
    ("Ctrl-T", "who answers"),
    ("Ctrl-R", "try again"),
    ("Ctrl-N", "new chat"),
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
    panes(frame, body, app, theme, now);
    frame.render_widget(Paragraph::new(footer(app, theme, foot.width)), foot);
    dialogs::draw(frame, body, app, theme, now);
}

fn panes(frame: &mut Frame<'_>, area: Rect, app: &App, theme: Theme, now: u64) {
    if app.pane == Pane::Chat && area.height < LOW {
        return chat::draw(frame, area, app, theme, now);
    }
    // The event log is larger while it has the focus.
    let events = match app.pane {
        Pane::Chat => area.height.saturating_sub(6).max(area.height * 2 / 3),
        Pane::Events => area.height * 3 / 5,
        _ => (area.height / 3).clamp(4, 20),
    };
    let [above, below] = Layout::vertical([Constraint::Fill(1), Constraint::Length(events)]).areas(area);
    let wide = area.width >= WIDE.0 && area.height >= WIDE.1;
    let columns = match area.width {
        ..NARROW if app.pane == Pane::Rooms => [Constraint::Fill(1), Constraint::Length(0), Constraint::Length(0)],
        ..NARROW => [Constraint::Length(0), Constraint::Fill(1), Constraint::Length(0)],
        _ if wide => [Constraint::Length(38), Constraint::Fill(1), Constraint::Length(52)],
        columns => [Constraint::Length((columns * 3 / 10).min(38)), Constraint::Fill(1), Constraint::Length(0)],
    };
    let [left, middle, right] = Layout::horizontal(columns).areas(above);
    rooms::draw(frame, left, app, theme, now);
    participants::draw(frame, middle, app, theme, now);
    if wide {
        let [card, charts] = Layout::vertical([Constraint::Fill(1), Constraint::Fill(1)]).areas(right);
        cards::draw(frame, card, app, theme, now);
        charts::draw(frame, charts, app, theme, now);
    }
    if app.chats.room.is_some() && app.pane != Pane::Events {
        return chat::draw(frame, below, app, theme, now);
    }
    events::draw(frame, below, app, theme);
}

fn header(app: &App, theme: Theme, now: u64, columns: u16) -> Line<'static> {
    let state = &app.state;
    let tally = state.tally(now);
    let (link, style) = link(&state.link, theme, now);
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

fn link(link: &Link, theme: Theme, now: u64) -> (String, Style) {
    match link {
        Link::Connecting => ("connecting".into(), theme.warning()),
        Link::Up => ("up".into(), theme.good()),
        Link::Lost { retry_at: Some(at), .. } => {
            (format!("LOST, retry in {}", span(at.saturating_sub(now).saturating_add(999))), theme.bad())
        }
        Link::Lost { retry_at: None, .. } => ("LOST".into(), theme.bad()),
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
        spans.extend([Span::styled(key, theme.head()), Span::styled(format!(" {what}  "), theme.dim())]);
    }
    Line::from(spans)
}
