//! A map for few keys.

use std::borrow::Borrow;

/// A map that is a vector sorted by key.
///
/// It is for few keys, or for keys that mostly arrive in ascending order, because another key moves those
/// behind it. A `BTreeMap` takes ten times the code for each pair of types, which everyone who has a check
/// compiles.
#[derive(Clone, Debug)]
pub(crate) struct VecMap<K, V>(Vec<(K, V)>);

impl<K, V> Default for VecMap<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> VecMap<K, V> {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Keys and values by ascending key.
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, (K, V)> {
        self.0.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn retain(&mut self, is_kept: impl FnMut(&(K, V)) -> bool) {
        self.0.retain(is_kept);
    }
}

impl<K, V> IntoIterator for VecMap<K, V> {
    type Item = (K, V);
    type IntoIter = std::vec::IntoIter<(K, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<K: Ord, V> VecMap<K, V> {
    pub(crate) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let at = self.find(key).ok()?;
        Some(&self.0[at].1)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let at = self.find(key).ok()?;
        Some(&mut self.0[at].1)
    }

    /// The value of a key, which is `new` if the key was not there.
    pub(crate) fn get_or_insert(&mut self, key: K, new: V) -> &mut V {
        self.get_or_insert_with(key, || new)
    }

    /// The value of a key, which is made if the key was not there.
    pub(crate) fn get_or_insert_with(&mut self, key: K, new: impl FnOnce() -> V) -> &mut V {
        let at = match self.find(&key) {
            Ok(at) => at,
            Err(at) => {
                self.0.insert(at, (key, new()));
                at
            }
        };
        &mut self.0[at].1
    }

    fn find<Q: Ord + ?Sized>(&self, key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        // Keys in ascending order are the usual case.
        match self.0.last() {
            Some((last, _)) if last.borrow() < key => Err(self.0.len()),
            _ => self.0.binary_search_by(|(k, _)| k.borrow().cmp(key)),
        }
    }
}

impl<K: Ord, V: Default> VecMap<K, V> {
    /// The value of a key, which is the default if the key was not there.
    pub(crate) fn get_or_default(&mut self, key: K) -> &mut V {
        self.get_or_insert(key, V::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use std::collections::BTreeMap;

    #[test]
    fn it_has_what_a_tree_has() {
        let mut random = Random::new(3);
        let (mut map, mut tree) = (VecMap::<u64, u64>::new(), BTreeMap::<u64, u64>::new());
        for _ in 0..1000 {
            let (key, value) = (random.below(300), random.below(9));
            *map.get_or_default(key) += value;
            *tree.entry(key).or_default() += value;
            let other = random.below(300);
            assert_eq!(map.get(&other), tree.get(&other));
            assert_eq!(map.get_mut(&other), tree.get_mut(&other));
        }
        map.retain(|(_, value)| value % 2 == 0);
        tree.retain(|_, value| *value % 2 == 0);
        assert_eq!(map.len(), tree.len());
        assert!(map.iter().map(|(k, v)| (k, v)).eq(tree.iter()));
        assert!(map.into_iter().eq(tree));
    }
}
