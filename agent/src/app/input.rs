//! From what a configuration says of a source's records to what they come from, and from that to what is shown.
//!
//! An [`Intake`] is polled and read by the pipeline's thread alone. What it stores stands in the spool behind the
//! source's name: what has one place may have the name for itself, else a slash and a part follow.

use std::collections::BTreeMap;

use crate::{
    config::{Input, SourceConfig, StartFrom, own_program},
    normalise::Kind,
    platform,
    source::{
        Begin, CheckpointError, Evtx, EvtxOptions, Files, Http, Intake, JOURNALCTL, Journal,
        JournalOptions, Listener, Opening, Pattern, PlainFile, RecordEnd, Stdin,
    },
    status::{FilesStatus, SourceStatus},
    tls,
};

/// What is stored of all sources, by name.
pub(super) type Stored = BTreeMap<String, Vec<u8>>;

/// Opens what a source's records come from where `stored` says; `others` are the paths of files that go before a
/// pattern.
///
/// # Errors
/// Fails on something stored by a later version. What cannot be read yet is no error.
pub(super) fn open(
    config: &SourceConfig,
    stored: &Stored,
    others: &[Pattern],
    opening: Opening,
) -> Result<Box<dyn Intake>, CheckpointError> {
    let own = stored.get(&config.name).map(Vec::as_slice);
    let parts = parts(stored, &config.name);
    Ok(match &config.input {
        Input::File { path, from } => Box::new(PlainFile::open(path, own, parts, begin(*from))?),
        Input::Files { pattern, from } => {
            let opening = Opening { begin: begin(*from), ..opening };
            Box::new(Files::open(pattern, others, own, parts, opening)?)
        }
        Input::Udp(address) => Box::new(Listener::udp(*address)),
        Input::Tcp(address) => Box::new(Listener::tcp(*address)),
        Input::Tls { address, identity } => {
            let identity = identity.clone();
            let load = move || tls::listener(&identity).map_err(|error| error.to_string());
            Box::new(Listener::tls(*address, Box::new(load)))
        }
        Input::Http { address, token_file } => Box::new(Http::new(*address, token_file.clone())),
        Input::Stdin => Box::new(Stdin::open()),
        Input::Journal { matches, from } => {
            let (program, matches) = (JOURNALCTL.into(), matches.clone());
            let machine = platform::machine_id();
            let options = JournalOptions { program, matches, machine, begin: begin(*from) };
            Box::new(Journal::open(options, parts)?)
        }
        Input::Evtx { pattern, from } => {
            let (program, pattern) = (own_program(), pattern.clone());
            let options = EvtxOptions { program, pattern, begin: begin(*from) };
            Box::new(Evtx::open(options, parts)?)
        }
    })
}

/// Returns where records of this kind end in a text.
pub(super) fn record_end(kind: &Kind) -> RecordEnd {
    if kind.is_windows_event() { RecordEnd::Event } else { RecordEnd::Line }
}

/// Returns what is to be stored of the source of this name; see [`Intake::changed`].
pub(super) fn changed(
    intake: &mut dyn Intake,
    name: &str,
    end: Option<u64>,
) -> Vec<(String, Vec<u8>)> {
    let stored_as = |part: String| match part.as_str() {
        "" => name.to_owned(),
        part => format!("{name}/{part}"),
    };
    intake.changed(end).into_iter().map(|(part, value)| (stored_as(part), value)).collect()
}

/// Returns what is shown of what a source's records come from, in addition to what is shown of the source.
pub(super) fn show(intake: &dyn Intake, status: SourceStatus) -> SourceStatus {
    let counts = intake.counts();
    let files = intake.files().map(|files| FilesStatus {
        known: files.known as u64,
        open: files.open as u64,
        waiting: files.waiting as u64,
        beyond: files.beyond,
        same: files.same,
        compressed: files.compressed,
    });
    SourceStatus {
        path: intake.label().into(),
        offset: intake.stored_offset(),
        behind_bytes: intake.behind_bytes(),
        files,
        records: counts.records,
        bytes: counts.bytes,
        over_long: counts.over_long,
        rotated: counts.rotated,
        truncated: counts.truncated,
        lost_files: counts.lost_files,
        dropped: counts.dropped,
        refused: counts.refused,
        gone: counts.gone,
        ..status
    }
}

/// Returns the parts in which something is stored of the source of this name.
fn parts<'s>(stored: &'s Stored, name: &str) -> impl Iterator<Item = (&'s str, &'s [u8])> {
    let prefix = format!("{name}/");
    let from = stored.range(prefix.clone()..);
    from.map_while(move |(name, value)| Some((name.strip_prefix(&prefix)?, value.as_slice())))
}

fn begin(from: StartFrom) -> Begin {
    match from {
        StartFrom::Start => Begin::Start,
        StartFrom::End => Begin::End,
    }
}
