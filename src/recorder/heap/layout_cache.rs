//! Where the frames of stacks lie, and the key of what they hold there.
//!
//! A walk is a pointer chase: each load waits for the one before. But a program that comes to a place
//! again mostly has its frames where they lay then. A [`Shape`] keeps where they lay, and the *key* of a
//! stack is a hash of its shape and of the words that are there now, made with loads that do not wait for
//! each other. If a walk has led to this key before, the words are what they were then: the innermost
//! frame has the address of the next one, and so on to the last, so that a walk would find the same (if
//! what follows the last is no frame now as then).
//! Stacks that begin at one place and lie in several ways, as in a parser of nested input, are walked.
//!
//! A key has 63 bits that tell stacks apart. A stack has one at each place that it lies at, on each
//! thread: among 200 000 of them, two are the same with a probability of about 2e-9.

use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

use super::rows::OwnRow;
use super::unwind::{MAX_FRAMES, mix, words};

/// Shapes that are kept: a power of two.
const KEPT: usize = 4096;

/// Frames that are hashed beside each other.
const LANES: usize = 4;

/// Fours of frames at most: as many as are kept of a stack.
const MOST: usize = MAX_FRAMES / LANES;

const WORD: usize = size_of::<usize>();

/// How keys are made in this process, settled with how stacks are walked.
static HASH: AtomicU8 = AtomicU8::new(Hash::None as u8);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Hash {
    /// Not at all: there may be no frame pointers.
    None,
    /// By multiplication, on any processor.
    Multiply,
    /// By rounds of AES: one instruction takes both words of a frame.
    #[cfg(target_arch = "x86_64")]
    Aes,
}

/// Stacks have keys from now on: their frames are found by frame pointers.
pub(super) fn begin() {
    HASH.store(best() as u8, Relaxed);
}

fn best() -> Hash {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("aes") && std::is_x86_feature_detected!("avx") {
        return Hash::Aes;
    }
    Hash::Multiply
}

/// Whether stacks have keys, and AES makes them.
pub(super) fn are_by_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return HASH.load(Relaxed) == Hash::Aes as u8;
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Where the frames of a stack lie, and what was met there last.
#[repr(C, align(64))]
pub(super) struct Shape {
    /// Where the innermost one lies, and [`OFF`] if it is not used; 0 if this is none.
    first: usize,
    /// Fours of frames; 0 if none was ever kept here.
    fours: u16,
    /// [`MISS`] for each walked stack that began at the same place and lay otherwise, less those that were
    /// known by a key.
    missed: u16,
    /// Of the stack that was met last.
    row: MaybeUninit<OwnRow>,
    key: u64,
    /// Hash of where they all lie.
    seed: u64,
    /// Of what its frames held last.
    last: Digest,
    /// Words from the innermost frame to each, and 0 for as many as make their number one of fours.
    offsets: [[u16; LANES]; MOST],
}

/// What a register of the processor's holds.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C, align(16))]
struct Digest([u64; 2]);

/// Of no stack, or one in 2^64.
const NO_DIGEST: Digest = Digest([0; 2]);

// What is needed of a stack of 32 frames is in two lines of the processor's cache.
const _: () = assert!(size_of::<Shape>() == 320 && core::mem::offset_of!(Shape, offsets) == 64);

/// No frame lies at an address that has this bit.
const OFF: usize = 1;

/// What a stack that lies otherwise counts, where one that is known by its key makes up for 1.
const MISS: u16 = 4;

/// From here on stacks that begin at a place are taken to lie in several ways: they are walked, and known by
/// the hash of that, for a key that is of no use costs as much as a walk.
const MIXED: u16 = 16;

/// No more is counted, so that it is soon found out when they lie in one way again.
const MOST_MISSED: u16 = 32;

