//! pprof's profile of what is live now, with addresses in place of names: whoever has the debug information of the
//! build IDs names them.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;

use crate::analysis::Identity;
use crate::model::block::StackId;
use crate::recorder::heap::{self, Paused};
use crate::recorder::live::{Code, Stacks};
use crate::report::formats::interned::Interned;
use crate::report::formats::profile_message::{Location, Mapping, Profile, Sample};

/// Makes profiles, and keeps what it has read of files.
#[derive(Debug, Default)]
pub(super) struct Profiler {
    identities: HashMap<PathBuf, Option<Identity>>,
}

impl Profiler {
    /// The profile of what is live now, compressed with gzip. It has two values for each stack: blocks and bytes in use,
    /// both estimated from samples.
    pub(super) fn profile(&mut self, paused: &Paused) -> Vec<u8> {
        let mut live: HashMap<StackId, (u64, u64)> = HashMap::new();
        heap::for_each_live(|entry| {
            let sum = live.entry(entry.stack_id).or_default();
            sum.0 += entry.blocks;
            sum.1 += entry.bytes;
        });
        // In a fixed order, so that two profiles can be compared.
        let mut live: Vec<(StackId, (u64, u64))> = live.into_iter().collect();
        live.sort_unstable();
        let mut stacks = Stacks::new();
        let code = stacks.code(paused);
        let mut made = Maker::new(&code, self);
        let sample = live
            .into_iter()
            .map(|(stack, (blocks, bytes))| Sample {
                location_id: made.locations_of(stacks.stack(stack).0),
                value: vec![blocks as i64, bytes as i64],
                label: Vec::new(),
            })
            .collect();
        let profile = made.finish(sample);
        let mut zipped = GzEncoder::new(Vec::new(), Compression::fast());
        let written = zipped
            .write_all(&profile.encode_to_vec())
            .and_then(|()| zipped.finish());
        // Writing to memory does not fail.
        written.unwrap_or_default()
    }

    fn identity(&mut self, path: &Path) -> Option<&Identity> {
        let identity = self.identities.entry(path.into());
        identity.or_insert_with(|| Identity::read(path)).as_ref()
    }
}

/// Puts a profile together. Strings, mappings and locations are numbered, each once.
struct Maker<'a> {
    code: &'a [Code],
    profiler: &'a mut Profiler,
    texts: Interned,
    mappings: Vec<Mapping>,
    /// The numbers of the mappings of `code` that are in the profile.
    mapping_numbers: HashMap<usize, u64>,
    locations: Vec<Location>,
    location_numbers: HashMap<usize, u64>,
}

impl<'a> Maker<'a> {
    fn new(code: &'a [Code], profiler: &'a mut Profiler) -> Self {
        let mut texts = Interned::default();
        // The format requires the empty string to be the first.
        texts.number("");
        Self {
            code,
            profiler,
            texts,
            mappings: Vec::new(),
            mapping_numbers: HashMap::new(),
            locations: Vec::new(),
            location_numbers: HashMap::new(),
        }
    }

    fn text(&mut self, text: &str) -> i64 {
        self.texts.number(text) as i64
    }

    /// The numbers of the locations of a stack, innermost first. One without a readable stack has a location without an
    /// address.
    fn locations_of(&mut self, return_addresses: &[usize]) -> Vec<u64> {
        if return_addresses.is_empty() {
            return vec![self.location(0)];
        }
        let addresses = return_addresses.iter();
        addresses.map(|&address| self.location(address)).collect()
    }

    fn location(&mut self, return_address: usize) -> u64 {
        let next = self.locations.len() as u64 + 1;
        let id = *self.location_numbers.entry(return_address).or_insert(next);
        if id == next {
            let (mapping_id, address) = self.place(return_address as u64);
            self.locations.push(Location {
                id,
                mapping_id,
                address,
                line: Vec::new(),
            });
        }
        id
    }

    /// The mapping and the virtual address in its file of the call before a return address.
    fn place(&mut self, return_address: u64) -> (u64, u64) {
        // The call instruction ends before the return address, which may be on another line.
        let call = return_address.saturating_sub(1);
        let of_code = |code: &Code| (code.start..code.end).contains(&call);
        let Some(index) = self.code.iter().position(of_code) else {
            return (0, call);
        };
        let code = &self.code[index];
        let offset = call - code.start + code.offset;
        let identity = self.profiler.identity(code.path.as_path());
        let address = identity.and_then(|i| i.address(offset)).unwrap_or(offset);
        (self.mapping(index), address)
    }

    /// The number of a mapping. It has no range: then pprof takes the addresses as those of the file (`GetBase` in
    /// `internal/elfexec` of github.com/google/pprof). With a range, some versions are wrong by a part of a page.
    fn mapping(&mut self, index: usize) -> u64 {
        if let Some(&number) = self.mapping_numbers.get(&index) {
            return number;
        }
        let code = &self.code[index];
        let path = code.path.as_path();
        let identity = self.profiler.identity(path);
        let build_id = identity.map_or(String::new(), |i| i.build_id.clone());
        let id = self.mappings.len() as u64 + 1;
        let mapping = Mapping {
            id,
            filename: self.text(&path.to_string_lossy()),
            build_id: self.text(&build_id),
            ..Mapping::default()
        };
        self.mappings.push(mapping);
        self.mapping_numbers.insert(index, id);
        id
    }

    fn finish(mut self, sample: Vec<Sample>) -> Profile {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let empty = Profile::of_blocks_in_use(&mut self.texts);
        Profile {
            sample,
            mapping: self.mappings,
            location: self.locations,
            time_nanos: now.map_or(0, |now| now.as_nanos() as i64),
            period: heap::sampled_every().unwrap_or(0) as i64,
            string_table: self.texts.all,
            ..empty
        }
    }
}
