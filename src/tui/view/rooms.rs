//! The list of rooms, and which of them are watched.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::scroll::first_visible;
use super::theme::Theme;
use crate::monitor::model::Room;
use crate::monitor::text::{brief, count, fit, speed};
use crate::monitor::words::{FAILED, FIRST_TOKEN, IN_FLIGHT, QUEUED, REQUESTS, TOKENS_PER_SECOND, Word, pane};
use crate::tui::app::{App, Pane};

/// Draws the rooms as a pane.
pub fn draw(frame: &mut Frame<'_>, area: Rect, app: &App, theme: Theme, now: u64) {
    let focused = app.pane == Pane::Rooms;
    let rooms = app.rooms();
    let watched = rooms.iter().filter(|room| room.watched).count();
    let block = theme.block(&format!("{}, {watched}/{} watched", pane::ROOMS, rooms.len()), focused);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    if rooms.is_empty() {
        return frame.render_widget(Paragraph::new("No rooms yet. Press n to create one.").style(theme.dim()), inner);
    }
    let chosen = app.room().map(|room| room.info.code.as_str());
    let at = rooms.iter().position(|room| Some(room.info.code.as_str()) == chosen).unwrap_or(0);
    let mut lines = Vec::new();
    let columns = usize::from(inner.width);
    if columns >= WITH_FIGURES {
        lines.push(Line::styled(heads(columns), theme.head()));
    }
    let rows = usize::from(inner.height).saturating_sub(lines.len());
    let first = first_visible(at, rooms.len(), rows);
    let shown = rooms.iter().enumerate().skip(first).take(rows);
    lines.extend(shown.map(|(n, room)| {
        let line = line(room, app, theme, now, columns);
        if n == at { line.patch_style(theme.selected(focused)) } else { line }
    }));
    frame.render_widget(Paragraph::new(lines), inner);
}

/// The lines that all rooms fill in a pane of that width, with the border and the headings.
pub fn lines(app: &App, width: u16) -> u16 {
    let heads = usize::from(usize::from(width.saturating_sub(2)) >= WITH_FIGURES);
    u16::try_from(app.state.rooms.len().max(1) + heads + 2).unwrap_or(u16::MAX)
}

/// From this many columns on, the list has the rooms' figures.
const WITH_FIGURES: usize = 60;
/// Columns of name and code, and what is before them.
const NAMES: usize = 3 + 1 + 6 + 1 + 20;

/// A column of figures.
struct Column {
    name: Word,
    width: usize,
    value: fn(&Room, u64) -> String,
}

/// The most important ones first, which is their order too.
const COLUMNS: [Column; 6] = [
    Column { name: IN_FLIGHT, width: 10, value: |room, _| count(room.stats.in_flight().into()) },
    Column { name: QUEUED, width: 8, value: |room, _| count(room.queued) },
    Column { name: REQUESTS, width: 9, value: |room, _| count(room.stats.requests) },
    Column { name: FAILED, width: 7, value: |room, _| count(room.stats.errors) },
    Column { name: FIRST_TOKEN, width: 12, value: |room, now| room.stats.ttft(now).map_or("-".into(), brief) },
    Column {
        name: TOKENS_PER_SECOND,
        width: 9,
        value: |room, now| room.stats.tokens_per_second(now).map_or("-".into(), speed),
    },
];

/// The columns of figures that fit.
fn figures(columns: usize) -> impl Iterator<Item = &'static Column> {
    let mut left = if columns < WITH_FIGURES { 0 } else { columns.saturating_sub(NAMES + 7) };
    COLUMNS.iter().take_while(move |column| match left.checked_sub(column.width) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    })
}

fn heads(columns: usize) -> String {
    let figures: String = figures(columns).map(|column| format!("{:>1$}", column.name.full, column.width)).collect();
    let left = columns.saturating_sub(figures.len() + "    Code   ".len() + "Up".len() + 1);
    format!("    Code   {} Up{figures}", fit("Name", left))
}

fn line(room: &Room, app: &App, theme: Theme, now: u64, columns: usize) -> Line<'static> {
    let mark = match (&room.refused, room.watched) {
        (Some(_), true) => "[!]",
        (_, true) => "[x]",
        (_, false) => "[ ]",
    };
    let now = app.state.hub_time(now);
    let up = room.members.values().filter(|member| app.state.health(member, now).is_up()).count();
    let up_of_all = match (room.refused.is_some(), room.listed) {
        (true, _) => "locked".to_owned(),
        (false, true) => format!("{up}/{}", room.count()),
        (false, false) => room.count().to_string(),
    };
    let only_room = if app.only_room.as_ref() == Some(&room.info.code) { '>' } else { ' ' };
    let figures: String = match &room.refused {
        Some(_) => String::new(),
        None => figures(columns).map(|column| format!("{:>1$}", (column.value)(room, now), column.width)).collect(),
    };
    let left = columns.saturating_sub(3 + 1 + 6 + 1 + 1 + up_of_all.len() + figures.len());
    let style = if room.refused.is_some() { theme.warning() } else { theme.dim() };
    Line::from(vec![
        Span::raw(format!("{mark} ")),
        Span::styled(format!("{:<6}", fit(&room.info.code, 6)), theme.head()),
        Span::raw(format!("{only_room}{} ", theme.fit(&room.name, left))),
        Span::styled(up_of_all, style),
        Span::raw(figures),
    ])
}
