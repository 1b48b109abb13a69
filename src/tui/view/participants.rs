//! The participants of the shown rooms, and their status. Only the visible part of a long list is drawn.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::scroll::first_visible;
use super::theme::Theme;
use crate::monitor::model::{Health, Member, Room};
use crate::monitor::text::{brief, clean, count, fit, span, speed};
use crate::monitor::words::{FAILED, FIRST_TOKEN, IN_FLIGHT, MODEL, P95, REQUESTS, TOKENS_PER_SECOND, Word, pane};
use crate::tui::app::{App, Order, Pane};

/// A line of the list.
enum Row<'a> {
    Heading(&'a Room),
    Member(&'a Room, &'a Member),
    Empty(&'a Room),
}

/// Draws the participants as a pane.
pub fn draw(frame: &mut Frame<'_>, area: Rect, app: &App, theme: Theme, now: u64) {
    let focused = app.pane == Pane::Participants;
    let rows = rows(app, now);
    let people = rows.iter().filter(|row| matches!(row, Row::Member(..))).count();
    let only = app.only_room.as_ref().map(|code| format!(" in {code}")).unwrap_or_default();
    let order = if app.order == Order::Trouble { ", trouble first" } else { "" };
    let block = theme.block(&format!("{} {people}{only}{order}", pane::PARTICIPANTS), focused);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let layout = ColumnLayout::new(usize::from(inner.width));
    let height = usize::from(inner.height.saturating_sub(1));
    let chosen = app.member(now).map(|(room, member)| (room.info.code.as_str(), member.info.id.as_str()));
    let is_chosen =
        |row: &Row<'_>| matches!(row, Row::Member(r, m) if Some((r.info.code.as_str(), m.info.id.as_str())) == chosen);
    let at = rows.iter().position(is_chosen).unwrap_or(0);
    let first = if at <= height / 2 { 0 } else { first_visible(at, rows.len(), height) };
    let mut lines = vec![Line::styled(layout.heads(), theme.head())];
    for row in rows.iter().skip(first).take(height) {
        let line = layout.line(row, app, theme, now);
        lines.push(if is_chosen(row) { line.patch_style(theme.selected(focused)) } else { line });
    }
    frame.render_widget(Paragraph::new(lines), inner);
}

/// The lines that all participants fill, with the border and the headings.
pub fn lines(app: &App, now: u64) -> u16 {
    u16::try_from(rows(app, now).len() + 3).unwrap_or(u16::MAX)
}

fn rows(app: &App, now: u64) -> Vec<Row<'_>> {
    let rooms = app.shown_rooms();
    let heads = rooms.len() > 1;
    let mut rows = Vec::new();
    for room in rooms {
        if heads {
            rows.push(Row::Heading(room));
        }
        if room.members.is_empty() {
            rows.push(Row::Empty(room));
        }
        rows.extend(app.members(room, now).into_iter().map(|member| Row::Member(room, member)));
    }
    rows
}

/// Width of the column of the status, with a space after it.
const STATUS: usize = Health::WIDTH + 1;
/// The least columns for name and model together, and the most.
const NAMES: (usize, usize) = (22, 80);
/// From this many columns on, headings are written in full.
const FULL_HEADINGS: usize = 100;

/// A column after the model.
struct Column {
    name: Word,
    /// Its width with the gap before it: with the short heading, with the full one.
    widths: (usize, usize),
    /// Columns of a lower rank are shown first where there is little width.
    rank: u8,
    value: fn(&Member, Theme, u64) -> String,
}

/// In the order in which they are shown.
const COLUMNS: [Column; 9] = [
    Column { name: IN_FLIGHT, widths: (7, 10), rank: 2, value: |m, _, _| count(m.in_flight().into()) },
    Column { name: REQUESTS, widths: (6, 9), rank: 3, value: |m, _, _| count(m.stats.requests) },
    Column { name: FAILED, widths: (7, 7), rank: 4, value: |m, _, _| count(m.stats.errors) },
    Column { name: FIRST_TOKEN, widths: (6, 12), rank: 0, value: |m, _, now| or_none(m.stats.ttft(now), brief) },
    Column { name: P95, widths: (6, 7), rank: 6, value: |m, _, _| or_none(m.stats.ttft_p95(), brief) },
    Column {
        name: TOKENS_PER_SECOND,
        widths: (6, 9),
        rank: 1,
        value: |m, _, now| or_none(m.stats.tokens_per_second(now), speed),
    },
    Column {
        name: Word { full: "last 15 min", short: "last 15 min" },
        widths: (17, 17),
        rank: 7,
        value: |m, theme, _| theme.course(&m.stats.minutes, 15),
    },
    Column {
        name: Word { full: "Seen", short: "Seen" },
        widths: (6, 6),
        rank: 5,
        value: |m, _, now| span(now.saturating_sub(m.info.last_seen)),
    },
    Column {
        name: Word { full: "Endpoint", short: "Endpoint" },
        widths: (32, 32),
        rank: 8,
        value: |m, theme, _| theme.fit(&clean(&m.info.endpoint), 30),
    },
];

