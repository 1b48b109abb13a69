//! Colours and symbols, with fallbacks for terminals without colour or Unicode. A colour never carries information that
//! is not shown as text or as a symbol too.

use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::{bar, border};
use ratatui::widgets::Block;

use crate::monitor::model::Health;
use crate::monitor::text::fit;
use crate::tui::log::Kind;

/// Which colours and symbols the terminal can show.
#[derive(Debug, Clone, Copy)]
pub struct Theme {
    /// Whether to use colours.
    pub colour: bool,
    /// Whether to use characters beyond ASCII.
    pub unicode: bool,
}

impl Theme {
    fn fg(self, colour: Color, otherwise: Modifier) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new().add_modifier(otherwise) }
    }

    /// Secondary text. Dark grey would be invisible on many dark backgrounds.
    pub fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// Success.
    pub fn good(self) -> Style {
        self.fg(Color::Green, Modifier::empty())
    }

    /// Activity.
    pub fn busy(self) -> Style {
        self.fg(Color::Cyan, Modifier::BOLD)
    }

    /// A warning.
    pub fn warning(self) -> Style {
        self.fg(Color::Yellow, Modifier::BOLD)
    }

    /// A failure.
    pub fn bad(self) -> Style {
        self.fg(Color::Red, Modifier::BOLD)
    }

    /// The selected line, in the focused pane or in another.
    pub fn selected(self, focused: bool) -> Style {
        Style::new().add_modifier(if focused { Modifier::REVERSED } else { Modifier::UNDERLINED })
    }

    /// Column headings and field names.
    pub fn head(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// What the user has asked.
    pub fn question(self) -> Style {
        self.fg(Color::Cyan, Modifier::BOLD).add_modifier(Modifier::BOLD)
    }

    /// The style of a health.
    pub fn health(self, health: Health) -> Style {
        match health {
            Health::Online => self.good(),
            Health::Busy => self.busy(),
            Health::Degraded | Health::Draining => self.warning(),
            Health::ProviderDown | Health::NoTunnel => self.bad(),
            Health::Offline | Health::Unknown => self.dim(),
        }
    }

    /// The symbol of a health.
    pub fn symbol(self, health: Health) -> &'static str {
        match (health, self.unicode) {
            (Health::Online, true) => "●",
            (Health::Busy, true) => "▶",
            (Health::Degraded, true) => "▲",
            (Health::Draining, true) => "◌",
            (Health::ProviderDown | Health::NoTunnel, true) => "✕",
            (Health::Offline, true) => "○",
            (Health::Unknown, _) => "?",
            (Health::Online, false) => "+",
            (Health::Busy, false) => ">",
            (Health::Degraded, false) => "!",
            (Health::Draining, false) => "~",
            (Health::ProviderDown | Health::NoTunnel, false) => "x",
            (Health::Offline, false) => "-",
        }
    }

    /// The style of a log line.
    pub fn kind(self, kind: Kind) -> Style {
        match kind {
            Kind::Hub => self.fg(Color::Magenta, Modifier::empty()),
            Kind::Participant => self.good(),
            Kind::Request => Style::new(),
            Kind::Failure => self.bad(),
        }
    }

    /// The border of a pane. The focused one is marked in its title too, for terminals without colour.
    pub fn block(self, title: &str, focused: bool) -> Block<'static> {
        let mark = match (focused, self.unicode) {
            (false, _) => "",
            (true, true) => "▸ ",
            (true, false) => "> ",
        };
        let (style, set) = match (focused, self.unicode) {
            (_, false) => (Style::new(), ASCII),
            (true, true) => (self.fg(Color::Cyan, Modifier::BOLD), border::ROUNDED),
            (false, true) => (self.dim(), border::ROUNDED),
        };
        let title = ratatui::text::Line::styled(format!(" {mark}{title} "), self.head());
        Block::bordered().border_set(set).border_style(style).title(title)
    }

    /// The characters that charts are drawn with.
    pub fn bars(self) -> bar::Set<'static> {
        if self.unicode { bar::NINE_LEVELS } else { BARS }
    }

    /// The last `columns` values as one line of bars, of which the highest value has the highest one.
    pub fn course(self, values: &[u64], columns: usize) -> String {
        let bars = self.bars();
        let bars = [
            bars.empty,
            bars.one_eighth,
            bars.one_quarter,
            bars.three_eighths,
            bars.half,
            bars.five_eighths,
            bars.three_quarters,
            bars.seven_eighths,
            bars.full,
        ];
        let values = &values[values.len().saturating_sub(columns)..];
        let most = values.iter().max().copied().unwrap_or(0).max(1);
        // What is not zero can be seen.
        let level = |value: u64| value.saturating_mul(8).div_ceil(most).min(8);
        let missing = std::iter::repeat_n(bars[0], columns - values.len());
        missing.chain(values.iter().map(|value| bars[usize::try_from(level(*value)).unwrap_or(8)])).collect()
    }

    /// Fits text to exactly `columns`, as [`fit`] does.
    pub fn fit(self, text: &str, columns: usize) -> String {
        let fitted = fit(&self.displayable(text), columns);
        if self.unicode { fitted } else { fitted.replace('…', "~") }
    }

    /// Text with what the terminal cannot show replaced by `?`, or by what is like it.
    pub fn displayable(self, text: &str) -> String {
        if self.unicode {
            return text.replace('\u{a0}', " ");
        }
        let ascii = |c: char| match c {
            '\u{a0}' => ' ',
            '·' => '-',
            c if c.is_ascii() => c,
            _ => '?',
        };
        text.chars().map(ascii).collect()
    }
}

const ASCII: border::Set<'static> = border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};

const BARS: bar::Set<'static> = bar::Set {
    full: "#",
    seven_eighths: "#",
    three_quarters: "=",
    five_eighths: "=",
    half: "-",
    three_eighths: "-",
    one_quarter: ".",
    one_eighth: ".",
    empty: " ",
};
