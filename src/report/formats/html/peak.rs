//! What was live at the peak, and what each crate has.

use maud::{Markup, html};

use super::shell::{exact_bytes, function};
use crate::base::units::{bytes, exact, sum};
use crate::model::peak::{CrateShare, Peak};
use crate::model::report::Report;

/// Rows of each table, of those with at least a thousandth of the largest.
const ROWS: usize = 30;
const WORTH: u64 = 1000;

/// The call sites at the peak.
pub(super) fn call_sites(report: &Report) -> Markup {
    let Some(peak) = &report.peak else {
        return html! {};
    };
    let is_worth_it = |bytes: u64| bytes.saturating_mul(WORTH) >= peak.live_bytes;
    let worth = peak.call_sites.iter().filter(|s| is_worth_it(s.bytes));
    let shown: Vec<_> = worth.take(ROWS).collect();
    let listed = sum(shown.iter().map(|s| s.bytes).chain([peak.setup_bytes]));
    let rest = peak.live_bytes.saturating_sub(listed);
    html! {
        section {
            h2 id="peak" { "Live at the peak, by call site" }
            p.dim {
                (exact_bytes(peak.live_bytes)) " live in cycle " (peak.cycle) " (" (peak.phase) "), when it was \
                 last counted: whenever the cycles have added a tenth more."
            }
            div.scroll tabindex="0" role="region" aria-label="Call sites at the peak" {
                table {
                    thead { tr {
                        th scope="col" { "live" } th scope="col" { "share" } th scope="col" { "blocks" }
                        th scope="col" { "allocated in" } th scope="col" { "call site" }
                    } }
                    tbody {
                        @for site in &shown { tr {
                            (amount(site.bytes, peak))
                            td { (exact(site.blocks)) }
                            td { (site.phase) }
                            td { (function(&site.function)) " " span.where { (site.location()) } }
                        } }
                        @for (bytes, what) in [(peak.setup_bytes, "before the first cycle"), (rest, "all others")] {
                            @if bytes > 0 { tr { (amount(bytes, peak)) td {} td {} td { (what) } } }
                        }
                    }
                }
            }
        }
    }
}

fn amount(number: u64, peak: &Peak) -> Markup {
    let share = peak.percent(number);
    html! { td { (bytes(number as f64)) } td { (format!("{share:.1} %")) } }
}

/// Crates and shared libraries with what they retain and had at the peak.
pub(super) fn crates(report: &Report) -> Markup {
    let size = |s: &CrateShare| s.retained_bytes.max(s.peak_bytes);
    let largest = report.crates.iter().map(size).max().unwrap_or(0);
    let worth = report
        .crates
        .iter()
        .filter(|s| size(s).saturating_mul(WORTH) >= largest);
    let shown: Vec<_> = worth.take(ROWS).collect();
    if largest == 0 {
        return html! {};
    }
    html! {
        section {
            h2 id="crates" { "By crate or shared library" }
            p.dim { "Whose code has allocated: the innermost frame that is not of a standard library." }
            div.scroll tabindex="0" role="region" aria-label="Crates and shared libraries" {
                table {
                    thead { tr {
                        th scope="col" { "retained" } th scope="col" { "blocks" }
                        th scope="col" { "at the peak" } th scope="col" { "blocks" } th scope="col" { "crate" }
                    } }
                    tbody { @for s in &shown { tr {
                        td { (bytes(s.retained_bytes as f64)) } td { (exact(s.retained_blocks)) }
                        td { (bytes(s.peak_bytes as f64)) } td { (exact(s.peak_blocks)) }
                        td { code { (s.name) } }
                    } } }
                }
            }
        }
    }
}
