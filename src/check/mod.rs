//! Leak assertions in tests: `cargo test` fails with the line when a reload leaks.

use std::any::type_name;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use crate::analysis::allow::Allow;
use crate::analysis::config;
use crate::analysis::limits::{Budget, Limits};
use crate::analysis::verdict;
use crate::base::error::Error;
use crate::base::text::printable;
use crate::measure::child;
use crate::measure::{self, Request};
use crate::model::report::Report;
use crate::model::run::{HeapKind, Strategy};
use crate::recorder::cycle::{self as cycles, Body, Failure, Plan, Strategies, Workload};
use crate::recorder::heap;
use crate::report::terminal;

#[cfg(feature = "tokio")]
mod asynchronous;
mod cycle;
mod place;
mod sequence;

use self::cycle::Closure;
pub use self::cycle::{Cycle, CycleResult};
pub(crate) use self::place::folder_of;
use self::place::{Test, running_test};

/// Environment variable of the measured child: the check that it is to run.
const ENV_CHECK: &str = "AFTERDROP_CHECK";

/// Longest run unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(300);

/// A leak assertion.
///
/// The closure is run in cycles in a fresh process of this test's executable, so that parallel
/// tests, their order and the harness's own allocations change nothing. The test fails if anything
/// grows, or if it cannot be told whether it does; the message is the report.
///
/// ```no_run
/// # struct Model; impl Model { fn load() -> Self { Model } fn forward(&self) {} }
/// #[global_allocator]
/// static HEAP: afterdrop::Heap = afterdrop::Heap::new();
///
/// #[test]
/// fn reloading_leaves_nothing() {
///     afterdrop::Check::new("reload").cycles(20).run(|cycle| {
///         let model = cycle.load(|| Model::load());
///         cycle.infer(|| model.forward());
///     });
/// }
/// # fn main() {}
/// ```
///
/// # How many cycles
/// By default as many as it takes to call a small leak a leak: the warm-up, the horizon and some
/// more, 83 in all. With fewer, growth is called `growing` and fails the check as well; what a
/// short run cannot see is a cache that is still filling, which then fails the check, too.
///
/// # How the child finds its test
/// It is started as `executable <test> --exact`. The test's name is that of the running thread,
/// which libtest names after it; on the main thread it is what `--exact` asked for, or the function
/// that libtest called, else the path of the closure. So tests in nested modules, helpers that
/// several tests call and `rstest` cases need nothing. [`Check::test`] says it outright, for a
/// harness of another kind; a name that is wrong is an error that says so.
///
/// What comes before the check in its test runs in the child as well. Under `main` of a program
/// of your own, or in a doc test, the child runs it from the start:
///
/// ```
/// #[global_allocator]
/// static HEAP: afterdrop::Heap = afterdrop::Heap::new();
///
/// fn main() {
///     let check = afterdrop::Check::new("in a doc test").cycles(20);
///     check.run(|_| drop(vec![1_u8; 1000]));
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Check {
    name: String,
    test: Option<String>,
    cycles: Option<u32>,
    auto: bool,
    warmup: u32,
    horizon: u32,
    strategy: Strategy,
    heap: HeapKind,
    timeout: Duration,
    limits: Limits,
    /// Patterns with their reasons.
    allowed: Vec<(String, String)>,
    baseline: Option<PathBuf>,
    holders: bool,
}