impl Shape {
    /// Makes it that of frames that lie at these addresses, the highest first, with nothing met yet, and
    /// gives the lowest; `None` if there is none, or they are too many or too far from each other, and then it
    /// is what it was.
    fn become_of(
        &mut self,
        mut frames: impl DoubleEndedIterator<Item = usize> + ExactSizeIterator + Clone,
    ) -> Option<usize> {
        let count = frames.len();
        let offsets = self.offsets.get_mut(..count.div_ceil(LANES))?;
        let (last, _) = offsets.split_last_mut()?;
        let first = frames.next_back()?;
        // The highest comes first.
        let highest = frames.clone().next().unwrap_or(first);
        u16::try_from((highest - first) / WORD).ok()?;
        *last = [0; LANES];
        for (offset, at) in offsets.as_flattened_mut().iter_mut().zip(frames.rev()) {
            *offset = ((at - first) / WORD) as u16;
        }
        let places = offsets.iter().map(|four| {
            let [a, b, c, d] = four.map(usize::from);
            a | b << 16 | c << 32 | d << 48
        });
        self.first = 0;
        self.seed = places.fold(first as u64, mix);
        self.fours = count.div_ceil(LANES) as u16;
        self.last = NO_DIGEST;
        Some(first)
    }

    /// Whether it is that of frames that lie at these addresses, the highest first.
    fn is_of(
        &self,
        innermost: usize,
        frames: impl DoubleEndedIterator<Item = usize> + ExactSizeIterator,
    ) -> bool {
        let offsets = &self.offsets[..usize::from(self.fours)];
        self.begins_at(innermost)
            && frames.len().div_ceil(LANES) == offsets.len()
            && offsets
                .as_flattened()
                .iter()
                .zip(frames.rev().skip(1).chain(core::iter::repeat(innermost)))
                .all(|(&offset, at)| Self::at(innermost, offset) == at)
    }

    fn begins_at(&self, first: usize) -> bool {
        self.first | OFF == first | OFF
    }

    fn is_mixed(&self) -> bool {
        self.missed >= MIXED
    }

    /// Lets it be used for stacks that begin there, unless they lie in several ways.
    fn use_at(&mut self, first: usize) {
        self.first = if self.is_mixed() { first | OFF } else { first };
    }

    /// Where a frame of one that begins at `first` is.
    #[inline(always)]
    fn at(first: usize, offset: u16) -> usize {
        first + usize::from(offset) * WORD
    }

    /// The key of what its frames hold; 0 if that is what was met last.
    ///
    /// # Safety
    /// They may be read, two words each.
    #[inline(never)]
    unsafe fn key_by_multiplying(&mut self, first: usize) -> u64 {
        let mut lanes = [self.seed, 1, 2, 3];
        for four in &self.offsets[..usize::from(self.fours)] {
            for (lane, &offset) in lanes.iter_mut().zip(four) {
                // SAFETY: the caller's promise.
                let (saved, ret) = unsafe { words(Self::at(first, offset)) };
                *lane = mix(*lane ^ saved as u64, ret);
            }
        }
        let all = lanes
            .into_iter()
            .fold(0, |all, lane| mix(all, lane as usize));
        let found = Digest([all, 0]);
        if found == self.last {
            return 0;
        }
        self.last = found;
        all | 1
    }

