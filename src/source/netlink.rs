//! A netlink socket of netfilter: opening, groups, reading many datagrams at once, and what the kernel dropped.
//!
//! Knows no message: those are the business of `conntrack`.

use std::fs::File;
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Datagrams read with one system call.
const AT_ONCE: usize = 32;
/// Room for one datagram: an event has some 400 bytes, one of a dump as many as we have room for, up to this.
const DATAGRAM: usize = 32 << 10;
/// Room for the number of a network namespace next to a datagram.
const CONTROL: usize = 64;

/// A socket.
#[derive(Debug)]
pub(super) struct NetlinkSocket {
    fd: OwnedFd,
    /// The kernel's counter when it was last read; it has 32 bits.
    drops: u32,
}

/// Room for what is read, and what was read last.
pub(super) struct Buffers {
    bytes: Vec<[u8; DATAGRAM]>,
    read: Vec<DatagramSlot>,
}

impl std::fmt::Debug for Buffers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffers").finish_non_exhaustive()
    }
}

/// One datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct NetlinkDatagram<'a> {
    pub(super) bytes: &'a [u8],
    /// Id of the network namespace that it is about; none for our own.
    pub(super) namespace: Option<i32>,
}

/// Length, namespace, or nothing where it was too long.
type DatagramSlot = Option<(usize, Option<i32>)>;

impl Buffers {
    pub(super) fn new() -> Self {
        Self { bytes: vec![[0; DATAGRAM]; AT_ONCE], read: Vec::with_capacity(AT_ONCE) }
    }

    /// What was read last. A datagram that was too long for its room is an empty one.
    pub(super) fn datagrams(&self) -> impl Iterator<Item = NetlinkDatagram<'_>> {
        let slots = self.read.iter().enumerate();
        slots
            .map(|(index, slot)| self.datagram(index, slot).unwrap_or(NetlinkDatagram { bytes: &[0], namespace: None }))
    }

    fn datagram(&self, index: usize, slot: &DatagramSlot) -> Option<NetlinkDatagram<'_>> {
        let (length, namespace) = (*slot)?;
        Some(NetlinkDatagram { bytes: self.bytes.get(index)?.get(..length)?, namespace })
    }
}

