//! The verdict in a service that runs for months: samples of its heap are compared window by window, and endpoints for
//! profilers, for Prometheus and for people say what grows.
//!
//! ```no_run
//! #[global_allocator]
//! static HEAP: afterdrop::Heap = afterdrop::Heap::live();
//!
//! # fn main() -> Result<(), afterdrop::Error> {
//! let live = afterdrop::Live::start(afterdrop::live::Settings::default())?;
//! // In a handler of `/debug/pprof/heap`, of any web framework:
//! let body: Vec<u8> = live.pprof();
//! # Ok(())
//! # }
//! ```
//!
//! # How it works
//! 1. The recorder takes one sample in each 512 KiB that are allocated, and knows which of these blocks are live.
//! 2. A thread ends a *window* each minute, if enough was allocated in it to tell something, and keeps what changed
//!    (`history`): windows of minutes, of half hours and of half days, in bounded memory.
//! 3. Every five minutes it starts its own executable again (`helper`), which reads debug information, judges the
//!    windows as if they were the cycles of a run, and ends. So the service does not grow by the debug information.
//! 4. Endpoints answer from what the last helper has found, or from what is live now.

mod control_group;
mod endpoints;
mod growth;
mod helper;
mod history;
mod journals;
mod last_report;
mod listener;
mod metrics;
mod profile;
mod reports;
mod service;
mod settings;
mod shared;
pub(crate) mod synthetic;

pub use service::Live;
pub use settings::Settings;

crate::recorder::before_main::before_main!(helper::begin);
