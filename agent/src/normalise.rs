//! Reads a product's record and says it under OCSF's names, as an [`Alert`] that borrows from the
//! record.
//!
//! What a product does not say stays absent. A record that cannot be read is an alert all the same,
//! so that nothing vanishes (L4): it says why, and holds what stood before the place where reading
//! ended, so that one bad byte near a record's end does not cost its severity. The record itself is
//! kept byte for byte by whoever calls.
//!
//! # Cost
//! One pass over the record without copying; allocations only for texts with escapes and joined
//! lists. Events of an EVE file that are no alerts are not read further than their type.

mod cef;
mod columns;
mod eve;
mod falco;
mod guess;
mod journald;
mod json_lines;
mod paths;
mod slots;
mod syslog;
mod timestamp;
mod value;
mod wazuh;
mod windows;
mod xml;
mod zeek;

use std::fmt;

use shared::{
    alert::{Alert, Field, Severity},
    ids::Lane,
    time::Timestamp,
};

pub(crate) use self::value::{Escapes, Raw};
use self::{
    columns::Header,
    paths::{Paths, Slots, Stop, Take},
};
pub use self::{
    json_lines::{FieldMap, FieldMapError},
    paths::PathError,
};

/// The products whose records are read without a field map. A further one is a file beside theirs
/// and a line here.
const PRODUCTS: [&Product; 7] = [
    &eve::PRODUCT,
    &wazuh::PRODUCT,
    &falco::PRODUCT,
    &zeek::NOTICE_PRODUCT,
    &syslog::PRODUCT,
    &journald::PRODUCT,
    &windows::PRODUCT,
];

/// How the records of one product are read.
#[derive(Debug)]
pub struct Product {
    /// Its records' name in the configuration.
    kind: &'static str,
    /// Its name in alerts.
    name: &'static str,
    /// Where the values stand; of several for one slot the first wins.
    table: &'static [(u8, &'static str)],
    /// How its records are written.
    writing: Writing,
    /// Says what a readable record is.
    event: fn(&Slots<'_>) -> Event,
    /// Sets what is the product's own language.
    finish: for<'a> fn(&mut Alert<'a>, &Slots<'a>, &mut Notes),
}

/// How a product writes its records.
#[derive(Clone, Copy, Debug)]
enum Writing {
    /// As JSON objects, which need not be read to their end where the stop says so.
    Json(Option<Stop>),
    /// As JSON objects, too, or in columns that header lines name (Zeek's ASCII writer). Of the
    /// logs only the one of this name holds alerts.
    JsonOrColumns(Stop, &'static str),
    /// As JSON objects, or as elements of XML whose values stand in like places.
    JsonOrXml,
    /// As syslog messages, with or without an event in CEF or LEEF in them, or as such events.
    Syslog,
}

/// What a readable record is.
enum Event {
    /// An alert.
    Alert,
    /// Something else that the product writes.
    Other,
    /// It does not say.
    Untyped,
}

/// Which product's records they are.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Those of a product that is known.
    Product(&'static Product),
    /// JSON lines of a product whose values stand where the map says.
    JsonLines(FieldMap),
}

impl Kind {
    /// Suricata's EVE.
    pub const SURICATA_EVE: Self = Self::Product(&eve::PRODUCT);
    /// Wazuh's `alerts.json`.
    pub const WAZUH: Self = Self::Product(&wazuh::PRODUCT);

    /// Returns the kind of a known product that the configuration calls `kind`.
    #[must_use]
    pub fn of_product(kind: &str) -> Option<Self> {
        PRODUCTS.into_iter().find(|product| product.kind == kind).map(Self::Product)
    }

    /// Returns what the configuration calls the known products' kinds.
    pub fn of_products() -> impl Iterator<Item = &'static str> {
        PRODUCTS.into_iter().map(|product| product.kind)
    }

    /// Returns whether its records say what they mean only together with their file's beginning.
    #[must_use]
    pub const fn is_file_only(&self) -> bool {
        matches!(self, Self::Product(Product { writing: Writing::JsonOrColumns(..), .. }))
    }

