//! Limits that hold for all capture threads together. Each thread has a `PoolShare` of a `LimitPool`: it says how much it has, and
//! learns whether that is too much. No lock and no waiting: only numbers that the others see.
//!
//! Knows not what is counted: connections, or bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A limit, and how much all have.
#[derive(Debug)]
pub struct LimitPool {
    most: usize,
    used: AtomicUsize,
    sharers: AtomicUsize,
}

impl LimitPool {
    /// All together may have so much.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, used: AtomicUsize::new(0), sharers: AtomicUsize::new(0) })
    }

    /// What each may have whatever the others do.
    fn part(&self) -> usize {
        self.most / self.sharers.load(Ordering::Relaxed).max(1)
    }
}

/// One thread's share.
#[derive(Debug)]
pub(crate) struct PoolShare {
    pool: Arc<LimitPool>,
    own: usize,
}

impl PoolShare {
    /// One more that shares.
    pub(crate) fn new(pool: &Arc<LimitPool>) -> Self {
        pool.sharers.fetch_add(1, Ordering::Relaxed);
        Self { pool: Arc::clone(pool), own: 0 }
    }

    /// It has so much now.
    #[inline]
    pub(crate) fn set(&mut self, own: usize) {
        if own > self.own {
            self.pool.used.fetch_add(own - self.own, Ordering::Relaxed);
        } else if own < self.own {
            self.pool.used.fetch_sub(self.own - own, Ordering::Relaxed);
        }
        self.own = own;
    }

    /// Whether it has nothing.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.own == 0
    }

    /// Whether with `more` all together have too much, and this one more than its part: then it has to give way.
    #[inline]
    pub(crate) fn exceeds(&self, more: usize) -> bool {
        self.pool.used.load(Ordering::Relaxed) + more > self.pool.most && self.own + more > self.pool.part()
    }

    /// How much it may have at most now.
    pub(crate) fn limit(&self) -> usize {
        let others = self.pool.used.load(Ordering::Relaxed).saturating_sub(self.own);
        self.pool.most.saturating_sub(others).max(self.pool.part())
    }
}

impl Drop for PoolShare {
    fn drop(&mut self) {
        self.set(0);
        self.pool.sharers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_alone_may_have_all_and_of_two_the_one_with_more_gives_way() {
        let pool = LimitPool::new(10);
        let mut one = PoolShare::new(&pool);
        one.set(10);
        assert!(!one.exceeds(0) && one.exceeds(1));
        let mut two = PoolShare::new(&pool);
        assert!(!two.exceeds(5) && two.exceeds(6));
        assert_eq!((one.limit(), two.limit()), (10, 5));
        two.set(2);
        assert!(one.exceeds(0) && !two.exceeds(0));
        one.set(8);
        assert!(!one.exceeds(0));
        drop(one);
        assert_eq!((two.limit(), two.own), (10, 2));
        drop(two);
        assert_eq!(pool.used.load(Ordering::Relaxed), 0);
    }
}
