//! The stacks of the naive model: four functions call each other in any order, and the last of them
//! calls the allocator.

use std::alloc::{Layout, alloc, alloc_zeroed, realloc};
use std::hint::black_box;

use afterdrop::bench::Random;

/// The most calls of a chain.
const MOST_CALLS: usize = 15;

/// Bits of a call in a chain.
const BITS: u32 = 2;

/// Which function calls which, the outermost first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chain {
    calls: u8,
    functions: u32,
}

impl Chain {
    pub fn random(random: &mut Random) -> Self {
        let calls = 1 + random.index(MOST_CALLS);
        Self {
            calls: calls as u8,
            functions: random.below(1 << (calls as u32 * BITS)) as u32,
        }
    }

    /// The next function, and the chain from there on.
    #[inline(always)]
    fn next(self) -> Option<(u32, Self)> {
        let rest = Self {
            calls: self.calls.checked_sub(1)?,
            functions: self.functions >> BITS,
        };
        Some((self.functions % (1 << BITS), rest))
    }

    /// The names of its functions, the outermost first.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let mut rest = Some(self);
        std::iter::from_fn(move || {
            let (function, after) = rest?.next()?;
            rest = Some(after);
            Some(FUNCTIONS[function as usize])
        })
    }
}

/// A call of the allocator. No size is 0.
#[derive(Clone, Copy)]
pub enum Request {
    Alloc(Layout),
    AllocZeroed(Layout),
    /// A live block with its layout, and its new size.
    Realloc(*mut u8, Layout, usize),
}

impl Request {
    /// The name of the function that calls the allocator.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Alloc(_) => "allocates",
            Self::AllocZeroed(_) => "allocates_zeroed",
            Self::Realloc(..) => "reallocates",
        }
    }
}

/// The names of all functions that the model knows of a stack.
pub fn is_known(function: &str) -> bool {
    let last = ["allocates", "allocates_zeroed", "reallocates"];
    FUNCTIONS.contains(&function) || last.contains(&function)
}

macro_rules! functions {
    ($($name:ident)*) => {
        const FUNCTIONS: [&str; 1 << BITS] = [$(stringify!($name)),*];
        $(
            #[inline(never)]
            fn $name(rest: Chain, request: Request) -> *mut u8 {
                // Another one in each function, so that the compiler does not merge them.
                black_box(stringify!($name));
                call(rest, request)
            }
        )*
    };
}

functions!(a b c d);

/// Calls the allocator through a chain of calls.
#[inline(always)]
pub fn call(chain: Chain, request: Request) -> *mut u8 {
    let at = match (chain.next(), request) {
        (Some((0, rest)), _) => a(rest, request),
        (Some((1, rest)), _) => b(rest, request),
        (Some((2, rest)), _) => c(rest, request),
        (Some((_, rest)), _) => d(rest, request),
        (None, Request::Alloc(layout)) => allocates(layout),
        (None, Request::AllocZeroed(layout)) => allocates_zeroed(layout),
        (None, Request::Realloc(at, layout, size)) => reallocates(at, layout, size),
    };
    // Keeps the calls from being tail calls, which would leave no frame.
    black_box(at)
}

#[inline(never)]
fn allocates(layout: Layout) -> *mut u8 {
    // SAFETY: the size of a request is not 0.
    black_box(unsafe { alloc(layout) })
}

#[inline(never)]
fn allocates_zeroed(layout: Layout) -> *mut u8 {
    // SAFETY: the size of a request is not 0.
    black_box(unsafe { alloc_zeroed(layout) })
}

#[inline(never)]
fn reallocates(at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
    // SAFETY: the block of a request is live and has this layout, and the new size is not 0.
    black_box(unsafe { realloc(at, layout, size) })
}
