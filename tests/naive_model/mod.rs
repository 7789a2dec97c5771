//! The tests of the naive model, for an executable with any backing allocator.
//!
//! | variable | what |
//! | --- | --- |
//! | `NAIVE_MODEL_SEED` | the seed of all random numbers |
//! | `NAIVE_MODEL_OPERATIONS` | calls of the allocator in a run |
//! | `NAIVE_MODEL_DEFECT` | a planted defect: `missed-free`, `use-after-free` or `race` |

mod calls;
mod comparison;
mod workload;

use std::collections::BTreeSet;
use std::process::{Command, ExitCode};

use crate::common::{Folder, Ran, finish, trial};
use comparison::{Live, differences, of_journal, of_model, of_report, walked_by_cfi};
use libtest_mimic::Arguments;
use workload::{CYCLES, ENV_DEFECT, ENV_OPERATIONS, ENV_SEED, ENV_TRUTH, NAME};

/// Whether this build has frame pointers. Without them every stack is walked by call frame
/// information.
const HAS_FRAME_POINTERS: bool = !cfg!(without_frame_pointers);

/// Runs the tests, or the command. `heaps` are the names of the backing allocators for `--heap`.
pub fn main(heaps: &'static [&'static str]) -> ExitCode {
    if std::env::args().nth(1).is_some_and(|first| first == "run") {
        return afterdrop::main(vec![workload::entry()]);
    }
    let mut trials = Vec::new();
    for &heap in heaps {
        if HAS_FRAME_POINTERS {
            let name = format!("the_recorder_equals_the_model_over_{heap}_by_frame_pointers");
            trials.push(trial(name, move || equal(heap, false)));
        }
        let name = format!("the_recorder_equals_the_model_over_{heap}_by_call_frame_information");
        trials.push(trial(name, move || equal(heap, true)));
    }
    trials.push(trial("a_free_that_the_model_misses_is_found", || {
        a_free_that_the_model_misses_is_found(heaps[0]);
    }));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// A number from the environment.
fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is not a number")),
        Err(_) => default,
    }
}

/// A finished run: its report, and the folder with the model's truth.
struct Run {
    ran: Ran,
    truth: Folder,
}

impl Run {
    fn new(heap: &str, by_cfi: bool, operations: u64, defect: &str) -> Self {
        let (folder, truth) = (Folder::new(), Folder::new());
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["run", NAME, "--heap", heap, "--no-holders"])
            .args(["--timeout", "36000", "--cycles", &CYCLES.to_string()])
            .arg("--out")
            .arg(folder.join("out"))
            .env(ENV_SEED, number(ENV_SEED, 1).to_string())
            .env(ENV_OPERATIONS, operations.to_string())
            .env(ENV_DEFECT, defect)
            .env(ENV_TRUTH, truth.join("truth"));
        if by_cfi {
            command.env("AFTERDROP_UNWIND", "cfi");
        }
        let ran = finish(command, folder);
        // What stays makes the verdict, which is no concern here; 2 and 3 are failures.
        let (out, err) = (&ran.out, &ran.err);
        assert!(matches!(ran.code, Some(0 | 1 | 4)), "{out}\n{err}");
        Self { ran, truth }
    }

    /// What was live at each boundary, as the model and as the recorder has it.
    fn boundaries(&self) -> (Vec<Live>, Vec<Live>) {
        let recorded = of_journal(&self.ran.file("journal.jsonl"), &self.ran.report());
        (of_model(&self.truth.join("truth")), recorded)
    }
}

fn equal(heap: &str, by_cfi: bool) {
    let operations = number(ENV_OPERATIONS, 1_000_000);
    let again = format!(
        "{ENV_SEED}={} {ENV_OPERATIONS}={operations}",
        number(ENV_SEED, 1)
    );
    let defect = std::env::var(ENV_DEFECT).unwrap_or_default();
    let run = Run::new(heap, by_cfi, operations, &defect);
    let journal = run.ran.file("journal.jsonl");
    assert_eq!(walked_by_cfi(&journal), by_cfi);
    let report = run.ran.report();
    let a = &report.attribution;
    assert_eq!(
        (a.unseen_calls, a.unknown_frees, a.refused, a.cut_stacks),
        (0, 0, 0, 0),
        "{a:?}, {again}"
    );
    let (model, recorded) = run.boundaries();
    assert_eq!((model.len(), recorded.len()), (CYCLES, CYCLES), "{again}");
    for (boundary, (model, recorded)) in (1..).zip(model.iter().zip(&recorded)) {
        let differ = differences(model, recorded);
        assert!(
            differ.is_empty(),
            "boundary {boundary}, {again}\n{}",
            differ.join("\n")
        );
    }
    let last = model.last().unwrap();
    // Survivors of most cycles, so that the comparison means something.
    let generations: BTreeSet<u32> = last.keys().map(|&(cycle, ..)| cycle).collect();
    assert!(
        generations.len() > CYCLES / 2,
        "born in {generations:?}, {again}"
    );
    let differ = differences(last, &of_report(&report));
    assert!(
        differ.is_empty(),
        "report.json, {again}\n{}",
        differ.join("\n")
    );
}

fn a_free_that_the_model_misses_is_found(heap: &str) {
    let (model, recorded) =
        Run::new(heap, !HAS_FRAME_POINTERS, 100_000, "missed-free").boundaries();
    let differ = model.iter().zip(&recorded).map(|(m, r)| differences(m, r));
    // From the cycle in which it happens on, the model has a block that the recorder does not have.
    let expected = (1..=CYCLES).map(|cycle| usize::from(cycle >= workload::DEFECT_IN));
    assert!(differ.map(|d| d.len()).eq(expected));
}
