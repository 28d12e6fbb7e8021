//! Which header and parameter names are secret: those that `words` knows, and how settings change that.
//!
//! Names are compared squeezed: lower case, letters and digits only, so that `X-Api-Key`, `x_api_key` and
//! `xApiKey` are one name. Knows nothing of values.

use std::str::FromStr;

use super::words::{self, WordList};
use crate::glob::{BadPattern, Glob};

/// A list of secret names, as REDACT_HEADERS and REDACT_QUERY give it.
///
/// | value | means |
/// |---|---|
/// | nothing | the built-in names |
/// | `x-a,x-b*` or `+x-a,+x-b*` | the built-in names and these (`*` and `?` are wildcards) |
/// | `-x-a` | not this one, although it is one of the built-in names; nor is its value masked for its looks |
/// | `=x-a,x-b` | these alone, instead of the built-in names |
/// | `none` | no name is secret |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameList {
    built_in: bool,
    added: Vec<Glob>,
    exempt: Vec<Glob>,
}

/// The built-in names.
impl Default for NameList {
    fn default() -> Self {
        Self { built_in: true, added: Vec::new(), exempt: Vec::new() }
    }
}

impl FromStr for NameList {
    type Err = BadPattern;

    fn from_str(value: &str) -> Result<Self, BadPattern> {
        let value = value.trim();
        if value.eq_ignore_ascii_case("none") {
            return Ok(Self::none());
        }
        let (mut list, entries) = match value.strip_prefix('=') {
            Some(rest) => (Self::none(), rest),
            None => (Self::default(), value),
        };
        for entry in entries.split(',').map(str::trim).filter(|e| !e.is_empty()) {
            if entry.eq_ignore_ascii_case("none") {
                return Err(BadPattern::new(value, "`none` must be the only entry"));
            }
            if entry.starts_with('=') {
                return Err(BadPattern::new(value, "`=` may come once, before the whole list"));
            }
            match entry.strip_prefix('-') {
                Some(name) => list.exempt.push(name_glob(name)?),
                None => list.added.push(name_glob(entry.strip_prefix('+').unwrap_or(entry))?),
            }
        }
        Ok(list)
    }
}

fn name_glob(name: &str) -> Result<Glob, BadPattern> {
    let kept = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'*' | b'?');
    let squeezed: String = name.bytes().filter(kept).map(char::from).collect();
    if squeezed.is_empty() {
        return Err(BadPattern::new(name, "is not a name"));
    }
    Glob::ignoring_case(&squeezed)
}

impl NameList {
    /// No name is secret.
    pub fn none() -> Self {
        Self { built_in: false, added: Vec::new(), exempt: Vec::new() }
    }

    /// Whether no name can be secret.
    pub fn is_none(&self) -> bool {
        !self.built_in && self.added.is_empty()
    }

    pub(super) fn holds_header(&self, name: &[u8]) -> bool {
        let is_usual = self.added.is_empty() && words::is_usual_header(name);
        !is_usual && self.holds(name, WordList::Header)
    }

    /// Whether the settings take this name out.
    pub(super) fn spares(&self, name: &[u8]) -> bool {
        !self.exempt.is_empty() && self.is_exempt(SqueezedName::new(name, &mut [0; MAX_STACK_NAME]).bytes())
    }

    fn is_exempt(&self, squeezed: &[u8]) -> bool {
        self.exempt.iter().any(|glob| glob.matches(squeezed))
    }

    /// `name` as it is in a URL: percent-decoded here, as often as it was encoded. Of `user[pwd]` and `user.pwd` each
    /// part counts too.
    pub(super) fn holds_parameter(&self, name: &[u8]) -> bool {
        if self.added.is_empty() && words::is_usual_parameter(name) {
            return false;
        }
        let mut decoded: Option<Vec<u8>> = None;
        for _ in 0..MAX_ENCODED {
            let encoded = decoded.as_deref().unwrap_or(name);
            if memchr::memchr(b'%', encoded).is_none() {
                break;
            }
            decoded = Some(percent_decode(encoded));
        }
        let name = decoded.as_deref().unwrap_or(name);
        if self.holds(name, WordList::Parameter) {
            return true;
        }
        let is_joint = |b: &u8| matches!(b, b'[' | b']' | b'.');
        name.iter().any(is_joint) && name.split(is_joint).any(|part| self.holds(part, WordList::Parameter))
    }

