//! In place of `src/recorder/primitive.rs`: the same names, made of loom's types.
//!
//! loom's types are neither constant-initialised nor valid if all their bytes are zero, as those of
//! the recorder have to be. So a type here holds only its first value, and the loom object that
//! belongs to its address is found in [`memory`].

use std::cell;
use std::panic::Location;
use std::rc::Rc;

use loom::sync::atomic::AtomicU64 as Word;

pub mod memory;
pub mod sites;

pub use loom::thread::yield_now;
/// loom runs other threads, so that waiting ends.
pub use loom::thread::yield_now as spin_loop;
use sites::{is_weakened, weakest};
pub use std::sync::atomic::Ordering;

pub const IS_MODEL: bool = true;

pub type AtomicBool = Atomic<bool>;
pub type AtomicI32 = Atomic<i32>;
pub type AtomicI64 = Atomic<i64>;
pub type AtomicPtr<T> = Atomic<*mut T>;
pub type AtomicU32 = Atomic<u32>;
pub type AtomicU64 = Atomic<u64>;
pub type AtomicUsize = Atomic<usize>;

#[track_caller]
pub fn fence(ordering: Ordering) {
    if !is_weakened(Location::caller()) {
        loom::sync::atomic::fence(ordering);
    }
}

/// The value of an atomic, as the bits of a loom object.
pub trait Value: Copy {
    fn to_bits(self) -> u64;
    fn from_bits(bits: u64) -> Self;
}

/// Numbers are extended to 64 bits by their sign, so that sums of bits are those of numbers.
macro_rules! number {
    ($($number:ty),*) => {$(
        impl Value for $number {
            fn to_bits(self) -> u64 {
                self as i64 as u64
            }

            fn from_bits(bits: u64) -> Self {
                bits as Self
            }
        }
    )*};
}

number!(i32, i64, u32, u64, usize);

impl Value for bool {
    fn to_bits(self) -> u64 {
        self.into()
    }

    fn from_bits(bits: u64) -> Self {
        bits != 0
    }
}

impl<T> Value for *mut T {
    fn to_bits(self) -> u64 {
        self.expose_provenance() as u64
    }

    fn from_bits(bits: u64) -> Self {
        std::ptr::with_exposed_provenance_mut(bits as usize)
    }
}

#[repr(transparent)]
pub struct Atomic<V>(cell::UnsafeCell<V>);

// SAFETY: the value is never written. All threads of a model are run by one thread of the system.
unsafe impl<V> Sync for Atomic<V> {}
// SAFETY: see above.
unsafe impl<V> Send for Atomic<V> {}

impl<V: Value> Atomic<V> {
    pub const fn new(value: V) -> Self {
        Self(cell::UnsafeCell::new(value))
    }

    fn word(&self) -> Rc<Word> {
        // SAFETY: the first value, which is never written.
        let first = unsafe { *self.0.get() };
        assert_eq!(first.to_bits(), 0, "only what begins with 0 is modelled");
        memory::word(self.0.get().addr())
    }

    #[track_caller]
    pub fn load(&self, ordering: Ordering) -> V {
        V::from_bits(self.word().load(weakest(ordering)))
    }

    #[track_caller]
    pub fn store(&self, value: V, ordering: Ordering) {
        self.word().store(value.to_bits(), weakest(ordering));
    }

    #[track_caller]
    pub fn fetch_add(&self, by: V, ordering: Ordering) -> V {
        V::from_bits(self.word().fetch_add(by.to_bits(), weakest(ordering)))
    }

    #[track_caller]
    pub fn fetch_sub(&self, by: V, ordering: Ordering) -> V {
        V::from_bits(self.word().fetch_sub(by.to_bits(), weakest(ordering)))
    }

    #[track_caller]
    pub fn compare_exchange(
        &self,
        current: V,
        new: V,
        success: Ordering,
        failure: Ordering,
    ) -> Result<V, V> {
        let (success, failure) = (weakest(success), weakest(failure));
        self.word()
            .compare_exchange(current.to_bits(), new.to_bits(), success, failure)
            .map(V::from_bits)
            .map_err(V::from_bits)
    }

    #[track_caller]
    pub fn compare_exchange_weak(
        &self,
        current: V,
        new: V,
        success: Ordering,
        failure: Ordering,
    ) -> Result<V, V> {
        self.compare_exchange(current, new, success, failure)
    }

    #[track_caller]
    pub fn fetch_update(
        &self,
        set: Ordering,
        fetch: Ordering,
        mut next: impl FnMut(V) -> Option<V>,
    ) -> Result<V, V> {
        let next = |bits| next(V::from_bits(bits)).map(V::to_bits);
        self.word()
            .fetch_update(weakest(set), weakest(fetch), next)
            .map(V::from_bits)
            .map_err(V::from_bits)
    }
}

#[repr(transparent)]
pub struct UnsafeCell<T>(cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    pub const fn new(value: T) -> Self {
        Self(cell::UnsafeCell::new(value))
    }

    /// Counts as a write: loom fails if it is not ordered with every other access.
    #[track_caller]
    pub fn get(&self) -> *mut T {
        memory::write(self.0.get().addr());
        self.0.get()
    }
}
