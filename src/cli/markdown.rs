//! Parses the subset of Markdown that the manual uses, and renders it for a terminal and as roff for the man page. No I/O.

use std::fmt::Write as _;

use super::style::{BOLD, CYAN as CODE, RESET};

/// Columns of text on a terminal. Code is not wrapped.
const WIDTH: usize = 88;

/// A block of a page. Blank lines separate blocks.
#[derive(Debug, PartialEq)]
enum Block<'a> {
    /// Level, 1 for the page's title, and text.
    Heading(usize, &'a str),
    Paragraph(String),
    Item(String),
    Code(Vec<&'a str>),
    /// The header row, and the other rows.
    Table(Vec<String>, Vec<Vec<String>>),
}

/// The style of a span of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    Bold,
    Code,
}

/// Parses a page into its blocks.
fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        let level = line.bytes().take_while(|&byte| byte == b'#').count();
        if line.starts_with("```") {
            blocks.push(Block::Code(lines.by_ref().take_while(|line| !line.starts_with("```")).collect()));
        } else if level > 0 {
            blocks.push(Block::Heading(level, line[level..].trim()));
        } else if line.starts_with('|') {
            let mut rows = Vec::new();
            while let Some(row) = lines.next_if(|line| line.starts_with('|')) {
                rows.push(cells(row));
            }
            // The first row is the line of dashes below the header.
            blocks.push(Block::Table(cells(line), rows.split_off(1.min(rows.len()))));
        } else if !line.trim().is_empty() {
            let item = line.strip_prefix("- ");
            let mut text = item.unwrap_or(line).trim().to_owned();
            while let Some(more) = lines.next_if(|line| !begins_block(line)) {
                text = text + " " + more.trim();
            }
            blocks.push(if item.is_some() { Block::Item(text) } else { Block::Paragraph(text) });
        }
    }
    blocks
}

fn begins_block(line: &str) -> bool {
    line.trim().is_empty() || ["#", "|", "```", "- "].iter().any(|start| line.starts_with(start))
}

/// The cells of a table's row. `\|` is a bar within a cell.
fn cells(row: &str) -> Vec<String> {
    let row = row.trim().trim_start_matches('|').replace("\\|", "\0");
    let row = row.strip_suffix('|').unwrap_or(&row);
    row.split('|').map(|cell| cell.trim().replace('\0', "|")).collect()
}

/// Splits a text into styled spans: code in backticks, bold in double asterisks. Of a link only its text remains.
fn spans(text: &str) -> Vec<(Style, String)> {
    let mut spans: Vec<(Style, String)> = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let found = [("`", "`", Style::Code), ("**", "**", Style::Bold), ("[", "](", Style::Plain)]
            .into_iter()
            .find_map(|(start, end, style)| Some((rest.strip_prefix(start)?.split_once(end)?, start, style)));
        match found {
            Some(((inner, after), "[", style)) if after.contains(')') => {
                spans.push((style, inner.replace('`', "")));
                rest = after.split_once(')').map_or("", |(_, after)| after);
            }
            Some(((inner, after), start, style)) if start != "[" => {
                spans.push((style, inner.to_owned()));
                rest = after;
            }
            _ => {
                let end =
                    rest.char_indices().skip(1).find(|(_, c)| "`*[".contains(*c)).map_or(rest.len(), |(at, _)| at);
                match spans.last_mut() {
                    Some((Style::Plain, last)) => last.push_str(&rest[..end]),
                    _ => spans.push((Style::Plain, rest[..end].to_owned())),
                }
                rest = &rest[end..];
            }
        }
    }
    spans
}

/// All cells of a row but the first. In a table of more than two columns, each cell follows its column's name.
fn labelled_cells(head: &[String], row: &[String]) -> String {
    let named = |(name, cell): (&String, &String)| match (cell.is_empty(), row.len()) {
        (true, _) => None,
        (_, ..=2) => Some(cell.clone()),
        _ => Some(format!("{name}: {cell}")),
    };
    head.iter().zip(row).skip(1).filter_map(named).collect::<Vec<_>>().join("; ")
}

/// A page for a terminal: headings in bold, code in colour, text wrapped, table rows as a definition list.
pub fn for_terminal(page: &str) -> String {
    let mut out = String::new();
    for block in blocks(page) {
        // No blank line between the items of a list, one between other blocks.
        if !matches!(block, Block::Item(_)) && !out.is_empty() && !out.ends_with("\n\n") {
            out.push('\n');
        }
        match block {
            Block::Heading(_, text) => {
                let _ = writeln!(out, "{BOLD}{}{RESET}\n", ansi(text));
            }
            Block::Paragraph(text) => out += &(wrapped(&ansi(&text), "", "") + "\n"),
            Block::Item(text) => out += &wrapped(&ansi(&text), "- ", "  "),
            Block::Code(lines) => {
                for line in lines {
                    let _ = writeln!(out, "    {CODE}{line}{RESET}");
                }
                out.push('\n');
            }
            Block::Table(head, rows) => {
                for row in rows {
                    out += &wrapped(&ansi(&row[0]), "  ", "  ");
                    out += &wrapped(&ansi(&labelled_cells(&head, &row)), "      ", "      ");
                }
                out.push('\n');
            }
        }
    }
    out
}

