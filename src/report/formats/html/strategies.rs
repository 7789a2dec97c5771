//! The page of a comparison of strategies: the table, and its columns as charts.

use maud::html;

use super::charts;
use super::shell::page;
use crate::base::text::count;
use crate::base::units::{bytes, exact};
use crate::report::strategies::{Comparison, Row};
use crate::report::wording::heading;

/// The comparison as a page for a browser.
pub fn strategies(comparison: &Comparison) -> String {
    let title = format!("{}: strategies | afterdrop", heading(&comparison.workload));
    type Column = (&'static str, fn(&Row) -> Option<f64>);
    let columns: [Column; 4] = [
        ("Growth per cycle", |r| r.bytes_per_cycle),
        ("Highest live bytes", |r| Some(r.peak_live_bytes as f64)),
        ("Highest resident memory", |r| {
            r.peak_resident_bytes.map(|b| b as f64)
        }),
        ("Resident memory at the end", |r| {
            r.end_resident_bytes.map(|b| b as f64)
        }),
    ];
    let name = |r: &Row| format!("{} ×{} {}", r.strategy, r.size, r.precision);
    let body = html! {
        header {
            h1 { "Does loading " code { (heading(&comparison.workload)) } " again and again leak memory?" }
            p.dim {
                (count(u64::from(comparison.cycles), "cycle")) " each"
                @if let (Some(limit), Some(what)) = (comparison.memory_limit, &comparison.limited) {
                    ", limited to " (bytes(limit as f64)) " of " (what)
                }
                @for option in &comparison.options { " · " code { (option) } }
            }
        }
        main id="main" {
            div.scroll tabindex="0" role="region" aria-label="The runs" {
                table {
                    thead { tr {
                        th scope="col" { "strategy" } th scope="col" { "verdict" }
                        th scope="col" { "growth per cycle" } th scope="col" { "peak live" }
                        th scope="col" { "peak resident" } th scope="col" { "resident at the end" }
                        th scope="col" { "ms per cycle" } th scope="col" { "blocks per cycle" }
                    } }
                    tbody { @for row in &comparison.rows { tr {
                        th scope="row" { (name(row)) }
                        td { span class={ "verdict " (row.verdict) } { (row.verdict) }
                            @if let Some((cycle, why)) = &row.died {
                                " " span.dim {
                                    @if *cycle == 0 { "died before its first cycle: " }
                                    @else { "died in cycle " (cycle) ": " }
                                    (why)
                                }
                            } }
                        td { (row.bytes_per_cycle.map_or("?".into(), bytes)) }
                        td { (bytes(row.peak_live_bytes as f64)) }
                        td { (or_unknown(row.peak_resident_bytes)) }
                        td { (or_unknown(row.end_resident_bytes)) }
                        td { (format!("{:.2}", row.seconds_per_cycle * 1e3)) }
                        td { (exact(row.allocations_per_cycle)) }
                    } } }
                }
            }
            @for (title, value) in columns {
                section {
                    h2 { (title) }
                    table { tbody {
                        (charts::bars(&comparison.rows.iter().map(|r| {
                            let v = value(r);
                            (name(r), v, v.map_or("?".to_owned(), bytes))
                        }).collect::<Vec<_>>()))
                    } }
                }
            }
        }
    };
    page(&title, &comparison.version, &body, false)
}

fn or_unknown(number: Option<u64>) -> String {
    number.map_or_else(|| "?".into(), |n| bytes(n as f64))
}
