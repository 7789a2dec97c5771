use super::*;
use crate::base::random::Random;
use crate::recorder::heap::frame::WORD;
use crate::recorder::heap::last_stack::LastStack;
use crate::recorder::heap::ledger::Ledger;
use crate::recorder::heap::stack_memory::StackBounds;
use std::collections::HashMap;

const WORDS: usize = 2048;

/// Memory with the frames of a synthetic stack.
struct Synthetic {
    words: Box<[usize; WORDS]>,
    /// Of each frame, outermost first, its size in words and its call.
    frames: Vec<(usize, usize)>,
    innermost: usize,
}

impl Synthetic {
    fn new() -> Self {
        Self {
            words: Box::new([0; WORDS]),
            frames: Vec::new(),
            innermost: 0,
        }
    }

    /// Writes the frames over what earlier ones have left.
    fn write(&mut self) {
        let base = self.words.as_ptr().expose_provenance();
        let (mut at, mut outer) = (WORDS - 2, 0);
        for &(size, call) in &self.frames {
            at -= size;
            (self.words[at], self.words[at + 1]) = (outer, 0x1000 + call);
            outer = base + at * WORD;
        }
        self.innermost = outer;
    }

    fn bounds(&self) -> StackBounds {
        let low = self.words.as_ptr().expose_provenance();
        StackBounds {
            low,
            high: low + WORDS * WORD,
        }
    }

    /// The return addresses, innermost first, and the addresses of the frames, outermost first, as a
    /// walk finds them.
    fn walked(&self) -> (Vec<usize>, Vec<usize>) {
        let mut last = LastStack::new();
        let reader = self.bounds().reader(self.innermost);
        last.walk_frame_pointers(self.innermost, reader);
        let addresses = last.frame_addresses().unwrap().collect();
        (last.return_addresses().collect(), addresses)
    }
}

/// All ways to compute keys that this processor has.
fn key_hashes() -> Vec<KeyHash> {
    let mut hashes = vec![KeyHash::Multiply, KeyHash::best()];
    hashes.dedup();
    hashes
}

fn empty() -> Box<LayoutCache> {
    let layout = std::alloc::Layout::new::<LayoutCache>();
    // SAFETY: a cache is valid if all its bytes are zero, and a box has this layout.
    unsafe { Box::from_raw(std::alloc::alloc_zeroed(layout).cast()) }
}

#[test]
fn every_word_of_every_frame_is_in_the_key() {
    let mut stack = Synthetic::new();
    stack.frames = (0..23).map(|i| (4 + 2 * (i % 3), 16 * i)).collect();
    stack.write();
    let (_, addresses) = stack.walked();
    let base = stack.words.as_ptr().expose_provenance();
    for hash in key_hashes() {
        let mut cache = empty();
        let layout = &mut cache.layouts[0];
        let mut key_of = |stack: &Synthetic, addresses: &[usize]| {
            let lowest = layout.replace(addresses.iter().copied()).unwrap();
            assert_eq!(lowest, stack.innermost);
            // SAFETY: all frames are in `stack.words`.
            unsafe { layout.key(lowest, hash) }
        };
        let key = key_of(&stack, &addresses);
        assert_eq!(key_of(&stack, &addresses), key);
        let mut seen = HashMap::from([(key, 0)]);
        for &at in &addresses {
            for word in [at, at + WORD] {
                for bit in [0, 1, 3, 12, 40] {
                    stack.words[(word - base) / WORD] ^= 1 << bit;
                    assert_eq!(seen.insert(key_of(&stack, &addresses), at), None);
                    stack.write();
                }
            }
        }
        // The same words in another layout: the address of the outermost frame is in no word of its
        // own.
        let without_outermost = &addresses[1..];
        assert_eq!(seen.insert(key_of(&stack, without_outermost), 1), None);
    }
}

