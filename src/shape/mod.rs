//! What is read out of a head next to the message itself: the target's parts, the trace, the client behind proxies,
//! the route.
//!
//! Pure functions of bytes and settings; nothing here sees a connection or a body.

pub mod proxy;
pub mod route;
pub mod target;
pub mod trace;
