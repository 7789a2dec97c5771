//! What the copy has written, read back.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use crate::model::holders::HolderRecord;
use crate::model::holders::{FILE, Record, RetainingPath, Summary};

/// All that was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) holders: Vec<HolderRecord<String, Vec<u64>>>,
    pub(crate) held: Vec<Held>,
    pub(crate) paths: Vec<RetainingPath<Vec<(u32, u64)>>>,
    pub(crate) summary: Option<Summary>,
}

/// Blocks of a stack, birth cycle and phase that a holder reached first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) stack_id: u32,
    pub(crate) birth: u32,
    pub(crate) phase: u8,
    /// 0 if there were too many holders to tell apart.
    pub(crate) holder: u16,
    pub(crate) blocks: u64,
}

impl Found {
    /// Reads the file in the folder of a run.
    ///
    /// # Errors
    /// Why it cannot be used, in words.
    pub(crate) fn read(folder: &Path) -> Result<Self, String> {
        let path = folder.join(FILE);
        let file = File::open(&path).map_err(|e| format!("{FILE} cannot be read: {e}"))?;
        let mut found = Self::default();
        for (number, line) in (1..).zip(BufReader::new(file).lines()) {
            let line = line.map_err(|e| format!("{FILE} cannot be read: {e}"))?;
            let record: Record =
                serde_json::from_str(&line).map_err(|e| format!("{FILE}:{number}: {e}"))?;
            match record {
                Record::Holder(holder) => found.holders.push(holder),
                Record::Held((stack_id, birth, phase, holder, blocks)) => {
                    found.held.push(Held {
                        stack_id,
                        birth,
                        phase,
                        holder,
                        blocks,
                    });
                }
                Record::Path(path) => found.paths.push(path),
                Record::Summary(summary) => found.summary = Some(summary),
            }
        }
        match found.summary {
            Some(_) => Ok(found),
            None => Err("the search did not get to its end".into()),
        }
    }

    /// Whether all that could hold a block was searched.
    pub(crate) fn searched_all(&self) -> bool {
        self.summary.is_some_and(|s| s.searched_all())
    }

    /// A holder by its number.
    pub(crate) fn holder(&self, id: u16) -> Option<&HolderRecord<String, Vec<u64>>> {
        // They are written in the order of their numbers.
        self.holders.get(usize::from(id).checked_sub(1)?)
    }
}
