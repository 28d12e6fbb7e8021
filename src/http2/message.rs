//! One header block as a message: pseudo-headers, the fields that a record needs, and what is hidden.
//!
//! Borrows everything from the block. Decides nothing about streams.

use compact_str::{CompactString, format_compact};

use crate::exchange::fields::{KnownFields, MessageHead, StartLine};
use crate::hpack::{HeaderBlock, HeaderField};

use crate::record::{HttpVersion, StreamClass, Weird, WeirdSet};

/// Most unknown entries that may make a label of a path.
const MAX_REFERENCES: usize = 4;

/// What a header block says.
pub(super) struct BlockMessage<'a> {
    pub(super) method: Option<&'a [u8]>,
    pub(super) path: Option<&'a [u8]>,
    pub(super) scheme: Option<&'a [u8]>,
    pub(super) authority: Option<&'a [u8]>,
    pub(super) protocol: Option<&'a [u8]>,
    pub(super) status: Option<u16>,
    pub(super) grpc_status: Option<&'a [u8]>,
    pub(super) grpc_message: Option<&'a [u8]>,
    pub(super) grpc_timeout: Option<&'a [u8]>,
    pub(super) grpc_encoding: Option<&'a [u8]>,
    head: MessageHead<'a>,
    /// Fields whose name or value is not known.
    pub(super) hidden: usize,
    /// The unknown entries that are among the pseudo-headers.
    references: [i64; MAX_REFERENCES],
    referred: usize,
    /// One of the fields among the pseudo-headers is not even a known reference.
    unreferred: bool,
    regular: bool,
}

/// Everything that wants to see each regular field (LOGHEADERS); says whether it had room.
type EveryField<'f> = Option<&'f mut dyn FnMut(&[u8], &[u8]) -> bool>;

impl<'a> BlockMessage<'a> {
    /// A block that says nothing.
    pub(super) fn empty() -> Self {
        let start = StartLine::Response { version: HttpVersion::V2, status: 0, phrase: b"" };
        Self {
            method: None,
            path: None,
            scheme: None,
            authority: None,
            protocol: None,
            status: None,
            grpc_status: None,
            grpc_message: None,
            grpc_timeout: None,
            grpc_encoding: None,
            head: MessageHead { start, fields: KnownFields::default(), weird: WeirdSet::default() },
            hidden: 0,
            references: [0; MAX_REFERENCES],
            referred: 0,
            unreferred: false,
            regular: false,
        }
    }

    pub(super) fn read(block: &'a HeaderBlock, mut each: EveryField<'_>) -> Self {
        let mut message = Self::empty();
        for field in block.fields() {
            let (Some(name), Some(value)) = (field.name, field.value) else {
                message.hidden_field(&field);
                continue;
            };
            if name.first() == Some(&b':') {
                message.pseudo(name, value);
            } else {
                message.field(name, value);
                if each.as_mut().is_some_and(|each| !each(name, value)) {
                    message.head.weird.insert(Weird::HeaderNotKept);
                }
            }
        }
        message
    }

    fn hidden_field(&mut self, field: &HeaderField<'_>) {
        self.hidden += 1;
        if self.regular {
            return;
        }
        match (field.entry, self.references.get_mut(self.referred)) {
            (Some(entry), Some(place)) => {
                *place = entry;
                self.referred += 1;
            }
            _ => self.unreferred = true,
        }
    }

    fn pseudo(&mut self, name: &[u8], value: &'a [u8]) {
        let slot = match name {
            b":method" => &mut self.method,
            b":path" => &mut self.path,
            b":scheme" => &mut self.scheme,
            b":authority" => &mut self.authority,
            b":protocol" => &mut self.protocol,
            b":status" => {
                let number = std::str::from_utf8(value).ok().filter(|text| text.len() == 3);
                self.status = number.and_then(|text| text.parse().ok());
                if self.status.is_none_or(|status| !(100..600).contains(&status)) {
                    self.head.weird.insert(Weird::OddStatus);
                }
                return;
            }
            _ => {
                self.head.weird.insert(Weird::BadHeader);
                return;
            }
        };
        if slot.is_none() {
            *slot = Some(value);
        }
    }

    fn field(&mut self, name: &[u8], value: &'a [u8]) {
        self.regular = true;
        match name {
            b"grpc-status" => self.grpc_status = Some(value),
            b"grpc-message" => self.grpc_message = Some(value),
            b"grpc-timeout" => self.grpc_timeout = Some(value),
            b"grpc-encoding" => self.grpc_encoding = Some(value),
            _ => self.head.field(name, value),
        }
    }

    pub(super) fn fields(&self) -> &KnownFields<'a> {
        &self.head.fields
    }

    pub(super) fn weird(&self) -> WeirdSet {
        self.head.weird
    }

    /// The fields, Host as the authority says.
    pub(super) fn into_fields(self) -> KnownFields<'a> {
        let mut fields = self.head.fields;
        fields.host = self.authority.or(fields.host);
        fields
    }

    /// Whether it has a pseudo-header of a request.
    pub(super) fn is_request(&self) -> bool {
        self.method.is_some() || self.path.is_some() || self.scheme.is_some() || self.authority.is_some()
    }

    /// What its stream becomes if the server agrees.
    pub(super) fn class(&self) -> StreamClass {
        match (self.method, self.protocol) {
            (Some(b"CONNECT"), None) => StreamClass::Tunnel,
            (Some(b"CONNECT"), Some(_)) => StreamClass::Upgrade,
            _ => StreamClass::Exchange,
        }
    }

    /// What the target is: the path, of CONNECT the authority.
    pub(super) fn target(&self) -> Option<&'a [u8]> {
        let tunnel = self.method == Some(b"CONNECT") && self.protocol.is_none();
        self.path.or(self.authority.filter(|_| tunnel))
    }

    /// Pseudo-headers of a request that are hidden, by what every request must have (RFC 9113 §8.3.1).
    pub(super) fn hidden_of_request(&self) -> Vec<&'static str> {
        let tunnel = self.method == Some(b"CONNECT") && self.protocol.is_none();
        if self.hidden == 0 || tunnel {
            return Vec::new();
        }
        let absent = [(":method", self.method), (":scheme", self.scheme), (":path", self.path)];
        let mut names: Vec<_> = absent.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| *name).collect();
        let more = self.hidden > names.len();
        if more && self.authority.is_none() && self.head.fields.host.is_none() {
            names.push(":authority");
        }
        names
    }

    /// A label for a path that is hidden: of the unknown entries that it may be in. The same entries hold the same path.
    pub(super) fn path_ref(&self, epoch: u32) -> Option<CompactString> {
        if self.path.is_some() || self.unreferred || self.referred == 0 {
            return None;
        }
        let mut label = format_compact!("{epoch}");
        for entry in self.references.iter().take(self.referred) {
            let mark = if *entry < 0 { "." } else { "+" };
            label.push_str(mark);
            label.push_str(&format_compact!("{}", entry.unsigned_abs()));
        }
        Some(label)
    }
}
