//! The page around its contents, and what all contents share.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::base::units::{bytes, exact};
use crate::model::verdict::Verdict;
use crate::report::names::short;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// A whole page around its body.
pub(crate) fn page(title: &str, version: &str, body: &Markup, script: bool) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#main" { "Skip to the report" }
                (body)
                footer { "Made by afterdrop " (version) "." }
                @if script { script { (PreEscaped(SCRIPT)) } }
            }
        }
    }
    .into_string()
}

/// A page that says one thing.
#[cfg(feature = "live")]
pub(crate) fn note_page(title: &str, note: &str) -> String {
    let body = html! { main id="main" { h1 { (title) } p { (sentence(note)) } } };
    page(title, env!("CARGO_PKG_VERSION"), &body, false)
}

/// The text as a sentence: with a capital letter and a full stop.
pub(super) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string());
    format!(
        "{}{}.",
        first.unwrap_or_default(),
        letters.as_str().trim_end_matches('.')
    )
}

/// A number of bytes with every digit, and rounded where it is large.
pub(super) fn exact_bytes(number: u64) -> String {
    match number {
        0..10_000 => format!("{} B", exact(number)),
        _ => format!("{} ({} B)", bytes(number as f64), exact(number)),
    }
}

/// The CSS class of a verdict.
pub(super) fn class(verdict: Verdict) -> &'static str {
    verdict.name()
}

/// A function's short name, with the whole one as its tooltip.
pub(super) fn function(name: &str) -> Markup {
    html! { span title=(name) { (short(name)) } }
}
