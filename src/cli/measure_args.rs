//! The arguments that `run` and `strategies` share: what to run, and how to judge it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::analysis::config::Config;
use crate::base::error::Error;
use crate::base::private_folder;
use crate::measure::child::{Start, this_program};
use crate::measure::{self, Lengths, Request};
use crate::model::plan::{Plan, Subject, WorkloadPlan};
use crate::model::run::{HeapKind, Strategy};
use crate::model::settings::Settings;
use crate::model::verdict::{DEFAULT_HORIZON, DEFAULT_WARMUP};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct MeasureArgs {
    /// Workload to run: a name that `afterdrop list` prints, or a Keras file (.h5 or .keras)
    pub(super) workload: String,

    /// Warm-up cycles at the start of the run, which are not judged
    #[arg(long, value_name = "N", default_value_t = DEFAULT_WARMUP)]
    pub(super) warmup: u32,

    /// Cycles after the warm-up beyond which steady growth is a leak
    ///
    /// A cache that fills within the horizon, and memory that is swept within it, is not called a
    /// leak, unless more than eight whole models are kept.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_HORIZON)]
    pub(super) horizon: u32,

    /// Backing allocator that the recorder wraps: jemalloc, dhat or system
    #[arg(long, default_value_t)]
    pub(super) heap: HeapKind,

    /// Burn models: device to run on: ndarray, flex or autodiff [default: ndarray]
    #[arg(long)]
    device: Option<String>,

    /// Burn models: file format to load from: bpk or safetensors [default: bpk]
    #[arg(long)]
    format: Option<String>,

    /// Burn models: load this file instead of the shipped model
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,

    /// Keras files: read the input from a .npy or .npz file; give one for each input of the model
    #[arg(long, value_name = "FILE")]
    input: Vec<PathBuf>,

    /// Keras files: fail unless the predictions equal those in a .npy or .npz file
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,

    /// Keras files: size of the generated batch if there is no --input [default: 8]
    #[arg(long, value_name = "N")]
    batch: Option<u32>,

    /// Load and drop the model without running it
    #[arg(long)]
    pub(super) no_infer: bool,

    /// Do not search for what keeps retained blocks reachable
    #[arg(long)]
    pub(super) no_holders: bool,

    /// Kill the measured process after this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600.0)]
    timeout: f64,
}

/// The size and precision of a Burn model.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, clap::Args)]
pub(super) struct Variant {
    /// Burn models: width of the model, as a multiple of the shipped one [default: 1]
    #[arg(long, value_name = "N")]
    pub(super) size: Option<u32>,

    /// Burn models: data type of the stored weights: f32, f16, bf16 or int8 [default: f32]
    #[arg(long)]
    pub(super) precision: Option<String>,
}

/// The strategy and the length of a run.
pub(super) struct Schedule {
    pub(super) strategy: Strategy,
    /// Cycles to run; an upper limit if `max_time` is set.
    pub(super) cycles: u32,
    /// The time after which no further cycle begins. The run also ends when every verdict is settled.
    /// `None` if the number of cycles is fixed.
    pub(super) max_time: Option<Duration>,
}

impl MeasureArgs {
    fn settings(&self, variant: &Variant, folder: &Path) -> Settings {
        Settings {
            device: self.device.clone(),
            format: self.format.clone(),
            model: self.model.clone(),
            size: variant.size,
            precision: variant.precision.clone(),
            inputs: self.input.clone(),
            expect: self.expect.clone(),
            batch: self.batch,
            scratch: folder.join(measure::SCRATCH),
        }
    }

    /// The settings for checks in this process before the run. Temporary files go to the system's
    /// folder for them.
    pub(super) fn settings_for_checks(&self, variant: &Variant) -> Settings {
        self.settings(variant, &private_folder::unpredictable_path())
    }

    /// Checks the arguments that need no workload, and returns the timeout.
    ///
    /// # Errors
    /// If a value is out of range, or this build does not have the backing allocator.
    pub(super) fn validate(&self) -> Result<Duration, Error> {
        if !self.heap.is_available() {
            return Err(Error::usage(format!(
                "cannot use --heap {}: this command was built without the feature `{0}`",
                self.heap
            ))
            .hint(format!("build it with `--features {}`", self.heap)));
        }
        seconds("--timeout", self.timeout)
    }

    /// Checks that a run of this many cycles can have a verdict. `option` is what has set the number.
    ///
    /// # Errors
    /// If there are too few cycles or too many.
    pub(super) fn validate_cycles(&self, option: &str, cycles: u32) -> Result<(), Error> {
        Lengths {
            cycles,
            set_by: option,
            warmup: self.warmup,
            horizon: self.horizon,
            prefix: "--",
        }
        .check()
    }

    /// The measurement to make. `out` is the output folder, and `options` are the settings of the
    /// workload for the report.
    pub(super) fn request(
        &self,
        variant: &Variant,
        schedule: Schedule,
        out: PathBuf,
        options: Vec<String>,
        config: Config,
    ) -> Result<Request, Error> {
        let subject = Subject::Workload(WorkloadPlan {
            name: self.workload.clone(),
            settings: self.settings(variant, &out),
            infer: !self.no_infer,
        });
        let auto = |time| measure::auto(self.warmup, self.horizon, time);
        Ok(Request {
            start: Start {
                program: this_program()?,
                // The child reads only its plan. The arguments are for lists of processes.
                args: vec!["run".into(), self.workload.clone().into()],
                plan: Plan {
                    subject,
                    heap: self.heap,
                    strategy: schedule.strategy,
                    cycles: schedule.cycles,
                    warmup: self.warmup,
                    horizon: self.horizon,
                    auto: schedule.max_time.map(auto),
                    holders: !self.no_holders,
                    out,
                    replies: None,
                },
                timeout: self.validate()?,
                memory_limit: None,
                sample_every: None,
            },
            all_holders: true,
            options,
            config,
        })
    }
}

/// The value of an option in seconds.
///
/// # Errors
/// If it is not positive and finite.
pub(super) fn seconds(option: &str, seconds: f64) -> Result<Duration, Error> {
    let time = Duration::try_from_secs_f64(seconds).ok();
    time.filter(|t| !t.is_zero()).ok_or_else(|| {
        let wrong = match seconds.is_finite() && seconds > 1.0 {
            true => "is too long",
            false => "must be a positive number of seconds",
        };
        Error::usage(format!("{option} {wrong}, got {seconds:?}"))
    })
}
