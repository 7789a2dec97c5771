//! Files in the folder of a run that only its parent process knows.

use std::fs;
use std::path::Path;

use crate::model::journal;

/// The file that receives the output of the measured process, in the folder of a run.
pub(crate) const OUTPUT: &str = "output.txt";

/// The folder for temporary files of the workload, in the folder of a run.
pub(crate) const SCRATCH: &str = "scratch";

/// Removes what nobody needs after the run.
pub(super) fn remove_temporary(folder: &Path) {
    for name in [journal::PREDICTIONS, SCRATCH] {
        // Usually the child has removed them; one that was killed could not.
        let _ = fs::remove_dir_all(folder.join(name));
    }
    remove_output_without_content(&folder.join(OUTPUT));
}

/// Removes the output if it is empty or has only what dhat prints at the end.
fn remove_output_without_content(output: &Path) {
    let has_no_content = |text: String| text.lines().all(|line| line.starts_with("dhat: "));
    if fs::read_to_string(output).is_ok_and(has_no_content) {
        // If this fails, the file stays, which is harmless.
        let _ = fs::remove_file(output);
    }
}
