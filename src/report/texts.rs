//! Copies of a report with all its texts changed: paths replaced, or made safe to print.

use super::{json, paths};
use crate::base::files;
use crate::model::report::Report;

#[cfg(feature = "formats")]
use crate::base::text::{is_hidden, printable, tail};

/// Characters of a text that other formats than JSON show: of a longer text its end.
#[cfg(feature = "formats")]
const LONGEST: usize = 4000;

impl Report {
    /// The report with `~` for the user's home folder in every text.
    pub(crate) fn without_home(self) -> Self {
        match files::home() {
            // Most reports do not mention it, and a search is cheaper than a copy.
            Some(home) if json::mentions(&self, &home) => self.with_path(&home, "~"),
            _ => self,
        }
    }

    /// The report with the path `to` for the path `from`, and for what is below it, in every text.
    pub(crate) fn with_path(&self, from: &str, to: &str) -> Self {
        self.with_texts(&mut |text| {
            if text.contains(from) {
                *text = paths::replaced(text, from, to);
            }
        })
    }

    /// The report without characters that are not seen, and with no text longer than 4,000
    /// characters.
    #[cfg(feature = "formats")]
    pub(super) fn cleaned(&self) -> Self {
        self.with_texts(&mut |text| {
            if text.len() > LONGEST {
                *text = tail(text, LONGEST);
            }
            if text.contains(is_hidden) {
                *text = printable(text);
            }
        })
    }

    /// A copy with every text changed, whatever field it is in.
    fn with_texts(&self, change: &mut dyn FnMut(&mut String)) -> Self {
        json::with_texts(self, change).unwrap_or_else(|| self.clone())
    }
}