    fn holds(&self, name: &[u8], of: WordList) -> bool {
        if self.is_none() {
            return false;
        }
        let mut room = [0; MAX_STACK_NAME];
        let squeezed = SqueezedName::new(name, &mut room);
        let squeezed = squeezed.bytes();
        let built_in = self.built_in && words::is_secret(name, squeezed, of);
        let held = built_in || self.added.iter().any(|glob| glob.matches(squeezed));
        held && !squeezed.is_empty() && !self.is_exempt(squeezed)
    }
}

/// How often a name may be percent-encoded on top of itself and still be read.
const MAX_ENCODED: usize = 4;

/// Names up to this length are squeezed without allocation.
const MAX_STACK_NAME: usize = 64;

/// A name in lower case, letters and digits only.
enum SqueezedName<'a> {
    OnStack(&'a [u8]),
    OnHeap(Vec<u8>),
}

impl<'a> SqueezedName<'a> {
    fn new(name: &[u8], room: &'a mut [u8; MAX_STACK_NAME]) -> Self {
        let kept = name.iter().filter(|b| b.is_ascii_alphanumeric()).map(u8::to_ascii_lowercase);
        if name.len() > MAX_STACK_NAME {
            return Self::OnHeap(kept.collect());
        }
        let mut len = 0;
        for (slot, byte) in room.iter_mut().zip(kept) {
            *slot = byte;
            len += 1;
        }
        Self::OnStack(room.get(..len).unwrap_or_default())
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::OnStack(bytes) => bytes,
            Self::OnHeap(bytes) => bytes,
        }
    }
}

