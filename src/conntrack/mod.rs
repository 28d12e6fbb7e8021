//! The kernel's connection tracking: messages of ctnetlink in, records out.
//!
//! Owns the table of flows and what becomes of an event. Has no socket and no clock: bytes and times are arguments, so the
//! same messages give the same records.
//!
//! ```text
//!            NEW ──▶ live ──UPDATE──▶ live ──(TIME_WAIT, CLOSE)──▶ closed
//!  dump ──▶ silent ──any event──▶ live      live, closed ──DESTROY──▶ ended
//!                │                              │
//!                └─ not in a later dump ─▶ ended└─ not in a dump ─▶ missing ─ nor 10 s later ─▶ ended
//! ```
//!
//! A *silent* flow was there before anybody listened: by default the kernel gives such an entry no events at all, not even
//! its DESTROY. A *missing* one may still get its DESTROY, which the kernel repeats until it fits into our buffer. A *succeeded*
//! one has not had it when its tuple begins again.

mod aggregate;
mod config;
mod gone;
mod live;
mod message;
mod succeeded;
#[cfg(test)]
mod tests;
mod tracker;

pub use self::config::{ConntrackConfig, ConntrackEvents};
pub use self::message::{ConntrackEntry, EventKind, GET_KIND, NoEvent, read, state_name};
pub use self::tracker::{ConntrackTracker, DumpProgress};
