//! The log on standard error: text for people, lines with priorities for the journal, or JSON.
//!
//! Where standard error leads to the journal, which stamps each line itself, a line of text begins with its priority in
//! angle brackets, as `sd-daemon(3)` has it, and has neither time nor level. JSON stays JSON.

use std::{ffi::OsStr, fmt, io::IsTerminal as _};

use tracing::{Event, Level, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    filter::Targets,
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Full, Writer},
    },
    layer::SubscriberExt as _,
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

use crate::config::{LogConfig, LogFormat};

/// Starts the log, once a process. `journal` is what the service manager says of the journal's stream (the variable
/// `JOURNAL_STREAM`).
pub fn start(config: LogConfig, journal: Option<&OsStr>) {
    let level: LevelFilter = config.level.as_str().parse().expect("it has the same names");
    // The libraries below say at `info` what is of no use to an administrator.
    let filter = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_targets([("agent", level), ("signalbox_agent", level)]);
    let log = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match config.format {
        LogFormat::Text if is_standard_error(journal) => {
            log.event_format(Journal::new()).finish().with(filter).init()
        }
        LogFormat::Text => log.with_target(false).finish().with(filter).init(),
        LogFormat::Json => log.json().finish().with(filter).init(),
    }
}

/// Returns whether `stream`, a device and an inode, is standard error: it may have been led elsewhere since the manager
/// set the variable.
#[cfg(unix)]
fn is_standard_error(stream: Option<&OsStr>) -> bool {
    use std::os::{fd::AsFd as _, unix::fs::MetadataExt as _};
    let Some(stream) = stream.and_then(OsStr::to_str) else { return false };
    let stderr = std::io::stderr().as_fd().try_clone_to_owned().map(std::fs::File::from);
    let metadata = stderr.and_then(|stderr| stderr.metadata());
    metadata.is_ok_and(|metadata| stream == format!("{}:{}", metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn is_standard_error(_stream: Option<&OsStr>) -> bool {
    false
}

/// The journal's form of a line.
struct Journal {
    rest: Format<Full, ()>,
}

impl Journal {
    fn new() -> Self {
        Self { rest: Format::default().without_time().with_target(false).with_level(false) }
    }
}

impl<S, N> FormatEvent<S, N> for Journal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(writer, "<{}>", priority(*event.metadata().level()))?;
        self.rest.format_event(context, writer, event)
    }
}

/// Returns syslog's number for a level.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_for_the_journal_begins_with_its_priority() {
        let lines = Lines::default();
        let writer = lines.clone();
        let log = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .event_format(Journal::new())
            .finish();
        tracing::subscriber::with_default(log, || {
            tracing::warn!(count = 3, "spool is full");
            tracing::error!("disk fails");
            tracing::info!("stopped");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text, "<4>spool is full count=3\n<3>disk fails\n<6>stopped\n");
    }

    #[test]
    fn a_stream_that_is_not_standard_error_is_not_the_journal() {
        assert!(!is_standard_error(None));
        assert!(!is_standard_error(Some(OsStr::new("0:0"))));
        assert!(!is_standard_error(Some(OsStr::new("nonsense"))));
    }
}
