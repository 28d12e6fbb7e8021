//! Protocol oddities: their names, and sets of them. Only declares them: `http` finds them.

macro_rules! weirds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A protocol oddity, by the name it has in `podtap.weird` and in metrics.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Weird { $($(#[$doc])* $variant,)* }

        impl Weird {
            /// All of them, in the order of their bits.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Name in `podtap.weird`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

weirds! {
    /// More than one Content-Length, all the same.
    DuplicateContentLength = "duplicate_content_length",
    /// Content-Length values that contradict each other; the first counts.
    ConflictingContentLength = "conflicting_content_length",
    /// Content-Length that is no number.
    BadContentLength = "bad_content_length",
    /// Transfer-Encoding and Content-Length together (RFC 9112 §6.3: Transfer-Encoding wins).
    TeAndCl = "te_and_cl",
    /// Transfer-Encoding in HTTP/1.0.
    TeInHttp10 = "te_in_http10",
    /// A transfer coding other than chunked, or chunked not last.
    UnknownTransferCoding = "unknown_transfer_coding",
    /// A line that ends in LF alone.
    BareLf = "bare_lf",
    /// A CR that is not followed by LF.
    BareCr = "bare_cr",
    /// A header continued on the next line (RFC 9112 §5.2).
    ObsFold = "obs_fold",
    /// White space between a header's name and its colon.
    SpaceBeforeColon = "space_before_colon",
    /// A header line without a colon, or with an invalid name.
    BadHeader = "bad_header",
    /// A byte in a header's value that RFC 9110 §5.5 forbids.
    BadHeaderValue = "bad_header_value",
    /// More headers than 512: those behind them are read, but not kept.
    TooManyHeaders = "too_many_headers",
    /// A head longer than MAX_HEAD_BYTES.
    HeadTooLarge = "head_too_large",
    /// Empty lines before the start line.
    LeadingEmptyLine = "leading_empty_line",
    /// More than one space, or a tab, in the start line.
    BadStartLineSpacing = "bad_start_line_spacing",
    /// White space inside the request-target.
    SpaceInTarget = "space_in_target",
    /// A request line of two words, the second a version (`GET HTTP/1.1`): reported as target and as version.
    MissingTarget = "missing_target",
    /// Bytes outside printable ASCII in the request-target.
    BinaryTarget = "binary_target",
    /// A version other than 0.9, 1.0 and 1.1.
    OddVersion = "odd_version",
    /// A status code outside 100–599, or not three digits.
    OddStatus = "odd_status",
    /// `ICY 200 OK`.
    IcyStatusLine = "icy_status_line",
    /// A method that no registry knows.
    UnknownMethod = "unknown_method",
    /// HTTP/1.1 request without Host.
    MissingHost = "missing_host",
    /// More than one Host.
    DuplicateHost = "duplicate_host",
    /// A Host header, or the host of the request-target, that is no host and port. A byte cannot be there, or a port does
    /// not exist.
    InvalidHost = "invalid_host",
    /// A chunk size that is no hexadecimal number, or chunk data not followed by CRLF.
    BadChunk = "bad_chunk",
    /// A chunk extension.
    ChunkExtension = "chunk_extension",
    /// Trailers after the last chunk.
    Trailers = "trailers",
    /// The connection closed before the body was whole.
    BodyCutByClose = "body_cut_by_close",
    /// A response that no request can have asked for: nothing was lost, and none was waiting (a 408 on an idle connection).
    UnsolicitedResponse = "unsolicited_response",
    /// A 1xx status code after the final response, or too many of them.
    OddInformational = "odd_informational",
    /// Bytes between two messages that are no message.
    GarbageBetweenMessages = "garbage_between_messages",
    /// HTTP/0.9.
    Http09 = "http_0_9",
    /// Overlapping segments of the connection differed; the first copy counts.
    OverlapConflict = "overlap_conflict",
    /// More than 256 requests waited for their answers when this one came: those before it keep their pairs.
    TooManyPending = "too_many_pending",
    /// An upgrade or tunnel was accepted without being asked for.
    UnexpectedUpgrade = "unexpected_upgrade",
    /// A PROXY protocol header that does not parse.
    BadProxyHeader = "bad_proxy_header",
    /// A head that the connection's end cut. Such a request makes a record only if it was answered, and is counted otherwise.
    UnfinishedHead = "unfinished_head",
    /// Header fields beyond the limit (128 with LOGHEADERS), or the rest of a head, were not kept.
    HeaderNotKept = "header_not_kept",
    /// A frame of HTTP/2 that breaks its rules.
    BadFrame = "bad_frame",
    /// A header block of HTTP/2 that cannot be decoded.
    BadHeaderBlock = "bad_header_block",
    /// Bytes that their sender marked as urgent (RFC 9293 §3.8.5): a receiver may read them apart, podtap reads them in turn.
    UrgentBytes = "urgent_bytes",
}

/// A set of oddities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct WeirdSet(u64);

impl From<Weird> for WeirdSet {
    fn from(one: Weird) -> Self {
        let mut set = Self::default();
        set.insert(one);
        set
    }
}

impl WeirdSet {
    /// Adds one.
    pub fn insert(&mut self, weird: Weird) {
        self.0 |= 1 << weird as u8;
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether it is in the set.
    pub fn contains(self, weird: Weird) -> bool {
        self.0 & (1 << weird as u8) != 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The oddities in the order of their declaration.
    pub fn iter(self) -> impl Iterator<Item = Weird> {
        Weird::ALL.iter().copied().filter(move |w| self.contains(*w))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_oddity_has_one_bit_and_one_name() {
        assert!(Weird::ALL.len() <= 64);
        let mut names: Vec<_> = Weird::ALL.iter().map(|w| w.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Weird::ALL.len());
        let mut set = WeirdSet::default();
        Weird::ALL.iter().for_each(|w| set.insert(*w));
        assert_eq!(set.iter().count(), Weird::ALL.len());
    }
}