fn ansi(text: &str) -> String {
    let set = |(style, text): (Style, String)| match style {
        Style::Plain => text,
        Style::Bold => format!("{BOLD}{text}{RESET}"),
        Style::Code => format!("{CODE}{text}{RESET}"),
    };
    spans(text).into_iter().map(set).collect()
}

/// Wraps text at [`WIDTH`] columns. `first` is the prefix of the first line, `next` that of the others.
fn wrapped(text: &str, first: &str, next: &str) -> String {
    let (mut out, mut line, mut width) = (String::new(), first.to_owned(), first.len());
    for word in text.split_whitespace() {
        let columns = word.replace(BOLD, "").replace(CODE, "").replace(RESET, "").chars().count();
        let is_first = line == first;
        if !is_first && width + 1 + columns > WIDTH {
            let _ = writeln!(out, "{line}");
            (line, width) = (next.to_owned() + word, next.len() + columns);
        } else {
            let space = if is_first { "" } else { " " };
            line = line + space + word;
            width += space.len() + columns;
        }
    }
    if line.trim().is_empty() { out } else { out + &line + "\n" }
}

/// Renders a page as roff for the man page: the title becomes a section, other headings its subsections.
pub fn as_roff(page: &str) -> String {
    let mut out = String::new();
    for block in blocks(page) {
        let _ = match block {
            Block::Heading(1, text) => writeln!(out, ".SH {}", roff(&text.to_uppercase())),
            Block::Heading(_, text) => writeln!(out, ".SS {}", roff_spans(text)),
            Block::Paragraph(text) => writeln!(out, ".PP\n{}", roff_spans(&text)),
            Block::Item(text) => writeln!(out, ".IP \\(bu 2\n{}", roff_spans(&text)),
            Block::Code(lines) => {
                let lines: Vec<String> = lines.into_iter().map(roff).collect();
                writeln!(out, ".PP\n.RS 4\n.nf\n{}\n.fi\n.RE", lines.join("\n"))
            }
            Block::Table(head, rows) => {
                let row = |row: &Vec<String>| {
                    format!(".TP\n{}\n{}\n", roff_spans(&row[0]), roff_spans(&labelled_cells(&head, row)))
                };
                write!(out, "{}", rows.iter().map(row).collect::<String>())
            }
        };
    }
    out
}

fn roff_spans(text: &str) -> String {
    let set = |(style, text): (Style, String)| match style {
        Style::Plain => escaped(&text),
        Style::Bold | Style::Code => format!("\\fB{}\\fR", escaped(&text)),
    };
    protect_line_start(spans(text).into_iter().map(set).collect())
}

/// Text escaped for roff.
pub fn roff(text: &str) -> String {
    protect_line_start(escaped(text))
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

/// Protects a line that begins with a dot or a quote, which roff would take for a request.
fn protect_line_start(line: String) -> String {
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# Title\n\nSome `code` and\n**bold**, a [link](x.md).\n\n- one\n  more\n- two\n\n\
        ```sh\n.gambi -x\n# no heading\n```\n\n| name | kind | what |\n|---|---|---|\n| `a\\|b` | | c - d |\n";

    #[test]
    fn a_page_is_parsed_into_blocks() {
        let cell = |text: &str| text.to_owned();
        assert_eq!(
            blocks(PAGE),
            [
                Block::Heading(1, "Title"),
                Block::Paragraph("Some `code` and **bold**, a [link](x.md).".into()),
                Block::Item("one more".into()),
                Block::Item("two".into()),
                Block::Code(vec![".gambi -x", "# no heading"]),
                Block::Table(
                    vec![cell("name"), cell("kind"), cell("what")],
                    vec![vec![cell("`a|b`"), cell(""), cell("c - d")]]
                ),
            ]
        );
        for odd in ["|", "|\n", "```", "```\nx", "#", "-", "- ", "|a|\n|---|\n||\n"] {
            let (_, _) = (for_terminal(odd), as_roff(odd));
        }
    }

    #[test]
    fn terminal_output_has_wrapped_text_and_coloured_code() {
        let text = for_terminal(PAGE);
        assert!(text.starts_with("\u{1b}[1mTitle\u{1b}[0m\n\nSome \u{1b}[36mcode\u{1b}[0m and"), "{text}");
        assert!(text.contains("a link.\n") && text.contains("\n- one more\n- two\n\n    "), "{text}");
        assert!(text.contains("  \u{1b}[36ma|b\u{1b}[0m\n      what: c - d\n"), "{text}");
        let long = "word ".repeat(100);
        let lines = wrapped(&long, "- ", "  ");
        assert!(lines.lines().all(|line| line.len() <= WIDTH && !line.ends_with(' ')), "{lines}");
        assert_eq!(lines.split_whitespace().filter(|word| *word == "word").count(), 100);
    }

    #[test]
    fn roff_output_escapes_text_that_looks_like_a_request() {
        let text = as_roff(PAGE);
        assert!(text.starts_with(".SH TITLE\n.PP\nSome \\fBcode\\fR and \\fBbold\\fR, a link.\n"), "{text}");
        assert!(text.contains(".nf\n\\&.gambi \\-x\n# no heading\n.fi\n"), "{text}");
        assert!(text.contains(".TP\n\\fBa|b\\fR\nwhat: c \\- d\n"), "{text}");
    }
}
