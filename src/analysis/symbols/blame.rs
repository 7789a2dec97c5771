//! The blame frame of a stack: the one that a person would go and edit.

use crate::model::frame::{Frame, Owner};

/// The name that reports give the function of blocks without a readable stack.
pub(crate) const UNATTRIBUTED: &str = "(not attributed)";

/// The index of the blame frame; `None` if no frame qualifies. In this order:
/// 1. the innermost frame of the user's own code;
/// 2. the innermost frame of the user's code that a macro generated;
/// 3. the frame at which the innermost dependency was entered, which is its outermost frame in a
///    row;
/// 4. the frame in which the standard library starts a thread;
/// 5. the innermost frame of a crate that allocates on behalf of others.
pub(crate) fn blame_frame(stack: &[Frame]) -> Option<usize> {
    let innermost = |owner| stack.iter().position(|f| f.owner == owner);
    innermost(Owner::Own)
        .or_else(|| innermost(Owner::Generated))
        .or_else(|| Some(entry_of_dependency(stack, innermost(Owner::Dependency)?)))
        .or_else(|| stack.iter().position(Frame::starts_thread))
        .or_else(|| stack.iter().position(is_informative))
}

/// Whether a frame outside of user code and dependencies says anything: `alloc` and `core` are
/// part of every allocation.
fn is_informative(frame: &Frame) -> bool {
    let file = frame.file.as_deref().unwrap_or_default();
    let is_everywhere = ["alloc/", "core/", "test/"]
        .iter()
        .any(|folder| file.starts_with(folder));
    frame.owner == Owner::Standard
        && frame.line.is_some()
        && !frame.function.starts_with("__rust")
        && !is_everywhere
}

/// From a frame of a dependency outwards: its last frame before that of another crate.
fn entry_of_dependency(stack: &[Frame], inner: usize) -> usize {
    let package = stack[inner].package();
    let mut entry = inner;
    for (i, frame) in stack.iter().enumerate().skip(inner + 1) {
        match frame.owner {
            Owner::Dependency if frame.package() == package => entry = i,
            // Closures and iterators are called through the standard library.
            Owner::Standard => {}
            _ => break,
        }
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::super::ownership::frame_of;
    use super::*;
    use crate::model::frame::relevant;

    fn frame(function: &str, file: &str) -> Frame {
        frame_of(function, Some(file), Some(3))
    }

    #[test]
    fn user_code_is_blamed_before_a_dependency_and_that_before_the_standard_library() {
        let stack = [
            frame(
                "alloc::vec::Vec<T>::push",
                "/rustc/1/library/alloc/src/vec/mod.rs",
            ),
            frame(
                "<hashbrown::X as Y>::z",
                "/c/registry/src/i/hashbrown-0.15.2/src/lib.rs",
            ),
            frame(
                "burn_autodiff::graph",
                "/c/registry/src/i/burn-autodiff-0.22.1/src/g.rs",
            ),
            frame("serving::reload", "/srv/app/src/reload.rs"),
            frame(
                "afterdrop::recorder::cycle::runner::run",
                &format!(
                    "{}/src/recorder/cycle/runner.rs",
                    env!("CARGO_MANIFEST_DIR")
                ),
            ),
            frame("serving::main", "/srv/app/src/main.rs"),
        ];
        assert_eq!(blame_frame(&stack), Some(3));
        assert_eq!(blame_frame(&stack[..3]), Some(2));
        assert_eq!(blame_frame(&stack[..2]), Some(1));
        assert_eq!(blame_frame(&stack[..1]), None);
        let names: Vec<&str> = relevant(&stack).iter().map(|f| &*f.function).collect();
        assert_eq!(names, ["burn_autodiff::graph", "serving::reload"]);
    }

    #[test]
    fn a_dependency_is_blamed_where_it_was_entered() {
        let gemm = "/c/registry/src/i/gemm-common-0.18.2/src/gemm.rs";
        let stack = [
            frame("gemm_common::grow", gemm),
            frame(
                "core::ops::FnOnce::call_once",
                "/rustc/1/library/core/src/ops.rs",
            ),
            frame("gemm_common::gemm", gemm),
            frame(
                "burn_flex::matmul",
                "/c/registry/src/i/burn-flex-0.22.1/src/m.rs",
            ),
            frame("gemm_common::other", gemm),
        ];
        assert_eq!(blame_frame(&stack), Some(2));
    }

    #[test]
    fn the_standard_librarys_thread_data_is_blamed_on_the_thread_start() {
        let std = "/rustc/1/library/std/src/sys";
        let stack = [
            frame(
                "std::thread_info::set_current_info",
                &format!("{std}/info.rs"),
            ),
            frame(
                "<std::sys::thread::unix::Thread>::new::thread_start",
                &format!("{std}/thread/unix.rs"),
            ),
        ];
        assert_eq!(blame_frame(&stack), Some(1));
        assert!(stack[1].starts_thread() && !stack[0].starts_thread());
        let mut own = stack.to_vec();
        own.insert(0, frame("serving::work", "/srv/app/src/work.rs"));
        assert_eq!(blame_frame(&own), Some(0));
    }

    #[test]
    fn generated_code_is_blamed_only_if_there_is_no_written_code() {
        let generated = Frame {
            owner: Owner::Generated,
            ..frame("<app::Mlp as Module>::map", "/srv/app/src/model.rs")
        };
        let stack = [generated, frame("app::load", "/srv/app/src/model.rs")];
        assert_eq!(blame_frame(&stack), Some(1));
        assert_eq!(blame_frame(&stack[..1]), Some(0));
        assert_eq!(relevant(&stack).len(), 2);
    }
}
