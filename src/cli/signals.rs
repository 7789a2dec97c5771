//! Handlers for the signals that interrupt a run.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::base::error::Error;

/// Installs handlers for SIGHUP, SIGINT and SIGTERM, which set the returned flag. The measured process
/// is then killed, and what it has recorded is reported.
///
/// # Errors
/// If a handler cannot be installed.
pub(super) fn interrupt_flag() -> Result<Arc<AtomicBool>, Error> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&flag)).map_err(|e| {
            Error::usage(format!("cannot install a handler for signal {signal}: {e}"))
        })?;
    }
    Ok(flag)
}