    /// Returns whether its records are events of Windows, which event logs have.
    #[must_use]
    pub fn is_windows_event(&self) -> bool {
        matches!(self, Self::Product(product) if product.kind == windows::PRODUCT.kind)
    }

    /// Returns the product's name in alerts.
    #[must_use]
    pub fn product(&self) -> &str {
        match self {
            Self::Product(product) => product.name,
            Self::JsonLines(map) => map.product(),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Product(product) => f.write_str(product.kind),
            Self::JsonLines(map) => write!(f, "json_lines of {}", map.product()),
        }
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Product(own), Self::Product(other)) => own.kind == other.kind,
            (Self::JsonLines(own), Self::JsonLines(other)) => own == other,
            (Self::Product(_), Self::JsonLines(_)) | (Self::JsonLines(_), Self::Product(_)) => {
                false
            }
        }
    }
}

impl Eq for Kind {}

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// It is an alert.
    Alert {
        /// What it says.
        alert: Alert<'a>,
        /// What it says that was not believed or understood.
        notes: Notes,
    },
    /// It is none; to be counted.
    Skip(SkipReason),
    /// It cannot be read, and is sent as an alert that says so.
    Malformed {
        /// What was read before reading ended, under a title that says that the record could not be
        /// parsed.
        alert: Alert<'a>,
        /// Why reading ended.
        why: Malformed,
    },
}

impl Outcome<'_> {
    /// Returns what becomes of a record that `is_stray`: that stands where one should, and is none.
    #[must_use]
    pub fn out_of_step_if(self, is_stray: bool) -> Self {
        match self {
            Self::Alert { mut alert, .. } if is_stray => {
                let why = Malformed::OutOfStep;
                alert.set(Field::Title, why.title());
                Self::Malformed { alert, why }
            }
            Self::Alert { .. } | Self::Skip(_) | Self::Malformed { .. } => self,
        }
    }
}

/// Why a record is no alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SkipReason {
    /// The product says that it is an event of another kind.
    NotAnAlert,
}

/// Why a record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The bytes from here, counted from 0, are not UTF-8.
    InvalidUtf8 {
        /// The place.
        at: usize,
    },
    /// No JSON object.
    NotAnObject,
    /// The JSON ends before its object does, as that of a record that was cut off.
    EndsEarly,
    /// The JSON is wrong near this byte, counted from 1.
    Syntax {
        /// The place.
        at: usize,
    },
    /// Neither a JSON object nor XML, where both are taken.
    NeitherJsonNorXml,
    /// The XML ends before its event does, as that of a record that was cut off.
    XmlEndsEarly,
    /// The XML is wrong near this byte, counted from 1; so is what goes on with an event that another record began.
    XmlSyntax {
        /// The place.
        at: usize,
    },
    /// Behind an event in XML, which ends before this byte, the record goes on.
    XmlGoesOn {
        /// The place.
        at: usize,
    },
    /// XML, but no event.
    XmlNoEvent,
    /// Nothing before the record says what its columns are.
    NoHeader,
    /// The record has this many columns, and the header names another number.
    Columns {
        /// How many.
        found: usize,
    },
    /// The header of an event in CEF or LEEF ends early.
    EventHeader,
    /// It stands where the length of a message should that comes by a connection (RFC 6587).
    OutOfStep,
    /// Neither a type nor anything else says what kind of event it is.
    Untyped,
}

