//! What kind of event a record is.

/// `event.dataset`: its name in records, its label in metrics, its byte in the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Dataset {
    /// HTTP exchanges.
    Http,
    /// Reports of flows.
    Flow,
    /// Events of the kernel's connection tracking.
    Conntrack,
    /// Connects of processes.
    Connect,
    /// Packets that a firewall rule allowed or denied.
    Verdict,
    /// What podtap counted.
    Ledger,
}

impl Dataset {
    /// All of them, in order. The order is a contract: the spool stores positions in it.
    pub const ALL: [Self; 6] = [Self::Http, Self::Flow, Self::Conntrack, Self::Connect, Self::Verdict, Self::Ledger];
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The name in `event.dataset`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "podtap.http",
            Self::Flow => "podtap.flow",
            Self::Conntrack => "podtap.conntrack",
            Self::Connect => "podtap.connect",
            Self::Verdict => "podtap.verdict",
            Self::Ledger => "podtap.ledger",
        }
    }

    /// The one that is stored as this byte.
    pub fn of_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dataset_is_found_again_by_its_byte_and_bytes_beyond_are_none() {
        for (position, dataset) in Dataset::ALL.into_iter().enumerate() {
            assert_eq!((dataset as usize, Dataset::of_byte(position as u8)), (position, Some(dataset)));
        }
        assert_eq!(Dataset::of_byte(Dataset::COUNT as u8), None);
    }
}
