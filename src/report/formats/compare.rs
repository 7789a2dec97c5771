//! Two runs compared, as Markdown and as a page.

use std::fmt::Write;

use maud::html;

use super::html::page as whole_page;
use super::markdown::name;
use super::markup::{cell, code};
use crate::base::text::{count, tail_of_path};
use crate::report::compare::{Became, Change, Comparison};
use crate::report::names::short;

/// Changes shown in Markdown.
const CHANGES: usize = 100;

/// Characters shown of a location in Markdown.
const WIDTH: usize = 160;

/// The comparison as Markdown, for a pull request.
pub fn markdown(comparison: &Comparison) -> String {
    let [before, after] = &comparison.verdicts;
    let mut text = format!(
        "### afterdrop: {before} → {after} {}\n\n{}\n\n",
        code(&comparison.workload()),
        comparison.summary()
    );
    if !comparison.changes.is_empty() {
        text += "| | growth | phase | call site |\n| --- | ---: | --- | --- |\n";
        for change in comparison.changes.iter().take(CHANGES) {
            // Writing to a `String` cannot fail.
            let _ = writeln!(
                text,
                "| {} | {} | {} | {}<br>{} |",
                word(change),
                cell(&change.rates()),
                change.phase.unwrap_or_default(),
                code(&name(&change.function)),
                code(&tail_of_path(&change.location, WIDTH)),
            );
        }
        let more = comparison.changes.len().saturating_sub(CHANGES);
        if more > 0 {
            let more = count(more as u64, "more call site");
            let _ = writeln!(text, "| | | | and {more} |");
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
        let _ = writeln!(text, "- note: {}", cell(warning));
    }
    text
}

/// The comparison as a page for a browser.
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
                h2 id="changes" { "Call sites that grow, or grew" }
                div.scroll tabindex="0" role="region" aria-labelledby="changes" {
                    table {
                        thead { tr {
                            th scope="col" { "change" } th scope="col" { "growth" }
                            th scope="col" { "phase" } th scope="col" { "call site" }
                        } }
                        tbody { @for change in &comparison.changes { tr {
                            td { span class={ "verdict " (style(change)) } { (word(change)) } }
                            td { (change.rates()) }
                            td { (change.phase.unwrap_or_default()) }
                            td.name {
                                span title=(change.function) { (short(&change.function)) }
                                " " span.where { (change.location) }
                            }
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
    whole_page(&title, version, &body, false)
}

fn word(change: &Change) -> &'static str {
    match change.allowed {
        Some(_) => "allowed",
        None => change.became.name(),
    }
}

/// The CSS class of a verdict with the colour that fits the change.
fn style(change: &Change) -> &'static str {
    match change.became {
        _ if change.allowed.is_some() => "before",
        Became::New | Became::Worse => "leak",
        Became::Open => "undecided",
        Became::Better | Became::Fixed => "cache",
        Became::Same => "growing",
    }
}
