//! The event log.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::theme::Theme;
use crate::monitor::text::{clock, fit};
use crate::monitor::words::pane;
use crate::tui::app::{App, Pane};

/// Draws the event log as a pane.
pub fn draw(frame: &mut Frame<'_>, area: Rect, app: &App, theme: Theme) {
    let log = &app.log;
    let mut title = pane::EVENTS.to_owned();
    if let Some(kind) = log.only_kind {
        title += &format!(", {} only", kind.word());
    }
    if !log.filter.is_empty() {
        title += &format!(", with \"{}\"", theme.fit(&crate::monitor::text::clean(&log.filter), 20).trim_end());
    }
    if !log.is_following() {
        title += ", earlier (End: latest)";
    }
    let block = theme.block(&title, app.pane == Pane::Events);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let lines: Vec<Line<'_>> = log
        .shown(usize::from(inner.height))
        .into_iter()
        .map(|line| {
            let left = usize::from(inner.width).saturating_sub(9 + 1 + 6 + 1);
            Line::from(vec![
                Span::styled(format!("{} ", clock(line.at)), theme.dim()),
                Span::styled(format!("{} ", fit(&line.room, 6)), theme.dim()),
                Span::styled(theme.fit(&line.text, left), theme.kind(line.kind)),
            ])
        })
        .collect();
    if lines.is_empty() {
        let text =
            if log.only_kind.is_some() || !log.filter.is_empty() { "No event matches." } else { "No events yet." };
        return frame.render_widget(Paragraph::new(text).style(theme.dim()), inner);
    }
    frame.render_widget(Paragraph::new(lines), inner);
}
