//! Exchanges, connects and flows added up, for eyes: by route, peer, host and the like, over time, the slowest. All of it in
//! bounded memory, whatever the traffic. Shows nothing, and has no clock but the capture's.

mod contenders;
mod durations;
pub(crate) mod kept;
mod key;
mod leading;
mod row;
mod sample;
mod slowest;
mod timeline;

pub(crate) use self::contenders::{Contenders, Turns};
pub use self::durations::Durations;
pub use self::key::{LONGEST_KEY, TallyKey, connect_key, flow_key};
pub use self::leading::LeadingRows;
pub use self::row::{SPARK_SECONDS, TallyRow};
pub use self::sample::Sample;
pub use self::slowest::SlowestExchanges;
pub use self::timeline::{TimeBucket, Timeline};
