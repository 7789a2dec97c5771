//! Checks whose cycle is an asynchronous closure, on tokio.

use std::any::type_name;
use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

use super::builder::Check;
use super::child::MadeBody;
use super::cycle::{Cycle, CycleResult};
use super::failure;
use crate::base::error::Error;
use crate::model::run::Phase;
use crate::recorder::cycle::{CycleBody, CycleError, PhaseTracker};

/// How often a boundary yields to other tasks, at most, before it stops waiting for them to end.
const MAX_YIELDS: u32 = 64;

impl Check {
    /// Runs the check on an asynchronous closure, which is one cycle.
    ///
    /// All cycles run on one current-thread runtime of tokio, with all drivers that tokio's enabled
    /// features provide. At a boundary, tasks that a cycle has spawned get the time to end. A task that
    /// does not end shows in the report by the memory that it holds.
    ///
    /// The test is a plain `#[test]`, not a `#[tokio::test]`:
    ///
    /// ```no_run
    /// # async fn load() -> Vec<u8> { Vec::new() }
    /// #[test]
    /// fn reloading_does_not_leak() {
    ///     afterdrop::Check::new("reload").run_async(async |cycle| {
    ///         let model = cycle.load_async(load()).await;
    ///         cycle.infer_async(async { assert!(model.is_empty()) }).await;
    ///     });
    /// }
    /// # fn main() {}
    /// ```
    ///
    /// # Panics
    /// In the same cases as [`Check::run`], and if it is called on a tokio runtime.
    #[track_caller]
    pub fn run_async<R: CycleResult, F>(self, cycle: F)
    where
        F: AsyncFnMut(&mut Cycle<'_>) -> R,
    {
        self.run_async_on(|| Builder::new_current_thread().enable_all().build(), cycle);
    }

    /// Runs the check on an asynchronous closure and your own runtime.
    ///
    /// `runtime` creates the runtime. It is called in the child, before the first cycle.
    ///
    /// # Panics
    /// In the same cases as [`Check::run_async`], and if the runtime cannot be created.
    #[track_caller]
    pub fn run_async_on<R: CycleResult, F>(
        self,
        runtime: impl FnOnce() -> io::Result<Runtime>,
        cycle: F,
    ) where
        F: AsyncFnMut(&mut Cycle<'_>) -> R,
    {
        if Handle::try_current().is_ok() {
            panic!("{}", failure::of_error(&self.name, &nested_runtime()));
        }
        let body = |_: &_| -> MadeBody<'_> { Ok(Box::new(AsyncBody::new(runtime, cycle)?)) };
        if let Some(message) = self.failure(type_name::<F>(), body) {
            panic!("{message}");
        }
    }
}

fn nested_runtime() -> Error {
    Error::usage("cannot start a tokio runtime on another one")
        .hint("make the test a plain `#[test] fn` instead of a `#[tokio::test]`")
}

/// An asynchronous closure as the body of the cycle loop, with the runtime that runs it.
struct AsyncBody<F> {
    runtime: Runtime,
    cycle: F,
    /// Tasks alive at the last boundary. They are not waited for again.
    tasks_before: usize,
}

impl<F> AsyncBody<F> {
    fn new(runtime: impl FnOnce() -> io::Result<Runtime>, cycle: F) -> Result<Self, Error> {
        let runtime =
            runtime().map_err(|e| Error::usage(format!("cannot create the tokio runtime: {e}")))?;
        Ok(Self {
            runtime,
            cycle,
            tasks_before: 0,
        })
    }
}

impl<R: CycleResult, F: AsyncFnMut(&mut Cycle<'_>) -> R> CycleBody for AsyncBody<F> {
    fn run_cycle(&mut self, phases: &mut PhaseTracker) -> Result<(), CycleError> {
        let result = self.runtime.block_on((self.cycle)(&mut Cycle { phases }));
        result.into_result().map_err(CycleError::Workload)
    }

    fn sync(&mut self) -> Result<(), CycleError> {
        let metrics = self.runtime.metrics();
        let tasks_before = self.tasks_before;
        self.runtime.block_on(async {
            for _ in 0..MAX_YIELDS {
                if metrics.num_alive_tasks() <= tasks_before {
                    break;
                }
                tokio::task::yield_now().await;
            }
        });
        self.tasks_before = metrics.num_alive_tasks();
        Ok(())
    }
}

impl Cycle<'_> {
    /// Awaits a future in the load phase, and returns its output.
    ///
    /// Allocations of other tasks that run meanwhile count as part of the load, too.
    pub async fn load_async<R>(&mut self, load: impl Future<Output = R>) -> R {
        let live_before = self.phases.begin_load();
        let loaded = load.await;
        self.phases.end_load(live_before);
        self.phases.enter(Phase::Cycle);
        loaded
    }

    /// Awaits a future in the infer phase, and returns its output.
    ///
    /// Allocations of other tasks that run meanwhile count as part of the inference, too.
    pub async fn infer_async<R>(&mut self, infer: impl Future<Output = R>) -> R {
        self.phases.enter(Phase::Infer);
        let inferred = infer.await;
        self.phases.enter(Phase::Cycle);
        inferred
    }
}
