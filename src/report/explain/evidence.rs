//! The figures behind a verdict, and what would change it.

use crate::base::text::count;
use crate::model::report::Report;
use crate::model::verdict::{Evidence, RisesBy, Rule, Verdict, default_cycles};
use crate::report::screen::{Canvas, PLAIN};

/// The column at which the figures begin, behind their labels.
const COLUMN: usize = 16;

/// Draws the figures. A part of the process has no generations, and so no lifetimes.
pub(super) fn figures(canvas: &mut Canvas, e: &Evidence, horizon: u32, has_generations: bool) {
    canvas.end_line();
    canvas.line("figures", PLAIN);
    let mut line = |label: &str, value: &str| {
        canvas.pad_to(2);
        canvas.styled(label, PLAIN);
        canvas.pad_to(COLUMN);
        canvas.wrapped(value, COLUMN, PLAIN);
    };
    line("rises", &rises(e));
    if !e.rises.is_empty() {
        line(
            "span",
            &format!(
                "{} from the first rise to the last confirmed one; the horizon is {horizon}",
                cycles(e.span)
            ),
        );
        line(
            "quiet",
            &format!(
                "{} since the last rise; {} would count as stopped (longest gap between rises: {})",
                cycles(e.quiet),
                e.quiet_needed,
                e.longest_gap
            ),
        );
    }
    if has_generations {
        let longest = format!(
            "at most {}, of the generations that died",
            cycles(e.longest_life)
        );
        line("lifetime", &longest);
    }
    line("chance", &chance(e));
    line("rule", rule(e.rule, has_generations));
}

fn cycles(number: u32) -> String {
    count(u64::from(number), "cycle")
}

/// How often it rose, when, and what counts as a rise.
fn rises(e: &Evidence) -> String {
    let what = match e.rises_by {
        RisesBy::Generations => "a generation outlived every one that died",
        RisesBy::Floor => "live bytes stayed above all earlier values",
        RisesBy::Troughs => "the minimum over each window of the longest lifetime rose",
    };
    let cycles = match e.rises[..] {
        [] => return "none".into(),
        [_] => "in cycle",
        _ => "in cycles",
    };
    let number = e.rises.len() as u64;
    format!("{} {cycles} {}: {what}", number, ranges(&e.rises))
}

/// The test for a trend.
fn chance(e: &Evidence) -> String {
    let when = match e.analyses {
        0 => "the run's length was fixed in advance".to_owned(),
        n => format!("interim analysis {n}; the level of all of them together is 0.01"),
    };
    format!(
        "{:.1e} for a series without trend to rise as much (Mann-Kendall); below {:.1e} is \
         significant ({when})",
        e.chance, e.significance
    )
}

fn rule(rule: Rule, has_generations: bool) -> &'static str {
    match rule {
        Rule::Horizon => "the span of the rises exceeds the horizon",
        Rule::ModelSized => {
            "a generation survives from every cycle, and together they retain at least 90 % of one \
             load"
        }
        Rule::Lost => "nothing points at survivors of several generations",
        Rule::Slower => "it still rises beyond the horizon, but ever more slowly",
        Rule::NotYet => "it still rises, and the horizon is not reached",
        Rule::Stopped => "it has not risen for as long as the rises took",
        Rule::Replaced => "each new generation replaces an old one",
        Rule::Young if has_generations => "generations die young",
        Rule::Young => "it does not rise",
        Rule::BeforeBaseline => "nothing was allocated after the warm-up",
        Rule::TooFewCycles => "fewer cycles than any rule needs",
        Rule::TooLittle => "it rises, but within what the C library or the kernel may keep",
        Rule::Garbage => {
            "it rises, but refers only to itself: garbage that Python's collector frees when it comes"
        }
        Rule::Open => "no rule applies yet",
    }
}

/// Draws what would change the verdict.
pub(super) fn alternatives(canvas: &mut Canvas, verdict: Verdict, e: &Evidence, report: &Report) {
    canvas.end_line();
    canvas.line("what would change the verdict", PLAIN);
    canvas.wrapped(&alternative(verdict, e, report), 2, PLAIN);
}

