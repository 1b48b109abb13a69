//! The conversation with a room: what was said, how far the answer is, and what is being typed.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use super::theme::Theme;
use crate::chat::selection::{SELECTOR, called};
use crate::monitor::text::{span, width};
use crate::monitor::words::{ANY_PARTICIPANT, action, pane};
use crate::tui::app::{App, Pane};
use crate::tui::chat::{Conversation, Drawn, Progress, Turn};
use crate::tui::form::Field;
use crate::tui::wrap::{fill, wrap};

/// Before the first line of what is typed, and of what was asked.
const PROMPT: &str = "> ";

/// What an empty conversation shows.
const NOTHING_SAID: &str = "Ask something. What was said before goes along with each question.";
const NOBODY: &str = "Nobody is here to answer yet. Esc, then j, joins with a provider of this machine.";

/// Draws the conversation as a pane.
pub fn draw(frame: &mut Frame<'_>, area: Rect, app: &App, theme: Theme, now: u64) {
    let Some((room, conversation)) = app.chats.shown() else { return };
    let focused = app.pane == Pane::Chat;
    let title = format!("{} with {room}: {}", pane::CHAT, theme.displayable(&who(app, room, &conversation.selector)));
    let block = theme.block(&title, focused);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let columns = usize::from(inner.width);
    let draft = Draft::new(&conversation.draft, columns);
    let most = (inner.height / 3).max(1);
    let rows = u16::try_from(draft.lines.len()).unwrap_or(u16::MAX).min(most);
    let places = [Constraint::Fill(1), Constraint::Length(1), Constraint::Length(rows)];
    let [said, status, input] = Layout::vertical(places).areas(inner);
    let is_empty = app.state.rooms.get(room).is_some_and(|room| room.listed && room.members.is_empty());
    draw_said(frame, said, conversation, if is_empty { NOBODY } else { NOTHING_SAID }, theme);
    frame.render_widget(status_line(app, conversation, theme, columns, now), status);
    draft.draw(frame, input, theme, focused);
}

/// Who answers in a conversation.
fn who(app: &App, room: &str, selector: &str) -> String {
    if selector == SELECTOR {
        return ANY_PARTICIPANT.to_lowercase();
    }
    let member = app.state.rooms.get(room).and_then(|room| room.members.get(selector));
    called(selector, member.map_or("", |member| &member.info.nickname))
}

fn draw_said(frame: &mut Frame<'_>, area: Rect, conversation: &Conversation, empty: &str, theme: Theme) {
    let (columns, rows) = (usize::from(area.width), usize::from(area.height));
    let lines: Vec<Line<'_>> = match conversation.turns.is_empty() {
        true => wrap(empty, columns).into_iter().map(|line| Line::styled(line, theme.dim())).collect(),
        false => conversation.turns.iter().flat_map(|turn| turn_lines(turn, columns, theme)).collect(),
    };
    conversation.drawn.set(Drawn { lines: lines.len(), rows });
    let last = lines.len().saturating_sub(rows);
    let first = conversation.top.unwrap_or(last).min(last);
    frame.render_widget(Paragraph::new(lines.into_iter().skip(first).take(rows).collect::<Vec<_>>()), area);
}

fn turn_lines(turn: &Turn, columns: usize, theme: Theme) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let mut add = |text: &str, indent: &str, style: Style| {
        let wrapped = wrap(text.trim_end(), columns.saturating_sub(indent.len()));
        for (n, line) in wrapped.iter().enumerate() {
            let before = if n == 0 { indent.to_owned() } else { " ".repeat(indent.len()) };
            lines.push(Line::styled(before + &theme.displayable(line), style));
        }
    };
    add(&turn.question, PROMPT, theme.question());
    if !turn.thinking.trim().is_empty() {
        add(turn.thinking.trim_start(), "", theme.dim());
    }
    if !turn.answer.trim().is_empty() {
        add(&turn.answer, "", Style::new());
    }
    if turn.is_cut {
        add("The rest is too long to be shown here. `gambi chat` shows all of it.", "", theme.warning());
    }
    match turn.progress {
        Progress::Running => {}
        Progress::Failed => add(&turn.note, "", theme.bad()),
        Progress::Answered | Progress::Stopped => add(&turn.note, "", theme.dim()),
    }
    lines.push(Line::default());
    lines
}

/// What is waited for or, in between, which keys there are.
fn status_line(app: &App, shown: &Conversation, theme: Theme, columns: usize, now: u64) -> Line<'static> {
    let earlier = if shown.top.is_some() { "Earlier lines; PgDn: later.  " } else { "" };
    let (text, style) = match (app.chats.running_here(), shown.turns.back()) {
        (Some(running), Some(turn)) => {
            let passed = span(now.saturating_sub(running.asked_at));
            let stop = action::STOP.to_lowercase();
            (format!("{earlier}{}, {passed}.  Esc: {stop}", turn.note), theme.busy())
        }
        _ => {
            let (send, again) = (action::SEND.to_lowercase(), action::TRY_AGAIN.to_lowercase());
            let again = if app.can_try_again() { format!("  Ctrl-R: {again}") } else { String::new() };
            (format!("{earlier}Enter: {send}  Ctrl-J: new line  Ctrl-T: who answers{again}"), theme.dim())
        }
    };
    Line::styled(theme.fit(&text, columns), style)
}

/// What is being typed, in lines.
struct Draft {
    lines: Vec<String>,
    /// The cursor's line and column.
    cursor: (usize, usize),
}

impl Draft {
    fn new(field: &Field, columns: usize) -> Self {
        // The last column is the cursor's.
        let columns = columns.saturating_sub(PROMPT.len() + 1);
        let (before, after) = field.shown();
        let up_to_cursor = fill(&before, columns);
        let cursor = (up_to_cursor.len() - 1, up_to_cursor.last().map_or(0, |line| width(line)));
        Draft { lines: fill(&(before + &after), columns), cursor }
    }

    fn draw(self, frame: &mut Frame<'_>, area: Rect, theme: Theme, focused: bool) {
        let rows = usize::from(area.height);
        let first = (self.cursor.0 + 1).saturating_sub(rows);
        let lines = self.lines.iter().enumerate().skip(first).take(rows);
        let style = if focused { Style::new() } else { theme.dim() };
        let lines: Vec<Line<'_>> = lines
            .map(|(n, line)| {
                let before = if n == 0 { PROMPT.to_owned() } else { " ".repeat(PROMPT.len()) };
                Line::styled(before + &theme.displayable(line), style)
            })
            .collect();
        frame.render_widget(Paragraph::new(lines), area);
        let place = |at: usize, from: u16| u16::try_from(at).unwrap_or(u16::MAX).saturating_add(from);
        let (x, y) = (place(self.cursor.1 + PROMPT.len(), area.x), place(self.cursor.0 - first, area.y));
        if focused && let Some(cell) = frame.buffer_mut().cell_mut((x, y)) {
            cell.set_style(Style::new().add_modifier(Modifier::REVERSED));
        }
    }
}
