//! Logs: one subscriber for the process, as text for people or as JSON lines for machines.
//!
//! Everything goes to standard error, because standard output belongs to what a command prints:
//! an export, the OpenAPI document, the demo's story.

use std::fmt;
use std::str::FromStr;

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One readable line per event.
    Text,
    /// One JSON object per line.
    Json,
}

/// A log filter whose every part is understood: a level, or `target=level` pairs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

/// What is logged, and how it looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// What passes.
    pub filter: LogFilter,
    /// How it looks.
    pub format: LogFormat,
}

/// Why a text is not a log setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogSettingError {
    /// A part of the filter is not understood.
    #[error("`{0}` is neither a level nor a target=level pair")]
    Filter(String),
    /// The format is not one of the two.
    #[error("there are the formats text and json")]
    Format,
}

/// Why logging did not start.
#[derive(Debug, thiserror::Error)]
#[error("a log subscriber is already installed in this process")]
pub struct TelemetryError(#[source] tracing_subscriber::util::TryInitError);

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// What libraries say at `info` about themselves, which tells an operator nothing. A filter that
/// names these targets has its way.
const CHATTER: &str = "actix_server=warn,sqlx::postgres::notice=warn";

impl FromStr for LogFormat {
    type Err = LogSettingError;

    fn from_str(text: &str) -> Result<Self, LogSettingError> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(LogSettingError::Format),
        }
    }
}

impl FromStr for LogFilter {
    type Err = LogSettingError;

    /// Stricter than the filter's own grammar, which takes a misspelled level for the name of a
    /// target and then logs everything of that target and nothing else.
    fn from_str(text: &str) -> Result<Self, LogSettingError> {
        for part in text.split(',') {
            let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
            let known = LEVELS.iter().any(|known| level.eq_ignore_ascii_case(known));
            if !known || EnvFilter::builder().parse(part).is_err() {
                return Err(LogSettingError::Filter(part.to_owned()));
            }
        }
        Ok(Self(text.to_owned()))
    }
}

impl LogFilter {
    /// Whether it lets the level pass that is set when nobody asks for another.
    fn is_at_info(&self) -> bool {
        self.0.split(',').any(|part| part.eq_ignore_ascii_case("info"))
    }

    /// What the subscriber takes.
    fn directives(&self) -> String {
        if self.is_at_info() { format!("{CHATTER},{}", self.0) } else { self.0.clone() }
    }
}

impl LogSettings {
    /// The same without `info`: for commands whose output is what they print.
    pub fn quiet(&self) -> Self {
        let parts = self.filter.0.split(',');
        let quieter =
            parts.map(|part| if part.eq_ignore_ascii_case("info") { "warn" } else { part });
        let filter = LogFilter(quieter.collect::<Vec<_>>().join(","));
        Self { filter, format: self.format }
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Starts logging for this process. Call it once, before anything else runs.
pub fn init(settings: &LogSettings) -> Result<(), TelemetryError> {
    subscriber(settings, std::io::stderr).try_init().map_err(TelemetryError)
}

/// The subscriber that [`init`] installs, writing wherever it is told to.
pub fn subscriber<W>(settings: &LogSettings, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder().parse_lossy(settings.filter.directives());
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match settings.format {
        LogFormat::Text => Box::new(lines.with_ansi(false).finish()),
        LogFormat::Json => Box::new(lines.json().flatten_event(true).finish()),
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(filter: &str, format: LogFormat) -> String {
        let lines = Lines::default();
        let settings = LogSettings { filter: filter.parse().unwrap(), format };
        let writer = lines.clone();
        tracing::subscriber::with_default(subscriber(&settings, move || writer.clone()), || {
            tracing::info!(topup.id = "top_1", "credited");
            tracing::debug!("detail");
        });
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_filter_decides_what_is_logged() {
        let text = logged("info", LogFormat::Text);
        assert!(text.contains("credited") && text.contains("topup.id=\"top_1\""), "{text}");
        assert!(!text.contains("detail"), "{text}");
        assert!(logged("warn,bursar=debug", LogFormat::Text).contains("detail"));
        assert_eq!(logged("warn", LogFormat::Text), "");
    }

    #[test]
    fn libraries_do_not_chatter_at_info() {
        let heard = |filter: &str| {
            let lines = Lines::default();
            let settings = LogSettings { filter: filter.parse().unwrap(), format: LogFormat::Text };
            let writer = lines.clone();
            tracing::subscriber::with_default(
                subscriber(&settings, move || writer.clone()),
                || {
                    tracing::info!(target: "actix_server::builder", "starting 2 workers");
                    tracing::info!(target: "sqlx::postgres::notice", "already exists, skipping");
                    tracing::info!(target: "bursar", "serving");
                },
            );
            String::from_utf8(lines.0.lock().unwrap().clone()).unwrap().lines().count()
        };
        assert_eq!(heard("info"), 1);
        assert_eq!(heard("info,actix_server=info"), 2, "who asks for it gets it");
        assert_eq!(heard("debug"), 3);
        assert_eq!(heard("warn"), 0);
    }

    #[test]
    fn quiet_takes_info_away_and_nothing_else() {
        let quiet = |filter: &str| {
            let settings = LogSettings { filter: filter.parse().unwrap(), format: LogFormat::Json };
            settings.quiet().filter.to_string()
        };
        assert_eq!(quiet("info"), "warn");
        assert_eq!(quiet("INFO,bursar::ledger=debug"), "warn,bursar::ledger=debug");
        for kept in ["debug", "error", "off", "bursar=info"] {
            assert_eq!(quiet(kept), kept);
        }
    }

    #[test]
    fn json_lines_are_json() {
        let text = logged("info", LogFormat::Json);
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(line["message"], "credited");
        assert_eq!(line["topup.id"], "top_1");
    }

    #[test]
    fn misspelled_filters_are_refused() {
        for text in ["", "verbose", "info,bursar", "bursar=loud", "info,", "=", "bursar[=info"] {
            assert!(text.parse::<LogFilter>().is_err(), "{text:?}");
        }
        for text in ["info", "WARN", "info,bursar::ledger=debug,sqlx=off"] {
            assert!(text.parse::<LogFilter>().is_ok(), "{text:?}");
        }
    }
}
