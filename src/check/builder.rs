//! The builder of a check: its settings and limits.

use std::path::PathBuf;
use std::time::Duration;

use crate::analysis::limits::Limits;
use crate::model::run::{HeapKind, Strategy};
use crate::model::verdict::{DEFAULT_HORIZON, DEFAULT_WARMUP};

/// Default for [`Check::timeout`].
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);

/// A leak assertion: runs a closure in cycles, and fails if memory grows from cycle to cycle.
///
/// The cycles run in a child process, which is a new process of the same test executable. Parallel
/// tests and the allocations of the test harness therefore do not affect the result. After each cycle
/// the live bytes and blocks are counted by call site. The test fails if any call site grows, or if
/// the run is too short to decide; the message is the report, with the line that allocates.
///
/// The executable needs a [`Heap`](crate::Heap) as its global allocator.
///
/// # Examples
/// ```no_run
/// # struct Model; impl Model { fn load() -> Self { Model } fn forward(&self) {} }
/// use afterdrop::Check;
///
/// #[global_allocator]
/// static HEAP: afterdrop::Heap = afterdrop::Heap::new();
///
/// #[test]
/// fn reloading_does_not_leak() {
///     Check::new("reload").run(|cycle| {
///         let model = cycle.load(|| Model::load());
///         cycle.infer(|| model.forward());
///     });
/// }
/// # fn main() {}
/// ```
///
/// # Number of cycles
/// The default is 83 cycles: a warm-up of 3, the horizon of 64, and 16 more. That is enough to tell a
/// leak from a cache that fills within the horizon. [`Check::cycles`] sets another number. In a
/// shorter run steady growth is reported as `growing`, which also fails the test, even if it is only
/// a cache that is still filling. [`Check::auto`] ends the run as soon as every verdict is settled.
///
/// # How the child finds the test
/// The child is started as `executable <test> --exact`, and runs the test up to its check. The name of
/// the test is taken from the name of the thread, which libtest sets. If the test runs on the main
/// thread, the name is taken from the `--exact` argument, else from the function that libtest called,
/// else from the path of the closure. This covers tests in nested modules, helpers that several tests
/// call, and the cases of `rstest`. For any other harness, set the name with [`Check::test`]. A wrong
/// name is an error.
///
/// Code before the check runs in the child, too. In a program with its own `main`, and in a doc test,
/// the child runs `main` from the start:
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
    pub(super) name: String,
    pub(super) test: Option<String>,
    pub(super) cycles: Option<u32>,
    pub(super) auto: bool,
    pub(super) warmup: u32,
    pub(super) horizon: u32,
    pub(super) strategy: Strategy,
    pub(super) heap: HeapKind,
    pub(super) timeout: Duration,
    pub(super) limits: Limits,
    /// Patterns of allowed leaks, each with its reason.
    pub(super) allowed: Vec<(String, String)>,
    pub(super) baseline: Option<PathBuf>,
    pub(super) holders: bool,
}

