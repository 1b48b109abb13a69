//! Which part of the screen is where, by the size of the terminal.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};

use super::theme::Theme;
use super::{cards, charts, chat, events, participants, queue, rooms};
use crate::tui::app::{App, Pane};

/// Below this many columns, rooms and participants are not side by side: only the focused one is shown.
pub const NARROW: u16 = 60;
/// Below this many rows, a chat that has the focus is shown alone.
const LOW: u16 = 16;
/// From this size on, there are two columns: lists, and what is to be told of what is selected in them.
const WIDE: (u16, u16) = (120, 22);
/// From this width on, an open chat has a third column; below, it has the second one.
const THREE_COLUMNS: u16 = 180;
/// The least and the most width of the details.
const DETAILS: (u16, u16) = (48, 84);
/// The least rows of the charts: below, the details are shortened.
const LEAST_CHARTS: u16 = 8;

/// Draws all parts.
pub fn draw(frame: &mut Frame<'_>, area: Rect, app: &App, theme: Theme, now: u64) {
    if app.pane == Pane::Chat && area.height < LOW {
        chat::draw(frame, area, app, theme, now);
    } else if area.width >= WIDE.0 && area.height >= WIDE.1 {
        wide(frame, area, app, theme, now);
    } else {
        small(frame, area, app, theme, now);
    }
}

/// The lists above, events or the chat below.
fn small(frame: &mut Frame<'_>, area: Rect, app: &App, theme: Theme, now: u64) {
    // What has the focus is larger.
    let rows = match app.pane {
        Pane::Chat => area.height.saturating_sub(6).max(area.height * 2 / 3),
        Pane::Events => area.height * 3 / 5,
        _ => (area.height / 3).clamp(4, 20),
    };
    let [above, below] = Layout::vertical([Constraint::Fill(1), Constraint::Length(rows)]).areas(area);
    let rooms_width = match area.width {
        ..NARROW if app.pane == Pane::Rooms => area.width,
        ..NARROW => 0,
        columns => (columns * 3 / 10).min(38),
    };
    let [left, right] = Layout::horizontal([Constraint::Length(rooms_width), Constraint::Fill(1)]).areas(above);
    rooms::draw(frame, left, app, theme, now);
    participants::draw(frame, right, app, theme, now);
    match app.chats.room.is_some() && app.pane != Pane::Events {
        true => chat::draw(frame, below, app, theme, now),
        false => events::draw(frame, below, app, theme),
    }
}

fn wide(frame: &mut Frame<'_>, area: Rect, app: &App, theme: Theme, now: u64) {
    let details_width = (area.width / 3).clamp(DETAILS.0, DETAILS.1);
    let has_chat = app.chats.room.is_some();
    let (second, third) = match (has_chat, area.width >= THREE_COLUMNS) {
        (false, _) => (details_width, 0),
        (true, false) => (0, area.width / 2),
        (true, true) => (DETAILS.0, area.width * 2 / 5),
    };
    let columns = [Constraint::Fill(1), Constraint::Length(second), Constraint::Length(third)];
    let [left, middle, right] = Layout::horizontal(columns).areas(area);
    lists(frame, left, app, theme, now);
    if second > 0 {
        details(frame, middle, app, theme, now);
    }
    if has_chat {
        chat::draw(frame, right, app, theme, now);
    }
}

/// Rooms, participants and events. The lists are as high as they need to be, so that events have the rest.
fn lists(frame: &mut Frame<'_>, area: Rect, app: &App, theme: Theme, now: u64) {
    let rooms_height = rooms::lines(app, area.width).clamp(4, area.height / 4);
    let rest = area.height - rooms_height;
    let needed = participants::lines(app, now);
    let events_height = match app.pane {
        Pane::Events => rest * 3 / 5,
        _ => rest.saturating_sub(needed).clamp(rest / 3, rest * 2 / 3),
    };
    let rows = [Constraint::Length(rooms_height), Constraint::Fill(1), Constraint::Length(events_height)];
    let [top, middle, bottom] = Layout::vertical(rows).areas(area);
    rooms::draw(frame, top, app, theme, now);
    participants::draw(frame, middle, app, theme, now);
    events::draw(frame, bottom, app, theme);
}

/// The selected participant, and the queue and the charts of its room.
fn details(frame: &mut Frame<'_>, area: Rect, app: &App, theme: Theme, now: u64) {
    let queue_height = queue::height(app.charted(now));
    let needed = cards::lines(app, theme, now, usize::from(area.width.saturating_sub(2))).len() + 2;
    let most = area.height.saturating_sub(queue_height + LEAST_CHARTS);
    let card_height = u16::try_from(needed).unwrap_or(u16::MAX).min(most);
    let rows = [Constraint::Length(card_height), Constraint::Length(queue_height), Constraint::Fill(1)];
    let [card, waiting, chart] = Layout::vertical(rows).areas(area);
    cards::draw(frame, card, app, theme, now);
    queue::draw(frame, waiting, app, theme, now);
    charts::draw(frame, chart, app, theme, now);
}
