//! This process's sockets of TCP and UDP, found through its descriptors.
//!
//! Asks each descriptor for its addresses instead of looking its inode up in /proc/net/tcp. That table lists every
//! connection of the pod, tens of thousands in a busy one, and this runs every second.

use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, RawFd};

use socket2::{SockRef, Type};

use crate::flow::IpProtocol;

/// The sockets of this process.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct FoundSockets {
    /// Local addresses of listening sockets of TCP.
    pub(super) listeners: Vec<SocketAddr>,
    /// Protocol, local and remote address of connected ones.
    pub(super) connections: Vec<(IpProtocol, SocketAddr, SocketAddr)>,
}

/// Nothing where /proc is not mounted.
pub(super) fn own() -> FoundSockets {
    let mut found = FoundSockets::default();
    let Ok(descriptors) = std::fs::read_dir("/proc/self/fd") else { return found };
    for entry in descriptors.flatten() {
        let is_socket = std::fs::read_link(entry.path())
            .is_ok_and(|target| target.as_os_str().as_encoded_bytes().starts_with(b"socket:"));
        if let Some(fd) = entry.file_name().to_str().and_then(|name| name.parse().ok()).filter(|_| is_socket) {
            look_at(fd, &mut found);
        }
    }
    found
}

fn look_at(fd: RawFd, found: &mut FoundSockets) {
    #[allow(unsafe_code, reason = "the descriptors that libraries hide can be reached by number only")]
    // SAFETY: used only to read addresses and options within this function, never to read, write, or close. Should
    // another thread close it meanwhile, the calls fail, or tell of whatever of ours has got the number: also ours.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let socket = SockRef::from(&borrowed);
    let protocol = match socket.r#type() {
        Ok(Type::STREAM) => IpProtocol::TCP,
        Ok(Type::DGRAM) => IpProtocol::UDP,
        Ok(_) | Err(_) => return,
    };
    let Some(local) = socket.local_addr().ok().and_then(|address| address.as_socket()) else { return };
    match socket.peer_addr().ok().and_then(|address| address.as_socket()) {
        Some(remote) => found.connections.push((protocol, local, remote)),
        None if protocol == IpProtocol::TCP && socket.is_listener().unwrap_or(false) => found.listeners.push(local),
        None => {}
    }
}
