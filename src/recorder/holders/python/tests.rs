//! The search over memory that looks like Python's, and over memory that is broken in all ways.

use super::*;
use crate::base::random::Random;
use crate::model::holders::HolderKind;
use crate::recorder::heap::{PythonOffsets, PythonRunningFrame};
use crate::recorder::holders::regions::{Access, Region, RegionKind};
use crate::recorder::holders::search::Search;

const WORDS: usize = 128;

type Memory = [usize; WORDS];

/// Blocks of [`WORDS`] words, the first of which is the type of types and the second that of lists, and a region that
/// refers to some of them.
#[allow(clippy::vec_box, reason = "each is to be an allocation of its own")]
struct Program {
    blocks: Vec<Box<Memory>>,
    root: Box<[usize]>,
}

// Offsets in an object and in a type, in words.
const TYPE: usize = 1;
const NAME: usize = 3;
const BASIC_SIZE: usize = 4;
const FLAGS: usize = 21;

const IS_COLLECTED: usize = 1 << 14;
const IS_LIST: usize = 1 << 25;
const IS_TYPE: usize = 1 << 31;

/// The number of the blocks that are types.
const TYPE_OF_TYPES: usize = 0;
const LIST_TYPE: usize = 1;

impl Program {
    fn new(count: usize) -> Self {
        let mut blocks: Vec<_> = (0..count).map(|_| Box::new([0; WORDS])).collect();
        blocks.sort_unstable_by_key(|block| block.as_ptr().addr());
        let mut program = Self {
            blocks,
            root: vec![0; 4].into(),
        };
        for (block, flags) in [
            (TYPE_OF_TYPES, IS_TYPE),
            (LIST_TYPE, IS_LIST | IS_COLLECTED),
        ] {
            program.set(block, 0, 1);
            program.refer(block, TYPE, TYPE_OF_TYPES);
            program.set(block, BASIC_SIZE, 40);
            program.set(block, FLAGS, flags);
        }
        program
    }

    fn at(&self, block: usize) -> usize {
        self.blocks[block].as_ptr().expose_provenance()
    }

    fn set(&mut self, block: usize, word: usize, value: usize) {
        self.blocks[block][word] = value;
    }

    fn refer(&mut self, block: usize, word: usize, to: usize) {
        self.set(block, word, self.at(to));
    }

    /// Makes a list of a block, in the collector's list between two others.
    fn list(&mut self, block: usize, references: usize, items: usize, length: usize) {
        self.set(block, 2, references);
        self.refer(block, 3, LIST_TYPE);
        self.set(block, 4, length);
        self.refer(block, 5, items);
    }

    /// Links blocks with the collector's links, in a circle.
    fn link(&mut self, blocks: &[usize]) {
        for (i, &block) in blocks.iter().enumerate() {
            let next = blocks[(i + 1) % blocks.len()];
            self.refer(block, 0, next);
            self.refer(next, 1, block);
        }
    }

    fn layout(&self) -> Layout {
        extern "C" fn none() -> usize {
            0
        }
        extern "C" fn no_next(_: usize) -> usize {
            0
        }
        Layout {
            offsets: PythonOffsets {
                running: PythonRunningFrame::InThread { frame: 72 },
                previous: 8,
                code: 0,
                instruction: 56,
                owner: 74,
                locals: 80,
                file_name: 112,
                qualified_name: 128,
                line_table: 136,
                first_line: 68,
                bytecode: 208,
                local_names: 96,
                text_length: 16,
                text_state: 32,
                ascii: 40,
                characters: 56,
                byte_count: 16,
                bytes: 32,
            },
            values_head: 8,
            type_of_types: self.at(TYPE_OF_TYPES),
            code_type: 0,
            module_type: 0,
            cell_type: 0,
            set_types: [0; 2],
            weak_types: [0; 3],
            types_with_frame: [0; 4],
            first_interpreter: none,
            next_interpreter: no_next,
            first_thread: no_next,
            next_thread: no_next,
        }
    }

