//! Standard output and standard error.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::sync::OnceLock;

use clap::ColorChoice;

use crate::base::error::Error;
use crate::base::text::one_line;
use crate::report::terminal::Screen;

/// Prints to standard output. A closed pipe, as behind `| head`, is no error.
///
/// # Errors
/// If standard output cannot be written.
pub(super) fn print(text: &str) -> Result<(), Error> {
    print_with(|to| to.write_all(text.as_bytes()))
}

/// Like [`print`], for output that is written in pieces, or is no text.
///
/// # Errors
/// If standard output cannot be written.
pub(super) fn print_with(
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Error> {
    let mut out = BufWriter::new(io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::io("write to", "standard output".as_ref(), e))
        }
        _ => Ok(()),
    }
}

/// Prints an error message to standard error.
pub(super) fn print_error(message: &str) {
    // If standard error cannot be written, there is still the exit code.
    let _ = writeln!(io::stderr(), "afterdrop: {message}");
}

/// The message of a clap error on one line, without the usage and the tips.
pub(super) fn usage_message(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let message = text.split("\n\n").next().unwrap_or_default();
    one_line(message.trim().trim_start_matches("error: "))
}

/// The value of `--color`.
static COLOR: OnceLock<ColorChoice> = OnceLock::new();

/// Sets when to color the output. Only the first call has an effect.
pub(super) fn set_color(choice: ColorChoice) {
    let _ = COLOR.set(choice);
}

/// The width of standard output, and whether to color it.
pub(super) fn screen() -> Screen {
    let color = match COLOR.get() {
        Some(ColorChoice::Always) => true,
        Some(ColorChoice::Never) => false,
        // NO_COLOR: see https://no-color.org.
        Some(ColorChoice::Auto) | None => {
            io::stdout().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
                && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
        }
    };
    let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
    let measured = || terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    // Without a terminal the width is 100.
    let width = columns.or_else(measured).unwrap_or(100).clamp(60, 160);
    Screen { color, width }
}