fn alternative(verdict: Verdict, e: &Evidence, report: &Report) -> String {
    let last = e.rises.last().copied().unwrap_or(0);
    let more = count(u64::from(e.more_cycles.unwrap_or(0)), "more cycle");
    match (verdict, e.rule) {
        (Verdict::Leak, Rule::ModelSized) => format!(
            "`growing` if a cycle had left no survivor, or if less than 90 % of one load had been \
             retained; a run of {} cycles shows whether the models are swept or cached after all",
            default_cycles(report.warmup, report.horizon)
        ),
        (Verdict::Leak, Rule::Lost) => {
            "`growing` if anything reachable pointed at its blocks; without the holder search \
             the verdict waits for the horizon"
                .into()
        }
        (Verdict::Leak, _) => format!(
            "`cache` if it had not risen for {} after cycle {last}; `growing` with a horizon of {} \
             or more",
            cycles(e.quiet_needed),
            e.span.saturating_add(1)
        ),
        (Verdict::Growing, Rule::Slower) => {
            format!("{more}: `leak` if it goes on at one rate, `cache` if it stops")
        }
        (Verdict::Growing, _) => format!(
            "{more}: `leak` if it goes on rising, `cache` if it stops; or `leak` now with a \
             horizon of {} or less",
            e.span.max(1)
        ),
        (Verdict::Undecided, Rule::Garbage) => {
            "`--collect`: what rises then is no garbage; `cache` if the collector comes within the run".into()
        }
        (Verdict::Undecided, _) => format!("at least {more}"),
        (Verdict::Cache, Rule::Stopped) => format!(
            "`growing` if it had risen within the last {}",
            cycles(e.quiet_needed)
        ),
        (Verdict::Cache | Verdict::Churn, _) if e.rises.is_empty() && e.longest_life == 0 => {
            "`growing` if it had risen again and again".into()
        }
        (Verdict::Cache | Verdict::Churn, _) => format!(
            "`growing` if generations had outlived the longest lifetime of {}",
            cycles(e.longest_life)
        ),
        (Verdict::WarmUp, _) => {
            "survivors that were allocated after the warm-up: only they are judged".into()
        }
    }
}

/// `1-80`, `3, 6, 9-12`. The middle is left out where there are too many.
fn ranges(numbers: &[u32]) -> String {
    const MOST: usize = 12;
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &n in numbers {
        match runs.last_mut() {
            Some((_, end)) if n.checked_sub(1) == Some(*end) => *end = n,
            _ => runs.push((n, n)),
        }
    }
    let shown = |runs: &[(u32, u32)]| {
        let run = |&(first, last): &(u32, u32)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        };
        runs.iter().map(run).collect::<Vec<_>>().join(", ")
    };
    if runs.len() <= MOST {
        return shown(&runs);
    }
    let (front, back) = (&runs[..MOST / 2], &runs[runs.len() - MOST / 2..]);
    format!("{}, ..., {}", shown(front), shown(back))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example;

    #[test]
    fn cycles_are_folded_into_ranges() {
        assert_eq!(ranges(&[]), "");
        assert_eq!(ranges(&[3]), "3");
        assert_eq!(ranges(&[1, 2, 3, 7, 9, 10]), "1-3, 7, 9-10");
        let odd: Vec<u32> = (0..50).map(|n| 2 * n + 1).collect();
        assert_eq!(
            ranges(&odd),
            "1, 3, 5, 7, 9, 11, ..., 89, 91, 93, 95, 97, 99"
        );
    }

    #[test]
    fn the_rises_say_when_and_what() {
        let mut evidence = example::report().call_sites[0].evidence.clone();
        evidence.rises = vec![7];
        evidence.rises_by = RisesBy::Troughs;
        assert_eq!(
            rises(&evidence),
            "1 in cycle 7: the minimum over each window of the longest lifetime rose"
        );
        evidence.rises.clear();
        assert_eq!(rises(&evidence), "none");
    }
}
