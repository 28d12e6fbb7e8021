//! Packets that firewall rules logged: entries of NFLOG and lines of the kernel log in, records out.
//!
//! Owns what becomes of an entry: its meaning by prefix, its direction, the containers behind its addresses, folding. Has no
//! socket, no file and no clock: bytes, times and the store are arguments.

mod engine;
mod fold;
mod follow;
mod line;
mod marks;
pub mod nflog;
mod packet;
mod prefix;
mod store;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_firewalls;
#[cfg(test)]
mod tests_follow;

pub use self::engine::{VerdictConfig, VerdictEngine};
pub use self::line::{LineTime, LoggedLine, NotLogged, kmsg_sequence, read as read_line};
pub use self::packet::read as read_packet;
pub use self::prefix::PrefixPatterns;
pub use self::store::ContainerStore;
