//! Workloads that the command runs by name: those that come with afterdrop, and a user's own.

mod entry;
mod truth;

#[cfg(feature = "planted")]
pub(crate) mod case;
#[cfg(feature = "planted")]
mod held;
#[cfg(feature = "keras")]
pub(crate) mod keras;
#[cfg(feature = "burn")]
pub(crate) mod models;
#[cfg(feature = "planted")]
mod planted;

pub use self::entry::Entry;
pub(crate) use self::entry::check_names;
#[cfg(feature = "keras")]
pub use self::keras::keras_file;
pub use self::truth::{HolderTruth, Truth};
pub use crate::model::settings::Settings;

/// The workloads of this build of afterdrop, in the order in which `afterdrop list` shows them.
pub fn all() -> Vec<Entry> {
    let families: Vec<Vec<Entry>> = Vec::from([
        #[cfg(feature = "burn")]
        models::entries(),
        #[cfg(feature = "planted")]
        planted::entries(),
        #[cfg(feature = "planted")]
        held::entries(),
    ]);
    families.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use crate::model::layout::WORKLOADS;

    #[test]
    fn frames_in_this_folder_count_as_the_users_own_code() {
        assert_eq!(file!().strip_suffix("/mod.rs"), Some(WORKLOADS));
    }
}
