//! stub
/// stub
pub fn write_line(_: &mut Vec<u8>, _: &crate::record::Record, _: bool) {}
