//! The participants of the shown rooms, and their health. Only the visible part of a long list is drawn.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::scroll::first_visible;
use super::theme::Theme;
use crate::monitor::model::{Health, Member, Room};
use crate::monitor::text::{brief, count, fit, span, speed};
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
    let block = theme.block(&format!("Participants {people}{only}{order}"), focused);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let columns = Columns::new(usize::from(inner.width));
    let height = usize::from(inner.height.saturating_sub(1));
    let chosen = app.member(now).map(|(room, member)| (room.info.code.as_str(), member.info.id.as_str()));
    let is_chosen =
        |row: &Row<'_>| matches!(row, Row::Member(r, m) if Some((r.info.code.as_str(), m.info.id.as_str())) == chosen);
    let at = rows.iter().position(is_chosen).unwrap_or(0);
    let first = if at <= height / 2 { 0 } else { first_visible(at, rows.len(), height) };
    let mut lines = vec![Line::styled(columns.heads(), theme.head())];
    for row in rows.iter().skip(first).take(height) {
        let line = columns.line(row, app, theme, now);
        lines.push(if is_chosen(row) { line.patch_style(theme.selected(focused)) } else { line });
    }
    frame.render_widget(Paragraph::new(lines), inner);
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

/// Width of the column of health, with a space after it.
const HEALTH: usize = Health::WIDTH + 1;
/// Width of each of the columns of the first token's time and of the speed.
const SPEED: usize = 7;

/// The columns that fit, and their widths.
struct Columns {
    all: usize,
    name: usize,
    model: usize,
    counts: bool,
    speed: bool,
    seen: bool,
}

impl Columns {
    fn new(all: usize) -> Self {
        let (speed, counts, seen) = (all >= 50, all >= 68, all >= 76);
        let fixed = 2 + HEALTH + 4 + SPEED;
        let more = usize::from(speed) * SPEED + usize::from(counts) * 12 + usize::from(seen) * 6;
        let left = all.saturating_sub(fixed + more + 2);
        Columns { all, name: left - left * 2 / 5, model: left * 2 / 5, counts, speed, seen }
    }

    fn heads(&self) -> String {
        let name = fit("NAME", self.name);
        let mut heads = format!("  {:<HEALTH$}{name} {} {:>4}", "HEALTH", fit("MODEL", self.model), "NOW");
        if self.counts {
            heads += &format!("{:>6}{:>6}", "REQ", "ERR");
        }
        heads += &format!("{:>SPEED$}", "FIRST");
        if self.speed {
            heads += &format!("{:>SPEED$}", "TOK/S");
        }
        if self.seen {
            heads += &format!("{:>6}", "SEEN");
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
        let stats = &member.stats;
        let mut numbers = format!("{:>4}", count(member.in_flight().into()));
        if self.counts {
            numbers += &format!("{:>6}{:>6}", count(stats.requests), count(stats.errors));
        }
        numbers += &format!("{:>SPEED$}", stats.ttft(now).map_or("-".into(), brief));
        if self.speed {
            numbers += &format!("{:>SPEED$}", stats.tokens_per_second(now).map_or("-".into(), speed));
        }
        if self.seen {
            numbers += &format!("{:>6}", span(now.saturating_sub(member.info.last_seen)));
        }
        let model = theme.fit(&member.model, self.model);
        Line::from(vec![
            Span::styled(format!("{} {:<HEALTH$}", theme.symbol(health), health.word()), theme.health(health)),
            Span::styled(theme.fit(&name, self.name), Style::new()),
            Span::styled(format!(" {model} "), theme.dim()),
            Span::raw(numbers),
        ])
    }
}
