//! `podtap run` for real: the binary in a network namespace that means the pod, real servers and clients, and what
//! its user gets to see. Needs root, ip(8) and, where it says so, nginx or tcpdump.

mod delivery;
mod lab;
#[cfg(feature = "es")]
mod ledger;
mod lifecycle;
mod memory;
mod names;
mod node;
mod peers;
mod permission;
mod replay;
mod running;
mod status;
mod traffic;
#[cfg(feature = "top")]
mod watched;
mod wire;
