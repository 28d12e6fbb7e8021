//! Any answer to a `_bulk` request: an outcome for records that were sent, each at most one, or an error.

use podtap::sink::SinkError;
use podtap::sink::elasticsearch::{ServerVersion, outcomes};

/// How many records were sent, the status in two bytes, the body.
pub fn run(bytes: &[u8]) {
    let Some(([records, high, low], body)) = bytes.split_first_chunk() else { return };
    let (records, status) = (usize::from(*records % 16), u16::from_be_bytes([*high, *low]));
    let _ = ServerVersion::from_main(body);
    match outcomes(status, body, records) {
        Ok(delivery) => {
            let rejected: Vec<usize> = delivery.rejected.iter().map(|rejected| rejected.index).collect();
            for indices in [&delivery.retry, &rejected] {
                assert!(indices.is_sorted_by(|a, b| a < b), "{indices:?}");
                assert!(indices.iter().all(|index| *index < records), "{indices:?} of {records}");
            }
            assert!(delivery.retry.iter().all(|index| !rejected.contains(index)), "{delivery:?}");
            assert!(delivery.rejected.iter().all(|rejected| rejected.reason.len() < 2000), "{delivery:?}");
        }
        Err(SinkError::Transient(why)) => assert!(why.to_string().len() < 2000, "{why}"),
        Err(other) => panic!("an answer is no reason to give up: {other:?}"),
    }
}
