//! Connects of processes, as the BPF program of `bpf/` reports them: bytes of its ring in, records out.
//!
//! Pure: time and bytes are arguments. Who loads the program and reads the ring is `source::connects`.

mod askers;
mod container;
mod engine;
mod entry;
mod errno;
mod join;
#[cfg(test)]
mod tests;

pub use self::askers::{AskerBook, AskerNamespaces, ConnectionAskers};
pub use self::engine::{ConnectConfig, ConnectEngine, KernelClocks, KernelCounts};
pub use self::entry::{ConnectEntry, HEADER, LONGEST};
pub use self::join::ProcessJoiner;
