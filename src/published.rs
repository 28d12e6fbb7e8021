//! A value that few change and many threads read, such as the addresses that are ours.
//!
//! A reader holds a [`Subscription`], which costs one atomic load while nothing changes. Keeps the newest value only: who
//! reads seldom misses what was in between.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The newest value. Clones share it.
#[derive(Debug)]
pub struct Published<T>(Arc<Newest<T>>);

#[derive(Debug)]
struct Newest<T> {
    /// Counts the changes, so that readers need the lock only after one. Changes only under the lock.
    version: AtomicU64,
    value: Mutex<Arc<T>>,
}

impl<T> Clone for Published<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Default> Default for Published<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Published<T> {
    /// Begins with `value`.
    pub fn new(value: T) -> Self {
        Self(Arc::new(Newest { version: AtomicU64::new(0), value: Mutex::new(Arc::new(value)) }))
    }

    /// The newest value.
    pub fn now(&self) -> Arc<T> {
        Arc::clone(&self.lock())
    }

    /// What one reader holds.
    pub fn subscribe(&self) -> Subscription<T> {
        let value = self.lock();
        Subscription { published: self.clone(), version: self.version(), value: Arc::clone(&value) }
    }

    fn version(&self) -> u64 {
        self.0.version.load(Ordering::Acquire)
    }

    /// A value is replaced whole, so a panic elsewhere leaves a whole one.
    fn lock(&self) -> MutexGuard<'_, Arc<T>> {
        self.0.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: PartialEq> Published<T> {
    /// Publishes `value` where it differs from the newest one; says whether it does.
    pub fn publish(&self, value: T) -> bool {
        let mut newest = self.lock();
        let differs = **newest != value;
        if differs {
            *newest = Arc::new(value);
            self.0.version.fetch_add(1, Ordering::Release);
        }
        differs
    }
}

/// The value as one reader last saw it.
#[derive(Debug)]
pub struct Subscription<T> {
    published: Published<T>,
    version: u64,
    value: Arc<T>,
}

impl<T> Clone for Subscription<T> {
    fn clone(&self) -> Self {
        Self { published: self.published.clone(), version: self.version, value: Arc::clone(&self.value) }
    }
}

impl<T> Subscription<T> {
    /// The newest value.
    #[inline]
    pub fn now(&mut self) -> &T {
        self.take_newest();
        &self.value
    }

    /// The newest value, where it is another one than at the last look.
    pub fn changed(&mut self) -> Option<&T> {
        self.take_newest().then_some(&*self.value)
    }

    #[inline]
    fn take_newest(&mut self) -> bool {
        let old = self.published.version() == self.version;
        if !old {
            *self = self.published.subscribe();
        }
        !old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reader_sees_a_change_once_and_the_newest_value_always() {
        let published = Published::new(1);
        let (mut early, mut other) = (published.subscribe(), published.subscribe());
        assert_eq!((early.changed().copied(), *early.now()), (None, 1));
        assert!(published.publish(2) && published.clone().publish(3));
        assert_eq!((early.changed().copied(), early.changed().copied()), (Some(3), None));
        assert_eq!((*other.now(), *published.now()), (3, 3));
        assert_eq!(published.subscribe().changed(), None, "who comes now has it already");
    }

    #[test]
    fn what_changes_nothing_is_not_published() {
        let published = Published::new("same".to_owned());
        let mut reader = published.subscribe();
        let before: *const String = reader.now();
        assert!(!published.publish("same".to_owned()));
        assert!(reader.changed().is_none() && std::ptr::eq(before, reader.now()));
    }
}
