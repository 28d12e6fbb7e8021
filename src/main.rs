//! The podtap binary.
fn main() {}
