//! Dialogs over the screen: help, details, charts, forms.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Paragraph, Wrap};

use super::theme::Theme;
use super::{cards, charts, queue};
use crate::monitor::text::{fit, width};
use crate::monitor::words::{action, pane};
use crate::tui::app::{App, Dialog};
use crate::tui::form::{Field, FieldKind, Form};

const HELP: &[(&str, &str)] = &[
    ("Tab, arrows", "next or previous pane (also 1, 2, 3)"),
    ("Up, Down", "move the selection; also PgUp, PgDn, Home, End"),
    ("Space", "watch or unwatch the selected room"),
    ("Enter", "show one room only, or all; a participant's details"),
    ("c", "chat with the room, or with the selected participant"),
    ("  Enter, Ctrl-J", "send, start a new line"),
    ("  Esc, Ctrl-C", "stop the answer; without one, close the chat"),
    ("  Ctrl-T", "choose who answers"),
    ("  Ctrl-R, Ctrl-N", "try again, new chat"),
    ("n", "new room"),
    ("j", "join the room with a provider of this machine"),
    ("l", "leave with the selected participant of this monitor (*)"),
    ("p", "enter the password of a private room"),
    ("w", "queue of the room: who waits"),
    ("m", "activity of the room: charts of the last five minutes"),
    ("s", "sort participants by id or by health"),
    ("/, f", "filter events by text, by kind"),
    ("Esc, r", "clear filters; refresh now"),
    ("Ctrl-L, Ctrl-Z", "redraw; suspend"),
    ("q, Ctrl-C", "quit; participants of this monitor (*) leave"),
];

/// The most requests that the queue's dialog has lines for.
const MOST_QUEUED: usize = 16;

/// Draws the open dialog.
pub fn draw(frame: &mut Frame<'_>, area: Rect, app: &App, theme: Theme, now: u64) {
    match &app.dialog {
        None => {}
        Some(Dialog::Help) => help(frame, area, theme),
        Some(Dialog::Participant) => {
            let lines = cards::lines(app, theme, now, 68);
            let inner = open(frame, area, theme, "Participant", (70, lines.len()));
            frame.render_widget(Paragraph::new(lines), inner);
        }
        Some(Dialog::Charts) => {
            let inner = open(frame, area, theme, pane::ACTIVITY, (128, 24));
            charts::fill(frame, inner, app, theme, now);
        }
        Some(Dialog::Queue) => {
            let inner =
                open(frame, area, theme, &queue::title(app, now), (70, queue::lines(app.charted(now), MOST_QUEUED)));
            queue::fill(frame, inner, app, theme, now);
        }
        Some(Dialog::Create(form)) => {
            draw_form(
                frame,
                area,
                theme,
                action::NEW_ROOM,
                form,
                "The password is needed to join; for a private room, for everything.",
            );
        }
        Some(Dialog::Join(form)) => {
            draw_form(frame, area, theme, "Join", form, "Leave the model empty to see which ones the provider has.");
        }
        Some(Dialog::Password(code, form)) => {
            draw_form(frame, area, theme, &format!("Room {code}"), form, "The room is private.");
        }
        Some(Dialog::Filter(form)) => {
            draw_form(frame, area, theme, action::FILTER, form, "Shows only events that contain this text.");
        }
    }
}

/// Draws an empty box in the middle of the screen, and returns its inside.
fn open(frame: &mut Frame<'_>, area: Rect, theme: Theme, title: &str, (columns, rows): (usize, usize)) -> Rect {
    let most = |n: usize, all: u16| u16::try_from(n + 2).unwrap_or(u16::MAX).min(all);
    let (columns, rows) = (most(columns, area.width), most(rows, area.height));
    let (x, y) = (area.x + (area.width - columns) / 2, area.y + (area.height - rows) / 2);
    let place = Rect::new(x, y, columns, rows);
    let block = theme.block(title, true);
    let inner = block.inner(place);
    frame.render_widget(Clear, place);
    frame.render_widget(block, place);
    inner
}

fn help(frame: &mut Frame<'_>, area: Rect, theme: Theme) {
    let inner = open(frame, area, theme, "Keys", (76, HELP.len()));
    let lines: Vec<Line<'_>> = HELP
        .iter()
        .map(|(key, what)| Line::from(vec![Span::styled(fit(key, 18), theme.head()), Span::raw(*what)]))
        .collect();
    frame.render_widget(Paragraph::new(lines), inner);
}

fn draw_form(frame: &mut Frame<'_>, area: Rect, theme: Theme, title: &str, form: &Form, about: &str) {
    let inner = open(frame, area, theme, title, (66, form.fields.len() + 6));
    let columns = usize::from(inner.width);
    let fields = u16::try_from(form.fields.len()).unwrap_or(u16::MAX);
    let places = [Constraint::Length(2), Constraint::Length(fields + 1), Constraint::Fill(1), Constraint::Length(1)];
    let [top, middle, below, foot] = Layout::vertical(places).areas(inner);
    frame.render_widget(Line::styled(theme.fit(about, columns), theme.dim()), top);
    let typed = form.fields.iter().enumerate();
    let lines: Vec<_> = typed.map(|(n, field)| line(field, n == form.focus && !form.busy, theme, columns)).collect();
    frame.render_widget(Paragraph::new(lines), middle);
    let said = match &form.error {
        _ if form.busy => Paragraph::new("One moment...").style(theme.busy()),
        Some(error) => Paragraph::new(theme.displayable(error)).style(theme.bad()),
        None => Paragraph::default(),
    };
    frame.render_widget(said.wrap(Wrap { trim: true }), below);
    frame.render_widget(Line::styled("Enter: submit   Tab: next field   Esc: close", theme.dim()), foot);
}

fn line(field: &Field, focused: bool, theme: Theme, columns: usize) -> Line<'static> {
    let label = Span::styled(fit(field.label, 10), if focused { theme.head() } else { theme.dim() });
    if field.kind == FieldKind::Switch {
        let mark = if field.is_on() { "[x] yes" } else { "[ ] no" };
        let style = if focused { theme.selected(true) } else { Style::new() };
        let hint = if focused { "  (Space)" } else { "" };
        return Line::from(vec![label, Span::styled(mark, style), Span::styled(hint, theme.dim())]);
    }
    let (before, after) = field.shown();
    let (before, after) = (theme.displayable(&before), theme.displayable(&after));
    if !focused {
        return Line::from(vec![label, Span::raw(fit(&(before + &after), columns.saturating_sub(10)))]);
    }
    // Shows the end of the text before the cursor, the cursor, and as much of the text after it as fits.
    let before = tail(&before, columns.saturating_sub(10 + 2));
    let mut rest = after.chars();
    let under = rest.next().map_or(" ".to_owned(), String::from);
    let left = columns.saturating_sub(10 + width(&before) + width(&under));
    let cursor = Style::new().add_modifier(Modifier::REVERSED);
    Line::from(vec![label, Span::raw(before), Span::styled(under, cursor), Span::raw(fit(rest.as_str(), left))])
}

/// The longest end of a text that fits into `columns`.
fn tail(text: &str, columns: usize) -> String {
    let mut from = text;
    while width(from) > columns {
        let mut chars = from.chars();
        chars.next();
        from = chars.as_str();
    }
    from.to_owned()
}
