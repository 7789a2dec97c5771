//! Text for a screen: its columns, its colours, and lines that are wrapped to fit.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

use super::names::fit;
use crate::base::text::{columns, printable, tail_of_path, wrap};
use crate::model::verdict::Verdict;

/// The screen to draw on.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// Whether escape sequences for colours may be used.
    pub color: bool,
    /// Columns of a line.
    pub width: usize,
}

impl Default for Screen {
    /// Plain text in 100 columns.
    fn default() -> Self {
        Self {
            color: false,
            width: 100,
        }
    }
}

pub(super) const PLAIN: Style = Style::new();
pub(super) const DIM: Style = Style::new().dimmed();
pub(super) const BOLD: Style = Style::new().bold();
pub(super) const RED: Style = PLAIN.fg_color(Some(anstyle::Color::Ansi(AnsiColor::Red)));
pub(super) const YELLOW: Style = PLAIN.fg_color(Some(anstyle::Color::Ansi(AnsiColor::Yellow)));
pub(super) const GREEN: Style = PLAIN.fg_color(Some(anstyle::Color::Ansi(AnsiColor::Green)));

/// Columns that a function's name gets at least: its location is cut first.
const LEAST_NAME: usize = 12;

/// Columns that wrapped text gets at least, however far it is indented.
const LEAST_WIDTH: usize = 30;

/// The colour of a verdict.
pub(super) fn color_of(verdict: Verdict) -> Style {
    match verdict {
        Verdict::Leak => RED,
        Verdict::Growing | Verdict::Undecided => YELLOW,
        Verdict::Cache | Verdict::Churn | Verdict::WarmUp => GREEN,
    }
}

/// Text in the making. What is added is made printable first, so that nothing in a name reaches the
/// terminal as an escape sequence.
pub(super) struct Canvas {
    text: String,
    screen: Screen,
}

impl Canvas {
    pub(super) fn new(screen: Screen) -> Self {
        Self {
            text: String::new(),
            screen,
        }
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    /// Adds text to the line.
    pub(super) fn styled(&mut self, text: &str, style: Style) {
        let text = printable(text);
        if self.screen.color && style != PLAIN {
            // Writing to a `String` cannot fail.
            let _ = write!(self.text, "{style}{text}{style:#}");
        } else {
            self.text.push_str(&text);
        }
    }

    pub(super) fn end_line(&mut self) {
        self.text.push('\n');
    }

    /// Adds text, and ends the line.
    pub(super) fn line(&mut self, text: &str, style: Style) {
        self.styled(text.trim_end(), style);
        self.end_line();
    }

    /// Adds spaces up to a column.
    pub(super) fn pad_to(&mut self, column: usize) {
        let missing = column.saturating_sub(self.used());
        self.text.extend(std::iter::repeat_n(' ', missing));
    }

    /// Adds text in lines that all begin at a column, and ends the last.
    pub(super) fn wrapped(&mut self, text: &str, column: usize, style: Style) {
        self.wrapped_pieces(text.split_whitespace(), column, style);
    }

    /// The same with pieces of text between which lines may break.
    pub(super) fn wrapped_pieces<'a>(
        &mut self,
        pieces: impl IntoIterator<Item = &'a str>,
        column: usize,
        style: Style,
    ) {
        let width = self.screen.width.saturating_sub(column).max(LEAST_WIDTH);
        for line in wrap(pieces, width) {
            self.pad_to(column);
            self.styled(&line, style);
            self.end_line();
        }
    }

    /// Adds a short name and its location, and ends the line. Where both are too wide the name is
    /// cut first, down to some columns, then the location.
    pub(super) fn frame(&mut self, name: &str, location: &str, style: Style) {
        let room = self.screen.width.saturating_sub(self.used() + 2);
        let location = tail_of_path(location, room.saturating_sub(LEAST_NAME));
        let room = room.saturating_sub(location.chars().count());
        self.styled(&fit(name, room), style);
        if !location.is_empty() {
            self.text.push_str("  ");
            self.styled(&location, style);
        }
        self.end_line();
    }

    /// Columns of the line so far.
    fn used(&self) -> usize {
        let begin = self.text.rfind('\n').map_or(0, |at| at + 1);
        columns(&self.text[begin..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NARROW: Screen = Screen {
        color: false,
        width: 40,
    };

    #[test]
    fn a_frame_fits_its_line() {
        let line = |name: &str, location: &str| {
            let mut canvas = Canvas::new(NARROW);
            canvas.pad_to(4);
            canvas.frame(name, location, PLAIN);
            canvas.into_text()
        };
        assert_eq!(line("f", "src/lib.rs:7"), "    f  src/lib.rs:7\n");
        assert_eq!(line("f", ""), "    f\n");
        assert_eq!(
            line("Variant::with_capacity", "src/models/variant.rs:137"),
            "    …::with_capacity  …/variant.rs:137\n"
        );
        assert_eq!(
            line("Cnn::forward", "a-crate-0.1.0/src/models/variant.rs:137"),
            "    Cnn::forward  …/variant.rs:137\n"
        );
    }

    #[test]
    fn wrapped_lines_begin_at_one_column() {
        let mut canvas = Canvas::new(NARROW);
        canvas.styled("  label", BOLD);
        canvas.wrapped("some words that take more than a line of it", 10, PLAIN);
        assert_eq!(
            canvas.into_text(),
            "  label   some words that take more than\n          a line of it\n"
        );
    }

    #[test]
    fn colours_take_no_columns() {
        let mut canvas = Canvas::new(Screen {
            color: true,
            ..NARROW
        });
        canvas.styled("ab", RED);
        canvas.pad_to(4);
        canvas.line("c", PLAIN);
        assert_eq!(canvas.into_text(), "\u{1b}[31mab\u{1b}[0m  c\n");
    }
}
