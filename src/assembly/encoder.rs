//! How one outlet writes a record: format and encoding of a sink. Knows no field.

use crate::config;
use crate::format::{Observer, classic, ecs, text};
use crate::record::Record;
use crate::settings::{Format, Settings, SinkName};
use crate::sink::fluentd::encode_msgpack;

/// Container runtimes split longer lines of standard output (CRI: 16 KiB).
const LONGEST_STDOUT_LINE: usize = 16 * 1024;

/// Sinks with equal encoders share the encoded bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Encoder {
    format: Format,
    colour: bool,
    longest: usize,
    msgpack: bool,
}

impl Encoder {
    pub(super) fn new(sink: SinkName, settings: &Settings, stdout_is_terminal: bool) -> Self {
        Self {
            format: settings.format_at(sink, stdout_is_terminal),
            colour: sink == SinkName::Stdout && config::colours(stdout_is_terminal),
            longest: if sink == SinkName::Stdout { LONGEST_STDOUT_LINE } else { usize::MAX },
            msgpack: sink == SinkName::Fluentd,
        }
    }

    /// What bodies are, for those who keep them: what was spooled as one is never sent as another.
    pub(super) fn encoding(self) -> String {
        format!("{}{}", self.format.word(), if self.msgpack { "/msgpack" } else { "" })
    }

    pub(super) fn encode(self, record: &Record, observer: &Observer, out: &mut Vec<u8>) {
        match (self.format, self.msgpack) {
            (Format::Ecs, false) => {
                ecs::write_json_capped(out, record, observer, self.longest);
            }
            (Format::Classic, false) => {
                classic::write_json_capped(out, record, observer, self.longest);
            }
            (Format::Ecs, true) => pack(&ecs::Ecs { record, observer }, out),
            (Format::Classic, true) => pack(&classic::Classic { record, observer }, out),
            (Format::Text, _) => text::write_line(out, record, self.colour),
        }
    }
}

/// Into memory and of plain structs: it does not fail; if it did, the sink would reject the record by name.
fn pack(record: &impl serde::Serialize, out: &mut Vec<u8>) {
    let start = out.len();
    if let Err(error) = encode_msgpack(record, out) {
        tracing::error!(error, "a record could not be encoded as MessagePack");
        out.truncate(start);
    }
}
