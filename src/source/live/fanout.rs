//! Several captures of one interface that share its frames: the kernel gives each connection to one of them (packet(7),
//! PACKET_FANOUT). Owns the number of the group; opens nothing.

use std::io;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, PoisonError};

/// A group of captures. Clones are the same group; it has a number of the kernel's choice once the first has joined.
#[derive(Clone, Debug, Default)]
pub struct Fanout(Arc<Mutex<Option<u16>>>);

impl PartialEq for Fanout {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Fanout {}

impl Fanout {
    /// A group without members.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a packet socket one of the group. A group that all members have left begins again under its number.
    pub(super) fn join(&self, fd: RawFd) -> io::Result<()> {
        let mut number = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *number {
            Some(number) => set(fd, u32::from(number)),
            None => {
                set(fd, libc::PACKET_FANOUT_FLAG_UNIQUEID << 16)?;
                *number = Some(number_of(fd)?);
                Ok(())
            }
        }
    }
}

/// By the hash of addresses and ports, the same for both directions.
fn set(fd: RawFd, number: u32) -> io::Result<()> {
    let option = number | libc::PACKET_FANOUT_HASH << 16;
    #[allow(unsafe_code, reason = "libpcap has no call for it")]
    // SAFETY: the option is one int that lives for the call, and its length is that of an int.
    let outcome = unsafe {
        let value = std::ptr::from_ref(&option).cast();
        libc::setsockopt(fd, libc::SOL_PACKET, libc::PACKET_FANOUT, value, size_of::<u32>() as libc::socklen_t)
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn number_of(fd: RawFd) -> io::Result<u16> {
    let mut option = 0u32;
    let mut len = size_of::<u32>() as libc::socklen_t;
    #[allow(unsafe_code, reason = "libpcap has no call for it")]
    // SAFETY: the kernel writes at most `len` bytes, which `option` has; both live for the call.
    let outcome = unsafe {
        let value = std::ptr::from_mut(&mut option).cast();
        libc::getsockopt(fd, libc::SOL_PACKET, libc::PACKET_FANOUT, value, &raw mut len)
    };
    if outcome == 0 { Ok(option as u16) } else { Err(io::Error::last_os_error()) }
}
