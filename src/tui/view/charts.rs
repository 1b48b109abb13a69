//! Charts of the selected room's last five minutes.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Sparkline};

use super::theme::Theme;
use crate::monitor::model::Room;
use crate::monitor::text::{brief, speed};
use crate::monitor::words::{FAILED, FIRST_TOKEN, REQUESTS, TOKENS_PER_SECOND, pane};
use crate::tui::app::App;
use crate::tui::history::{SLICE, SLICES, Slice};

/// Draws the charts as a pane.
pub fn draw(frame: &mut Frame<'_>, area: Rect, app: &App, theme: Theme, now: u64) {
    let title = app
        .charted(now)
        .map_or_else(|| pane::ACTIVITY.to_owned(), |room| format!("{} of {}", pane::ACTIVITY, room.info.code));
    let block = theme.block(&title, false);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    fill(frame, inner, app, theme, now);
}

/// Draws the charts without a border.
pub fn fill(frame: &mut Frame<'_>, area: Rect, app: &App, theme: Theme, now: u64) {
    let Some(room) = app.charted(now) else { return };
    let slices = app.history.slices(&room.info.code, now);
    // Two lines of summary; then for each chart a heading and bars. Charts that do not fit are left out.
    let [top, rest] = Layout::vertical([Constraint::Length(2), Constraint::Fill(1)]).areas(area);
    let summary = summary(room, app.state.hub_time(now)).map(|line| theme.fit(&line, usize::from(area.width)));
    frame.render_widget(Paragraph::new(summary.map(Line::from).to_vec()).style(theme.head()), top);
    if slices.iter().all(Slice::is_empty) {
        let note = "No request has ended in the last five minutes.";
        return frame.render_widget(Line::styled(theme.fit(note, usize::from(rest.width)), theme.dim()), rest);
    }
    let charts = charts(theme);
    let fits = usize::from(rest.height / 2).clamp(1, charts.len());
    let places = Layout::vertical(vec![Constraint::Fill(1); fits]).split(rest);
    for (chart, place) in charts.into_iter().zip(places.iter()) {
        let [label, bars] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(*place);
        let most = slices.iter().map(chart.value).max().unwrap_or(0);
        let name = format!("{}, at most {}", chart.name, (chart.show)(most));
        frame.render_widget(Line::styled(name, theme.dim()), label);
        let data = stretched(&slices, usize::from(bars.width), chart.value);
        frame.render_widget(Sparkline::default().data(data).style(chart.style).bar_set(theme.bars()), bars);
    }
}

/// How a slice becomes a bar.
struct Chart {
    name: &'static str,
    style: Style,
    value: fn(&Slice) -> u64,
    show: fn(u64) -> String,
}

fn charts(theme: Theme) -> [Chart; 4] {
    let a_minute = |n: u64| format!("{} a minute", n * 60_000 / SLICE);
    let a_second = |n: u64| speed(n as f64 * 1000.0 / SLICE as f64);
    [
        Chart {
            name: REQUESTS.full,
            style: theme.good(),
            value: |slice| slice.answers + slice.failures,
            show: a_minute,
        },
        Chart { name: FIRST_TOKEN.full, style: theme.warning(), value: Slice::ttft, show: brief },
        Chart { name: TOKENS_PER_SECOND.full, style: theme.busy(), value: |slice| slice.tokens, show: a_second },
        Chart { name: FAILED.full, style: theme.bad(), value: |slice| slice.failures, show: a_minute },
    ]
}

fn summary(room: &Room, now: u64) -> [String; 2] {
    let stats = &room.stats;
    let first = stats.ttft(now).map_or("-".to_owned(), brief);
    let rate = stats.tokens_per_second(now).map_or("-".to_owned(), speed);
    let slow = stats.ttft_p95().map(|millis| format!(" (p95: {})", brief(millis))).unwrap_or_default();
    let (flight, line) = (stats.in_flight(), room.queued);
    [
        format!("{} {}: first token {first}{slow}, {rate} tokens/s", room.info.code, room.name),
        format!("{flight} in flight, {line} queued, {} requests seen, {} failed", stats.requests, stats.errors),
    ]
}

/// The slices as bars of equal width, as wide as fits; if not all fit, the latest ones.
fn stretched(slices: &[Slice], columns: usize, value: impl Fn(&Slice) -> u64) -> Vec<u64> {
    let each = (columns / SLICES).max(1);
    let fits = (columns / each).min(slices.len());
    let mut bars = vec![0; columns - fits * each];
    bars.extend(slices[slices.len() - fits..].iter().flat_map(|slice| std::iter::repeat_n(value(slice), each)));
    bars
}
