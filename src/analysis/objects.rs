//! Objects of Python's that survive, by type and generation.

use std::collections::HashMap;

use super::fold::Folding;
use super::holder_search::{Held, SearchResults};
use super::journal::Journal;
use crate::base::order::sort_by;
use crate::model::objects::ObjectGrowth;
use crate::model::report::CallSite;

/// Types of a call site in the report, at most.
const OF_SITE: usize = 8;

/// Adds the types of their objects to the call sites, whose indices in [`Folding::sites`] these are. Returns those
/// of all objects that cycles leave behind.
pub(super) fn add(
    results: Option<&SearchResults>,
    folding: &Folding,
    journal: &Journal,
    indices: &[usize],
    call_sites: &mut [CallSite],
) -> Vec<ObjectGrowth> {
    let Some(results) = results else {
        return Vec::new();
    };
    let mut of_sites = of_sites(results, folding, journal);
    for (index, site) in indices.iter().zip(call_sites) {
        site.objects = of_sites.remove(index).unwrap_or_default();
    }
    growth(results, results.objects.iter(), journal)
}

/// The types of the objects of each call site, by its index in [`Folding::sites`].
fn of_sites(
    results: &SearchResults,
    folding: &Folding,
    journal: &Journal,
) -> HashMap<usize, Vec<ObjectGrowth>> {
    let mut of_sites: HashMap<usize, Vec<&Held>> = HashMap::new();
    for objects in &results.objects {
        if let Some(site) = folding.site_of(objects.stack_id, objects.phase) {
            of_sites.entry(site).or_default().push(objects);
        }
    }
    let of_sites = of_sites.into_iter();
    of_sites
        .map(|(site, objects)| {
            let mut types = growth(results, objects.into_iter(), journal);
            types.truncate(OF_SITE);
            (site, types)
        })
        .collect()
}

/// Adds objects up by the name of their type, the most per cycle first.
fn growth<'a>(
    results: &SearchResults,
    objects: impl Iterator<Item = &'a Held>,
    journal: &Journal,
) -> Vec<ObjectGrowth> {
    let warmup = journal.start.warmup;
    let mut by_type: HashMap<&str, HashMap<u32, u64>> = HashMap::new();
    for objects in objects.filter(|objects| objects.birth > warmup) {
        // The number of a holder is that of a type here.
        if let Some(name) = results.types.get(&objects.holder) {
            *by_type
                .entry(name)
                .or_default()
                .entry(objects.birth)
                .or_default() += objects.blocks;
        }
    }
    let last = journal
        .searched
        .as_ref()
        .map_or(0, |searched| searched.cycle);
    let by_type = by_type.into_iter();
    let mut types: Vec<ObjectGrowth> = by_type
        .map(|(name, births)| ObjectGrowth {
            type_name: name.to_owned(),
            per_cycle: median(&births, warmup + 1, last),
            retained: births.values().sum(),
            generations: births.len() as u32,
        })
        .collect();
    sort_by(&mut types, |a, b| {
        b.per_cycle
            .total_cmp(&a.per_cycle)
            .then(b.retained.cmp(&a.retained))
            .then(a.type_name.cmp(&b.type_name))
    });
    types
}

/// The median number of objects of the generations of these cycles. That of the last has objects that the
/// next cycle frees, and is left out if there are others.
fn median(births: &HashMap<u32, u64>, first: u32, last: u32) -> f64 {
    let last = if last > first { last - 1 } else { last };
    let mut counts: Vec<u64> = (first..=last)
        .map(|cycle| births.get(&cycle).copied().unwrap_or(0))
        .collect();
    counts.sort_unstable();
    let middle = counts.len() / 2;
    match counts.len() {
        0 => 0.0,
        n if n % 2 == 1 => counts[middle] as f64,
        _ => (counts[middle - 1] + counts[middle]) as f64 / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_does_not_depend_on_a_few_cycles() {
        // Three in each cycle, but 40 in one, none in another, and what the last has not freed yet.
        let mut births: HashMap<u32, u64> = (4..=12).map(|cycle| (cycle, 3)).collect();
        births.insert(6, 40);
        births.remove(&7);
        births.insert(12, 500);
        assert_eq!(median(&births, 4, 12), 3.0);
        assert_eq!(median(&births, 12, 12), 500.0, "there is no other");
        assert_eq!(median(&births, 4, 0), 0.0);
        assert_eq!(median(&HashMap::from([(4, 1)]), 4, 6), 0.5);
    }
}