fn or_none<T>(value: Option<T>, show: fn(T) -> String) -> String {
    value.map_or("-".to_owned(), show)
}

/// The columns that fit, and their widths.
struct ColumnLayout {
    all: usize,
    name: usize,
    model: usize,
    is_full: bool,
    shown: Vec<&'static Column>,
}

impl ColumnLayout {
    fn new(all: usize) -> Self {
        let is_full = all >= FULL_HEADINGS;
        let mut left = all.saturating_sub(2 + STATUS + 2);
        let mut by_rank: Vec<&Column> = COLUMNS.iter().collect();
        by_rank.sort_by_key(|column| column.rank);
        let mut most = 0;
        for column in by_rank {
            let Some(rest) = left.checked_sub(column.width(is_full)).filter(|rest| *rest >= NAMES.0 - 2) else { break };
            (left, most) = (rest, column.rank + 1);
        }
        let names = left.min(NAMES.1);
        let shown = COLUMNS.iter().filter(|column| column.rank < most).collect();
        ColumnLayout { all, name: names - names * 2 / 5, model: names * 2 / 5, is_full, shown }
    }

    fn heads(&self) -> String {
        let (name, model) = (fit("Name", self.name), fit(MODEL, self.model));
        let mut heads = format!("  {:<STATUS$}{name} {model} ", "Status");
        for column in &self.shown {
            let (name, wide) =
                (if self.is_full { column.name.full } else { column.name.short }, column.width(self.is_full));
            heads += &if column.name.full == "Endpoint" { format!("  {name}") } else { format!("{name:>wide$}") };
        }
        heads
    }

    fn line(&self, row: &Row<'_>, app: &App, theme: Theme, now: u64) -> Line<'static> {
        match row {
            Row::Heading(room) => {
                let queued = if room.queued > 0 { format!("  {} queued", room.queued) } else { String::new() };
                let text = format!("{} {}{queued}", room.info.code, theme.displayable(&room.name));
                Line::styled(fit(&text, self.all), theme.head())
            }
            Row::Empty(room) => {
                let text = match &room.refused {
                    Some(why) => why.as_str(),
                    None if room.listed => "No participants yet. Press j to join.",
                    None => "Loading...",
                };
                Line::styled(format!("  {}", theme.fit(text, self.all.saturating_sub(2))), theme.dim())
            }
            Row::Member(room, member) => self.member(room, member, app, theme, now),
        }
    }

    fn member(&self, room: &Room, member: &Member, app: &App, theme: Theme, now: u64) -> Line<'static> {
        let now = app.state.hub_time(now);
        let health = app.state.health(member, now);
        let own = app.own.contains_key(&(room.info.code.clone(), member.info.id.clone()));
        let name = if own { format!("*{}", member.name) } else { member.name.clone() };
        let others = member.info.models.iter().filter(|model| **model != member.info.model).count();
        let model = if others > 0 { format!("{} +{others}", member.model) } else { member.model.clone() };
        let mut cells = String::new();
        for column in &self.shown {
            let value = (column.value)(member, theme, now);
            let gap = column.width(self.is_full).saturating_sub(crate::monitor::text::width(&value));
            cells.extend(std::iter::repeat_n(' ', gap));
            cells += &value;
        }
        Line::from(vec![
            Span::styled(format!("{} {:<STATUS$}", theme.symbol(health), health.word()), theme.health(health)),
            Span::styled(theme.fit(&name, self.name), Style::new()),
            Span::styled(format!(" {} ", theme.fit(&model, self.model)), theme.dim()),
            Span::raw(cells),
        ])
    }
}

impl Column {
    fn width(&self, is_full: bool) -> usize {
        if is_full { self.widths.1 } else { self.widths.0 }
    }
}
