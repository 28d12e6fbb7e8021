//! podtap's own log, on stderr, as text or JSON. Owns the barrier between bytes from the network and a terminal. Other
//! modules decide what to log; records never pass here.

use std::fmt::{self, Write};
use std::io::IsTerminal;

use tracing::Dispatch;
use tracing::field::Field;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::layer::SubscriberExt;

/// LOG_FORMAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// A line for eyes; coloured on a terminal only.
    #[default]
    Text,
    /// A JSON object for each line.
    Json,
}

/// Crates under ELASTICSEARCH_LOG: the client library and its dependencies.
const LIBRARY: [&str; 5] = ["elasticsearch", "reqwest", "hyper", "hyper_util", "rustls"];

/// Starts logging to stderr. `level` is LOG_LEVEL: `error`, `warn`, `info`, `debug`, `trace`, or also
/// `target=level`, as in `info,podtap::sink=debug`. An error names what is wrong with it, or says that logging has begun already.
pub fn init(level: &str, format: LogFormat) -> Result<(), String> {
    let dispatch = dispatch(level, format, std::io::stderr().is_terminal(), std::io::stderr)?;
    tracing::dispatcher::set_global_default(dispatch).map_err(|error| error.to_string())
}

/// The same from the settings; says what is worth saying about them.
pub fn start(config: &crate::config::RunConfig) {
    let settings = &config.settings;
    let format = match settings.log_format {
        crate::settings::LogFormat::Text => LogFormat::Text,
        crate::settings::LogFormat::Json => LogFormat::Json,
    };
    let library = settings.elasticsearch_log.word();
    let level =
        LIBRARY.iter().fold(settings.log_level.word().to_owned(), |all, name| format!("{all},{name}={library}"));
    if let Err(error) = init(&level, format) {
        tell(&format!("podtap: {error}\n"));
    }
    for note in &config.notes {
        if note.is_warning() {
            tracing::warn!("{note}");
        } else {
            tracing::info!("{note}");
        }
    }
}

/// Prints to standard error. `eprint!` would panic where that is closed (`2>&1 | head`) or full.
pub(crate) fn tell(text: &str) {
    let _ = std::io::Write::write_all(&mut std::io::stderr().lock(), text.as_bytes());
}

fn dispatch<W>(level: &str, format: LogFormat, terminal: bool, writer: W) -> Result<Dispatch, String>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let targets: Targets = level.parse().map_err(|error| format!("LOG_LEVEL: {error}"))?;
    // What cannot be written is not written. The library's own word about that goes to standard error too, by
    // `eprintln!`, and would end a capture thread by a panic.
    let subscriber = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE);
    let subscriber = subscriber.with_writer(writer).log_internal_errors(false);
    Ok(match format {
        LogFormat::Json => {
            Dispatch::new(subscriber.json().flatten_event(true).with_current_span(false).finish().with(targets))
        }
        LogFormat::Text => {
            let subscriber = subscriber.with_target(false).fmt_fields(debug_fn(field).delimited(" "));
            let subscriber = subscriber.with_ansi(crate::terminal::colours(terminal));
            Dispatch::new(subscriber.finish().with(targets))
        }
    })
}

fn field(out: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    if field.name() != "message" {
        write!(out, "{}=", field.name())?;
    }
    write!(EscapedText(out), "{value:?}")
}

/// Lets through what cannot move a cursor, end a line or turn the text around.
struct EscapedText<'a, 'w>(&'a mut Writer<'w>);

impl Write for EscapedText<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| match c {
            '\0'..'\x20' | '\x7f'..='\u{9f}' => write!(self.0, "\\x{:02x}", u32::from(c)),
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                write!(self.0, "\\u{{{:x}}}", u32::from(c))
            }
            _ => self.0.write_char(c),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(buf)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: &str, format: LogFormat, terminal: bool, say: impl FnOnce()) -> String {
        let log = Log::default();
        let writer = log.clone();
        let dispatch = dispatch(level, format, terminal, move || writer.clone()).unwrap();
        tracing::dispatcher::with_default(&dispatch, say);
        String::from_utf8(log.0.lock().unwrap().clone()).unwrap()
    }

    const EVIL: &str = "a\x1b[2Jb\r\nINFO forged\u{9b}31m\u{202e}c";

    #[test]
    fn bytes_from_the_network_neither_move_the_cursor_nor_forge_a_line() {
        let text = logged("info", LogFormat::Text, false, || {
            tracing::info!(shown = %EVIL, debugged = EVIL, "said {EVIL}");
        });
        assert_eq!(text.matches('\n').count(), 1);
        assert!(text.ends_with('\n') && !text.trim_end().contains(char::is_control), "{text:?}");
        assert!(text.contains("said a\\x1b[2Jb\\x0d\\x0aINFO forged\\x9b31m\\u{202e}c shown=a\\x1b[2Jb"), "{text}");
        let json = logged("info", LogFormat::Json, false, || tracing::info!(shown = %EVIL, "said"));
        assert_eq!(json.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(
            (&value["shown"], &value["message"], &value["level"]),
            (&EVIL.into(), &"said".into(), &"INFO".into())
        );
        assert!(!json.contains('\x1b'));
    }

    #[test]
    fn the_level_decides_and_a_wrong_one_is_named() {
        let say = || {
            tracing::warn!("loud");
            tracing::info!("quiet");
        };
        let text = logged("warn", LogFormat::Text, false, say);
        assert!(text.contains("WARN") && text.contains("loud") && !text.contains("quiet"), "{text}");
        assert_eq!(logged("off", LogFormat::Text, false, say), "");
        let targets = "info,podtap::logging=error,hyper=off";
        let text = logged(targets, LogFormat::Text, false, || {
            say();
            tracing::error!("failed");
            tracing::error!(target: "hyper::client", "chatty");
            tracing::info!(target: "podtap::sink", "shown");
            tracing::debug!(target: "podtap::sink", "hidden");
        });
        let said: Vec<_> = text.lines().filter_map(|line| line.split_whitespace().last()).collect();
        assert_eq!(said, ["failed", "shown"], "{text}");
        let wrong = dispatch("lots=of=it", LogFormat::Text, false, io::sink).unwrap_err();
        assert!(wrong.starts_with("LOG_LEVEL: "), "{wrong}");
    }
}
