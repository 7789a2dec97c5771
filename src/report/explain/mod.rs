//! Why a verdict is what it is: the series, the test with its figures, the rule, the holder, and what
//! would change the verdict.

mod evidence;
mod holders;
mod page;
mod peak;

pub use page::{render, render_head, render_part};
pub use peak::render_peak;
