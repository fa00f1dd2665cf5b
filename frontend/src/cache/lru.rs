//! A map of bounded size from which the least recently used entry goes first; every operation takes
//! constant time. The order of use is a doubly linked list whose links are indices into one vector,
//! so that no pointers are needed.

use std::collections::HashMap;
use std::sync::Arc;

/// Link that leads nowhere.
const NONE: usize = usize::MAX;

/// A bounded map with text keys.
#[derive(Debug)]
pub struct Lru<V> {
    index: HashMap<Arc<str>, usize>,
    slots: Vec<Slot<V>>,
    free: Vec<usize>,
    newest: usize,
    oldest: usize,
    capacity: usize,
}

#[derive(Debug)]
struct Slot<V> {
    key: Arc<str>,
    /// `None` in a free slot, so that a removed value is not kept alive.
    value: Option<V>,
    newer: usize,
    older: usize,
}

impl<V> Lru<V> {
    /// An empty map for at most `capacity` entries.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let (index, slots, free) = (HashMap::new(), Vec::new(), Vec::new());
        Self {
            index,
            slots,
            free,
            newest: NONE,
            oldest: NONE,
            capacity: capacity.max(1),
        }
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The keys, the most recently used one first. Takes a step per entry.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<str>> {
        let linked = |slot: usize| (slot != NONE).then_some(slot);
        let slots = std::iter::successors(linked(self.newest), move |slot| {
            linked(self.slots[*slot].older)
        });
        slots.map(|slot| &self.slots[slot].key)
    }

    /// The value of a key, which becomes the most recently used one.
    pub fn get(&mut self, key: &str) -> Option<&V> {
        let slot = *self.index.get(key)?;
        if self.newest != slot {
            self.unlink(slot);
            self.link_newest(slot);
        }
        self.slots[slot].value.as_ref()
    }

    /// Puts a value in, as the most recently used one, and drops the least recently used entry when
    /// there are too many.
    pub fn insert(&mut self, key: &Arc<str>, value: V) {
        if let Some(&slot) = self.index.get(key) {
            self.slots[slot].value = Some(value);
            self.unlink(slot);
            self.link_newest(slot);
            return;
        }
        if self.index.len() == self.capacity {
            let oldest = Arc::clone(&self.slots[self.oldest].key);
            self.remove(&oldest);
        }
        let entry = Slot {
            key: Arc::clone(key),
            value: Some(value),
            newer: NONE,
            older: NONE,
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot] = entry;
                slot
            }
            None => {
                self.slots.push(entry);
                self.slots.len() - 1
            }
        };
        self.index.insert(Arc::clone(key), slot);
        self.link_newest(slot);
        assert!(
            self.index.len() <= self.capacity,
            "{} entries, capacity {}",
            self.index.len(),
            self.capacity
        );
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &str) -> Option<V> {
        let slot = self.index.remove(key)?;
        self.unlink(slot);
        self.free.push(slot);
        self.slots[slot].value.take()
    }

    /// Takes every entry out.
    pub fn clear(&mut self) {
        self.index.clear();
        self.slots.clear();
        self.free.clear();
        (self.newest, self.oldest) = (NONE, NONE);
    }

    fn unlink(&mut self, slot: usize) {
        let (newer, older) = (self.slots[slot].newer, self.slots[slot].older);
        match newer {
            NONE => self.newest = older,
            _ => self.slots[newer].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            _ => self.slots[older].newer = newer,
        }
    }

    fn link_newest(&mut self, slot: usize) {
        self.slots[slot].newer = NONE;
        self.slots[slot].older = self.newest;
        match self.newest {
            NONE => self.oldest = slot,
            newest => self.slots[newest].newer = slot,
        }
        self.newest = slot;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Any sequence of operations leaves what a plain list in order of use would hold.
        #[test]
        fn behaves_as_a_list(capacity in 1_usize..5, steps in prop::collection::vec((0_u8..4, 0_u8..7), 0..200)) {
            let mut lru = Lru::new(capacity);
            let mut model: Vec<(String, u8)> = Vec::new();
            for (n, (step, key)) in steps.into_iter().enumerate() {
                let (name, value) = (format!("k{key}"), u8::try_from(n % 251).expect("small"));
                let at = model.iter().position(|(k, _)| *k == name);
                match step {
                    0 => {
                        let expected = at.map(|i| { let entry = model.remove(i); model.push(entry.clone()); entry.1 });
                        prop_assert_eq!(lru.get(&name).copied(), expected);
                    }
                    1 => prop_assert_eq!(lru.remove(&name), at.map(|i| model.remove(i).1)),
                    2 | 3 => {
                        if let Some(i) = at { model.remove(i); }
                        if model.len() == capacity { model.remove(0); }
                        model.push((name.clone(), value));
                        lru.insert(&Arc::from(name), value);
                    }
                    _ => unreachable!("steps are below 4"),
                }
                prop_assert_eq!(lru.len(), model.len());
                let keys: Vec<_> = lru.keys().map(|key| key.to_string()).collect();
                let newest_first: Vec<_> = model.iter().rev().map(|(name, _)| name.clone()).collect();
                prop_assert_eq!(keys, newest_first);
            }
            for (name, value) in &model {
                prop_assert_eq!(lru.get(name), Some(value));
            }
            lru.clear();
            prop_assert!(lru.is_empty());
        }
    }
}
