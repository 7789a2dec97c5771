//! Charts as SVG. Each has a text with the same content.

use maud::{Markup, html};

use super::shell::{class, exact_bytes};
use crate::base::text::{count, plural};
use crate::base::units::{bytes, exact, sum};
use crate::model::profile::{Bin, Generation};
use crate::model::report::{Boundary, Report};
use crate::model::verdict::Verdict;

/// Width and height of a chart, in its own coordinates.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 220.0;
/// Room for the numbers at the left and below.
const LEFT: f64 = 64.0;
const BELOW: f64 = 24.0;

/// A coordinate to one decimal.
fn short(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

/// Live bytes at each boundary by the verdict on their call site, and resident memory.
pub(super) fn life(report: &Report) -> Markup {
    let boundaries = &report.boundaries;
    let resident: Option<Vec<u64>> = boundaries.iter().map(|b| b.resident_bytes).collect();
    let live: Vec<u64> = boundaries.iter().map(|b| b.live_bytes).collect();
    let highest = |of: &[u64]| of.iter().copied().max().unwrap_or(0);
    let (high_live, high_resident) = (highest(&live), resident.as_deref().map_or(0, highest));
    // Resident memory gets a scale of its own, at the right, where it is far larger.
    let apart = high_resident > high_live.saturating_mul(3);
    let most = match apart {
        true => [high_live, high_resident],
        false => [high_live.max(high_resident); 2],
    };
    let [scale, of_resident] = most.map(|most| Scale::new(boundaries, most));
    let mut floor = vec![0_u64; boundaries.len()];
    let bands: Vec<(&str, String)> = layers(report)
        .into_iter()
        .map(|(name, values)| {
            let top = above(&floor, &values);
            let band = scale.band(&floor, &top);
            floor = top;
            (name, band)
        })
        .collect();
    let ends = |of: &[u64]| {
        let (first, last) = (of.first().copied(), of.last().copied());
        let shown = |n: Option<u64>| bytes(n.unwrap_or(0) as f64);
        format!(
            "{} at the first boundary, {} at the last",
            shown(first),
            shown(last)
        )
    };
    let resident_text = resident
        .as_ref()
        .map_or_else(String::new, |r| format!("; resident memory {}", ends(r)));
    let text = format!("Live bytes {}{resident_text}.", ends(&live));
    html! {
        figure {
            div.scroll tabindex="0" role="region" aria-label="Chart of memory over the run" {
            svg.chart role="img" aria-label=(text) viewBox=(scale.view(apart)) {
                (scale.axes(false))
                @if apart { (of_resident.axes(true)) }
                @for (name, band) in &bands { path class={ "band " (name) } d=(band) {} }
                @if let Some(resident) = &resident { path.resident d=(of_resident.line(resident)) {} }
                @if report.warmup > 0 && scale.count > 1 {
                    line.mark x1=(short(scale.x(report.warmup as usize - 1))) y1="0"
                        x2=(short(scale.x(report.warmup as usize - 1))) y2=(HEIGHT) {}
                }
                (scale.probes(boundaries))
            } }
            figcaption {
                (text) " "
                span.legend {
                    @for (name, _) in &bands {
                        span {
                            i class={ "key " (name) } {} " "
                            @if *name == "before" { "live at the baseline" } @else { (name) }
                        } " "
                    }
                    @if resident.is_some() { span {
                        i class="key resident" {} " resident"
                        @if apart { ", by the scale at the right" }
                    } " " }
                    @if report.warmup > 0 { span { i class="key mark" {} " end of the warm-up" } " " }
                    (scale.drawn_part())
                }
            }
        }
    }
}

/// Values on top of others.
fn above(floor: &[u64], values: &[u64]) -> Vec<u64> {
    let both = floor.iter().zip(values);
    both.map(|(a, b)| a.saturating_add(*b)).collect()
}

/// Live bytes at each boundary by verdict. From the bottom: bytes live at the baseline, harmless call
/// sites, and those that grow.
fn layers(report: &Report) -> Vec<(&'static str, Vec<u64>)> {
    let count = report.boundaries.len();
    let skipped = count.saturating_sub(
        report
            .call_sites
            .iter()
            .map(|s| s.series.len())
            .max()
            .unwrap_or(0),
    );
    let mut by_verdict: Vec<(&'static str, Vec<u64>)> = Vec::new();
    let mut all = vec![0_u64; count];
    for verdict in Verdict::ALL {
        let mut sum = vec![0_u64; count];
        for site in report.call_sites.iter().filter(|s| s.verdict == verdict) {
            for (sum, &bytes) in sum[skipped..].iter_mut().zip(&site.series) {
                *sum = sum.saturating_add(bytes);
            }
        }
        if sum.iter().any(|&b| b > 0) {
            all.iter_mut()
                .zip(&sum)
                .for_each(|(all, b)| *all = all.saturating_add(*b));
            by_verdict.push((class(verdict), sum));
        }
    }
    let live = report.boundaries.iter().map(|b| b.live_bytes);
    let before = live
        .zip(&all)
        .map(|(live, at_sites)| live.saturating_sub(*at_sites));
    let mut layers = vec![("before", before.collect())];
    layers.extend(by_verdict);
    layers
}

/// Converts values to coordinates.
struct Scale {
    count: usize,
    /// Indices of the boundaries that are drawn.
    drawn: Vec<usize>,
    most: f64,
}

/// Boundaries that are drawn at most: more than a screen has columns.
const MOST_DRAWN: usize = 2000;

/// The boundaries that are drawn: of several in one column the one with the most live bytes.
fn drawn(boundaries: &[Boundary]) -> Vec<usize> {
    let step = boundaries.len().div_ceil(MOST_DRAWN).max(1);
    let highest = |from: usize| {
        let column = from..boundaries.len().min(from + step);
        column.max_by_key(|&i| boundaries[i].live_bytes)
    };
    (0..boundaries.len())
        .step_by(step)
        .filter_map(highest)
        .collect()
}

impl Scale {
    fn new(boundaries: &[Boundary], most: u64) -> Self {
        Self {
            count: boundaries.len(),
            drawn: drawn(boundaries),
            most: (most as f64 * 1.05).max(1.0),
        }
    }

    /// The chart with room for numbers at the left, and if `right` at the right too.
    fn view(&self, right: bool) -> String {
        let room = if right { LEFT } else { 8.0 };
        let wide = LEFT + WIDTH + room;
        format!("{} -8 {wide} {}", -LEFT, HEIGHT + BELOW + 8.0)
    }

    fn x(&self, index: usize) -> f64 {
        index as f64 * WIDTH / (self.count.max(2) - 1) as f64
    }

    fn y(&self, value: u64) -> f64 {
        HEIGHT - value as f64 / self.most * HEIGHT
    }

    /// The points of a line. A single value is a horizontal line.
    fn points<'a>(&'a self, values: &'a [u64]) -> impl DoubleEndedIterator<Item = String> + 'a {
        let level = values.first().filter(|_| values.len() == 1);
        let points = self
            .drawn
            .iter()
            .filter_map(|&i| Some((self.x(i), *values.get(i)?)));
        let points = points.chain(level.map(|&v| (WIDTH, v)));
        let points: Vec<(f64, u64)> = points.collect();
        points
            .into_iter()
            .map(|(x, v)| format!("{} {}", short(x), short(self.y(v))))
    }

    fn line(&self, values: &[u64]) -> String {
        let points: Vec<String> = self.points(values).collect();
        format!("M{}", points.join("L"))
    }

    fn band(&self, floor: &[u64], top: &[u64]) -> String {
        let points: Vec<String> = self.points(top).chain(self.points(floor).rev()).collect();
        format!("M{}Z", points.join("L"))
    }

    /// Numbers at the left with grid lines, or only numbers at the right.
    fn axes(&self, right: bool) -> Markup {
        const TICKS: u32 = 4;
        let value = |i: u32| self.most / 1.05 * f64::from(i) / f64::from(TICKS);
        html! {
            @for i in 0..=TICKS {
                @let y = short(self.y(value(i) as u64));
                @if right {
                    text x=(WIDTH + 6.0) y=(y) dominant-baseline="middle" { (bytes(value(i))) }
                } @else {
                    line.grid x1="0" y1=(y) x2=(WIDTH) y2=(y) {}
                    text x="-6" y=(y) text-anchor="end" dominant-baseline="middle" { (bytes(value(i))) }
                }
            }
            @if self.count > 0 && !right {
                text x="0" y=(HEIGHT + 18.0) { "cycle 1" }
                text x=(WIDTH) y=(HEIGHT + 18.0) text-anchor="end" { (self.count) }
            }
        }
    }

    /// How many boundaries are drawn, if not all of them are.
    fn drawn_part(&self) -> Markup {
        let (drawn, all) = (exact(self.drawn.len() as u64), exact(self.count as u64));
        html! { @if self.drawn.len() < self.count { span { (drawn) " of " (all) " boundaries are drawn" } } }
    }

    /// An invisible bar at each boundary, with its figures as a tooltip.
    fn probes(&self, boundaries: &[Boundary]) -> Markup {
        let wide = WIDTH / (self.drawn.len().max(2) - 1) as f64;
        html! {
            @for (i, b) in self.drawn.iter().filter_map(|&i| Some((i, boundaries.get(i)?))) {
                rect.probe x=(short(self.x(i) - wide / 2.0)) y="0" width=(short(wide)) height=(HEIGHT) {
                    title {
                        "cycle " (b.cycle) ": " (exact_bytes(b.live_bytes)) " live in "
                        (count(b.live_blocks, "block"))
                        @if let Some(resident) = b.resident_bytes {
                            ", " (bytes(resident as f64)) " resident"
                        }
                    }
                }
            }
        }
    }
}

/// The generations of a call site: a row for each birth cycle, a column for each boundary. A leak is a
/// triangle, a cache a band, and churn a diagonal.
pub(super) fn generations(lives: &[Generation], cycles: u32) -> Markup {
    let changes = || lives.iter().flat_map(|g| &g.live);
    let most = changes().map(|&(_, b)| b).max().unwrap_or(0).max(1);
    let first = lives.first().map_or(1, |g| g.cycle);
    let last = lives.last().map_or(1, |g| g.cycle);
    // One unit for each cycle: with whole numbers there are no gaps between rows.
    let (columns, rows) = (cycles.max(1), last.saturating_sub(first).saturating_add(1));
    let high = (u64::from(rows) * 14).clamp(24, 220);
    let alive = lives
        .iter()
        .filter(|g| g.live.last().is_some_and(|l| l.1 > 0));
    let text = format!(
        "{}, born in cycles {first} to {last}; {} alive at the end.",
        count(lives.len() as u64, "generation"),
        alive.count()
    );
    html! {
        figure.generations {
            svg role="img" aria-label=(text)
                viewBox={ "0 0 " (columns) " " (rows) } style={ "height:" (high) "px" }
                preserveAspectRatio="none" {
                @for generation in lives {
                    @for (i, &(from, bytes)) in generation.live.iter().enumerate() {
                        @let until = generation.live.get(i + 1).map_or(cycles.saturating_add(1), |next| next.0);
                        @if bytes > 0 {
                            rect.cell
                                x=(from.saturating_sub(1)) y=(generation.cycle.saturating_sub(first))
                                width=(until.saturating_sub(from)) height="1"
                                fill-opacity=(opacity(bytes, most)) {
                                title {
                                    "born in cycle " (generation.cycle) ": " (exact_bytes(bytes))
                                    " at the boundaries " (from) " to " (until.saturating_sub(1))
                                }
                            }
                        }
                    }
                }
            }
            figcaption {
                (text) " Rows: birth cycles. Columns: boundaries 1 to " (cycles) "."
            }
        }
    }
}

/// The opacity of a number of bytes: a few bytes are still visible.
fn opacity(bytes: u64, most: u64) -> String {
    format!("{:.2}", 0.25 + 0.75 * (bytes as f64 / most as f64).sqrt())
}

/// A bar of parts with a legend, the largest first.
pub(super) fn stacked(title: &str, parts: &[(&str, u64)]) -> Markup {
    let mut parts: Vec<(usize, &str, u64)> = parts
        .iter()
        .enumerate()
        .filter(|(_, p)| p.1 > 0)
        .map(|(i, p)| (i, p.0, p.1))
        .collect();
    parts.sort_by_key(|p| std::cmp::Reverse(p.2));
    let sum = sum(parts.iter().map(|p| p.2)).max(1) as f64;
    let mut x = 0.0;
    let placed: Vec<(usize, &str, u64, f64, f64)> = parts
        .into_iter()
        .map(|(i, name, n)| {
            let wide = n as f64 / sum * WIDTH;
            let at = x;
            x += wide;
            (i, name, n, at, wide)
        })
        .collect();
    html! {
        figure {
            svg.bar role="img" aria-label=(title) viewBox={ "0 0 " (WIDTH) " 28" }
                preserveAspectRatio="none" {
                @for &(i, name, n, x, wide) in &placed {
                    rect class={ "part p" (i) } x=(short(x)) y="0" width=(short(wide)) height="28" {
                        title { (name) ": " (exact_bytes(n)) }
                    }
                }
            }
            ul.parts {
                @for &(i, name, n, ..) in &placed {
                    li { i class={ "key p" (i) } {} " " (bytes(n as f64)) " " (name) }
                }
            }
        }
    }
}

/// jemalloc's size classes, with the share of their slots that is in use.
pub(super) fn bins(bins: &[Bin]) -> Markup {
    let capacity = |b: &Bin| {
        let slots = b.slabs.1.saturating_mul(b.slots_per_slab);
        slots.saturating_mul(b.size)
    };
    let most = bins.iter().map(capacity).max().unwrap_or(0).max(1);
    let share = |bytes: u64| format!("{:.2}%", 100.0 * bytes as f64 / most as f64);
    html! {
        table.bins {
            thead {
                tr {
                    th scope="col" { "size" } th scope="col" { "in use / allocated" }
                    th scope="col" { "used" } th scope="col" { "since the baseline" }
                    th.wide scope="col" { "slabs, and their part in use" }
                }
            }
            tbody {
                @for b in bins {
                    @let used = b.slots_in_use.1.saturating_mul(b.size);
                    @let more = i128::from(b.slots_in_use.1) - i128::from(b.slots_in_use.0);
                    tr {
                        td { (exact_bytes(b.size)) }
                        td { (bytes(used as f64)) " / " (bytes(capacity(b) as f64)) }
                        td { (format!("{:.0} %", 100.0 * used as f64 / capacity(b).max(1) as f64)) }
                        td { (format!("{more:+}")) " " (plural(u64::try_from(more.abs()).unwrap_or(u64::MAX), "slot")) }
                        td.wide {
                            span.slabs style={ "width:" (share(capacity(b))) } {
                                span.used style={
                                    "width:" (format!("{:.2}%", 100.0 * used as f64
                                        / capacity(b).max(1) as f64))
                                } {}
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A bar for each name. An unknown value has no bar.
pub(super) fn bars(rows: &[(String, Option<f64>, String)]) -> Markup {
    let most = rows
        .iter()
        .filter_map(|r| r.1)
        .fold(0.0, f64::max)
        .max(1e-9);
    html! {
        @for (name, value, text) in rows {
            tr {
                th scope="row" { (name) }
                td { (text) }
                td.wide {
                    @if let Some(value) = value {
                        span.slabs.used style={ "width:" (format!("{:.2}%", 100.0 * value / most)) } {}
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example;

    #[test]
    fn of_many_boundaries_the_highest_are_drawn() {
        let mut report = example::report();
        let one = report.boundaries[0].clone();
        let boundary = |cycle| Boundary {
            cycle,
            live_bytes: if cycle == 4321 { 777_777 } else { 1000 },
            ..one.clone()
        };
        report.boundaries = (1..=5000).map(boundary).collect();
        let chart = life(&report).into_string();
        let probes = chart.matches("class=\"probe\"").count();
        assert!((1000..=MOST_DRAWN).contains(&probes), "{probes}");
        assert!(chart.contains("cycle 4321: 777,777 B") || chart.contains("cycle 4321: 778 kB"));
        assert!(chart.contains("of 5,000 boundaries are drawn"));
    }
}
