//! Reads what a holder search has written.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use crate::base::text::one_line;
use crate::model::block::StackId;
use crate::model::holders::HolderRecord;
use crate::model::holders::{FILE, Record, RetainingPath, Summary};

/// The results of one holder search.
#[derive(Debug, Default)]
pub(crate) struct SearchResults {
    /// The holders, in the order of their numbers.
    pub(crate) holders: Vec<HolderRecord<String, Vec<u64>>>,
    /// The numbers of blocks that are held, by holder and stack.
    pub(crate) held: Vec<Held>,
    /// The numbers of blocks that a static or thread-local reaches after another one, and the number
    /// of that one.
    pub(crate) reached: Vec<(Held, u16)>,
    /// Retaining paths.
    pub(crate) paths: Vec<FoundPath>,
    /// The numbers of objects of Python's, with the number of their type in the place of that of a holder.
    pub(crate) objects: Vec<Held>,
    /// The names of the types, by number.
    pub(crate) types: HashMap<u16, String>,
    /// Figures of the search; `None` as long as it has not ended.
    pub(crate) summary: Option<Summary>,
}

/// A retaining path, whose blocks have a stack, bytes, a type and a name.
pub(crate) type FoundPath = RetainingPath<Vec<(StackId, u64, u16, String)>>;

/// Blocks of one stack, birth cycle and phase that one holder reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) stack_id: StackId,
    pub(crate) birth: u32,
    pub(crate) phase: u8,
    /// The number of the holder; 0 if there were too many holders to distinguish.
    pub(crate) holder: u16,
    pub(crate) blocks: u64,
}

impl From<(StackId, u32, u8, u16, u64)> for Held {
    fn from((stack_id, birth, phase, holder, blocks): (StackId, u32, u8, u16, u64)) -> Self {
        Self {
            stack_id,
            birth,
            phase,
            holder,
            blocks,
        }
    }
}

impl SearchResults {
    /// Reads the results in the folder of a run.
    ///
    /// # Errors
    /// With the reason, in words, if they cannot be used.
    pub(crate) fn read(folder: &Path) -> Result<Self, String> {
        let path = folder.join(FILE);
        let unreadable = |e| format!("cannot read {FILE}: {e}");
        let file = File::open(&path).map_err(unreadable)?;
        let mut results = Self::default();
        for (number, line) in (1..).zip(BufReader::new(file).lines()) {
            let line = line.map_err(unreadable)?;
            // As bytes, like the journal: each kind of reader is compiled for each type that it reads.
            let record: Record = serde_json::from_slice(line.as_bytes())
                .map_err(|e| format!("{FILE}:{number}: {e}"))?;
            match record {
                Record::Holder(holder) => results.holders.push(holder),
                Record::Held(held) => results.held.push(held.into()),
                Record::Reached((reached, first)) => results.reached.push((reached.into(), first)),
                Record::Path(path) => results.paths.push(path),
                Record::Objects(objects) => results.objects.push(objects.into()),
                Record::Type((id, name)) if !name.is_empty() => {
                    results.types.insert(id, one_line(&name));
                }
                Record::Type(_) => {}
                Record::Summary(summary) => results.summary = Some(summary),
            }
        }
        match results.summary {
            Some(_) => Ok(results),
            None => Err("the holder search did not complete".into()),
        }
    }

    /// Whether everything that can hold a block was searched.
    pub(crate) fn searched_all(&self) -> bool {
        self.summary.is_some_and(|summary| summary.searched_all())
    }

    /// The holder with this number.
    pub(crate) fn holder(&self, id: u16) -> Option<&HolderRecord<String, Vec<u64>>> {
        // They are written in the order of their numbers, from 1.
        self.holders.get(usize::from(id).checked_sub(1)?)
    }
}
