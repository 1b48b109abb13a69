//! Who is in the rooms that are watched, and how they do. Of a long list, only what is seen is drawn.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::first_shown;
use super::look::Look;
use crate::monitor::people::{Member, Room};
use crate::monitor::text::{brief, count, fit, span, speed};
use crate::tui::app::{App, Order, Pane};

/// A line of the list.
enum Row<'a> {
    Head(&'a Room),
    Member(&'a Room, &'a Member),
    Nobody(&'a Room),
}

/// Draws them.
pub fn draw(frame: &mut Frame<'_>, area: Rect, app: &App, look: Look, now: u64) {
    let here = app.pane == Pane::Participants;
    let rows = rows(app, now);
    let people = rows.iter().filter(|row| matches!(row, Row::Member(..))).count();
    let only = app.alone.as_ref().map(|code| format!(" in {code}")).unwrap_or_default();
    let order = if app.order == Order::Trouble { ", trouble first" } else { "" };
    let block = look.block(&format!("Participants {people}{only}{order}"), here);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let columns = Columns::new(usize::from(inner.width));
    let height = usize::from(inner.height.saturating_sub(1));
    let chosen = app.member(now).map(|(room, member)| (room.told.code.as_str(), member.told.id.as_str()));
    let is_chosen =
        |row: &Row<'_>| matches!(row, Row::Member(r, m) if Some((r.told.code.as_str(), m.told.id.as_str())) == chosen);
    let at = rows.iter().position(is_chosen).unwrap_or(0);
    let first = if at <= height / 2 { 0 } else { first_shown(at, rows.len(), height) };
    let mut lines = vec![Line::styled(columns.heads(), look.head())];
    for row in rows.iter().skip(first).take(height) {
        let line = columns.line(row, app, look, now);
        lines.push(if is_chosen(row) { line.patch_style(look.selected(here)) } else { line });
    }
    frame.render_widget(Paragraph::new(lines), inner);
}

fn rows(app: &App, now: u64) -> Vec<Row<'_>> {
    let rooms = app.shown_rooms();
    let heads = rooms.len() > 1;
    let mut rows = Vec::new();
    for room in rooms {
        if heads {
            rows.push(Row::Head(room));
        }
        if room.members.is_empty() {
            rows.push(Row::Nobody(room));
        }
        rows.extend(app.members(room, now).into_iter().map(|member| Row::Member(room, member)));
    }
    rows
}

/// Which columns there are, and how wide.
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
        let (speed, counts, seen) = (all >= 56, all >= 68, all >= 76);
        let fixed = 2 + 10 + 4 + 8;
        let more = usize::from(speed) * 8 + usize::from(counts) * 12 + usize::from(seen) * 6;
        let left = all.saturating_sub(fixed + more + 2);
        Columns { all, name: left - left * 2 / 5, model: left * 2 / 5, counts, speed, seen }
    }

    fn heads(&self) -> String {
        let name = fit("NAME", self.name);
        let mut heads = format!("  {:<10}{name} {} {:>4}", "HEALTH", fit("MODEL", self.model), "NOW");
        if self.counts {
            heads += &format!("{:>6}{:>6}", "REQ", "ERR");
        }
        heads += &format!("{:>8}", "FIRST");
        if self.speed {
            heads += &format!("{:>8}", "TOK/S");
        }
        if self.seen {
            heads += &format!("{:>6}", "SEEN");
        }
        heads
    }

    fn line(&self, row: &Row<'_>, app: &App, look: Look, now: u64) -> Line<'static> {
        match row {
            Row::Head(room) => {
                let queued = if room.queued > 0 { format!("  {} in line", room.queued) } else { String::new() };
                let text = format!("{} {}{queued}", room.told.code, look.plain(&room.name));
                Line::styled(fit(&text, self.all), look.head())
            }
            Row::Nobody(room) => {
                let text = match &room.refused {
                    Some(why) => why.as_str(),
                    None if room.looked => "Nobody is there. Press j to join.",
                    None => "Looking...",
                };
                Line::styled(format!("  {}", look.fit(text, self.all.saturating_sub(2))), look.dim())
            }
            Row::Member(room, member) => self.member(room, member, app, look, now),
        }
    }

    fn member(&self, room: &Room, member: &Member, app: &App, look: Look, now: u64) -> Line<'static> {
        let now = app.state.hub_time(now);
        let health = member.health(now);
        let own = app.own.contains_key(&(room.told.code.clone(), member.told.id.clone()));
        let name = if own { format!("*{}", member.name) } else { member.name.clone() };
        let figures = &member.figures;
        let mut numbers = format!("{:>4}", count(member.in_flight().into()));
        if self.counts {
            numbers += &format!("{:>6}{:>6}", count(figures.requests), count(figures.errors));
        }
        numbers += &format!("{:>8}", figures.ttft(now).map_or("-".into(), brief));
        if self.speed {
            numbers += &format!("{:>8}", figures.speed(now).map_or("-".into(), speed));
        }
        if self.seen {
            numbers += &format!("{:>6}", span(now.saturating_sub(member.told.last_seen)));
        }
        let model = look.fit(&member.model, self.model);
        Line::from(vec![
            Span::styled(format!("{} {:<10}", look.sign(health), health.word()), look.health(health)),
            Span::styled(look.fit(&name, self.name), Style::new()),
            Span::styled(format!(" {model} "), look.dim()),
            Span::raw(numbers),
        ])
    }
}
