//! How things look: with colours or without, with Unicode's signs or ASCII's. What a colour says is always said in words
//! or signs too.

use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::{bar, border};
use ratatui::widgets::Block;

use crate::monitor::model::Health;
use crate::monitor::text::fit;
use crate::tui::log::Kind;

/// How things look.
#[derive(Debug, Clone, Copy)]
pub struct Theme {
    /// Whether there are colours.
    pub colour: bool,
    /// Whether the terminal shows more than ASCII.
    pub unicode: bool,
}

impl Theme {
    fn fg(self, colour: Color, otherwise: Modifier) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new().add_modifier(otherwise) }
    }

    /// What matters less. Dark grey would be lost on many a dark background.
    pub fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// What is good.
    pub fn good(self) -> Style {
        self.fg(Color::Green, Modifier::empty())
    }

    /// What goes on.
    pub fn busy(self) -> Style {
        self.fg(Color::Cyan, Modifier::BOLD)
    }

    /// What may go wrong.
    pub fn warning(self) -> Style {
        self.fg(Color::Yellow, Modifier::BOLD)
    }

    /// What is wrong.
    pub fn bad(self) -> Style {
        self.fg(Color::Red, Modifier::BOLD)
    }

    /// What is selected in the part of the screen that keys go to, and in the others.
    pub fn selected(self, focused: bool) -> Style {
        Style::new().add_modifier(if focused { Modifier::REVERSED } else { Modifier::UNDERLINED })
    }

    /// Heads of columns, names of fields.
    pub fn head(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// How somebody does.
    pub fn health(self, health: Health) -> Style {
        match health {
            Health::Online => self.good(),
            Health::Busy => self.busy(),
            Health::Degraded => self.warning(),
            Health::NoTunnel => self.bad(),
            Health::Offline => self.dim(),
        }
    }

    /// A sign for how somebody does.
    pub fn symbol(self, health: Health) -> &'static str {
        match (health, self.unicode) {
            (Health::Online, true) => "●",
            (Health::Busy, true) => "▶",
            (Health::Degraded, true) => "▲",
            (Health::NoTunnel, true) => "✕",
            (Health::Offline, true) => "○",
            (Health::Online, false) => "+",
            (Health::Busy, false) => ">",
            (Health::Degraded, false) => "!",
            (Health::NoTunnel, false) => "x",
            (Health::Offline, false) => "-",
        }
    }

    /// A line of the log.
    pub fn kind(self, kind: Kind) -> Style {
        match kind {
            Kind::Hub => self.fg(Color::Magenta, Modifier::empty()),
            Kind::Participant => self.good(),
            Kind::Request => Style::new(),
            Kind::Failure => self.bad(),
        }
    }

    /// A part of the screen. The one that keys go to is marked in its title too.
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

    /// What charts are drawn with.
    pub fn bars(self) -> bar::Set<'static> {
        if self.unicode { bar::NINE_LEVELS } else { BARS }
    }

    /// A text cut or filled to a width.
    pub fn fit(self, text: &str, columns: usize) -> String {
        let fitted = fit(&self.displayable(text), columns);
        if self.unicode { fitted } else { fitted.replace('…', "~") }
    }

    /// A text as the terminal can show it.
    pub fn displayable(self, text: &str) -> String {
        if self.unicode { text.to_owned() } else { text.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect() }
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