impl Check {
    /// Creates a check with the default settings.
    ///
    /// The name appears in messages and in the name of the output folder. Checks of one test should
    /// have different names; a name that is used again gets a number, as in `reload (2)`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            test: None,
            cycles: None,
            auto: false,
            warmup: DEFAULT_WARMUP,
            horizon: DEFAULT_HORIZON,
            strategy: Strategy::Fresh,
            heap: HeapKind::System,
            timeout: DEFAULT_TIMEOUT,
            limits: Limits::default(),
            allowed: Vec::new(),
            baseline: None,
            holders: true,
        }
    }

    /// Sets the number of cycles, including the warm-up. The default is the warm-up plus the horizon
    /// plus 16.
    ///
    /// The least is five cycles more than the warm-up.
    pub fn cycles(mut self, cycles: u32) -> Self {
        self.cycles = Some(cycles);
        self
    }

    /// Ends the run as soon as every verdict is settled, as the command does by default.
    ///
    /// If nothing is retained, that is sixteen cycles after the warm-up. The run ends at the latest after
    /// the warm-up and three horizons, or after the number of cycles set with [`Check::cycles`].
    /// Growth that begins after the run has ended is not seen.
    pub fn auto(mut self) -> Self {
        self.auto = true;
        self
    }

    /// Sets the number of warm-up cycles at the start of the run. The default is 3.
    ///
    /// Blocks that are allocated in them, such as caches and lazily initialized statics, are not
    /// judged.
    pub fn warmup(mut self, cycles: u32) -> Self {
        self.warmup = cycles;
        self
    }

    /// Sets the horizon: the number of cycles after the warm-up beyond which steady growth is a leak.
    /// The default is 64.
    ///
    /// A cache that fills within the horizon, and memory that is swept within it, is not called a
    /// leak, unless more than eight whole models are kept, or the run ends while it fills.
    pub fn horizon(mut self, cycles: u32) -> Self {
        self.horizon = cycles;
        self
    }

    /// Turns the holder search off, which finds what keeps retained blocks reachable.
    ///
    /// Without it a block that nothing points to cannot be recognized as lost. Turn it off if the
    /// program hides its pointers, for example by compressing or encrypting them, because such blocks
    /// look lost.
    pub fn without_holders(mut self) -> Self {
        self.holders = false;
        self
    }

    /// Sets how the cycles of [`Check::run_workload`] handle the model. The default is
    /// [`Strategy::Fresh`].
    ///
    /// A closure handles its model itself, so that this has no effect on it.
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// Sets the backing allocator. The default, [`HeapKind::System`], is the one that the
    /// [`Heap`](crate::Heap) was created with, which is the system's unless another was named.
    pub fn heap(mut self, heap: HeapKind) -> Self {
        self.heap = heap;
        self
    }

    /// Sets the time after which the child is killed and the test fails. The default is 300 seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the name of the test that the child runs, as `cargo test -- --list` prints it.
    ///
    /// Needed only if the name is not found automatically, which is an error that says so.
    pub fn test(mut self, path: impl Into<String>) -> Self {
        self.test = Some(path.into());
        self
    }

    /// Allows growth up to a rate in bytes per cycle, over all growing call sites together. The
    /// default is 0.
    pub fn max_leak_bytes_per_cycle(mut self, bytes: u64) -> Self {
        self.limits.leak_bytes_per_cycle = Some(bytes);
        self
    }

    /// Allows a known leak, and states why it is tolerated.
    ///
    /// The pattern is a regular expression. It allows the growth of every call site that has a matching
    /// frame in its stack, where a frame is written `function file:line`. The report warns if a pattern
    /// matches nothing. The entries of an `afterdrop.toml` in the current folder, or in one above it,
    /// are allowed as well.
    pub fn allow(mut self, pattern: impl Into<String>, reason: impl Into<String>) -> Self {
        self.allowed.push((pattern.into(), reason.into()));
        self
    }

    /// Limits the bytes that are live after the last cycle, including caches and the warm-up.
    ///
    /// Set-up before the first cycle is not counted.
    pub fn max_live_bytes(mut self, bytes: u64) -> Self {
        self.limits.live_bytes = Some(bytes);
        self
    }

    /// Limits the bytes that are live at any moment of a cycle after the warm-up.
    ///
    /// Set-up before the first cycle is not counted. The peak is exact to 4 KiB for each running
    /// thread.
    pub fn max_peak_bytes(mut self, bytes: u64) -> Self {
        self.limits.peak_bytes = Some(bytes);
        self
    }

    /// Limits the blocks that a cycle after the warm-up allocates. A `realloc` counts as one.
    pub fn max_allocations_per_cycle(mut self, blocks: u64) -> Self {
        self.limits.allocations_per_cycle = Some(blocks);
        self
    }

    /// Compares the run with a recorded baseline: the allocations and allocated bytes of a cycle, and
    /// the peak and live bytes. The test fails if the run needs more.
    ///
    /// Run the test with the environment variable `AFTERDROP_UPDATE=1` to record the file; the test
    /// then passes if nothing grows. Without the variable a missing file fails the test. A relative path
    /// starts at the current folder, which cargo sets to the root of the package.
    pub fn baseline(mut self, path: impl Into<PathBuf>) -> Self {
        self.baseline = Some(path.into());
        self
    }
}
