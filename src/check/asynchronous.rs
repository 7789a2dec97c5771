//! Checks whose cycle is asynchronous, on tokio.

use std::any::type_name;
use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

use super::cycle::{Cycle, CycleResult};
use super::{Check, MadeBody};
use crate::base::error::Error;
use crate::model::run::Phase;
use crate::recorder::cycle::{CycleBody, CycleError, PhaseTracker};

/// How often a boundary lets other tasks run before it no longer waits for them.
const TURNS: u32 = 64;

impl Check {
    /// Runs the check on an asynchronous closure, which is one cycle.
    ///
    /// The cycles share one runtime of tokio: a current-thread one with everything that tokio's
    /// enabled features give it. At a boundary the tasks that a cycle left behind may run to their
    /// end; one that stays is seen by what it holds. The test itself is a plain `#[test]`:
    ///
    /// ```no_run
    /// # async fn load() -> Vec<u8> { Vec::new() }
    /// #[test]
    /// fn reloading_leaves_nothing() {
    ///     afterdrop::Check::new("reload").run_async(async |cycle| {
    ///         let model = cycle.load_async(load()).await;
    ///         cycle.infer_async(async { assert!(model.is_empty()) }).await;
    ///     });
    /// }
    /// # fn main() {}
    /// ```
    ///
    /// # Panics
    /// As [`Check::run`]; and if a runtime runs already, as it does under `#[tokio::test]`.
    #[track_caller]
    pub fn run_async<R: CycleResult, F>(self, cycle: F)
    where
        F: AsyncFnMut(&mut Cycle<'_>) -> R,
    {
        self.run_async_on(|| Builder::new_current_thread().enable_all().build(), cycle);
    }

    /// Runs the check on an asynchronous closure and a runtime of your own, which is built in the
    /// measured process, before the first cycle.
    ///
    /// # Panics
    /// As [`Check::run_async`], and if the runtime cannot be built.
    #[track_caller]
    pub fn run_async_on<R: CycleResult, F>(
        self,
        runtime: impl FnOnce() -> io::Result<Runtime>,
        cycle: F,
    ) where
        F: AsyncFnMut(&mut Cycle<'_>) -> R,
    {
        if Handle::try_current().is_ok() {
            panic!("check `{}` could not be made: {}", self.name, nested());
        }
        let body = |_: &_| -> MadeBody<'_> { Ok(Box::new(OnRuntime::new(runtime, cycle)?)) };
        if let Some(message) = self.failure(type_name::<F>(), body) {
            panic!("{message}");
        }
    }
}

fn nested() -> Error {
    Error::usage("an asynchronous check brings a runtime of its own, and one runs here already")
        .hint("make the test a plain `#[test] fn`, without tokio's attribute")
}

/// An asynchronous closure that is one cycle, and what runs it.
struct OnRuntime<F> {
    runtime: Runtime,
    cycle: F,
    /// Tasks alive at the last boundary, which stay for their own reasons.
    settled_tasks: usize,
}

impl<F> OnRuntime<F> {
    fn new(runtime: impl FnOnce() -> io::Result<Runtime>, cycle: F) -> Result<Self, Error> {
        let runtime =
            runtime().map_err(|e| Error::usage(format!("tokio's runtime cannot start: {e}")))?;
        Ok(Self {
            runtime,
            cycle,
            settled_tasks: 0,
        })
    }
}

impl<R: CycleResult, F: AsyncFnMut(&mut Cycle<'_>) -> R> CycleBody for OnRuntime<F> {
    fn run_cycle(&mut self, phases: &mut PhaseTracker) -> Result<(), CycleError> {
        let result = self.runtime.block_on((self.cycle)(&mut Cycle { phases }));
        result.into_result().map_err(CycleError::Workload)
    }

    fn sync(&mut self) -> Result<(), CycleError> {
        let metrics = self.runtime.metrics();
        let own = self.settled_tasks;
        self.runtime.block_on(async {
            for _ in 0..TURNS {
                if metrics.num_alive_tasks() <= own {
                    break;
                }
                tokio::task::yield_now().await;
            }
        });
        self.settled_tasks = metrics.num_alive_tasks();
        Ok(())
    }
}

impl Cycle<'_> {
    /// Runs the part that loads. While it waits, other tasks' allocations count as its own.
    pub async fn load_async<R>(&mut self, load: impl Future<Output = R>) -> R {
        let before = self.phases.begin_load();
        let loaded = load.await;
        self.phases.end_load(before);
        self.phases.enter(Phase::Cycle);
        loaded
    }

    /// Runs the part that infers. While it waits, other tasks' allocations count as its own.
    pub async fn infer_async<R>(&mut self, infer: impl Future<Output = R>) -> R {
        self.phases.enter(Phase::Infer);
        let inferred = infer.await;
        self.phases.enter(Phase::Cycle);
        inferred
    }
}