    /// The same by AES. A round is a permutation, so that stacks that differ in one frame differ in a lane.
    /// If they differ in two frames that follow each other in it, and in nothing else, the second would have
    /// to undo what a round makes of the first: of one byte all four low ones of a return address, by a
    /// pattern, which is a chance of about 2^-32 where the two calls are more than 16 MiB apart, and none
    /// else. Two rounds for each lane make one of them.
    ///
    /// # Safety
    /// As above, on a processor that has AES and AVX. To be inlined where that is known.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn key_by_aes(&mut self, first: usize) -> u64 {
        use core::arch::x86_64::{
            __m128i, _mm_aesenc_si128, _mm_cvtsi128_si64, _mm_load_si128, _mm_loadu_si128,
            _mm_set_epi64x, _mm_store_si128, _mm_testz_si128, _mm_xor_si128,
        };
        // SAFETY: the caller's promise; the words of a frame lie side by side, a digest has 16 bytes and is
        // aligned so, and a shape that is one has 1 to `MOST` fours (`become_of`).
        unsafe {
            let seed = _mm_set_epi64x(0, self.seed as i64);
            let fours = self.offsets.get_unchecked(..usize::from(self.fours));
            let (inner, outer) = fours.split_first().unwrap_unchecked();
            let frame = |offset| _mm_loadu_si128(Self::at(first, offset) as *const __m128i);
            let &[a, b, c, d] = inner;
            let mut a = _mm_aesenc_si128(seed, frame(a));
            let mut b = _mm_aesenc_si128(seed, frame(b));
            let mut c = _mm_aesenc_si128(seed, frame(c));
            let mut d = _mm_aesenc_si128(seed, frame(d));
            // No closure: it would be a call for each where nothing is optimized.
            macro_rules! round {
                ($four:expr) => {
                    a = _mm_aesenc_si128(a, frame($four[0]));
                    b = _mm_aesenc_si128(b, frame($four[1]));
                    c = _mm_aesenc_si128(c, frame($four[2]));
                    d = _mm_aesenc_si128(d, frame($four[3]));
                };
            }
            let (twos, rest) = outer.as_chunks::<2>();
            for [one, other] in twos {
                round!(one);
                round!(other);
            }
            if let [one] = rest {
                round!(one);
            }
            // Digits of pi: what is the same in all lanes must not cancel out.
            let pi = [
                _mm_set_epi64x(0x1319_8A2E_0370_7344, -0x5BF6_C7DD_D660_CE2F),
                _mm_set_epi64x(0x082E_FA98_EC4E_6C89, 0x4528_21E6_38D0_1377),
            ];
            macro_rules! with {
                ($all:expr, $lane:expr) => {
                    _mm_aesenc_si128(_mm_aesenc_si128($all, pi[0]), $lane)
                };
            }
            let all = with!(with!(a, b), with!(c, d));
            let last: *mut __m128i = (&raw mut self.last).cast();
            let differs = _mm_xor_si128(all, _mm_load_si128(last));
            if _mm_testz_si128(differs, differs) == 1 {
                return 0;
            }
            _mm_store_si128(last, all);
            let all = _mm_aesenc_si128(_mm_aesenc_si128(all, pi[0]), pi[1]);
            _mm_cvtsi128_si64(all) as u64 | 1
        }
    }

    /// The same for those that are not compiled for it.
    ///
    /// # Safety
    /// As above.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "aes,avx")]
    #[inline(never)]
    unsafe fn key_by_aes_apart(&mut self, first: usize) -> u64 {
        // SAFETY: the caller's promise.
        unsafe { self.key_by_aes(first) }
    }

    /// The key of what its frames hold, where it begins at `first`; 0 if that is what was met last.
    ///
    /// # Safety
    /// They may be read, two words each, and keys are made this way on this processor.
    #[inline(always)]
    unsafe fn key(&mut self, first: usize, hash: u8) -> u64 {
        // SAFETY: the caller's promise.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            if hash == Hash::Aes as u8 {
                return self.key_by_aes_apart(first);
            }
            self.key_by_multiplying(first)
        }
    }
}

/// The shapes that a thread has met lately, by where their innermost frame lies and what called it.
/// Valid if all its bytes are zero: then there are none.
pub(super) struct Shapes {
    shapes: [Shape; KEPT],
    /// Which of them were used, so many of these.
    used: [u16; KEPT],
    count: u32,
    /// Stacks that were walked.
    walked: u32,
}

/// Where stacks of several shapes are kept at one place, each would drive out the others' and none be known:
/// one in eight walks does. By the golden ratio, so that it is not always the same one where they come by turns.
fn is_a_turn(walk: u32) -> bool {
    walk.wrapping_mul(0x9E37_79B9) >> (u32::BITS - 3) == 0
}

