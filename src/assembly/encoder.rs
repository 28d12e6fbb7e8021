//! How one outlet writes a record: format and encoding of a sink. Knows no field.

use crate::format::{Encoded, Observer, cf, classic, conntrack_log, ecs, har, lightmon, msgpack, netlog, text};
use crate::record::{Dataset, Record};
use crate::settings::{Format, Settings, SinkName};
use crate::terminal;

/// Container runtimes split longer lines of standard output (CRI: 16 KiB).
const LONGEST_STDOUT_LINE: usize = 16 * 1024;

/// Sinks with equal encoders share the encoded bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordEncoder {
    format: Format,
    style: text::TextStyle,
    longest: usize,
    msgpack: bool,
}

impl RecordEncoder {
    pub(super) fn new(sink: SinkName, settings: &Settings, stdout_is_terminal: bool) -> Self {
        Self {
            format: settings.format_at(sink, stdout_is_terminal),
            style: if sink == SinkName::Stdout {
                style(settings, stdout_is_terminal)
            } else {
                text::TextStyle::default()
            },
            longest: if sink == SinkName::Stdout { LONGEST_STDOUT_LINE } else { usize::MAX },
            msgpack: sink == SinkName::Fluentd,
        }
    }

    /// What bodies are, for those who keep them: what was spooled as one is never sent as another.
    pub(super) fn encoding(self) -> String {
        format!("{}{}", self.format.word(), if self.msgpack { "/msgpack" } else { "" })
    }

    pub(super) fn encode(self, record: &Record, observer: &Observer, out: &mut Vec<u8>) -> Encoded {
        if !expresses(self.format, record.dataset()) {
            return Encoded::NotInThisFormat;
        }
        match (self.format, self.msgpack) {
            (Format::Ecs, false) => {
                ecs::write_json_capped(out, record, observer, self.longest);
            }
            (Format::Classic, false) => {
                classic::write_json_capped(out, record, observer, self.longest);
            }
            (Format::Ecs, true) => return pack(&ecs::EcsRecord { record, observer }, out),
            (Format::Classic, true) => return pack(&classic::ClassicRecord { record, observer }, out),
            (Format::Har, _) => return har::write_entry(out, record),
            (Format::Text, _) => text::write_line(out, record, &self.current_style()),
            (Format::ConntrackLog, _) => conntrack_log::write_json(out, record),
            (Format::Cf, _) => cf::write_json(out, record, cf::CfTime::Seconds),
            (Format::CfRfc3339, _) => cf::write_json(out, record, cf::CfTime::Rfc3339),
            (Format::Netlog, _) => return netlog::write_text(out, record),
            (Format::NetlogJson, _) => return netlog::write_json(out, record),
            (Format::Lightmon, _) => lightmon::write_log(out, record),
            (Format::LightmonJson, _) => lightmon::write_json(out, record),
            (Format::LightmonTable, _) => lightmon::write_table(out, record),
        }
        Encoded::Written
    }
}

impl RecordEncoder {
    /// The same for a record behind others: `begun` says whether there are any, and is kept up to date. Only formats that
    /// are one document have something between records.
    pub(super) fn encode_next(
        self,
        record: &Record,
        observer: &Observer,
        begun: &mut bool,
        out: &mut Vec<u8>,
    ) -> Encoded {
        let before = out.len();
        if self.format == Format::Har && *begun {
            out.extend_from_slice(har::BETWEEN);
        }
        let encoded = self.encode(record, observer, out);
        match encoded {
            Encoded::Written => *begun = true,
            Encoded::NotInThisFormat => out.truncate(before),
        }
        encoded
    }

    /// With the terminal's width as it is now.
    fn current_style(self) -> text::TextStyle {
        let width = self.style.width.and_then(|width| terminal::width(std::io::stdout()).or(Some(width)));
        text::TextStyle { width, ..self.style }
    }
}

/// How lines are shown on standard output.
pub fn style(settings: &Settings, is_terminal: bool) -> text::TextStyle {
    if !is_terminal {
        return text::TextStyle::default();
    }
    text::TextStyle {
        width: terminal::width(std::io::stdout()),
        colour: terminal::colours(true),
        slow_after: settings.slow_after.and_then(|millis| u64::try_from(millis.0.as_nanos()).ok()),
        utc_offset: terminal::utc_offset(),
    }
}

/// Whether a format has a line for records of this kind.
fn expresses(format: Format, dataset: Dataset) -> bool {
    match format {
        Format::Ecs => true,
        Format::Classic | Format::Har => dataset == Dataset::Http,
        Format::Text => dataset != Dataset::Ledger,
        Format::ConntrackLog => dataset == Dataset::Conntrack,
        Format::Cf | Format::CfRfc3339 => dataset == Dataset::Verdict,
        Format::Netlog | Format::NetlogJson => dataset == Dataset::Flow,
        Format::Lightmon | Format::LightmonJson | Format::LightmonTable => dataset == Dataset::Connect,
    }
}

/// Into memory and of plain structs: it does not fail; if it did, the record would be counted as left out.
fn pack(record: &impl serde::Serialize, out: &mut Vec<u8>) -> Encoded {
    match msgpack::encode(record, out) {
        Ok(()) => Encoded::Written,
        Err(error) => {
            tracing::error!(error, "internal error: a record could not be encoded as MessagePack; it is left out");
            Encoded::NotInThisFormat
        }
    }
}
