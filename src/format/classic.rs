//! stub
/// stub
pub fn write_json(_: &mut Vec<u8>, _: &crate::record::Record, _: &super::Observer) {}
