//! Exchanges added up, for eyes: by route, peer, host and the like, over time, the slowest. All of it in bounded memory,
//! whatever the traffic. Shows nothing, and has no clock but the capture's.

mod contenders;
mod durations;
mod key;
mod leading;
mod row;
mod slowest;
mod timeline;

pub(crate) use self::contenders::{Contenders, Turns};
pub use self::durations::Durations;
pub use self::key::{Key, LONGEST_KEY};
pub use self::leading::Leading;
pub use self::row::{Row, SPARK_SECONDS};
pub use self::slowest::Slowest;
pub use self::timeline::{Bucket, Timeline};