impl Check {
    /// A check under a name, which is to be unique within its test.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            test: None,
            cycles: None,
            auto: false,
            warmup: crate::model::verdict::DEFAULT_WARMUP,
            horizon: crate::model::verdict::DEFAULT_HORIZON,
            strategy: Strategy::Fresh,
            heap: HeapKind::System,
            timeout: TIMEOUT,
            limits: Limits::default(),
            allowed: Vec::new(),
            baseline: None,
            holders: true,
        }
    }

    /// Runs so many cycles, the warm-up included.
    pub fn cycles(mut self, cycles: u32) -> Self {
        self.cycles = Some(cycles);
        self
    }

    /// Ends the run once every call site is settled, as the command does by default: after nine cycles
    /// behind the warm-up if nothing stays at all, and after three horizons at the latest, or after
    /// [`Check::cycles`]. It is quicker, and does not see what begins later.
    pub fn auto(mut self) -> Self {
        self.auto = true;
        self
    }

    /// Sets the first so many cycles aside. 3 by default.
    pub fn warmup(mut self, cycles: u32) -> Self {
        self.warmup = cycles;
        self
    }

    /// Does not look for what holds the survivors.
    pub fn without_holders(mut self) -> Self {
        self.holders = false;
        self
    }

    /// Calls steady growth a leak only beyond so many cycles after the warm-up. 64 by default.
    pub fn horizon(mut self, cycles: u32) -> Self {
        self.horizon = cycles;
        self
    }

    /// Chooses how cycles handle the model of [`Check::run_workload`]. A closure handles its model
    /// itself.
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// Chooses what is beneath the ledger. By default it is what the [`Heap`](crate::Heap) was
    /// laid over: the system's allocator unless another was named.
    pub fn heap(mut self, heap: HeapKind) -> Self {
        self.heap = heap;
        self
    }

    /// Ends the run after this time, and fails. 300 seconds by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Names the test that the child is to run, as `cargo test -- --list` shows it.
    pub fn test(mut self, path: impl Into<String>) -> Self {
        self.test = Some(path.into());
        self
    }

    /// Allows growth of so many bytes a cycle, all growing call sites together. 0 by default.
    pub fn max_leak_bytes_per_cycle(mut self, bytes: u64) -> Self {
        self.limits.leak_bytes_per_cycle = Some(bytes);
        self
    }

    /// Allows the growth of call sites of which a frame, written `function file:line`, matches a regular
    /// expression: a known leak, with the reason for which it is borne. An entry that matches
    /// nothing is said in the report. The entries of an `afterdrop.toml` count as well.
    pub fn allow(mut self, pattern: impl Into<String>, reason: impl Into<String>) -> Self {
        self.allowed.push((pattern.into(), reason.into()));
        self
    }

    /// Fails if the cycles leave more than so many bytes live at the last boundary, caches and
    /// warm-up included; set-up before the first cycle is not counted.
    pub fn max_live_bytes(mut self, bytes: u64) -> Self {
        self.limits.live_bytes = Some(bytes);
        self
    }

    /// Fails if more than so many bytes are live at any moment of a cycle after the warm-up; set-up
    /// before the first cycle is not counted. Exact to 4 KiB for each running thread.
    pub fn max_peak_bytes(mut self, bytes: u64) -> Self {
        self.limits.peak_bytes = Some(bytes);
        self
    }

    /// Fails if any cycle after the warm-up allocates more than so many blocks; a `realloc` counts
    /// as one.
    pub fn max_allocations_per_cycle(mut self, blocks: u64) -> Self {
        self.limits.allocations_per_cycle = Some(blocks);
        self
    }

    /// Fails if the cycles need more than a file records: allocations and bytes of a cycle, peak and
    /// live bytes, for the numbers that nobody can name beforehand. A relative path is below the
    /// folder that the test runs in, which under cargo is the package's.
    ///
    /// The file is written when the environment has `AFTERDROP_UPDATE=1`, and then the check passes
    /// if nothing grows. A missing file fails: it never records itself.
    pub fn baseline(mut self, path: impl Into<PathBuf>) -> Self {
        self.baseline = Some(path.into());
        self
    }

    /// Runs the check.
    ///
    /// The closure is one cycle. It may mark its phases with [`Cycle::load`] and [`Cycle::infer`],
    /// and may return a `Result`, whose error ends the run and fails the test.
    ///
    /// # Panics
    /// With the report, if anything grows, cannot be told, or exceeds a limit; with the reason, if
    /// the run failed or could not begin.
    #[track_caller]
    pub fn run<R: CycleResult, F>(self, cycle: F)
    where
        F: FnMut(&mut Cycle<'_>) -> R,
    {
        if let Some(message) = self.failure(type_name::<F>(), |_| Ok(Box::new(Closure(cycle)))) {
            panic!("{message}");
        }
    }

    /// Runs the check on a workload, with the chosen strategy.
    ///
    /// `make` sets it up, in the measured process and before the first cycle.
    ///
    /// # Panics
    /// As [`Check::run`].
    #[track_caller]
    pub fn run_workload<F>(self, make: F)
    where
        F: FnOnce() -> Result<Box<dyn Workload>, Failure>,
    {
        if let Some(message) = self.failure(type_name::<F>(), |plan| strategies(make, plan)) {
            panic!("{message}");
        }
    }

    /// Runs the check and gives its report, in place of a judgement.
    ///
    /// # Errors
    /// If it could not begin: no `Heap` is installed, too few cycles, no such test.
    pub fn run_report<R: CycleResult, F>(self, cycle: F) -> Result<Report, Error>
    where
        F: FnMut(&mut Cycle<'_>) -> R,
    {
        let made = self.measure(type_name::<F>(), |_| Ok(Box::new(Closure(cycle))));
        made.map(|(report, _)| report)
    }

    /// The message to fail with; `None` if all is well.
    fn failure<'a>(
        self,
        closure: &str,
        body: impl FnOnce(&Plan) -> MadeBody<'a>,
    ) -> Option<String> {
        let limits = self.limits;
        let name = printable(&self.name);
        let baseline = self.baseline.clone();
        let (report, folder) = match self.measure(closure, body) {
            Ok(measured) => measured,
            Err(error) if error.is_child() => return Some(format!("check `{name}`: {error}")),
            Err(error) => return Some(format!("check `{name}` could not be made: {error}")),
        };
        let mut broken = limits.broken_by(&report);
        if let Some(path) = baseline.filter(|_| report.ended.is_complete()) {
            match over_baseline(&report, &path, broken.is_empty()) {
                Ok(over) => broken.extend(over),
                Err(error) => broken.push(error.to_string()),
            }
        }
        let failure = verdict_on(&name, &report, &broken, &folder);
        if failure.is_none() {
            // The harness shows it where the output of passing tests is asked for.
            for warning in &report.warnings {
                println!("check `{name}`: note: {warning}");
            }
        }
        failure
    }

    fn measure<'a>(
        self,
        closure: &str,
        body: impl FnOnce(&Plan) -> MadeBody<'a>,
    ) -> Result<(Report, PathBuf), Error> {
        if let Some(out) = child::measured_in() {
            let key = sequence::key("", &self.name);
            return self.in_child(&key, out, body);
        }
        self.validate()?;
        let mut config = config::load(&self.name)?;
        for (pattern, reason) in &self.allowed {
            config
                .allowed
                .push(Allow::new(pattern, reason)?.only_here());
        }
        let test = match &self.test {
            Some(name) => Test {
                name: name.clone(),
                is_harnessed: true,
            },
            None => running_test(closure),
        };
        // Where `main` makes all checks they are one sequence, in whatever function they stand.
        let place = if test.is_harnessed { &*test.name } else { "" };
        let key = sequence::key(place, &self.name);
        let folder = folder_of(&test.name, &key)?;
        sequence::tell(place, &key, &folder)?;
        let request = Request {
            start: child::Start {
                program: child::this_program()?,
                args: [&*test.name, "--exact", "--nocapture", "--include-ignored"]
                    .iter()
                    .chain(&["--test-threads=1"])
                    .map(Into::into)
                    .collect(),
                heap: self.heap,
                out: folder.clone(),
                timeout: self.timeout,
                control: None,
                memory_limit: None,
                more: vec![(ENV_CHECK, key)],
            },
            horizon: self.horizon,
            holders: self.holders,
            all_holders: false,
            options: Vec::new(),
            config,
        };
        match measure::measure(request, &AtomicBool::new(false), |_| {}) {
            Ok(measured) => measured.check_written().map(|report| (report, folder)),
            // It ended as if all were well.
            Err(error) if error.is_not_begun() => Err(did_not_begin(&test.name, &folder)),
            Err(error) => Err(error),
        }
    }

    fn validate(&self) -> Result<(), Error> {
        if !heap::is_installed() {
            return Err(cycles::no_heap());
        }
        if !self.heap.is_available() {
            return Err(Error::usage(format!(
                "this build has no heap {0}: turn the feature `{0}` of afterdrop on",
                self.heap
            )));
        }
        let fewest = self
            .warmup
            .saturating_add(crate::model::verdict::FEWEST_CYCLES);
        let cycles = self.all_cycles();
        if cycles < fewest || cycles > crate::model::block::MAX_CYCLE {
            return Err(Error::usage(format!(
                "{cycles} cycles are out of range: with a warm-up of {} a verdict needs at least \
                 {fewest}, and {} are the most",
                self.warmup,
                crate::model::block::MAX_CYCLE
            )));
        }
        Ok(())
    }

    fn all_cycles(&self) -> u32 {
        let default = match self.auto {
            true => self
                .warmup
                .saturating_add(verdict::max_cycles(self.horizon)),
            false => crate::model::verdict::default_cycles(self.warmup, self.horizon),
        };
        self.cycles.unwrap_or(default)
    }

    /// What a check does in the measured child: if it is the one that is asked for, it runs the
    /// cycles and ends the process. An earlier one of the same test gives the report that it has
    /// made already.
    fn in_child<'a>(
        self,
        key: &str,
        out: PathBuf,
        body: impl FnOnce(&Plan) -> MadeBody<'a>,
    ) -> Result<(Report, PathBuf), Error> {
        static RUNNING: AtomicBool = AtomicBool::new(false);
        if RUNNING.load(Relaxed) {
            return Err(
                Error::usage(format!("check `{key}` is inside another check's cycle"))
                    .hint("take it out: each check runs its own process"),
            );
        }
        if std::env::var_os(ENV_CHECK).is_none_or(|asked| asked != key) {
            let folder = sequence::earlier(&out, key).ok_or_else(|| {
                Error::usage(format!(
                    "the check `{key}` comes before the one that is run here, and was not made"
                ))
                .hint("a test has to make the same checks in the same order each time")
            })?;
            let report = Report::read(&folder.join(crate::model::report::FILE))?;
            return Ok((report, folder));
        }
        RUNNING.store(true, Relaxed);
        let plan = Plan {
            workload: key.into(),
            heap: self.heap,
            strategy: self.strategy,
            cycles: self.all_cycles(),
            warmup: self.warmup,
            holders: self.holders,
            auto: self.auto.then_some(cycles::Auto {
                horizon: self.horizon,
                time: self.timeout,
            }),
            out,
        };
        cycles::check_heap(self.heap)?;
        let complete = cycles::run(&plan, &mut *body(&plan)?)
            .map_err(|e| Error::io("write the journal in", &plan.out, e))?;
        // The rest of the test is the parent's: nothing of it may run here, and nothing that would
        // need a destructor is left.
        std::process::exit(i32::from(!complete))
    }
}

