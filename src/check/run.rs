//! Runs a check: in the parent it starts the child and judges the run, in the child it runs the cycles.

use std::any::type_name;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::builder::Check;
use super::child::{MadeBody, run_in_child, workload_body};
use super::cycle::{Closure, Cycle, CycleResult};
use super::failure;
use super::folder::output_folder;
use super::sequence;
use super::test_name::{Test, running_test};
use crate::analysis::allow::Allow;
use crate::analysis::config::{self, Config};
use crate::analysis::verdict;
use crate::base::error::Error;
use crate::measure::child::{Start, this_program};
use crate::measure::{self, Lengths, Request};
use crate::model::plan::{Plan, Subject};
use crate::model::report::Report;
use crate::model::verdict::default_cycles;
use crate::recorder::cycle::{Failure, Workload, no_heap_error, received_plan};
use crate::recorder::heap;

impl Check {
    /// Runs the check. The closure is one cycle.
    ///
    /// The closure may mark its phases with [`Cycle::load`], [`Cycle::infer`] and [`Cycle::drop`]. It
    /// may return a `Result`; an error ends the run and fails the test.
    ///
    /// # Panics
    /// If memory grows, the run is too short to decide, or a limit is exceeded: the message is the
    /// report. If the run failed or could not start: the message is the reason.
    #[track_caller]
    pub fn run<R: CycleResult, F>(self, cycle: F)
    where
        F: FnMut(&mut Cycle<'_>) -> R,
    {
        if let Some(message) = self.failure(type_name::<F>(), |_| Ok(Box::new(Closure(cycle)))) {
            panic!("{message}");
        }
    }

    /// Runs the check on a workload, whose model is handled as [`Check::strategy`] says.
    ///
    /// `make` creates the workload. It is called in the child, before the first cycle.
    ///
    /// # Panics
    /// In the same cases as [`Check::run`].
    #[track_caller]
    pub fn run_workload<F>(self, make: F)
    where
        F: FnOnce() -> Result<Box<dyn Workload>, Failure>,
    {
        if let Some(message) = self.failure(type_name::<F>(), |plan| workload_body(make, plan)) {
            panic!("{message}");
        }
    }

    /// Runs the check and returns its report. Growth and exceeded limits are not errors here.
    ///
    /// # Errors
    /// If the run could not start, for example because no [`Heap`](crate::Heap) is installed, there are
    /// too few cycles, or the test was not found.
    pub fn run_report<R: CycleResult, F>(self, cycle: F) -> Result<Report, Error>
    where
        F: FnMut(&mut Cycle<'_>) -> R,
    {
        let measured = self.measure(type_name::<F>(), |_| Ok(Box::new(Closure(cycle))));
        measured.map(|(report, _)| report)
    }

    /// Runs the check, and returns the message to fail with; `None` if it passes. `closure` is the type
    /// name of the closure, and `body` makes the body of the cycle loop in the child.
    pub(super) fn failure<'a>(
        self,
        closure: &str,
        body: impl FnOnce(&Plan) -> MadeBody<'a>,
    ) -> Option<String> {
        let limits = self.limits;
        let name = self.name.clone();
        let baseline = self.baseline.clone();
        match self.measure(closure, body) {
            Ok((report, folder)) => {
                failure::of_report(&name, &report, limits, baseline.as_deref(), &folder)
            }
            Err(error) => Some(failure::of_error(&name, &error)),
        }
    }

    /// Measures in a child, and returns the report and the folder of the run. In the child itself it
    /// runs the cycles, and does not return.
    fn measure<'a>(
        self,
        closure: &str,
        body: impl FnOnce(&Plan) -> MadeBody<'a>,
    ) -> Result<(Report, PathBuf), Error> {
        if let Some(plan) = received_plan()? {
            let key = sequence::key("", &self.name);
            return run_in_child(&key, plan, body);
        }
        self.validate()?;
        let config = self.config()?;
        let test = match &self.test {
            Some(name) => Test {
                name: name.clone(),
                has_harness: true,
            },
            None => running_test(closure),
        };
        // Without a harness all checks of the program are one sequence, whichever functions they are
        // in, because the child runs `main` from the start.
        let sequence_name = if test.has_harness { &*test.name } else { "" };
        let key = sequence::key(sequence_name, &self.name);
        let folder = output_folder(&test.name, &key)?;
        sequence::add(sequence_name, &key, &folder)?;
        let request = self.request(&test.name, key, &folder, config)?;
        match measure::measure(request, &AtomicBool::new(false), ()) {
            Ok(measured) => measured
                .write()
                .check_written()
                .map(|report| (report, folder)),
            // The child has exited successfully without reaching the check.
            Err(error) if error.is_not_begun() => {
                Err(failure::check_not_reached(&test.name, &folder))
            }
            Err(error) => Err(error),
        }
    }

    fn request(
        &self,
        test: &str,
        key: String,
        folder: &Path,
        config: Config,
    ) -> Result<Request, Error> {
        let args = [
            test,
            "--exact",
            "--nocapture",
            "--include-ignored",
            "--test-threads=1",
        ];
        let auto = measure::auto(self.warmup, self.horizon, self.timeout);
        Ok(Request {
            start: Start {
                program: this_program()?,
                args: args.map(Into::into).into(),
                plan: Plan {
                    subject: Subject::Check(key),
                    heap: self.heap,
                    strategy: self.strategy,
                    cycles: self.max_cycles(),
                    warmup: self.warmup,
                    horizon: self.horizon,
                    auto: self.auto.then_some(auto),
                    holders: self.holders,
                    out: folder.into(),
                    replies: None,
                },
                timeout: self.timeout,
                memory_limit: None,
                sample_every: None,
            },
            all_holders: false,
            options: Vec::new(),
            config,
        })
    }

    /// The allowed leaks of the project and of this check.
    fn config(&self) -> Result<Config, Error> {
        let mut config = config::load(&self.name)?;
        for (pattern, reason) in &self.allowed {
            config
                .allowed
                .push(Allow::new(pattern, reason)?.only_here());
        }
        Ok(config)
    }

    fn validate(&self) -> Result<(), Error> {
        if !heap::is_installed() {
            return Err(no_heap_error());
        }
        if !self.heap.is_available() {
            return Err(Error::usage(format!(
                "cannot measure with the heap `{}`: this build does not have it",
                self.heap
            ))
            .hint(format!("enable the feature `{}` of afterdrop", self.heap)));
        }
        let set_by = match self.cycles {
            Some(_) => "cycles",
            None => "the number of cycles that the horizon needs",
        };
        Lengths {
            cycles: self.max_cycles(),
            set_by,
            warmup: self.warmup,
            horizon: self.horizon,
            prefix: "",
        }
        .check()
    }

    /// The number of cycles; with [`Check::auto`] an upper limit.
    fn max_cycles(&self) -> u32 {
        let default = match self.auto {
            true => self
                .warmup
                .saturating_add(verdict::max_cycles(self.horizon)),
            false => default_cycles(self.warmup, self.horizon),
        };
        self.cycles.unwrap_or(default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_without_a_heap_has_the_lines_to_add() {
        let error = Check::new("x").run_report(|_| ()).unwrap_err().to_string();
        assert!(error.contains("#[global_allocator]"), "{error}");
    }
}
