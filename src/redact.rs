//! stub
use compact_str::CompactString;
/// stub
#[derive(Debug, Default)]
pub struct Redactor;
#[allow(missing_docs)]
impl Redactor {
    pub fn none() -> Self { Self }
    pub fn text(&self, b: &[u8]) -> CompactString { CompactString::from_utf8_lossy(b) }
    pub fn target(&self, b: &[u8]) -> CompactString { CompactString::from_utf8_lossy(b) }
    pub fn header_value(&self, _n: &[u8], b: &[u8]) -> CompactString { CompactString::from_utf8_lossy(b) }
}
