//! What is run and how it is judged: the arguments that `run` and `strategies` share.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::analysis::config::Config;
use crate::base::error::Error;
use crate::measure::child;
use crate::measure::{self, Request};
use crate::model::plan::{Auto, Plan, Subject};
use crate::model::run::{HeapKind, Strategy};
use crate::workloads::Settings;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct What {
    /// What to run: a name that `afterdrop list` shows, or a Keras file (.h5 or .keras)
    pub(super) workload: String,

    /// First cycles that are set aside
    #[arg(long, value_name = "N", default_value_t = crate::model::verdict::DEFAULT_WARMUP)]
    pub(super) warmup: u32,

    /// Cycles after the warm-up beyond which steady growth is called a leak
    ///
    /// A cache that fills, or a sweep that comes, within this many cycles is never called a leak.
    #[arg(long, value_name = "N", default_value_t = crate::model::verdict::DEFAULT_HORIZON)]
    pub(super) horizon: u32,

    /// Allocator beneath the ledger: jemalloc, dhat or system
    #[arg(long, default_value_t)]
    pub(super) heap: HeapKind,

    /// Burn device: ndarray, flex or autodiff [default: ndarray]
    #[arg(long)]
    device: Option<String>,

    /// Format that Burn models are loaded from: bpk or safetensors [default: bpk]
    #[arg(long)]
    format: Option<String>,

    /// Load this file in place of the shipped model
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,

    /// Keras files: run on this .npy or .npz; once for each input of the model
    #[arg(long, value_name = "FILE")]
    input: Vec<PathBuf>,

    /// Keras files: fail unless the predictions are those of this .npy or .npz
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,

    /// Keras files: size of the batch that is made where no --input is given [default: 8]
    #[arg(long, value_name = "N")]
    batch: Option<u32>,

    /// Only load and drop
    #[arg(long)]
    pub(super) no_infer: bool,

    /// Do not look for what holds the survivors
    #[arg(long)]
    pub(super) no_holders: bool,

    /// End a run after this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600.0)]
    timeout: f64,
}

/// Which form of a Burn model is run.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, clap::Args)]
pub(super) struct Form {
    /// Burn models: so many times as wide as the shipped model
    #[arg(long, value_name = "N")]
    pub(super) size: Option<u32>,

    /// Burn models: store the weights as f32, f16, bf16 or int8 [default: f32]
    #[arg(long)]
    pub(super) precision: Option<String>,
}

impl What {
    pub(super) fn settings(&self, form: &Form, folder: &Path) -> Settings {
        Settings {
            device: self.device.clone(),
            format: self.format.clone(),
            model: self.model.clone(),
            size: form.size,
            precision: form.precision.clone(),
            inputs: self.input.clone(),
            expect: self.expect.clone(),
            batch: self.batch,
            scratch: folder.join(measure::SCRATCH),
        }
    }

    /// The settings for what the parent looks up itself, in a folder of its own.
    pub(super) fn settings_of_parent(&self, form: &Form) -> Settings {
        let name = format!("afterdrop-{}", std::process::id());
        self.settings(form, &std::env::temp_dir().join(name))
    }

    /// What can be known to be wrong before anything is made or started. Gives the timeout.
    pub(super) fn validate(&self) -> Result<Duration, Error> {
        let most = crate::model::block::MAX_CYCLE;
        for (option, value) in [("--warmup", self.warmup), ("--horizon", self.horizon)] {
            if value > most {
                return Err(Error::usage(format!(
                    "{option} {value} is too many: at most {most}"
                )));
            }
        }
        if self.horizon == 0 {
            return Err(Error::usage("--horizon 0 would call every cache a leak"));
        }
        if !self.heap.is_available() {
            return Err(Error::usage(format!(
                "this build has no --heap {}: it was built without the feature `{0}`",
                self.heap
            )));
        }
        seconds("--timeout", self.timeout)
    }

    /// Looks whether so many cycles allow a verdict.
    pub(super) fn validate_cycles(&self, option: &str, cycles: u32) -> Result<(), Error> {
        let fewest = self
            .warmup
            .saturating_add(crate::model::verdict::FEWEST_CYCLES);
        let most = crate::model::block::MAX_CYCLE;
        if cycles < fewest {
            return Err(Error::usage(format!(
                "{option} {cycles} is too few: with --warmup {} a verdict needs at least {fewest}",
                self.warmup
            )));
        }
        if cycles > most {
            return Err(Error::usage(format!(
                "{option} {cycles} is too many: at most {most} cycles can be told apart"
            )));
        }
        Ok(())
    }

    /// What to measure, in a folder.
    pub(super) fn request(
        &self,
        form: &Form,
        run: Run,
        out: PathBuf,
        options: Vec<String>,
        config: Config,
    ) -> Result<Request, Error> {
        let subject = Subject::Workload {
            name: self.workload.clone(),
            settings: self.settings(form, &out),
            infer: !self.no_infer,
        };
        Ok(Request {
            start: child::Start {
                program: child::this_program()?,
                // The plan says all; these only show in a list of processes.
                args: vec!["run".into(), self.workload.clone().into()],
                plan: Plan {
                    subject,
                    heap: self.heap,
                    strategy: run.strategy,
                    cycles: run.cycles,
                    warmup: self.warmup,
                    auto: run.max_time.map(|time| self.auto(time)),
                    holders: !self.no_holders,
                    out,
                    replies: None,
                },
                timeout: self.validate()?,
                memory_limit: None,
                sample_every: None,
            },
            horizon: self.horizon,
            all_holders: true,
            options,
            config,
        })
    }

    fn auto(&self, time: Duration) -> Auto {
        measure::auto(self.warmup, self.horizon, time)
    }
}

/// The strategy and the length of a run.
pub(super) struct Run {
    pub(super) strategy: Strategy,
    /// Cycles to run; with `max_time`, at most.
    pub(super) cycles: u32,
    /// Begins no further cycle after this time, and ends once every call site is settled; `None`
    /// if the number of cycles is fixed.
    pub(super) max_time: Option<Duration>,
}

/// A time that can be waited.
pub(super) fn seconds(option: &str, seconds: f64) -> Result<Duration, Error> {
    let time = Duration::try_from_secs_f64(seconds).ok();
    time.filter(|t| !t.is_zero()).ok_or_else(|| {
        Error::usage(format!(
            "{option} must be a positive number of seconds, got {seconds:?}"
        ))
    })
}
