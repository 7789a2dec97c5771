//! Asynchronous leak assertions, on tokio.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::Duration;

use afterdrop::Check;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

#[global_allocator]
static HEAP: afterdrop::Heap = afterdrop::Heap::new();

/// The message that a check fails with.
fn message(check: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(check)).expect_err("the check should fail");
    *payload.downcast::<String>().expect("a message")
}

/// `tests/asynchronous.rs` with the line that ends in a marker.
fn marked(marker: &str) -> String {
    let marker = format!("// {marker}");
    let line = include_str!("asynchronous.rs")
        .lines()
        .position(|l| l.trim_end().ends_with(&marker))
        .expect("a marked line");
    format!("tests/asynchronous.rs:{}", line + 1)
}

/// A model that takes its time.
async fn load(bytes: usize) -> Vec<u8> {
    tokio::time::sleep(Duration::from_micros(10)).await;
    vec![1; bytes] // LOADED
}

#[test]
fn what_is_dropped_passes_and_may_borrow() {
    let bytes = 4096;
    Check::new("tidy").cycles(20).run_async(async |cycle| {
        let model = cycle.load_async(load(bytes)).await;
        let sum = cycle.infer_async(async { model.len() }).await;
        assert_eq!(sum, bytes);
    });
}

#[test]
fn a_leak_fails_with_its_line_and_its_phase() {
    let message = message(|| {
        Check::new("leaky").run_async(async |cycle| {
            let model = cycle.load_async(load(4096)).await;
            std::mem::forget(model);
        });
    });
    let first = message.lines().next().unwrap();
    let place = marked("LOADED");
    assert_eq!(
        first,
        format!("check `leaky`: leaks 4.10 kB per cycle, at {place}")
    );
    assert!(message.contains("phase load"), "{message}");
}

#[test]
fn a_task_that_ends_after_the_cycle_is_waited_for() {
    let check = Check::new("spawned").cycles(20).max_live_bytes(2_000);
    check.run_async(async |_| {
        let model = load(100_000).await;
        tokio::spawn(async move {
            tokio::task::yield_now().await;
            drop(model);
        });
    });
}

#[test]
fn a_task_that_never_ends_is_found_by_what_it_holds() {
    static KEPT: Mutex<Vec<oneshot::Sender<()>>> = Mutex::new(Vec::new());
    let message = message(|| {
        Check::new("stuck").cycles(20).run_async(async |cycle| {
            let model = cycle.load_async(load(100_000)).await;
            let (sender, receiver) = oneshot::channel();
            tokio::spawn(async move {
                let _ = receiver.await;
                drop(model);
            });
            KEPT.lock().unwrap().push(sender);
        });
    });
    let first = message.lines().next().unwrap();
    assert!(
        first.starts_with("check `stuck`: leaks 10") && first.contains(&marked("LOADED")),
        "{message}"
    );
}

#[test]
fn a_runtime_of_several_threads_may_be_brought() {
    let runtime = || {
        Builder::new_multi_thread()
            .worker_threads(2)
            .enable_time()
            .build()
    };
    Check::new("threads")
        .cycles(20)
        .run_async_on(runtime, async |_| {
            let sum = tokio::spawn(async { load(1000).await.len() }).await?;
            assert_eq!(sum, 1000);
            Ok::<(), tokio::task::JoinError>(())
        });
}

#[test]
fn an_error_and_a_panic_fail_with_their_own_words() {
    let error = message(|| {
        Check::new("error").cycles(20).run_async(async |cycle| {
            if cycle.number() == 5 {
                "five".parse::<u8>()?;
            }
            Ok::<(), std::num::ParseIntError>(())
        });
    });
    assert!(
        error.contains("cycle 5: invalid digit found in string"),
        "{error}"
    );
    let panic = message(|| {
        Check::new("panic").cycles(20).run_async(async |_| {
            assert!(std::hint::black_box(1) == 2, "shapes differ");
        });
    });
    assert!(panic.contains("shapes differ"), "{panic}");
}

#[test]
fn a_runtime_that_runs_already_is_an_error_with_what_to_do() {
    let runtime = Builder::new_current_thread().build().unwrap();
    let message = message(|| {
        runtime.block_on(async {
            Check::new("nested").cycles(20).run_async(async |_| ());
        });
    });
    assert!(message.contains("plain `#[test] fn`"), "{message}");
}
