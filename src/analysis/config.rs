//! `afterdrop.toml`: the known leaks of a project, checked in beside its code.
//!
//! ```toml
//! [[allow]]
//! pattern = "burn_autodiff::"          # a regular expression over `function file:line`
//! reason = "burn #4970"
//! workload = "burn:cnn"                # optional: only this workload, or check
//! expires = 2027-01-31                 # optional: from the day after, it counts as new
//! ```

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::toml_table::{self, Date, Table};
use crate::analysis::allow::Allow;
use crate::base::error::Error;

const FILE: &str = "afterdrop.toml";

/// The entries of the file that apply to one workload.
#[derive(Clone, Debug, Default)]
pub(crate) struct Config {
    pub(crate) allowed: Vec<Allow>,
    /// A warning for each entry that has expired.
    pub(crate) warnings: Vec<String>,
}

/// Reads the nearest `afterdrop.toml` in the current folder or above; empty if there is none.
///
/// # Errors
/// If the file does not parse, has an unknown key, or a pattern that is not a regular expression.
pub(crate) fn load(workload: &str) -> Result<Config, Error> {
    match std::env::current_dir().ok().and_then(|here| find(&here)) {
        Some(path) => read(&path, workload, today()),
        None => Ok(Config::default()),
    }
}

fn find(here: &Path) -> Option<PathBuf> {
    let candidates = here.ancestors().map(|folder| folder.join(FILE));
    candidates.into_iter().find(|path| path.is_file())
}

fn read(path: &Path, workload: &str, today: Date) -> Result<Config, Error> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io("read", path, e))?;
    toml_table::parse(path, &text, &["allow"], |file| {
        let mut config = Config::default();
        for entry in file.tables("allow", &["pattern", "reason", "workload", "expires"])? {
            config.add(entry, workload, today)?;
        }
        Ok(config)
    })
}

impl Config {
    /// Adds an entry if it applies to the workload.
    fn add(&mut self, entry: Table<'_>, workload: &str, today: Date) -> Result<(), Error> {
        let at_pattern = entry.required("pattern", entry.text("pattern")?)?;
        let pattern = *at_pattern.get_ref();
        let reason = entry
            .required("reason", entry.text("reason")?)?
            .into_inner();
        let only = entry.text("workload")?;
        let expires = entry.date("expires")?;
        if only
            .as_ref()
            .is_some_and(|only| *only.get_ref() != workload)
        {
            return Ok(());
        }
        let allow =
            Allow::new(pattern, reason).map_err(|e| entry.error(&at_pattern, e.to_string()))?;
        if let Some(date) = expires.map(|e| e.into_inner()).filter(|date| *date < today) {
            let (year, month, day) = date;
            self.warnings.push(format!(
                "the allowed leak `{pattern}` ({reason}) expired on {year:04}-{month:02}-{day:02}: it \
                 counts as new",
            ));
            return Ok(());
        }
        self.allowed.push(match only {
            Some(_) => allow.only_here(),
            None => allow,
        });
        Ok(())
    }
}

/// Today's date in UTC.
fn today() -> Date {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    civil(since.unwrap_or(Duration::ZERO).as_secs() / 86_400)
}

/// Year, month and day of the date that is `days` after 1970-01-01 (H. Hinnant, "chrono-compatible low-level date
/// algorithms", 2013).
fn civil(days: u64) -> Date {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * from_march + 2) / 5 + 1) as u32;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    } as u32;
    let year = (year_of_era + era * 400) as i32 + i32::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_converted_to_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_819), (2027, 1, 1));
    }

    fn with(text: &str) -> Result<Config, Error> {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("afterdrop-config-{}-{n}", std::process::id()));
        std::fs::create_dir_all(folder.join("below")).unwrap();
        std::fs::write(folder.join(FILE), text).unwrap();
        let found = find(&folder.join("below")).unwrap();
        let config = read(&found, "mine", (2026, 11, 23));
        std::fs::remove_dir_all(folder).unwrap();
        config
    }

    #[test]
    fn entries_apply_to_their_workload_until_they_expire() {
        let config = with(
            "[[allow]]\npattern = 'a'\nreason = 'x'\nexpires = 2026-11-23\n\
             [[allow]]\npattern = 'b'\nreason = 'old'\nexpires = 2026-11-22\n\
             [[allow]]\npattern = 'c'\nreason = 'other'\nworkload = 'theirs'\n\
             [[allow]]\npattern = 'd'\nreason = 'this'\nworkload = 'mine'\n",
        );
        let config = config.unwrap();
        assert_eq!(config.allowed.len(), 2);
        assert_eq!(
            config.warnings,
            ["the allowed leak `b` (old) expired on 2026-11-22: it counts as new"]
        );
    }

    #[test]
    fn errors_name_the_line() {
        for (text, says) in [
            ("\n[[alow]]\n", "afterdrop.toml:2: unknown field `alow`"),
            (
                "[[allow]]\npattern = 'x'\n",
                "afterdrop.toml:1: missing field `reason`",
            ),
            ("[[allow]\n", "afterdrop.toml:1"),
            (
                "[[allow]]\npattern = '('\nreason = 'x'\n",
                "afterdrop.toml:2: the pattern `(` of an allowed leak is not a regular expression",
            ),
            (
                "[[allow]]\nreason = 'x'\npattern = ''\n",
                "afterdrop.toml:3: an empty pattern",
            ),
            (
                "[[allow]]\npattern = 'x'\nreason = ' '\n",
                "afterdrop.toml:2: the allowed leak `x` has no reason",
            ),
            (
                "[[allow]]\npattern = 'x'\nreason = 'y'\nexpires = 12:00:00\n",
                "afterdrop.toml:4: `expires` must be a date",
            ),
        ] {
            let error = with(text).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