impl Malformed {
    /// Returns the title of such a record's alert. It does not say the place, so that the like have
    /// the same.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::InvalidUtf8 { .. } => "record could not be parsed: invalid UTF-8",
            Self::NotAnObject => "record could not be parsed: no JSON object",
            Self::EndsEarly => "record could not be parsed: it ends early",
            Self::Syntax { .. } => "record could not be parsed: invalid JSON",
            Self::NeitherJsonNorXml => "record could not be parsed: neither a JSON object nor XML",
            Self::XmlEndsEarly => "record could not be parsed: its XML ends early",
            Self::XmlSyntax { .. } => "record could not be parsed: invalid XML",
            Self::XmlGoesOn { .. } => "record could not be parsed: more behind an event in XML",
            Self::XmlNoEvent => "record could not be parsed: XML, but no event",
            Self::NoHeader => "record could not be parsed: no header names its columns",
            Self::Columns { .. } => "record could not be parsed: other columns than its header's",
            Self::EventHeader => "record could not be parsed: its CEF or LEEF header ends early",
            Self::OutOfStep => "record could not be parsed: no length before it as before others",
            Self::Untyped => "record could not be parsed: no event type",
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidUtf8 { at } => write!(f, "invalid UTF-8 at byte {at}"),
            Self::NotAnObject => f.write_str("no JSON object"),
            Self::EndsEarly => f.write_str("JSON ends early"),
            Self::Syntax { at } => write!(f, "invalid JSON near byte {at}"),
            Self::NeitherJsonNorXml => f.write_str("neither a JSON object nor XML"),
            Self::XmlEndsEarly => f.write_str("XML ends early"),
            Self::XmlSyntax { at } => write!(f, "invalid XML near byte {at}"),
            Self::XmlGoesOn { at } => {
                write!(f, "more behind an event in XML, from byte {at} on: only the first is read")
            }
            Self::XmlNoEvent => f.write_str("XML, but no event"),
            Self::NoHeader => f.write_str("no header names its columns"),
            Self::Columns { found } => {
                write!(f, "{found} columns, the header names another number")
            }
            Self::EventHeader => f.write_str("CEF or LEEF header ends early"),
            Self::OutOfStep => f.write_str("no length before it as before its connection's others"),
            Self::Untyped => f.write_str("no event type"),
        }
    }
}

/// What of a readable record was not believed or understood; to be counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Notes(u8);

impl Notes {
    /// There was a time, but none that could be read.
    pub const TIME_UNREADABLE: Self = Self(1);
    /// The time lay further ahead than is believed.
    pub const TIME_AHEAD: Self = Self(2);
    /// There was a severity, but none that is known.
    pub const SEVERITY_UNKNOWN: Self = Self(4);
    /// Not one value of the field map was there.
    pub const NOTHING_MAPPED: Self = Self(8);

    /// Returns whether `note` was made.
    #[must_use]
    pub const fn contains(self, note: Self) -> bool {
        self.0 & note.0 == note.0
    }

    /// Returns whether none was made.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn add(&mut self, note: Self) {
        self.0 |= note.0;
    }
}

/// Reads the records of one source.
#[derive(Clone, Debug)]
pub struct Normaliser {
    kind: Kind,
    log_name: String,
    paths: Paths,
    header: Header,
    utc_offset: Option<i64>,
}

/// Takes off the mark that some programs write before UTF-8; the record keeps it.
pub(crate) fn without_mark(record: &[u8]) -> &[u8] {
    record.strip_prefix(b"\xef\xbb\xbf").unwrap_or(record)
}

