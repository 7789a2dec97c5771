//! Two runs compared, as Markdown and as a page.

use std::fmt::Write;

use maud::html;

use super::{html as pages, markdown};
use crate::report::compare::{Became, Change, Comparison};

/// Changes that Markdown has room for.
const CHANGES: usize = 100;

/// For a pull request.
pub fn markdown(comparison: &Comparison) -> String {
    let [before, after] = &comparison.verdicts;
    let mut text = format!(
        "### afterdrop: {before} → {after} {}\n\n{}\n\n",
        markdown::code(&comparison.workload()),
        comparison.summary()
    );
    if !comparison.changes.is_empty() {
        text += "| | growth | phase | where |\n| --- | ---: | --- | --- |\n";
        for change in comparison.changes.iter().take(CHANGES) {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "| {} | {} | {} | {}<br>{} |",
                word(change),
                markdown::cell(&change.rates()),
                change.phase.unwrap_or_default(),
                markdown::code(&markdown::short(&change.function)),
                markdown::code(&markdown::short(&change.location)),
            );
        }
        let more = comparison.changes.len().saturating_sub(CHANGES);
        if more > 0 {
            let _ = writeln!(text, "| | | | and {more} more |");
        }
        text.push('\n');
    }
    text += "| | before | after | change |\n| --- | ---: | ---: | ---: |\n";
    for figure in &comparison.figures {
        let [before, after, change] = figure.words();
        let _ = writeln!(text, "| {} | {before} | {after} | {change} |", figure.name);
    }
    text.push('\n');
    for warning in &comparison.warnings {
        let _ = writeln!(text, "- note: {}", markdown::cell(warning));
    }
    text
}

/// For a browser.
pub fn page(comparison: &Comparison, version: &str) -> String {
    let [before, after] = &comparison.verdicts;
    let title = format!("{}: {before} to {after} | afterdrop", comparison.workload());
    let body = html! {
        header {
            h1 {
                span class={ "word " (before) } { (before) } " → "
                span class={ "word " (after) } { (after) } " " code { (comparison.workload()) }
            }
            p { (comparison.summary()) }
        }
        main id="main" {
            @for warning in &comparison.warnings { p.note { (warning) } }
            @if !comparison.changes.is_empty() {
                h2 id="changes" { "Places that grow, or grew" }
                div.scroll tabindex="0" role="region" aria-labelledby="changes" {
                    table {
                        thead { tr {
                            th scope="col" { "became" } th scope="col" { "growth" }
                            th scope="col" { "phase" } th scope="col" { "where" }
                        } }
                        tbody { @for change in &comparison.changes { tr {
                            td { span class={ "verdict " (style(change)) } { (word(change)) } }
                            td { (change.rates()) }
                            td { (change.phase.unwrap_or_default()) }
                            td.name { (change.function) " " span.where { (change.location) } }
                        } } }
                    }
                }
            }
            h2 id="figures" { "Memory and time" }
            div.scroll tabindex="0" role="region" aria-labelledby="figures" {
                table {
                    thead { tr {
                        th scope="col" { "figure" } th scope="col" { "before" }
                        th scope="col" { "after" } th scope="col" { "change" }
                    } }
                    tbody { @for figure in &comparison.figures {
                        @let [before, after, change] = figure.words();
                        tr { th scope="row" { (figure.name) } td { (before) } td { (after) } td { (change) } }
                    } }
                }
            }
        }
    };
    pages::page(&title, version, &body, false)
}

fn word(change: &Change) -> &'static str {
    match change.allowed {
        Some(_) => "allowed",
        None => change.became.name(),
    }
}

/// The colour of a verdict that is as good or as bad.
fn style(change: &Change) -> &'static str {
    match change.became {
        _ if change.allowed.is_some() => "before",
        Became::New | Became::Worse => "leak",
        Became::Open => "undecided",
        Became::Better | Became::Fixed => "cache",
        Became::Same => "growing",
    }
}
