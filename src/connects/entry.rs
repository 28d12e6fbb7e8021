//! An entry of the ring: the bytes of `struct entry` in `bpf/connects.bpf.c`. Owns their places; judges nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::flow::{Endpoint, IpProtocol};

/// Bytes in front of the texts.
pub const HEADER: usize = 112;
/// Of texts and arguments together.
const MAX_TEXT: usize = 2048;
/// The longest entry.
pub const LONGEST: usize = HEADER + MAX_TEXT;

const PATH_CUT: u8 = 1;
const ARGS_CUT: u8 = 2;

/// What came of it, as far as the program knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectOutcome {
    /// Established; UDP: the address is set.
    Established,
    /// With an error.
    Failed,
    /// Closed without one.
    Closed,
}

/// One connect. Texts are as in the kernel's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectEntry<'a> {
    /// CPU that wrote it.
    pub cpu: u32,
    /// CLOCK_MONOTONIC in nanoseconds.
    pub start: u64,
    /// The same; 0: not known.
    pub end: u64,
    /// Start of the process, CLOCK_BOOTTIME in nanoseconds.
    pub born: u64,
    /// Inode of the network namespace.
    pub netns: u32,
    /// Process.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// Parent of the process.
    pub parent: u32,
    /// The process in its own namespace of processes.
    pub own_pid: u32,
    /// User.
    pub user: u32,
    /// Inode of the mount namespace: whose files it sees.
    pub mounts: u32,
    /// Error, 0 without.
    pub error: i32,
    /// TCP or UDP.
    pub protocol: IpProtocol,
    /// Asking end; all zeros where it has none.
    pub source: Endpoint,
    /// What was asked for.
    pub destination: Endpoint,
    /// What came of it.
    pub outcome: ConnectOutcome,
    /// The path of the executable is not whole.
    pub path_cut: bool,
    /// There is more of the arguments.
    pub args_cut: bool,
    /// What the kernel calls the process.
    pub name: &'a [u8],
    /// Host name that it sees.
    pub hostname: &'a [u8],
    /// Names of its control group, the innermost first.
    pub groups: Vec<&'a [u8]>,
    /// The same in the old hierarchy of memory.
    pub groups_v1: Vec<&'a [u8]>,
    /// Names of its executable's path, the innermost first.
    pub path: Vec<&'a [u8]>,
    /// Its arguments, each with a NUL behind it.
    pub args: &'a [u8],
}

impl<'a> ConnectEntry<'a> {
    /// Reads one; nothing where the bytes are no entry.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let (header, texts) = bytes.split_at_checked(HEADER)?;
        let header = EntryHeader(header);
        let (text_len, args_len) = (usize::from(header.u16(100)?), usize::from(header.u16(102)?));
        let (text, rest) = texts.split_at_checked(text_len)?;
        let mut names = EntryNames(text);
        let is_v4 = match header.u8(96)? {
            4 => true,
            6 => false,
            _ => return None,
        };
        let outcome = match header.u8(98)? {
            0 => ConnectOutcome::Established,
            1 => ConnectOutcome::Failed,
            2 => ConnectOutcome::Closed,
            _ => return None,
        };
        let (flags, counts) = (header.u8(99)?, [header.u8(104)?, header.u8(105)?, header.u8(106)?]);
        let (name, hostname) = (names.next()?, names.next()?);
        let groups = names.take(counts[1])?;
        let groups_v1 = names.take(counts[2])?;
        let path = names.take(counts[0])?;
        Some(Self {
            cpu: header.u32(56)?,
            start: header.u64(0)?,
            end: header.u64(8)?,
            born: header.u64(16)?,
            netns: header.u32(60)?,
            pid: header.u32(64)?,
            tid: header.u32(68)?,
            parent: header.u32(72)?,
            own_pid: header.u32(76)?,
            user: header.u32(80)?,
            mounts: header.u32(84)?,
            error: header.u32(88)?.cast_signed(),
            protocol: IpProtocol(header.u8(97)?),
            source: Endpoint { ip: header.ip(24, is_v4)?, port: header.u16(92)? },
            destination: Endpoint { ip: header.ip(40, is_v4)?, port: header.u16(94)? },
            outcome,
            path_cut: flags & PATH_CUT != 0,
            args_cut: flags & ARGS_CUT != 0,
            name,
            hostname,
            groups,
            groups_v1,
            path,
            args: rest.get(..args_len)?,
        })
    }

    /// The path of the executable; none where it is not whole.
    pub fn executable(&self) -> Option<Vec<u8>> {
        if self.path_cut || self.path.is_empty() {
            return None;
        }
        let mut path = Vec::new();
        for name in self.path.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        Some(path)
    }

    /// The arguments, one by one. The last may be cut.
    pub fn arguments(&self) -> impl Iterator<Item = &'a [u8]> {
        // The NUL behind the last one separates nothing.
        let args = self.args.strip_suffix(&[0]).unwrap_or(self.args);
        let any = !self.args.is_empty();
        any.then(|| args.split(|byte| *byte == 0)).into_iter().flatten()
    }
}

/// Numbers as the program wrote them, on a little-endian machine.
struct EntryHeader<'a>(&'a [u8]);

impl EntryHeader<'_> {
    fn array<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..at + N)?.try_into().ok()
    }

    fn u8(&self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    fn u16(&self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    fn u32(&self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    fn u64(&self, at: usize) -> Option<u64> {
        self.array(at).map(u64::from_le_bytes)
    }

    fn ip(&self, at: usize, is_v4: bool) -> Option<IpAddr> {
        if is_v4 {
            self.array(at).map(|octets: [u8; 4]| Ipv4Addr::from(octets).into())
        } else {
            self.array(at).map(|octets: [u8; 16]| Ipv6Addr::from(octets).into())
        }
    }
}

/// Texts one behind the other, each with a NUL behind it.
struct EntryNames<'a>(&'a [u8]);

impl<'a> EntryNames<'a> {
    fn next(&mut self) -> Option<&'a [u8]> {
        let end = memchr::memchr(0, self.0)?;
        let (name, rest) = self.0.split_at_checked(end)?;
        self.0 = rest.get(1..).unwrap_or_default();
        Some(name)
    }

    fn take(&mut self, many: u8) -> Option<Vec<&'a [u8]>> {
        (0..many).map(|_| self.next()).collect()
    }
}
