//! One libpcap handle: opening it, reading its frames, its errors.
//!
//! The only file that knows libpcap's calling rules. Does not reopen: that is `live::run`.

use std::fmt;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use pcap::{Active, Capture, Error, Linktype, PacketHeader, Precision};

use super::names::SeenNames;
use super::{CaptureOptions, pace};
use crate::flow::Timestamp;
use crate::packet::{Frame, LinkType};
use crate::source::interfaces;
use crate::source::privilege::{self, NeededRight, NotPermitted};

/// LINKTYPE_LINUX_SLL2: cooked frames with the interface's index. DLT and LINKTYPE are the same number.
const SLL2: LinkType = LinkType(276);

/// An open interface.
pub(super) struct CaptureHandle {
    capture: Capture<Active>,
    link: LinkType,
    interface: Option<Arc<str>>,
    /// Its number when it was opened; none for libpcap's own inventions.
    index: Option<u32>,
    names: SeenNames,
    /// Frames from before are not its own: another of the same group has them.
    since: Option<Timestamp>,
}

/// Why an interface could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OpenError {
    /// It will not work later either.
    Permanent(CaptureError),
    /// There is no such interface now.
    Missing,
    /// libpcap's message; worth another try.
    Transient(String),
}

/// Why a capture ended, or could not begin. Trying again is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaptureError {
    /// A capability is missing.
    NotPermitted(NotPermitted),
    /// The filter does not compile for the link type of this interface.
    Filter {
        /// CAP_FILTER.
        filter: String,
        /// libpcap's message.
        message: String,
    },
    /// An input of the kernel that is no interface cannot be had.
    Input {
        /// Which.
        input: &'static str,
        /// What is wrong.
        message: String,
    },
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPermitted(why) => why.fmt(f),
            Self::Filter { filter, message } => write!(f, "CAP_FILTER {filter:?} is not a capture filter: {message}"),
            Self::Input { input, message } => write!(f, "{input}: {message}"),
        }
    }
}

impl std::error::Error for CaptureError {}

/// Compiles a filter without opening anything, for the check at start; needs no capability.
///
/// A filter may fit Ethernet and not another link type (`ether host …` on `any`, whose frames are cooked). What the
/// frames of a tunnel begin with is not known before it is open: opening says so then.
pub fn check_filter(filter: &str, interface: &str) -> Result<(), CaptureError> {
    let link = if interface == interfaces::ANY { Linktype(i32::from(SLL2.0)) } else { Linktype::ETHERNET };
    Capture::dead(link)
        .and_then(|dead| dead.compile(filter, true))
        .map(drop)
        .map_err(|error| filter_error(filter, error))
}

impl CaptureHandle {
    /// Opens the interface, with NET_RAW effective only for that.
    pub(super) fn open(options: &CaptureOptions) -> Result<Self, OpenError> {
        // Before opening: should it be replaced meanwhile, that shows later.
        let index = interfaces::index(&options.interface);
        match privilege::with(NeededRight::NetRaw, || activate(options)) {
            Ok(Ok(capture)) => Self::set_up(capture, index, options),
            Ok(Err(error)) => Err(explain(options, error)),
            Err(why) => Err(OpenError::Permanent(CaptureError::NotPermitted(why))),
        }
    }

    fn set_up(mut capture: Capture<Active>, index: Option<u32>, options: &CaptureOptions) -> Result<Self, OpenError> {
        let any = options.interface == interfaces::ANY;
        if any {
            // libpcap before 1.10 refuses, and goes on with SLL: then frames have no interface name.
            let _ = capture.set_datalink(Linktype(i32::from(SLL2.0)));
        }
        // After the link type, which decides the filter's offsets.
        capture
            .filter(&options.filter, true)
            .map_err(|error| OpenError::Permanent(filter_error(&options.filter, error)))?;
        let capture = capture.setnonblock().map_err(|error| OpenError::Transient(message(error)))?;
        let link = link_type(capture.get_datalink());
        let interface = (!any).then(|| options.interface.as_str().into());
        let since = options.fanout.as_ref().map(|fanout| {
            fanout
                .join(capture.as_raw_fd())
                .map_err(|error| OpenError::Transient(format!("PACKET_FANOUT: {error}")))?;
            Ok(pace::wall_clock())
        });
        Ok(Self { capture, link, interface, index, names: SeenNames::default(), since: since.transpose()? })
    }

    /// What its frames begin with.
    pub(super) fn link(&self) -> LinkType {
        self.link
    }

