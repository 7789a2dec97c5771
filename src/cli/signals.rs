//! Handlers for the signals that interrupt a run.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGXFSZ};

use crate::base::error::Error;

/// Installs handlers for SIGHUP, SIGINT and SIGTERM, which set the returned flag. The measured process
/// is then killed, and what it has recorded is reported.
///
/// # Errors
/// If a handler cannot be installed.
pub(super) fn interrupt_flag() -> Result<Arc<AtomicBool>, Error> {
    flag(&[SIGHUP, SIGINT, SIGTERM])
}

/// Installs handlers that set the first returned flag for SIGINT, which a terminal sends to the program that
/// runs, too, and the second one for SIGHUP and SIGTERM, which it does not get.
///
/// # Errors
/// If a handler cannot be installed.
#[cfg(feature = "exec")]
pub(super) fn interrupt_flags() -> Result<[Arc<AtomicBool>; 2], Error> {
    Ok([flag(&[SIGINT])?, flag(&[SIGHUP, SIGTERM])?])
}

/// Handles signals that would end the command, or hide from it how a process has ended: a write beyond the limit of
/// the size of files is an error then, and a SIGCHLD that a launcher ignores is not ignored here.
///
/// # Errors
/// If a handler cannot be installed.
pub(super) fn outlive_limits() -> Result<(), Error> {
    flag(&[SIGXFSZ, SIGCHLD]).map(drop)
}

fn flag(signals: &[i32]) -> Result<Arc<AtomicBool>, Error> {
    let flag = Arc::new(AtomicBool::new(false));
    for &signal in signals {
        signal_hook::flag::register(signal, Arc::clone(&flag)).map_err(|e| {
            Error::usage(format!("cannot install a handler for signal {signal}: {e}"))
        })?;
    }
    Ok(flag)
}
