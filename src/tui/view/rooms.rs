//! The rooms, and which of them are watched.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::first_shown;
use super::look::Look;
use crate::monitor::people::{Health, Room};
use crate::monitor::text::fit;
use crate::tui::app::{App, Pane};

/// Draws them.
pub fn draw(frame: &mut Frame<'_>, area: Rect, app: &App, look: Look, now: u64) {
    let here = app.pane == Pane::Rooms;
    let rooms = app.rooms();
    let watched = rooms.iter().filter(|room| room.watched).count();
    let block = look.block(&format!("Rooms, {watched} of {} watched", rooms.len()), here);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    if rooms.is_empty() {
        return frame.render_widget(Paragraph::new("There are none. Press n to make one.").style(look.dim()), inner);
    }
    let chosen = app.room().map(|room| room.told.code.as_str());
    let at = rooms.iter().position(|room| Some(room.told.code.as_str()) == chosen).unwrap_or(0);
    let rows = usize::from(inner.height);
    let first = first_shown(at, rooms.len(), rows);
    let shown = rooms.iter().enumerate().skip(first).take(rows);
    let lines: Vec<Line<'_>> = shown
        .map(|(n, room)| {
            let line = line(room, app, look, now, usize::from(inner.width));
            if n == at { line.patch_style(look.selected(here)) } else { line }
        })
        .collect();
    frame.render_widget(Paragraph::new(lines), inner);
}

fn line(room: &Room, app: &App, look: Look, now: u64, columns: usize) -> Line<'static> {
    let mark = match (&room.refused, room.watched) {
        (Some(_), true) => "[!]",
        (_, true) => "[x]",
        (_, false) => "[ ]",
    };
    let now = app.state.hub_time(now);
    let up = room.members.values().filter(|member| member.health(now) < Health::Unreached).count();
    let count = match (room.refused.is_some(), room.looked) {
        (true, _) => "locked".to_owned(),
        (false, true) => format!("{up}/{}", room.count()),
        (false, false) => room.count().to_string(),
    };
    let alone = if app.alone.as_ref() == Some(&room.told.code) { '>' } else { ' ' };
    let left = columns.saturating_sub(3 + 1 + 6 + 1 + 1 + count.len());
    let style = if room.refused.is_some() { look.warning() } else { look.dim() };
    Line::from(vec![
        Span::raw(format!("{mark} ")),
        Span::styled(format!("{:<6}", fit(&room.told.code, 6)), look.head()),
        Span::raw(format!("{alone}{} ", look.fit(&room.name, left))),
        Span::styled(count, style),
    ])
}