    /// Becomes readable when there are frames, or an error to be read.
    pub(super) fn fd(&self) -> RawFd {
        self.capture.as_raw_fd()
    }

    /// Passes on what the ring holds, up to `limit` frames (without one, libpcap would not return as long as
    /// frames keep coming); says how many.
    pub(super) fn read(&mut self, limit: usize, mut on_frame: impl FnMut(Frame<'_>)) -> Result<usize, String> {
        let Self { capture, link, interface, names, since, .. } = self;
        let outcome = capture.dispatch(Some(limit), |packet| {
            let at = timestamp(packet.header);
            if since.is_some_and(|since| at < since) {
                return;
            }
            let interface = match &interface {
                None if *link == SLL2 => names.of_sll2(packet.data),
                interface => interface.as_ref(),
            };
            on_frame(Frame { at, link: *link, data: packet.data, wire_len: packet.header.len, interface });
        });
        outcome.map_err(message)
    }

    /// Whether the interface of that name is still the one that was opened. libpcap does not always tell.
    pub(super) fn is_current(&self) -> bool {
        self.index.is_none() || self.interface.as_deref().and_then(interfaces::index) == self.index
    }

    /// The kernel's counters, cumulative over this handle; works on a handle that has failed, too.
    pub(super) fn stats(&mut self) -> Option<pcap::Stat> {
        self.capture.stats().ok()
    }
}

/// Never promiscuous: in a pod it shows nothing more. Never immediate: that takes one slot of the snap length per packet.
fn activate(options: &CaptureOptions) -> Result<Capture<Active>, Error> {
    let int = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
    Capture::from_device(options.interface.as_str())?
        .promisc(false)
        .immediate_mode(false)
        .snaplen(int(options.snaplen))
        .buffer_size(int(options.buffer_bytes))
        // Zero would hold frames back until a whole block is full.
        .timeout(int(options.timeout_ms.max(1)))
        .precision(Precision::Nano)
        .open()
}

fn explain(options: &CaptureOptions, error: Error) -> OpenError {
    let message = message(error);
    if message.contains("CAP_NET_RAW") {
        OpenError::Permanent(CaptureError::NotPermitted(NotPermitted::in_other_namespace(NeededRight::NetRaw)))
    } else if !interfaces::exists(&options.interface) {
        OpenError::Missing
    } else {
        OpenError::Transient(message)
    }
}

fn filter_error(filter: &str, error: Error) -> CaptureError {
    CaptureError::Filter { filter: filter.to_owned(), message: message(error) }
}

/// libpcap's own words, without the wrapping of the crate.
fn message(error: Error) -> String {
    if let Error::PcapError(message) = &error { message.clone() } else { error.to_string() }
}

/// Nanoseconds, because `Precision::Nano` was asked for: every Linux since 2.6.27 has them.
#[allow(clippy::unnecessary_cast, reason = "the width of timeval's fields depends on the platform")]
fn timestamp(header: &PacketHeader) -> Timestamp {
    Timestamp::new(header.ts.tv_sec as i64, header.ts.tv_usec as i64)
}

/// libpcap reports DLT_ numbers, which differ from the LINKTYPE_ numbers of files in a few old cases
/// (<https://www.tcpdump.org/linktypes.html>).
fn link_type(dlt: Linktype) -> LinkType {
    match dlt.0 {
        11 => LinkType(100),
        12 => LinkType(101),
        13 => LinkType(102),
        14 => LinkType(103),
        other => LinkType(u16::try_from(other).unwrap_or(u16::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_checked_with_the_words_of_libpcap() {
        assert_eq!(check_filter("", "eth0"), Ok(()));
        assert_eq!(check_filter("tcp port 80 and not host 10.0.0.1", "any"), Ok(()));
        assert_eq!(check_filter("ether host 02:00:00:00:00:01", "eth0"), Ok(()));
        assert!(check_filter("ether host 02:00:00:00:00:01", "any").is_err());
        let error = check_filter("tcp prot 80", "eth0").unwrap_err().to_string();
        assert!(error.starts_with("CAP_FILTER \"tcp prot 80\" is not a capture filter: "), "{error}");
        assert!(error.contains("syntax error"), "{error}");
        assert!(check_filter("port 80\0", "eth0").is_err());
        assert!(check_filter("host nonsense.invalid.", "eth0").is_err());
    }

    #[test]
    fn link_types_are_those_of_files() {
        for (dlt, link) in [(1, 1), (12, 101), (113, 113), (276, 276), (239, 239), (70_000, u16::MAX)] {
            assert_eq!(link_type(Linktype(dlt)), LinkType(link));
        }
    }
}
