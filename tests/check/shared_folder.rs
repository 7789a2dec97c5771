//! Checks of an executable that is not in a target folder: their files are in the folder for
//! temporary files, which other users can write to.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Output;

use afterdrop::Check;

use super::common::Folder;
use super::{run_ignored, tidy};

/// A copy of this executable, and a shared folder for temporary files.
struct Copy {
    folder: Folder,
    shared: PathBuf,
    /// The folder that checks of this user use.
    own: PathBuf,
}

impl Copy {
    fn new() -> Self {
        let folder = Folder::new();
        fs::copy(std::env::current_exe().unwrap(), folder.join("check")).unwrap();
        let shared = folder.join("shared");
        fs::create_dir(&shared).unwrap();
        fs::set_permissions(&shared, Permissions::from_mode(0o1777)).unwrap();
        let user = fs::metadata(&shared).unwrap().uid();
        let own = shared.join(format!("afterdrop-{user}"));
        Self {
            folder,
            shared,
            own,
        }
    }

    fn run(&self) -> Output {
        self.run_with(self.shared.to_str().unwrap())
    }

    fn run_with(&self, shared: &str) -> Output {
        let test = "shared_folder::runs_from_a_copy";
        run_ignored(&self.folder.join("check"), test, &[("TMPDIR", shared)])
    }

    fn is_refused(&self, why: &str) {
        let output = self.run();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success());
        assert!(said.contains(why) && said.contains("set TMPDIR"), "{said}");
    }
}

#[test]
#[ignore = "run from a copy by the other tests of this file"]
fn runs_from_a_copy() {
    Check::new("tidy").cycles(20).run(tidy);
}

#[test]
fn only_the_user_can_enter_the_folder_of_a_check() {
    let copy = Copy::new();
    let output = copy.run();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::metadata(&copy.own).unwrap().mode() & 0o777, 0o700);
    assert!(copy.run().status.success(), "it is used again");
}

#[test]
fn a_link_in_place_of_the_folder_is_not_followed() {
    let copy = Copy::new();
    let victim = copy.folder.join("victim");
    fs::create_dir(&victim).unwrap();
    symlink(&victim, &copy.own).unwrap();
    copy.is_refused("it is not a folder");
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 0);
}

#[test]
fn a_folder_that_others_can_write_to_is_not_used() {
    let copy = Copy::new();
    fs::create_dir(&copy.own).unwrap();
    fs::set_permissions(&copy.own, Permissions::from_mode(0o777)).unwrap();
    copy.is_refused("other users can write to it");
    assert_eq!(fs::read_dir(&copy.own).unwrap().count(), 0);
}

#[test]
fn a_shared_folder_in_which_others_can_rename_is_not_used() {
    let copy = Copy::new();
    fs::set_permissions(&copy.shared, Permissions::from_mode(0o777)).unwrap();
    copy.is_refused("other users can rename and remove what is in it");
}

#[test]
fn an_empty_name_of_the_shared_folder_is_none() {
    let output = Copy::new().run_with("");
    let said = String::from_utf8_lossy(&output.stderr);
    // The folder for temporary files of this machine may be one that is not used.
    let is_fit = output.status.success() || said.contains("/tmp: other users can rename");
    assert!(is_fit, "{said}");
}