impl Normaliser {
    /// Returns a reader of records of this kind; `log_name` is the source's name.
    #[must_use]
    pub fn new(kind: Kind, log_name: impl Into<String>) -> Self {
        let fixed = |table: &[(u8, &'static str)]| {
            Paths::new(table.iter().copied()).expect("the products' own tables hold paths")
        };
        let paths = match &kind {
            Kind::Product(product) => fixed(product.table),
            Kind::JsonLines(map) => map.paths(),
        };
        let (log_name, header) = (log_name.into(), Header::default());
        Self { kind, log_name, paths, header, utc_offset: None }
    }

    /// Returns it for records whose times say neither year nor zone: `minutes` is by how much the clock that wrote them
    /// is ahead of UTC. Without it, such a time does not say when.
    #[must_use]
    pub fn with_utc_offset(mut self, minutes: Option<i64>) -> Self {
        self.utc_offset = minutes;
        self
    }

    /// Returns which product's records it reads.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Returns whether the value at this place of a JSON record is read.
    #[must_use]
    pub fn reads(&self, names: &[&str]) -> bool {
        self.paths.reads(names)
    }

    /// Returns whether lines at a file's head say how its records are written: whoever begins within
    /// a file gives them to [`Self::begin_file`].
    #[must_use]
    pub fn has_header(&self) -> bool {
        self.kind.is_file_only()
    }

    /// Forgets what was said of the records before, and takes what the lines of `head`, with which
    /// their file begins, say of those that follow.
    pub fn begin_file(&mut self, head: &[u8]) {
        self.header = Header::default();
        let lines = without_mark(head).split(|byte| *byte == b'\n');
        for line in lines.take_while(|line| columns::is_header(line)) {
            self.header.take(line);
        }
    }

    /// Takes what the line says of those after it; returns whether it is such a line, and no record.
    pub fn take_header(&mut self, line: &[u8]) -> bool {
        let line = without_mark(line);
        let is_header = self.has_header() && columns::is_header(line);
        if is_header {
            self.header.take(line);
        }
        is_header
    }

    /// Reads a record that was taken from its source at `observed_at`. Never panics, whatever the
    /// input.
    ///
    /// The context's version is left at "none yet", for the caller to set.
    #[must_use]
    pub fn normalise<'a>(&'a self, record: &'a [u8], observed_at: Timestamp) -> Outcome<'a> {
        let record = without_mark(record);
        let (text, invalid) = match str::from_utf8(record) {
            Ok(text) => (text, None),
            Err(error) => {
                let at = error.valid_up_to();
                (str::from_utf8(&record[..at]).unwrap_or_default(), Some(at))
            }
        };
        if self.is_around_events(text) && invalid.is_none() {
            return Outcome::Skip(SkipReason::NotAnAlert);
        }
        let mut found = Slots::default();
        let mut broken = invalid.map(|at| Malformed::InvalidUtf8 { at });
        if let Err(why) = self.read(text, &mut found) {
            broken = broken.or(Some(why));
        }
        if found.stopped {
            return Outcome::Skip(SkipReason::NotAnAlert);
        }
        let why = match (&self.kind, broken) {
            (Kind::Product(product), None) => match (product.event)(&found) {
                Event::Alert => None,
                Event::Other => return Outcome::Skip(SkipReason::NotAnAlert),
                Event::Untyped if self.is_xml(text) => Some(Malformed::XmlNoEvent),
                Event::Untyped => Some(Malformed::Untyped),
            },
            (_, broken) => broken,
        };
        let (mut alert, notes) = self.alert(&found, observed_at);
        match why {
            None => Outcome::Alert { alert, notes },
            Some(why) => {
                alert.set(Field::Title, why.title());
                Outcome::Malformed { alert, why }
            }
        }
    }

    /// Finds the values in a record.
    fn read<'a>(&self, text: &'a str, found: &mut Slots<'a>) -> Result<(), Malformed> {
        let is_object = text.trim_ascii_start().starts_with('{');
        let stop = match self.kind {
            Kind::JsonLines(_) => None,
            Kind::Product(product) => match product.writing {
                Writing::Json(stop) => stop,
                Writing::JsonOrColumns(_, log)
                    if !is_object && self.header.is_of_other_log(log) =>
                {
                    found.stopped = true;
                    return Ok(());
                }
                Writing::JsonOrColumns(stop, _) => Some(stop),
                Writing::JsonOrXml | Writing::Syslog => None,
            },
        };
        let nothing = self.says_nothing();
        let mut take = |names: &[&str], raw: Raw<'a>| {
            if !nothing.contains(&raw.written()) {
                self.paths.take_at(names, raw, found);
            }
        };
        if let Some(read) = self.each_value(text, &mut take) {
            return read;
        }
        if !is_object {
            return Err(match self.takes_xml() {
                true => Malformed::NeitherJsonNorXml,
                false => Malformed::NotAnObject,
            });
        }
        self.paths.walk(text, stop, found).map_err(|error| malformed(&error))
    }

    /// Returns whether records may be XML.
    fn takes_xml(&self) -> bool {
        matches!(self.kind, Kind::Product(Product { writing: Writing::JsonOrXml, .. }))
    }

    /// Returns whether the record is XML, or begins as it.
    fn is_xml(&self, text: &str) -> bool {
        self.takes_xml() && text.trim_ascii_start().starts_with('<')
    }

    /// Returns whether the record only stands around events in XML: a declaration, or a tag of the root element.
    fn is_around_events(&self, text: &str) -> bool {
        self.is_xml(text) && xml::is_around_events(text)
    }

    /// Returns what stands for no value in records that are not JSON.
    fn says_nothing(&self) -> &'static [&'static str] {
        match self.kind {
            Kind::Product(Product { writing: Writing::Syslog, .. }) => &["", "-", "N/A"],
            Kind::Product(_) | Kind::JsonLines(_) => &["", "-"],
        }
    }

    /// Calls `take` with each value of a record that is not written in JSON, and the names that lead to it, also with
    /// one that says nothing. Returns what was wrong with the record, and nothing for one in JSON.
    pub(crate) fn each_value<'a>(
        &self,
        text: &'a str,
        take: &mut Take<'_, 'a>,
    ) -> Option<Result<(), Malformed>> {
        let Kind::Product(product) = &self.kind else { return None };
        let first = text.trim_ascii_start().as_bytes().first();
        match product.writing {
            Writing::JsonOrColumns(..) if first != Some(&b'{') => {
                Some(self.header.read(text, take))
            }
            Writing::JsonOrXml if first == Some(&b'<') => Some(xml::read(text, take)),
            Writing::Syslog => Some(syslog::read(text, take)),
            Writing::Json(_) | Writing::JsonOrColumns(..) | Writing::JsonOrXml => None,
        }
    }

    fn alert<'a>(&'a self, found: &Slots<'a>, observed_at: Timestamp) -> (Alert<'a>, Notes) {
        let mut notes = Notes::default();
        let mut alert = Alert::default();
        alert.observed_at = observed_at;
        alert.set(Field::LogName, self.log_name.as_str());
        alert.set(Field::Product, self.kind.product());
        slots::fill(&mut alert, found, self.utc_offset, &mut notes);
        match &self.kind {
            Kind::Product(product) => (product.finish)(&mut alert, found, &mut notes),
            Kind::JsonLines(map) => map.finish(&mut alert, found, &mut notes),
        }
        slots::sort_out_endpoints(&mut alert);
        (alert, notes)
    }
}

fn malformed(error: &serde_json::Error) -> Malformed {
    if error.is_eof() { Malformed::EndsEarly } else { Malformed::Syntax { at: error.column() } }
}

/// Which severities leave the everyday lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LanePolicy {
    /// From this severity on alerts are urgent; absent where none is.
    pub urgent_from: Option<Severity>,
    /// Up to this severity alerts can wait; absent where none can. Urgent wins where both hold.
    pub bulk_up_to: Option<Severity>,
}

impl Default for LanePolicy {
    /// From high on urgent, informational in bulk.
    fn default() -> Self {
        Self { urgent_from: Some(Severity::High), bulk_up_to: Some(Severity::Informational) }
    }
}

/// Returns the lane of an alert. One of unknown severity goes with the everyday ones: it can be
/// anything.
#[must_use]
pub fn lane_of(severity: Severity, policy: &LanePolicy) -> Lane {
    if severity == Severity::Unknown {
        Lane::Normal
    } else if policy.urgent_from.is_some_and(|from| severity >= from) {
        Lane::Urgent
    } else if policy.bulk_up_to.is_some_and(|up_to| severity <= up_to) {
        Lane::Bulk
    } else {
        Lane::Normal
    }
}

#[cfg(test)]
mod tests;