/// What a check does in its cycles, or why that cannot be set up.
type MadeBody<'a> = Result<Box<dyn Body + 'a>, Error>;

fn strategies(
    make: impl FnOnce() -> Result<Box<dyn Workload>, Failure>,
    plan: &Plan,
) -> MadeBody<'static> {
    let workload =
        make().map_err(|e| Error::usage(format!("the workload cannot be set up: {e}")))?;
    let strategies = Strategies::new(workload, plan, true)
        .map_err(|e| Error::io("make a folder in", &plan.out, e))?;
    Ok(Box::new(strategies))
}

/// Environment variable that has baselines written in place of compared.
const ENV_UPDATE: &str = "AFTERDROP_UPDATE";

/// In what the report exceeds its baseline; nothing if the baseline is written anew, which only a
/// run is worth that is `good`.
fn over_baseline(report: &Report, path: &Path, good: bool) -> Result<Vec<String>, Error> {
    let needed = Budget::of(report);
    if std::env::var_os(ENV_UPDATE).is_some_and(|update| update == "1") {
        if good {
            needed.write(path)?;
        }
        return Ok(Vec::new());
    }
    let threads = report.boundaries.last().map_or(1, |b| b.threads);
    Ok(needed.over(&Budget::read(path)?, threads))
}

/// The message to fail with; `None` if all is well.
fn verdict_on(name: &str, report: &Report, broken: &[String], folder: &Path) -> Option<String> {
    if !report.ended.is_complete() {
        return Some(format!(
            "check `{name}`: the measured run {}\n  {} of {} cycles were run; see {}",
            report.ended,
            report.cycles_run(),
            report.cycles,
            folder.display()
        ));
    }
    if broken.is_empty() {
        return None;
    }
    let page = terminal::render(
        report,
        &folder.to_string_lossy(),
        terminal::Screen::default(),
    );
    Some(format!("check `{name}`: {}\n\n{page}", broken.join("; ")))
}

fn did_not_begin(test: &str, folder: &Path) -> Error {
    Error::child(format!(
        "the child ran no such check: it was started as `--exact {test}`"
    ))
    .hint(format!(
        "if that is not the test's name, say it with `.test(\"...\")`; what the child printed is \
         in {}",
        folder.join(child::OUTPUT).display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_heap_the_two_lines_are_said() {
        let error = Check::new("x").run_report(|_| ()).unwrap_err().to_string();
        assert!(error.contains("#[global_allocator]"), "{error}");
    }
}
