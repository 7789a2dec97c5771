//! Asynchronous leak assertions, on tokio.

mod common;

use std::sync::Mutex;
use std::time::Duration;

use afterdrop::Check;
use common::message;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

#[global_allocator]
static HEAP: afterdrop::Heap = afterdrop::Heap::new();

/// `file:line` of the line that allocates in [`load`].
fn loaded() -> String {
    common::marked(
        "tests/asynchronous.rs",
        include_str!("asynchronous.rs"),
        "LOADED",
    )
}

/// Loads a model after a short wait.
async fn load(bytes: usize) -> Vec<u8> {
    tokio::time::sleep(Duration::from_micros(10)).await;
    vec![1; bytes] // LOADED
}

#[test]
fn a_cycle_that_frees_everything_passes_and_may_borrow() {
    let bytes = 4096;
    Check::new("tidy").cycles(20).run_async(async |cycle| {
        let model = cycle.load_async(load(bytes)).await;
        let sum = cycle.infer_async(async { model.len() }).await;
        assert_eq!(sum, bytes);
    });
}

#[test]
fn the_message_of_a_leak_has_its_line_and_phase() {
    let message = message(|| {
        Check::new("leaky").run_async(async |cycle| {
            let model = cycle.load_async(load(4096)).await;
            std::mem::forget(model);
        });
    });
    let first = message.lines().next().unwrap();
    let place = loaded();
    assert_eq!(
        first,
        format!("check `leaky`: leaks 4.10 kB per cycle, at {place}")
    );
    assert!(common::words(&message).contains("phase load"), "{message}");
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
fn the_memory_of_a_task_that_never_ends_is_a_leak() {
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
        first.starts_with("check `stuck`: leaks 10") && first.contains(&loaded()),
        "{message}"
    );
}

#[test]
fn the_test_may_provide_a_runtime_with_several_threads() {
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
fn an_error_fails_with_its_message() {
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
}

#[test]
fn a_panic_fails_with_its_message() {
    let panic = message(|| {
        Check::new("panic").cycles(20).run_async(async |_| {
            assert!(std::hint::black_box(1) == 2, "shapes differ");
        });
    });
    assert!(panic.contains("shapes differ"), "{panic}");
}

#[test]
fn a_check_inside_a_runtime_is_an_error_with_a_hint() {
    let runtime = Builder::new_current_thread().build().unwrap();
    let message = message(|| {
        runtime.block_on(async {
            Check::new("nested").cycles(20).run_async(async |_| ());
        });
    });
    assert!(message.contains("plain `#[test] fn`"), "{message}");
}
