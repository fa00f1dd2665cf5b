//! The connections of one core, each at a place whose number is its token.

/// Values at stable places. A place that was left is used again.
#[derive(Debug)]
pub struct Slab<T> {
    places: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slab<T> {
    /// The place where the next value goes.
    #[must_use]
    pub fn next(&self) -> usize {
        self.free.last().copied().unwrap_or(self.places.len())
    }

    /// Puts a value at [`Slab::next`].
    pub fn insert(&mut self, value: T) {
        match self.free.pop() {
            Some(place) => self.places[place] = Some(value),
            None => self.places.push(Some(value)),
        }
    }

    /// The value at a place.
    pub fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        self.places.get_mut(place)?.as_mut()
    }

    /// Takes the value of a place.
    pub fn remove(&mut self, place: usize) -> Option<T> {
        let value = self.places.get_mut(place)?.take();
        if value.is_some() {
            self.free.push(place);
        }
        value
    }

    /// How many values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Every place that may hold a value.
    #[must_use]
    pub fn places(&self) -> std::ops::Range<usize> {
        0..self.places.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Places are stable, and used again once left.
    #[test]
    fn places() {
        let mut slab = Slab::default();
        for value in ["a", "b", "c"] {
            assert_eq!(slab.next(), slab.len());
            slab.insert(value);
        }
        assert_eq!(
            (slab.remove(1), slab.remove(1), slab.remove(9), slab.len()),
            (Some("b"), None, None, 2)
        );
        assert_eq!(slab.next(), 1);
        assert_eq!(slab.get_mut(1), None);
        slab.insert("d");
        assert_eq!(slab.get_mut(1), Some(&mut "d"));
        assert_eq!(slab.get_mut(2), Some(&mut "c"));
        assert_eq!((slab.next(), slab.places()), (3, 0..3));
    }
}
