//! podtap's own requests, known by a header with a random value: behind a mesh proxy they come from a socket that is not ours.
//!
//! Owns the header. `source::own_traffic` knows our own connections, and the filter leaves out what is ours.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::OnceLock;

use super::ExchangeConfig;
use super::fields::KnownFields;

/// The header that marks our own HTTP requests wherever they pass.
#[derive(Clone, PartialEq, Eq)]
pub struct Nonce(String);

impl Nonce {
    /// Its name, in lower case.
    pub const NAME: &'static str = "x-podtap-nonce";

    /// Its value: 32 hexadecimal digits.
    pub fn value(&self) -> &str {
        &self.0
    }

    /// A User-Agent for requests of ours that take no other header: a CONNECT that a library makes.
    pub fn in_user_agent(&self) -> String {
        format!("podtap/{} ({})", env!("CARGO_PKG_VERSION"), self.0)
    }
}

/// Not printed: with it a client could keep its requests out of the records.
impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonce(…)")
    }
}

/// The nonce of this process.
pub fn nonce() -> &'static Nonce {
    static NONCE: OnceLock<Nonce> = OnceLock::new();
    NONCE.get_or_init(|| {
        // std seeds its hashers with the system's random numbers; SipHash of nothing under such a key says nothing
        // about the key.
        let word = || RandomState::new().build_hasher().finish();
        Nonce(format!("{:016x}{:016x}", word(), word()))
    })
}

/// Whether a request is podtap's own. A CONNECT that a library makes has the nonce in User-Agent: it takes no other header.
pub(crate) fn is_own(method: &[u8], fields: &KnownFields<'_>, config: &ExchangeConfig) -> bool {
    let Some(nonce) = config.nonce.as_ref().map(|nonce| nonce.value().as_bytes()) else { return false };
    let in_user_agent = || fields.user_agent.and_then(|agent| agent.strip_suffix(b")")?.strip_suffix(nonce));
    fields.nonce == Some(nonce) || method == b"CONNECT" && in_user_agent().is_some_and(|before| before.ends_with(b"("))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nonce_is_one_per_process_and_not_to_be_guessed_from_another() {
        let nonce = nonce();
        assert_eq!(nonce, super::nonce());
        assert_eq!(nonce.value().len(), 32);
        assert_ne!(nonce.value()[..16], nonce.value()[16..]);
        assert!(!format!("{nonce:?}").contains(nonce.value()));
    }

    #[test]
    fn a_request_is_ours_by_its_nonce_and_a_connect_also_by_its_user_agent() {
        let (mark, agent) = (nonce().value(), nonce().in_user_agent());
        let config = ExchangeConfig { nonce: Some(nonce().clone()), ..ExchangeConfig::default() };
        let is_own = |method: &str, nonce: Option<&str>, user_agent: Option<&str>| {
            let (nonce, user_agent) = (nonce.map(str::as_bytes), user_agent.map(str::as_bytes));
            super::is_own(method.as_bytes(), &KnownFields { nonce, user_agent, ..KnownFields::default() }, &config)
        };
        assert!(is_own("POST", Some(mark), None));
        assert!(is_own("CONNECT", None, Some(&agent)));
        assert!(!is_own("POST", None, Some(&agent)), "every other request of ours has the header");
        assert!(!is_own("CONNECT", None, Some(mark)));
        assert!(!is_own("CONNECT", Some("0"), Some("podtap/1 ()")));
        assert!(!super::is_own(b"CONNECT", &KnownFields::default(), &ExchangeConfig::default()));
    }
}
