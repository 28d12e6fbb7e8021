//! Ledgers that are added up: those of all capture threads are one ledger.

use std::time::Duration;

use super::ByReason;

/// What can be added up.
pub(in crate::ledger) trait Sum {
    /// Adds another's.
    fn sum(&mut self, other: &Self);
}

impl Sum for u64 {
    fn sum(&mut self, other: &Self) {
        *self += other;
    }
}

/// Whether any of them is.
impl Sum for bool {
    fn sum(&mut self, other: &Self) {
        *self |= other;
    }
}

impl Sum for Duration {
    fn sum(&mut self, other: &Self) {
        *self += *other;
    }
}

impl<const N: usize> Sum for ByReason<N> {
    fn sum(&mut self, other: &Self) {
        self.merge(other);
    }
}

/// Declares a ledger, each of whose counters is added to that of another thread.
macro_rules! summed {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$doc:meta])* pub $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        pub struct $name { $($(#[$doc])* pub $field: $type,)* }

        impl $name {
            /// Adds the counters of another one.
            pub fn merge(&mut self, other: &Self) {
                use $crate::ledger::sum::Sum;
                $(self.$field.sum(&other.$field);)*
            }
        }
    };
}
pub(in crate::ledger) use summed;
