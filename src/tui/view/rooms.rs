//! The list of rooms, and which of them are watched.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::scroll::first_visible;
use super::theme::Theme;
use crate::monitor::model::Room;
use crate::monitor::text::fit;
use crate::tui::app::{App, Pane};

/// Draws the rooms as a pane.
pub fn draw(frame: &mut Frame<'_>, area: Rect, app: &App, theme: Theme, now: u64) {
    let focused = app.pane == Pane::Rooms;
    let rooms = app.rooms();
    let watched = rooms.iter().filter(|room| room.watched).count();
    let block = theme.block(&format!("Rooms, {watched}/{} watched", rooms.len()), focused);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    if rooms.is_empty() {
        return frame.render_widget(Paragraph::new("No rooms yet. Press n to create one.").style(theme.dim()), inner);
    }
    let chosen = app.room().map(|room| room.info.code.as_str());
    let at = rooms.iter().position(|room| Some(room.info.code.as_str()) == chosen).unwrap_or(0);
    let rows = usize::from(inner.height);
    let first = first_visible(at, rooms.len(), rows);
    let shown = rooms.iter().enumerate().skip(first).take(rows);
    let lines: Vec<Line<'_>> = shown
        .map(|(n, room)| {
            let line = line(room, app, theme, now, usize::from(inner.width));
            if n == at { line.patch_style(theme.selected(focused)) } else { line }
        })
        .collect();
    frame.render_widget(Paragraph::new(lines), inner);
}

fn line(room: &Room, app: &App, theme: Theme, now: u64, columns: usize) -> Line<'static> {
    let mark = match (&room.refused, room.watched) {
        (Some(_), true) => "[!]",
        (_, true) => "[x]",
        (_, false) => "[ ]",
    };
    let now = app.state.hub_time(now);
    let up = room.members.values().filter(|member| app.state.health(member, now).is_up()).count();
    let count = match (room.refused.is_some(), room.listed) {
        (true, _) => "locked".to_owned(),
        (false, true) => format!("{up}/{}", room.count()),
        (false, false) => room.count().to_string(),
    };
    let only_room = if app.only_room.as_ref() == Some(&room.info.code) { '>' } else { ' ' };
    let left = columns.saturating_sub(3 + 1 + 6 + 1 + 1 + count.len());
    let style = if room.refused.is_some() { theme.warning() } else { theme.dim() };
    Line::from(vec![
        Span::raw(format!("{mark} ")),
        Span::styled(format!("{:<6}", fit(&room.info.code, 6)), theme.head()),
        Span::raw(format!("{only_room}{} ", theme.fit(&room.name, left))),
        Span::styled(count, style),
    ])
}