#[test]
fn a_hit_is_the_stack_that_a_walk_finds() {
    static LEDGER: Ledger = Ledger::new();
    let thread = &LEDGER.threads.take().unwrap().counters;
    let row = LEDGER.rows.of_stack(thread, 1);
    for hash in key_hashes() {
        let mut stack = Synthetic::new();
        let mut cache = empty();
        let mut random = Random::new(23);
        // The backtrace for which each key was computed.
        let mut by_key: HashMap<u64, Vec<usize>> = HashMap::new();
        let (mut same, mut keys) = (0, 0);
        for step in 0..60_000 {
            // One layout and several layouts, in turn.
            let sizes = if step / 2000 % 2 == 0 { 1 } else { 3 };
            // Popped frames stay in memory, as on a real stack. Sometimes nothing is popped.
            let left = stack.frames.len() - random.index(stack.frames.len().min(5) + 1);
            stack.frames.truncate(left);
            let most = 100_usize.saturating_sub(left).min(4);
            for _ in 0..=random.index(most + 1) {
                let frame = (2 + 2 * random.index(sizes), random.index(2));
                stack.frames.push(frame);
            }
            stack.write();
            let (backtrace, addresses) = stack.walked();
            let innermost = stack.innermost;
            // SAFETY: all frames are in `stack.words`.
            unsafe {
                let mut found_key = 0;
                let key = match cache.find_in(slot_of(innermost), innermost, Some(hash)) {
                    Lookup::SameStack(key, _) => {
                        assert_eq!(by_key[&key], backtrace);
                        same += 1;
                        continue;
                    }
                    Lookup::Key(key) => {
                        found_key = key;
                        keys += 1;
                        by_key.contains_key(&key).then_some(key)
                    }
                    Lookup::Miss => None,
                };
                let learn = || cache.learn_by(hash, innermost, found_key, addresses.into_iter());
                let Some(key) = key.or_else(learn) else {
                    continue;
                };
                let known = by_key.entry(key).or_insert_with(|| backtrace.clone());
                assert_eq!(*known, backtrace);
                cache.set_row(innermost, key, row);
            }
        }
        assert!(same > 500 && keys > 3000, "{same} {keys}");
        cache.clear();
        // SAFETY: all frames are in `stack.words`.
        let found = unsafe {
            let slot = slot_of(stack.innermost);
            cache.find_in(slot, stack.innermost, Some(hash))
        };
        assert!(matches!(found, Lookup::Miss));
        let is_cleared = |layout: &StackLayout| layout.is_empty() && layout.is_enabled_for(0);
        assert!(cache.layouts.iter().all(is_cleared));
    }
}

/// Looks up a stack and, on a miss, learns it. Returns the result of the lookup, and the key that
/// was learned.
fn visit(
    cache: &mut LayoutCache,
    hash: KeyHash,
    stack: &mut Synthetic,
    row: OwnedRow,
) -> (Lookup, Option<u64>) {
    stack.write();
    let (_, addresses) = stack.walked();
    let innermost = stack.innermost;
    // SAFETY: all frames are in `stack.words`.
    unsafe {
        let found = cache.find_in(slot_of(innermost), innermost, Some(hash));
        let key = match found {
            Lookup::SameStack(..) => return (found, None),
            Lookup::Key(key) => key,
            Lookup::Miss => 0,
        };
        let key = cache.learn_by(hash, innermost, key, addresses.into_iter());
        if let Some(key) = key {
            cache.set_row(innermost, key, row);
        }
        (found, key)
    }
}

/// Runs a test with each way to compute keys, an empty cache, a stack of ten frames, and a row.
fn with_each_hash(test: impl Fn(KeyHash, &mut LayoutCache, &mut Synthetic, OwnedRow)) {
    static LEDGER: Ledger = Ledger::new();
    let thread = &LEDGER.threads.take().unwrap().counters;
    let row = LEDGER.rows.of_stack(thread, 1);
    for hash in key_hashes() {
        let mut stack = Synthetic::new();
        stack.frames = vec![(4, 0); 10];
        test(hash, &mut empty(), &mut stack, row);
    }
}

#[test]
fn a_new_stack_with_a_known_layout_has_its_key_at_once() {
    with_each_hash(|hash, cache, stack, row| {
        assert!(visit(cache, hash, stack, row).1.is_some());
        for call in 1..50 {
            stack.frames[3].1 = call;
            let (found, key) = visit(cache, hash, stack, row);
            let Lookup::Key(found) = found else {
                panic!("a stack with this layout")
            };
            assert_eq!(key, Some(found));
            let (again, _) = visit(cache, hash, stack, row);
            assert!(matches!(again, Lookup::SameStack(key, _) if key == found));
        }
    });
}

#[test]
fn stacks_of_a_polymorphic_slot_have_no_key_until_they_have_one_layout() {
    with_each_hash(|hash, cache, stack, row| {
        let mut visit_layout = |other: bool| {
            (stack.frames[2].0, stack.frames[5].0) = if other { (6, 2) } else { (4, 4) };
            visit(cache, hash, stack, row)
        };
        for _ in 0..20 {
            visit_layout(true);
            visit_layout(false);
        }
        let (mut keys, mut same) = (0, 0);
        for i in 0..1000 {
            let (found, key) = visit_layout(i % 2 == 0);
            keys += usize::from(!matches!(found, Lookup::Miss) || key.is_some());
        }
        assert_eq!(keys, 0);
        for _ in 0..1000 {
            same += usize::from(matches!(visit_layout(false).0, Lookup::SameStack(..)));
        }
        let most_walks = StackLayout::MAX_WALKS_UNTIL_USED;
        assert!(same >= 1000 - most_walks, "{same}");
        // Another layout now and then does not make it polymorphic again.
        same = 0;
        for i in 0..3300 {
            let (found, _) = visit_layout(i % 33 == 0);
            same += usize::from(matches!(found, Lookup::SameStack(..)));
        }
        assert!(same >= 2000, "{same}");
    });
}
