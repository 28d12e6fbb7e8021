//! Captures made by two ends that keep to TCP's rules, and what podtap says about them.
//!
//! Every exchange names itself: the request's target is `/r/N`, the phrase of its response is `RN`. What looks like a
//! message and is none says `/f/N` and `FN`. So a wrong pair cannot hide. `script` holds what the two ends say and when;
//! `tcp` lets them say it. `capture` spoils what a tap saw, and `judge` compares the records with the truth. `shrink`
//! and `story` show a failure to a person; `kinds` is the list of what is tried. Makes no files and reads none.

#![allow(unreachable_pub, dead_code, unused_imports, reason = "an example and a test share it; each uses a part")]

pub mod capture;
pub mod doubt;
pub mod judge;
pub mod kinds;
pub mod messages;
pub mod script;
pub mod shrink;
pub mod story;
pub mod tail;
pub mod tcp;
pub mod traffic;

pub use capture::Case;
pub use judge::Verdict;
pub use kinds::{KINDS, Kind};
