//! Where frames come from: live interfaces.
//!
//! An edge: knows libpcap, /proc and capabilities. Does not decode: frames go to a `live::FrameSink` as they came.

pub mod interfaces;
pub mod live;
pub mod own_traffic;
pub mod privilege;