impl NetlinkSocket {
    /// Opens and binds one; the kernel chooses its address.
    pub(super) fn open() -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        #[allow(unsafe_code, reason = "std has no netlink sockets")]
        // SAFETY: takes no pointers; a descriptor that is not negative is ours alone.
        let fd = unsafe {
            let fd = libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_NETFILTER);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        let mut address = zeroed::<libc::sockaddr_nl>();
        address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
        let length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        #[allow(unsafe_code, reason = "std has no netlink sockets")]
        // SAFETY: the address is initialised, and as long as said.
        let outcome = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) };
        checked(outcome)?;
        Ok(Self { fd, drops: 0 })
    }

    /// For poll(2).
    pub(super) fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Sets the receive buffer, also above what an administrator allows where we may, and returns what it is then. The
    /// kernel takes a record's own cost from it, and therefore doubles what it is asked for.
    pub(super) fn set_buffer(&self, bytes: u64) -> io::Result<u64> {
        let bytes = i32::try_from(bytes / 2).unwrap_or(i32::MAX);
        let forced = self.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes);
        forced.or_else(|_| self.set(libc::SOL_SOCKET, libc::SO_RCVBUF, bytes))?;
        let mut now = [0u32];
        self.get(libc::SOL_SOCKET, libc::SO_RCVBUF, &mut now)?;
        Ok(now.first().copied().unwrap_or_default().into())
    }

    /// Joins a multicast group.
    pub(super) fn join(&self, group: i32) -> io::Result<()> {
        self.set(libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP, group)
    }

    /// Has the kernel send again what did not fit into our buffer. It repeats the end of a flow until it fits, a change
    /// with the next one.
    pub(super) fn send_again(&self) -> io::Result<()> {
        self.set(libc::SOL_NETLINK, libc::NETLINK_BROADCAST_ERROR, 1)
    }

    /// Listens to every network namespace that has an id in this one.
    pub(super) fn listen_everywhere(&self) -> io::Result<()> {
        self.set(libc::SOL_NETLINK, libc::NETLINK_LISTEN_ALL_NSID, 1)
    }

    /// Sends a request to the kernel.
    pub(super) fn send(&self, message: &[u8]) -> io::Result<()> {
        #[allow(unsafe_code, reason = "std has no netlink sockets")]
        // SAFETY: the message is as long as said; the kernel only reads it.
        let sent = unsafe { libc::send(self.raw(), message.as_ptr().cast(), message.len(), 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Reads what has arrived, at most some datagrams; how many there were, 0 when there is nothing now.
    pub(super) fn receive(&self, buffers: &mut Buffers) -> io::Result<usize> {
        buffers.read.clear();
        match self.receive_many(buffers) {
            Ok(slots) => buffers.read = slots,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(buffers.read.len())
    }

    fn receive_many(&self, buffers: &mut Buffers) -> io::Result<Vec<DatagramSlot>> {
        let mut controls = [[0u64; CONTROL / 8]; AT_ONCE];
        let mut parts: Vec<_> = buffers
            .bytes
            .iter_mut()
            .map(|room| libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: DATAGRAM })
            .collect();
        let headers = parts.iter_mut().zip(&mut controls).map(|(part, control)| {
            let mut header = zeroed::<libc::mmsghdr>();
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = CONTROL as _;
            header
        });
        let mut headers: Vec<_> = headers.collect();
        let flags = libc::MSG_DONTWAIT as _;
        #[allow(unsafe_code, reason = "std has no recvmmsg(2)")]
        // SAFETY: every header points to room that lives until the end of this function, and is as large as said.
        let read =
            unsafe { libc::recvmmsg(self.raw(), headers.as_mut_ptr(), AT_ONCE as _, flags, std::ptr::null_mut()) };
        checked(read)?;
        let read = usize::try_from(read).unwrap_or_default();
        let slot = |header: &libc::mmsghdr| {
            let whole = header.msg_hdr.msg_flags & libc::MSG_TRUNC == 0;
            whole.then(|| (header.msg_len as usize, namespace_of(&header.msg_hdr)))
        };
        Ok(headers.iter().take(read).map(slot).collect())
    }

    /// Datagrams that found the buffer full since the last call, as the kernel counts them.
    pub(super) fn new_drops(&mut self) -> io::Result<u64> {
        /// Position of the drops among what SO_MEMINFO gives.
        const DROPS: usize = 8;
        let mut numbers = [0u32; DROPS + 1];
        self.get(libc::SOL_SOCKET, libc::SO_MEMINFO, &mut numbers)?;
        let now = numbers.last().copied().unwrap_or_default();
        let new = now.wrapping_sub(self.drops);
        self.drops = now;
        Ok(new.into())
    }

    fn set(&self, level: i32, option: i32, value: i32) -> io::Result<()> {
        let length = size_of::<i32>() as libc::socklen_t;
        #[allow(unsafe_code, reason = "std has no setsockopt(2) for netlink")]
        // SAFETY: the value is as long as said; the kernel only reads it.
        let outcome = unsafe { libc::setsockopt(self.raw(), level, option, (&raw const value).cast(), length) };
        checked(outcome)
    }

    fn get(&self, level: i32, option: i32, values: &mut [u32]) -> io::Result<()> {
        let mut length = size_of_val(values) as libc::socklen_t;
        #[allow(unsafe_code, reason = "std has no getsockopt(2) for netlink")]
        // SAFETY: there is as much room as said.
        let outcome =
            unsafe { libc::getsockopt(self.raw(), level, option, values.as_mut_ptr().cast(), &raw mut length) };
        checked(outcome)
    }
}

fn checked(outcome: i32) -> io::Result<()> {
    if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A C structure of numbers and pointers, all zero.
fn zeroed<T>() -> T {
    #[allow(unsafe_code, reason = "structures of libc have no constructors")]
    // SAFETY: used for structures of numbers and pointers only, for which zeros are valid.
    unsafe {
        MaybeUninit::zeroed().assume_init()
    }
}

/// What is next to a datagram with NETLINK_LISTEN_ALL_NSID.
fn namespace_of(header: &libc::msghdr) -> Option<i32> {
    #[allow(unsafe_code, reason = "control messages are walked by libc's macros")]
    // SAFETY: the kernel has written whole control messages into room that is aligned for them, and set its length.
    unsafe {
        let mut beside = libc::CMSG_FIRSTHDR(header);
        while !beside.is_null() {
            if (*beside).cmsg_level == libc::SOL_NETLINK && (*beside).cmsg_type == libc::NETLINK_LISTEN_ALL_NSID {
                return Some(libc::CMSG_DATA(beside).cast::<i32>().read_unaligned());
            }
            beside = libc::CMSG_NXTHDR(header, beside);
        }
    }
    None
}

/// A number in a file of /proc/sys, of the network namespace of this thread.
pub(super) fn sysctl(name: &str) -> io::Result<i64> {
    use std::io::Read;
    let mut text = String::new();
    File::open(format!("/proc/sys/{name}"))?.take(64).read_to_string(&mut text)?;
    text.trim().parse().map_err(io::Error::other)
}
