//! One binary for all integration tests: one link, one profile.

mod metamorphic;
