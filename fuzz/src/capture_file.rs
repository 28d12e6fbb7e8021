//! Any bytes as a capture file, and what it holds as frames.

use podtap::source::file::CaptureReader;

use super::choices::Choices;
use super::watch::Watch;

/// Frames after which the rest of the file is left.
const MAX_FRAMES: usize = 2000;
/// Bytes a frame may have to be looked into: longer ones only take time.
const LONGEST: usize = 1 << 16;

/// The whole input is the file.
pub fn run(bytes: &[u8]) {
    let mut watch = Watch::new(&mut Choices::new(&bytes[bytes.len() / 2..]));
    let Ok(mut reader) = CaptureReader::open(bytes).map_err(|error| told(&error)) else { return };
    for _ in 0..MAX_FRAMES {
        match reader.next_frame() {
            Ok(Some(frame)) => {
                assert!(frame.data.len() as u64 <= u64::from(frame.wire_len));
                if frame.data.len() <= LONGEST {
                    watch.frame(&frame);
                }
            }
            Ok(None) => break,
            Err(error) => {
                told(&error);
                assert!(matches!(reader.next_frame(), Ok(None)), "after an error there is no more");
                break;
            }
        }
    }
    assert!(reader.bytes_read() <= bytes.len() as u64);
    watch.finish();
}

fn told(error: &dyn std::error::Error) {
    let text = error.to_string();
    assert!(!text.is_empty() && !text.chars().any(char::is_control), "{text:?}");
}
