//! Who waits for a participant of a room, in the order in which they get one.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use gambi::proto::queue::WaitingRequest;

use super::theme::Theme;
use crate::monitor::model::Room;
use crate::monitor::text::{brief, clean};
use crate::monitor::words::{MODEL, PLACE, WAITS, WHO, pane};
use crate::tui::app::App;

/// The most requests that have a line beside other parts of the screen.
const MOST_LINES: usize = 10;
const PLACE_WIDTH: usize = 6;
const WAITS_WIDTH: usize = 7;

/// Draws the queue of the selected room as a pane.
pub fn draw(frame: &mut Frame<'_>, area: Rect, app: &App, theme: Theme, now: u64) {
    let block = theme.block(&title(app, now), false);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    fill(frame, inner, app, theme, now);
}

/// The pane's title.
pub fn title(app: &App, now: u64) -> String {
    match app.charted(now) {
        Some(room) => format!("{} of {}: {}", pane::QUEUE, room.info.code, room.queued),
        None => pane::QUEUE.to_owned(),
    }
}

/// Draws the queue without a border.
pub fn fill(frame: &mut Frame<'_>, area: Rect, app: &App, theme: Theme, now: u64) {
    let Some(room) = app.charted(now) else { return };
    if room.queued == 0 {
        return frame.render_widget(Paragraph::new("No request waits.").style(theme.dim()), area);
    }
    let columns = usize::from(area.width);
    let names = columns.saturating_sub(PLACE_WIDTH + 2 + 2 + WAITS_WIDTH);
    let (who, model) = (names - names * 2 / 5, names * 2 / 5);
    let row = |place: &str, by: &str, of: &str, waits: &str| {
        let (by, of) = (theme.fit(by, who), theme.fit(of, model));
        format!("{place:>PLACE_WIDTH$}  {by}  {of}{waits:>WAITS_WIDTH$}")
    };
    let mut lines = vec![Line::styled(row(PLACE, WHO, MODEL, WAITS), theme.head())];
    let rows = usize::from(area.height.saturating_sub(1));
    let all = usize::try_from(room.queued).unwrap_or(usize::MAX);
    // The last line counts those that do not fit.
    let fits = if all > rows { rows.saturating_sub(1) } else { rows };
    let hub_now = app.state.hub_time(now);
    lines.extend(room.queue.iter().take(fits).map(|waiting| {
        let waits = brief(hub_now.saturating_sub(waiting.since));
        let line = row(&waiting.place.to_string(), &who_waits(waiting), &clean(&waiting.model), &waits);
        Line::styled(line, if waiting.own { theme.busy() } else { Style::new() })
    }));
    let more = all.saturating_sub(lines.len() - 1);
    if more > 0 {
        lines.push(Line::styled(format!("and {more} more"), theme.dim()));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

/// The lines of a queue: a heading and up to `most` requests, or that there are none.
pub fn lines(room: Option<&Room>, most: usize) -> usize {
    let waiting = room.map_or(0, |room| usize::try_from(room.queued).unwrap_or(usize::MAX));
    if waiting == 0 { 1 } else { 1 + waiting.min(most) }
}

/// The height of the pane.
pub fn height(room: Option<&Room>) -> u16 {
    u16::try_from(lines(room, MOST_LINES) + 2).unwrap_or(u16::MAX)
}

fn who_waits(waiting: &WaitingRequest) -> String {
    let name = match (&waiting.caller, waiting.client) {
        (Some(caller), _) => clean(caller),
        (None, Some(number)) => format!("Client {number}"),
        (None, None) => "Client".to_owned(),
    };
    if waiting.own { format!("{name} (you)") } else { name }
}