/// What is known of the running stack.
pub(super) enum Known {
    /// It is what was met last of its shape: its key, and the row that was counted in.
    Last(u64, OwnRow),
    /// Its key.
    Key(u64),
    Nothing,
}

/// Where the shape of a stack is kept: by where its innermost frame lies, and what called that.
///
/// # Safety
/// The frame at `first` may be read.
#[inline(always)]
pub(super) unsafe fn place(first: usize) -> usize {
    // SAFETY: the caller's promise; the return address is the frame's second word.
    let ret = unsafe { (first as *const usize).add(1).read_volatile() };
    let hash = (first as u64 ^ ret as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (hash >> (u64::BITS - KEPT.ilog2())) as usize
}

impl Shapes {
    /// What is known of the stack whose innermost frame lies at `first`.
    ///
    /// # Safety
    /// Where stacks have keys, that is a live frame of the thread that has met them. `place` is its
    /// [`place`] where AES makes the keys and the compiler knows it, else `None`.
    #[inline(always)]
    pub(super) unsafe fn find(&mut self, first: usize, place: Option<usize>) -> Known {
        // SAFETY: the caller's promise.
        unsafe {
            if let Some(place) = place {
                return self.find_at(place, first, None);
            }
            match HASH.load(Relaxed) {
                hash if hash == Hash::None as u8 => Known::Nothing,
                hash => self.find_at(self::place(first), first, Some(hash)),
            }
        }
    }

    /// Of the shape that is kept at a place. How keys are made, unless the compiler knows it.
    ///
    /// # Safety
    /// As [`Shapes::find`], and stacks have keys.
    #[inline(always)]
    unsafe fn find_at(&mut self, place: usize, first: usize, hash: Option<u8>) -> Known {
        let shape = &mut self.shapes[place];
        if shape.first != first {
            return Known::Nothing;
        }
        // SAFETY: its frames were on this thread's stack when they were met, above `first`, which is
        // live; a stack is mapped from there to its upper end, which does not move.
        let key = unsafe {
            match hash {
                Some(hash) => shape.key(first, hash),
                #[cfg(target_arch = "x86_64")]
                None => shape.key_by_aes(first),
                #[cfg(not(target_arch = "x86_64"))]
                None => shape.key_by_multiplying(first),
            }
        };
        match key {
            // SAFETY: its first frame is without `OFF`, which only `keep` sets so, with a row; or `meet_by`, where it
            // was so before (tests: `what_is_known_of_a_stack_is_what_a_walk_finds`).
            0 => Known::Last(shape.key, unsafe { shape.row.assume_init() }),
            key => {
                shape.first |= OFF;
                Known::Key(key)
            }
        }
    }

    /// Takes in where the frames of a stack lie that had to be walked, the outermost first and the innermost
    /// at an address, and gives its key; `None` if it is to have none. `key` is what [`Shapes::find`] gave, or 0.
    ///
    /// # Safety
    /// As [`Shapes::find`], and all of them are live frames of the running thread.
    #[inline]
    pub(super) unsafe fn meet(
        &mut self,
        innermost: usize,
        key: u64,
        frames: impl DoubleEndedIterator<Item = usize> + ExactSizeIterator + Clone,
    ) -> Option<u64> {
        match HASH.load(Relaxed) {
            by if by == Hash::None as u8 => None,
            // SAFETY: the caller's promise.
            by => unsafe { self.meet_by(by, innermost, key, frames) },
        }
    }

    /// # Safety
    /// As [`Shapes::meet`], and stacks have keys.
    unsafe fn meet_by(
        &mut self,
        hash: u8,
        innermost: usize,
        key: u64,
        frames: impl DoubleEndedIterator<Item = usize> + ExactSizeIterator + Clone,
    ) -> Option<u64> {
        // SAFETY: the caller's promise.
        let place = unsafe { place(innermost) };
        let shape = &mut self.shapes[place];
        self.walked = self.walked.wrapping_add(1);
        let is_its_turn = is_a_turn(self.walked);
        let is_new = shape.fours == 0;
        if is_new {
            shape.missed = 0;
        } else if key == 0 && !is_its_turn {
            return None;
        } else if shape.is_of(innermost, frames.clone()) {
            if key != 0 {
                return Some(key);
            }
            shape.missed = match shape.missed.saturating_sub(1) {
                // Others that come now and then are not to end it at once.
                left if left < MIXED => 0,
                left => left,
            };
        } else {
            shape.missed = match shape.begins_at(innermost) {
                true => (shape.missed + MISS).min(MOST_MISSED),
                false => 0,
            };
            if !is_its_turn {
                // The digest is of no stack: its row is that of another.
                shape.last = NO_DIGEST;
                shape.use_at(innermost);
                return None;
            }
        }
        let first = shape.become_of(frames)?;
        debug_assert_eq!(first, innermost);
        if is_new {
            self.used[self.count as usize] = place as u16;
            self.count += 1;
        }
        if shape.is_mixed() {
            shape.use_at(first);
            return None;
        }
        // SAFETY: the caller's promise.
        Some(unsafe { shape.key(first, hash) })
    }

    /// Keeps the row of the stack that begins at `first`, whose key was just made.
    ///
    /// # Safety
    /// As [`Shapes::find`].
    #[inline]
    pub(super) unsafe fn keep(&mut self, first: usize, key: u64, row: OwnRow) {
        // SAFETY: the caller's promise.
        let shape = &mut self.shapes[unsafe { place(first) }];
        if shape.fours == 0 {
            return;
        }
        shape.missed = shape.missed.saturating_sub(1);
        shape.use_at(first);
        shape.key = key;
        shape.row = MaybeUninit::new(row);
    }

    /// Forgets all of them: the stack is another.
    pub(super) fn forget(&mut self) {
        for &place in &self.used[..self.count as usize] {
            let shape = &mut self.shapes[usize::from(place)];
            (shape.first, shape.fours) = (0, 0);
        }
        self.count = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use crate::recorder::heap::ledger::Ledger;
    use crate::recorder::heap::unwind::{Bounds, Remembered};
    use std::collections::HashMap;

    const WORDS: usize = 2048;

    /// Words that lie as a stack does, whose frames are made up.
    struct Made {
        words: Box<[usize; WORDS]>,
        /// Of each frame, the outermost first, how many words it takes and what its call is.
        frames: Vec<(usize, usize)>,
        first: usize,
    }

    impl Made {
        fn new() -> Self {
            Self {
                words: Box::new([0; WORDS]),
                frames: Vec::new(),
                first: 0,
            }
        }

        /// Writes the frames, over what earlier ones have left.
        fn write(&mut self) {
            let base = self.words.as_ptr().expose_provenance();
            let (mut at, mut outer) = (WORDS - 2, 0);
            for &(size, call) in &self.frames {
                at -= size;
                (self.words[at], self.words[at + 1]) = (outer, 0x1000 + call);
                outer = base + at * WORD;
            }
            self.first = outer;
        }

        fn bounds(&self) -> Bounds {
            let low = self.words.as_ptr().expose_provenance();
            Bounds {
                low,
                high: low + WORDS * WORD,
            }
        }

        /// The return addresses, and where the frames lie, as a walk finds them.
        fn walked(&self) -> (Vec<usize>, Vec<usize>) {
            let mut walk = Remembered::new();
            walk.walk(self.first, self.bounds().reader(self.first));
            (walk.stack().collect(), walk.places().unwrap().collect())
        }
    }

    /// All ways to make keys that this processor has.
    fn ways() -> Vec<u8> {
        let mut ways = vec![Hash::Multiply as u8, best() as u8];
        ways.dedup();
        ways
    }

    fn nothing() -> Box<Shapes> {
        let layout = std::alloc::Layout::new::<Shapes>();
        // SAFETY: valid if all its bytes are zero, and of the layout that a box has.
        unsafe { Box::from_raw(std::alloc::alloc_zeroed(layout).cast()) }
    }

    #[test]
    fn a_changed_word_is_another_key_and_the_same_words_are_the_same() {
        let mut made = Made::new();
        made.frames = (0..23).map(|i| (4 + 2 * (i % 3), 16 * i)).collect();
        made.write();
        let (_, places) = made.walked();
        let base = made.words.as_ptr().expose_provenance();
        for way in ways() {
            let mut shapes = nothing();
            let shape = &mut shapes.shapes[0];
            let mut of = |made: &Made, places: &[usize]| {
                let first = shape.become_of(places.iter().copied()).unwrap();
                assert_eq!(first, made.first);
                // SAFETY: all of them lie in `made`'s words.
                unsafe { shape.key(first, way) }
            };
            let key = of(&made, &places);
            assert_eq!(of(&made, &places), key);
            let mut seen = HashMap::from([(key, 0)]);
            for &at in &places {
                for word in [at, at + WORD] {
                    for bit in [0, 1, 3, 12, 40] {
                        made.words[(word - base) / WORD] ^= 1 << bit;
                        assert_eq!(seen.insert(of(&made, &places), at), None);
                        made.write();
                    }
                }
            }
            // The same words elsewhere: where the outermost ones lie is in no word but those of inner ones.
            let fewer = &places[1..];
            assert_eq!(seen.insert(of(&made, fewer), 1), None);
        }
    }

    #[test]
    fn what_is_known_of_a_stack_is_what_a_walk_finds() {
        static LEDGER: Ledger = Ledger::new();
        let book = LEDGER.rows.open().unwrap();
        let row = LEDGER.rows.of_stack(book, 1);
        for way in ways() {
            let mut made = Made::new();
            let mut shapes = nothing();
            let mut random = Random::new(23);
            // The stack that each key was made for.
            let mut by_key: HashMap<u64, Vec<usize>> = HashMap::new();
            let (mut last, mut keys) = (0, 0);
            for step in 0..60_000 {
                // In one way, and in many, by turns.
                let ways = if step / 2000 % 2 == 0 { 1 } else { 3 };
                // What was popped stays there, as on a real stack; now and then nothing is.
                let left = made.frames.len() - random.index(made.frames.len().min(5) + 1);
                made.frames.truncate(left);
                let most = 100_usize.saturating_sub(left).min(4);
                for _ in 0..=random.index(most + 1) {
                    made.frames
                        .push((2 + 2 * random.index(ways), random.index(2)));
                }
                made.write();
                let (stack, places) = made.walked();
                let first = made.first;
                // SAFETY: all lies in `made`'s words.
                unsafe {
                    let mut was_key = 0;
                    let key = match shapes.find_at(place(first), first, Some(way)) {
                        Known::Last(key, _) => {
                            assert_eq!(by_key[&key], stack);
                            last += 1;
                            continue;
                        }
                        Known::Key(key) => {
                            was_key = key;
                            keys += 1;
                            by_key.contains_key(&key).then_some(key)
                        }
                        Known::Nothing => None,
                    };
                    let met = || shapes.meet_by(way, first, was_key, places.into_iter());
                    let Some(key) = key.or_else(met) else {
                        continue;
                    };
                    let known = by_key.entry(key).or_insert_with(|| stack.clone());
                    assert_eq!(*known, stack);
                    shapes.keep(first, key, row);
                }
            }
            assert!(last > 500 && keys > 3000, "{last} {keys}");
            shapes.forget();
            // SAFETY: as above.
            let known = unsafe { shapes.find_at(place(made.first), made.first, Some(way)) };
            assert!(matches!(known, Known::Nothing));
            assert!(shapes.shapes.iter().all(|shape| shape.first == 0));
        }
        LEDGER.rows.close(book);
    }

    /// What is known of the stack, and takes it in; its key, if it has one.
    fn visit(shapes: &mut Shapes, way: u8, made: &mut Made, row: OwnRow) -> (Known, Option<u64>) {
        made.write();
        let (_, places) = made.walked();
        let first = made.first;
        // SAFETY: all lies in `made`'s words.
        unsafe {
            let known = shapes.find_at(place(first), first, Some(way));
            let key = match known {
                Known::Last(..) => return (known, None),
                Known::Key(key) => key,
                Known::Nothing => 0,
            };
            let key = shapes.meet_by(way, first, key, places.into_iter());
            if let Some(key) = key {
                shapes.keep(first, key, row);
            }
            (known, key)
        }
    }

    /// Does this with each way to make keys: no shapes yet, a stack of ten frames, and a row.
    fn with_each_way(test: impl Fn(u8, &mut Shapes, &mut Made, OwnRow)) {
        static LEDGER: Ledger = Ledger::new();
        let book = LEDGER.rows.open().unwrap();
        let row = LEDGER.rows.of_stack(book, 1);
        for way in ways() {
            let mut made = Made::new();
            made.frames = vec![(4, 0); 10];
            test(way, &mut nothing(), &mut made, row);
        }
        LEDGER.rows.close(book);
    }

    #[test]
    fn a_new_stack_of_a_known_shape_has_its_key_at_once() {
        with_each_way(|way, shapes, made, row| {
            assert!(visit(shapes, way, made, row).1.is_some());
            for call in 1..50 {
                made.frames[3].1 = call;
                let (known, key) = visit(shapes, way, made, row);
                let Known::Key(found) = known else {
                    panic!("of this shape")
                };
                assert_eq!(key, Some(found));
                let (known, _) = visit(shapes, way, made, row);
                assert!(matches!(known, Known::Last(key, _) if key == found));
            }
        });
    }

    #[test]
    fn what_lies_in_several_ways_has_no_key_until_it_does_no_longer() {
        with_each_way(|way, shapes, made, row| {
            let mut lies = |other: bool| {
                (made.frames[2].0, made.frames[5].0) = if other { (6, 2) } else { (4, 4) };
                visit(shapes, way, made, row)
            };
            for _ in 0..20 {
                lies(true);
                lies(false);
            }
            let (mut keys, mut last) = (0, 0);
            for i in 0..1000 {
                let (known, key) = lies(i % 2 == 0);
                keys += usize::from(!matches!(known, Known::Nothing) || key.is_some());
            }
            assert_eq!(keys, 0);
            for _ in 0..1000 {
                last += usize::from(matches!(lies(false).0, Known::Last(..)));
            }
            let most_walked = usize::from(MOST_MISSED) * 8;
            assert!(last >= 1000 - most_walked, "{last}");
            // Another now and then does not end it.
            last = 0;
            for i in 0..3300 {
                last += usize::from(matches!(lies(i % 33 == 0).0, Known::Last(..)));
            }
            assert!(last >= 2000, "{last}");
        });
    }

    #[test]
    fn a_stack_that_is_too_deep_or_too_long_has_no_shape() {
        let mut shapes = nothing();
        let shape = &mut shapes.shapes[0];
        let frames = |count: usize, bytes: usize| (0..count).rev().map(move |i| 0x1000 + i * bytes);
        assert_eq!(shape.become_of(frames(0, 16)), None);
        assert_eq!(shape.become_of(frames(LANES * MOST, 16)), Some(0x1000));
        assert_eq!(shape.become_of(frames(LANES * MOST + 1, 16)), None);
        assert_eq!(shape.become_of(frames(2, WORD << 16)), None);
        assert_eq!(shape.first, 0);
    }
}