    /// The kind of holder of each block.
    fn search(&self) -> Vec<Option<HolderKind>> {
        let sizes = Sizes {
            usable: |_| WORDS * 8,
            pointable: |_| WORDS * 8,
        };
        let each =
            |visit: &mut dyn FnMut(usize)| (0..self.blocks.len()).for_each(|b| visit(self.at(b)));
        let index = Index::new(each, sizes.usable).unwrap();
        let start = self.root.as_ptr().expose_provenance();
        let mut regions = Regions::default();
        let region = Region {
            start,
            end: start + 8 * self.root.len(),
            kind: RegionKind::Statics,
            access: Access::Private,
        };
        regions.regions.push(region).unwrap();
        let layout = self.layout();
        let python = Python::new(Some(&layout), &index, &regions, sizes).unwrap();
        let search = Search::run(&index, &regions, sizes, python.as_ref()).unwrap();
        let mut path = crate::recorder::heap::MappedVec::new();
        let blocks = 0..self.blocks.len() as BlockId;
        blocks
            .map(|block| {
                search.path(block, &mut path).unwrap();
                let source = search.source(search.holder(block));
                if let (Some(python), Some(source)) = (&python, source) {
                    for number in 0..path.as_slice().len() {
                        python.label(source, path.as_slice(), number);
                    }
                }
                source.map(|source| match source {
                    Source::Python(source) => source.kind(),
                    Source::Region(_) => HolderKind::Static,
                    Source::Lost { .. } => HolderKind::Lost,
                })
            })
            .collect()
    }
}

/// Two lists that refer to each other by their items, which are blocks 4 and 5, each with so many references.
fn two_lists(references: [usize; 2]) -> Program {
    let mut program = Program::new(6);
    let [a, b] = references;
    program.list(2, a, 4, 1);
    program.list(3, b, 5, 1);
    program.link(&[2, 3]);
    let object = |program: &Program, block| program.at(block) + 16;
    program.set(4, 0, object(&program, 3));
    program.set(5, 0, object(&program, 2));
    program.root[0] = program.at(LIST_TYPE);
    program
}

#[test]
fn objects_that_refer_only_to_each_other_are_garbage() {
    let holders = two_lists([1, 1]).search();
    assert_eq!(holders[2..], [Some(HolderKind::Garbage); 4]);
}

#[test]
fn an_object_with_more_references_than_there_are_is_lost_with_what_it_refers_to() {
    let holders = two_lists([1, 2]).search();
    assert_eq!(holders[2..], [Some(HolderKind::Lost); 4]);
}

#[test]
fn the_links_of_the_collector_keep_nothing_alive() {
    let mut program = two_lists([1, 1]);
    // A third list is reachable, and linked with them.
    program.root[1] = program.at(2);
    assert_eq!(program.search()[2], Some(HolderKind::Garbage));
    program.root[1] += 16;
    assert_eq!(program.search()[2], Some(HolderKind::Static));
}

#[test]
fn words_behind_the_items_of_a_list_keep_nothing_alive() {
    let mut program = two_lists([1, 1]);
    program.root[1] = program.at(2) + 16;
    program.set(2, 4, 0);
    let holders = program.search();
    assert_eq!(holders[4], Some(HolderKind::Static), "the items");
    assert_eq!(
        holders[3],
        Some(HolderKind::Lost),
        "its references are not known any more"
    );
}

#[test]
fn no_memory_makes_it_panic() {
    let mut random = Random::new(77);
    for _ in 0..300 {
        let count = 6 + random.index(20);
        let mut program = Program::new(count);
        for block in 2..count {
            for word in 0..WORDS {
                let any = program.at(random.index(count)) + 8 * random.index(WORDS);
                let value = match random.index(8) {
                    0 => any,
                    1 => program.at(random.index(2)),
                    2 => program.at(random.index(count)) + 16,
                    3 => random.index(8),
                    4 => usize::MAX - random.index(64),
                    5 => random.index(usize::MAX),
                    _ => 0,
                };
                program.set(block, word, value);
            }
        }
        // Types with any flags, so that blocks are taken for dicts, texts and others.
        for _ in 0..4 {
            let block = 2 + random.index(count - 2);
            program.set(block, 0, 1);
            program.refer(block, TYPE, TYPE_OF_TYPES);
            program.set(block, NAME, random.index(usize::MAX));
            program.set(block, BASIC_SIZE, random.index(64));
            program.set(
                block,
                FLAGS,
                1 << (24 + random.index(8)) | random.index(1 << 16),
            );
            for object in 0..4 {
                let at = 2 + random.index(count - 2);
                let start = [0, 2, 4][random.index(3)];
                program.set(at, start, 1 + object);
                program.refer(at, start + TYPE, block);
            }
        }
        for word in 0..4 {
            program.root[word] = program.at(random.index(count)) + [0, 16, 32][random.index(3)];
        }
        assert_eq!(program.search().len(), count);
    }
}