/// Percent-decoding, `+` as space; a `%` without two digits stays.
pub(super) fn percent_decode(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, tail)) = rest.split_first() {
        let escaped = tail.split_at_checked(2).and_then(|(digits, tail)| Some((hex_byte(digits)?, tail)));
        rest = match (first, escaped) {
            (b'%', Some((byte, tail))) => {
                out.push(byte);
                tail
            }
            (b'+', _) => {
                out.push(b' ');
                tail
            }
            _ => {
                out.push(*first);
                tail
            }
        };
    }
    out
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(digits).ok().filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u8::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET_HEADERS: &str = "\
        Authorization proxy-authorization Cookie SET-COOKIE x-api-key X_API_KEY api-key X-Auth-Token \
        x-csrf-token x-xsrf-token X-Amz-Security-Token X-Vault-Token Private-Token \
        X-Goog-IAM-Authorization-Token X-Gitlab-Token X-Hub-Signature-256 Stripe-Signature \
        X-Forwarded-Client-Cert Authentication-Info WWW-Authenticate X-Session-Id X-Client-Secret \
        X-Acme-Credentials Ocp-Apim-Subscription-Key Sec-WebSocket-Protocol Cf-Access-Jwt-Assertion \
        Authentication X-Amzn-Oidc-Data X-Amzn-Oidc-Identity DD-APPLICATION-KEY DD-API-KEY \
        X-Shopify-Hmac-Sha256 aeg-sas-key X-ZUMO-AUTH Fastly-Key X-Honeycomb-Team X-User-Pass X-Auth-Code \
        X-WP-Nonce X-WSSE X-OTP SSL_CLIENT_CERT Mcp-Session-Id X-Sig";

    const HARMLESS_HEADERS: &str = "\
        Host User-Agent Content-Type Accept X-Request-Id ETag traceparent Sec-WebSocket-Key \
        Access-Control-Allow-Credentials X-Forwarded-For Keep-Alive Author Authority X-Authenticated-User \
        Accept-Encoding X-Amz-Decoded-Content-Length X-Status-Code X-Country-Code Surrogate-Key \
        Idempotency-Key Public-Key-Pins X-Credit-Limit X-Design X-Passed";

    const SECRET_PARAMETERS: &str = "\
        token TOKEN access_token accessToken id_token refresh-token auth apikey api_key key secret \
        client_secret password passwd pwd sig signature X-Amz-Signature X-Amz-Credential \
        X-Amz-Security-Token X-Goog-Signature code session sid jwt JSESSIONID PHPSESSID AWSAccessKeyId \
        %74oken tok%65n user[password] user%5Bpwd%5D login.pwd data[key] AccountKey consumer_key \
        oauth_consumer_key passkey user_pass userpass dbPassword SharedAccessKey \
        X-Amz-SignedHeaders-Signature client_assertion SAMLResponse sess connect.sid wpnonce promo_code \
        mfaCode cvv tO_kEn t%256Fken to%25256ben ticket sign";

    const HARMLESS_PARAMETERS: &str = "\
        q page id keyword sort zipcode state monkey assign design % passenger passengers author author_id \
        authors country_code countryCode status_code errorCode postal-code lang_code encoding sort_key \
        sortKey primary_key max-keys keyboard compass bypass passive passed credit sessions signal pinned \
        shopping sidebar inside tokenize max_tokens secretary hotkey unicode codec barcode authenticated \
        spin tax_code limit offset cursor lang user username email sha256 machine tickets ticket_id";

    fn list(value: &str) -> NameList {
        value.parse().unwrap()
    }

    #[test]
    fn the_built_in_list_knows_the_usual_secrets_and_spares_the_rest() {
        let built_in = NameList::default();
        for name in SECRET_HEADERS.split(' ') {
            assert!(built_in.holds_header(name.as_bytes()), "{name}");
        }
        for name in HARMLESS_HEADERS.split(' ') {
            assert!(!built_in.holds_header(name.as_bytes()), "{name}");
        }
        assert!(!built_in.holds_header(b""));
    }

    #[test]
    fn the_built_in_list_knows_the_usual_parameters_however_they_are_written() {
        let built_in = NameList::default();
        for name in SECRET_PARAMETERS.split(' ') {
            assert!(built_in.holds_parameter(name.as_bytes()), "{name}");
        }
        for name in HARMLESS_PARAMETERS.split(' ') {
            assert!(!built_in.holds_parameter(name.as_bytes()), "{name}");
        }
        assert!(!built_in.holds_parameter(b""));
    }

    #[test]
    fn settings_extend_reduce_replace_or_switch_off() {
        assert!(list("x-foo, +X-Bar*").holds_header(b"x-bar-baz"));
        assert!(list("x-foo").holds_header(b"X_Foo"));
        assert!(list("x-foo").holds_header(b"cookie"));
        assert!(!list("-key").holds_parameter(b"key"));
        assert!(list("-key").holds_parameter(b"token"));
        assert!(list("=x-foo").holds_header(b"x-foo"));
        assert!(!list("=x-foo").holds_header(b"cookie"));
        assert!(list("none").is_none() && list("=").is_none());
        assert!(!list("none").holds_header(b"cookie"));
        assert_eq!(list(""), NameList::default());
    }

    #[test]
    fn a_list_that_contradicts_itself_is_refused() {
        for value in ["none,x-foo", "x-foo,=x-bar", "--", "+"] {
            assert!(value.parse::<NameList>().is_err(), "{value}");
        }
    }

    #[test]
    fn percent_decoding_leaves_what_is_no_escape() {
        assert_eq!(percent_decode(b"a%20b+c%zz%4"), b"a b c%zz%4");
        assert_eq!(percent_decode(b"%+1%2"), b"% 1%2");
    }
}
