//! A block: alerts of one lane, encoded and compressed once, on the agent.
//!
//! The same bytes are spooled, sent, stored and read. A block has two parts, compressed apart: the *fields*, laid out
//! as columns over a dictionary of texts, and the *records*, byte for byte as the detector wrote them. A coordinator
//! folds alerts into cases from the fields alone; the records are decompressed when somebody looks at one.
//!
//! # Format, version 2
//! ```text
//! block:   magic "SBK" | version u8 = 2 | alerts u16 LE | reserved u16 = 0
//!          | fields_raw u32 LE | fields_zstd u32 LE | records_raw u32 LE | records_zstd u32 LE
//!          | crc32c u32 LE (over all the rest, header included) | fields [fields_zstd] | records [records_zstd]
//! fields:  zstd frame of bincode(FieldsV2): texts, columns of numbers (a column that says nothing is empty)
//! records: zstd frame of the records, one after the other; their lengths are a column of the fields
//! ```
//! Columns of texts are appended as alerts come to say more. A block of version 2 has those of its maker, 26 at least:
//! what is missing is absent, and what a reader does not know it passes over.
//!
//! Version 1 has no handling and no count, and 19 columns of texts. It is read, and made no more.
//!
//! # Invariants
//! - Texts are referred to by number from 1; 0 says that the field is absent.
//! - All columns that are not empty have as many entries as there are alerts.
//! - `sum(record_lens) = records_raw`.
//!
//! # Cost
//! Reading the fields of a block of 512 alerts touches about a fifth of its bytes. The price is that a record which
//! disagrees with its fields is noticed by the reader, not at the door; the checksum covers both.

use std::{borrow::Cow, collections::HashMap, fmt, marker::PhantomData, ops::Range};

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, SeqAccess, Visitor},
};
use thiserror::Error;

use crate::{
    alert::{Action, Alert, Field, Handling, Severity},
    context::ContextVersion,
    limits::{
        BLOCK_ALERTS_MAX, BLOCK_BYTES_MAX, BLOCK_FIELD_BYTES_MAX, BLOCK_RECORD_BYTES_MAX,
        FIELD_BYTES_MAX, RECORD_BYTES_MAX,
    },
    time::Timestamp,
    wire::codec,
};

/// Bytes of a block's header.
pub const HEADER_BYTES: usize = 28;
const MAGIC: &[u8; 3] = b"SBK";
const VERSION: u8 = 2;
const VERSIONS: std::ops::RangeInclusive<u8> = 1..=VERSION;
/// Most bytes that an alert's numbers can take: a dictionary's number for each field, and the rest.
const ALERT_NUMBER_BYTES_MAX: usize = Field::COUNT * 5 + 80;
/// About as many as an alert's numbers take: those of texts are below 2^16.
const ALERT_NUMBER_BYTES: usize = Field::COUNT * 3 + 40;
const CRC_AT: Range<usize> = 24..28;
/// Most columns of texts that a block is read with: several times as many as there are.
const COLUMNS_MAX: usize = 256;
/// Most texts that a block is read with: one for each alert in each column that it is made with now, and as many more.
const TEXTS_MAX: usize = 2 * BLOCK_ALERTS_MAX * Field::COUNT;

/// The part that was read out of the records, as columns. Never reorder; a change is a new version (L10).
#[derive(Debug, Default, Serialize, Deserialize)]
struct FieldsV2<'a> {
    #[serde(borrow, deserialize_with = "at_most::<_, _, TEXTS_MAX>")]
    texts: Vec<&'a str>,
    record_lens: Vec<u32>,
    /// Milliseconds; the first absolute, the others as differences, zigzag-encoded by bincode.
    observed: Vec<i64>,
    /// Difference of the product's time to `observed`; `i64::MAX` where there is none.
    time: Vec<i64>,
    severity: Vec<u8>,
    action: Vec<u8>,
    /// Port plus one; zero where there is none.
    src_port: Vec<u32>,
    dst_port: Vec<u32>,
    context: Vec<u64>,
    /// One column a [`Field`], in its order; numbers of `texts`.
    #[serde(deserialize_with = "at_most::<_, _, COLUMNS_MAX>")]
    columns: Vec<Vec<u32>>,
    handling: Vec<u8>,
    /// One less than the alert's count.
    further: Vec<u64>,
}

/// The same as version 1 has it.
#[derive(Debug, Deserialize)]
struct FieldsV1<'a> {
    #[serde(borrow, deserialize_with = "at_most::<_, _, TEXTS_MAX>")]
    texts: Vec<&'a str>,
    record_lens: Vec<u32>,
    observed: Vec<i64>,
    time: Vec<i64>,
    severity: Vec<u8>,
    action: Vec<u8>,
    src_port: Vec<u32>,
    dst_port: Vec<u32>,
    context: Vec<u64>,
    #[serde(deserialize_with = "at_most::<_, _, COLUMNS_MAX>")]
    columns: Vec<Vec<u32>>,
}

/// Reads a list of at most so many items: an empty column or a short text is a byte in a block and many in memory.
fn at_most<'de, T, D, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    struct Items<T, const MAX: usize>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Items<T, MAX> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MAX}")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            let mut items = Vec::with_capacity(seq.size_hint().unwrap_or_default().min(MAX));
            while let Some(item) = seq.next_element()? {
                if items.len() == MAX {
                    return Err(de::Error::invalid_length(MAX + 1, &self));
                }
                items.push(item);
            }
            Ok(items)
        }
    }

    deserializer.deserialize_seq(Items::<T, MAX>(PhantomData))
}

impl<'a> From<FieldsV1<'a>> for FieldsV2<'a> {
    fn from(old: FieldsV1<'a>) -> Self {
        let FieldsV1 { texts, record_lens, observed, time, severity, action, .. } = old;
        let FieldsV1 { src_port, dst_port, context, mut columns, .. } = old;
        if columns.len() >= Field::COUNT_V1 {
            columns.truncate(Field::COUNT_V1);
            columns.resize(Field::COUNT_V2, Vec::new());
        }
        Self {
            texts,
            record_lens,
            observed,
            time,
            severity,
            action,
            src_port,
            dst_port,
            context,
            columns,
            handling: Vec::new(),
            further: Vec::new(),
        }
    }
}

const NO_TIME: i64 = i64::MAX;

/// Why bytes are not a block.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BlockError {
    /// Shorter than a header, or than the header says.
    #[error("block has {got} bytes where {expected} were expected")]
    Length {
        /// What the header or the format asks for.
        expected: usize,
        /// What was there.
        got: usize,
    },
    /// No block at all.
    #[error("block does not start with its magic")]
    Magic,
    /// Made by a version that this program does not know.
    #[error("block has version {0}, known are 1 to {VERSION}")]
    Version(u8),
    /// A number in the header is over its limit.
    #[error("block's {what} is {got}, at most {max} are allowed")]
    TooLarge {
        /// Which number.
        what: &'static str,
        /// The number.
        got: usize,
        /// Its limit.
        max: usize,
    },
    /// The bytes were damaged.
    #[error("block's checksum is {stored:08x}, its bytes give {computed:08x}")]
    Checksum {
        /// In the header.
        stored: u32,
        /// Over the bytes.
        computed: u32,
    },
    /// One of the parts cannot be decompressed to the size that the header says.
    #[error("block's {0} cannot be decompressed to their size")]
    Compression(&'static str),
    /// The fields do not decode, or do not agree with one another.
    #[error("block's fields are malformed: {0}")]
    Fields(&'static str),
}

/// Why an alert does not go into a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PushError {
    /// The block is full: finish it and begin another.
    #[error("block is full")]
    Full,
    /// No block can hold this record.
    #[error("record has {0} bytes, at most {RECORD_BYTES_MAX} are allowed")]
    RecordTooLong(usize),
}

/// Collects alerts of one lane and makes the block.
#[derive(Debug)]
pub struct BlockBuilder {
    records: Vec<u8>,
    texts: Vec<String>,
    text_bytes: usize,
    numbers: HashMap<String, u32>,
    /// The last alert's number in each column: neighbours repeat most of their texts.
    recent: [u32; Field::COUNT],
    fields: FieldsV2<'static>,
    last_observed: i64,
}

impl Default for BlockBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BlockBuilder {
    /// Returns an empty builder.
    #[must_use]
    pub fn new() -> Self {
        Self {
            records: Vec::new(),
            texts: Vec::new(),
            text_bytes: 0,
            numbers: HashMap::new(),
            recent: [0; Field::COUNT],
            fields: FieldsV2 { columns: vec![Vec::new(); Field::COUNT], ..FieldsV2::default() },
            last_observed: 0,
        }
    }

    /// Returns how many alerts it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields.record_lens.len()
    }

    /// Returns whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the bytes of the records it holds, before compression.
    #[must_use]
    pub fn record_bytes(&self) -> usize {
        self.records.len()
    }

    /// Returns about how many bytes its block has before compression, records and fields: hardly ever more.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.records.len() + self.text_bytes + self.len() * ALERT_NUMBER_BYTES
    }

    /// Adds an alert and the record it was read out of. Texts over their limit are cut.
    ///
    /// # Errors
    /// [`PushError::Full`] leaves the builder as it was; so does a record that no block can hold.
    pub fn push(&mut self, alert: &Alert<'_>, record: &[u8]) -> Result<(), PushError> {
        if record.len() > RECORD_BYTES_MAX {
            return Err(PushError::RecordTooLong(record.len()));
        }
        // The worst case for the fields: all texts new and at their limit, and all numbers at their widest.
        let field_room = self.text_bytes
            + (self.len() + 1) * ALERT_NUMBER_BYTES_MAX
            + Field::COUNT * FIELD_BYTES_MAX;
        if self.len() == BLOCK_ALERTS_MAX
            || self.records.len() + record.len() > BLOCK_RECORD_BYTES_MAX
            || field_room > BLOCK_FIELD_BYTES_MAX
        {
            return Err(PushError::Full);
        }
        self.records.extend_from_slice(record);
        for field in Field::ALL {
            let number = self.number(field, alert.text(field));
            self.fields.columns[field as usize].push(number);
        }
        let fields = &mut self.fields;
        fields.record_lens.push(u32::try_from(record.len()).expect("bounded above"));
        let observed = i64::try_from(alert.observed_at.as_ms()).unwrap_or(i64::MAX - 1);
        fields.observed.push(observed.wrapping_sub(self.last_observed));
        self.last_observed = observed;
        let time = alert.time.and_then(|time| i64::try_from(time.as_ms()).ok());
        fields.time.push(time.map_or(NO_TIME, |time| time.wrapping_sub(observed)));
        fields.severity.push(alert.severity.id());
        fields.action.push(alert.action as u8);
        fields.src_port.push(alert.src_port.map_or(0, |port| u32::from(port) + 1));
        fields.dst_port.push(alert.dst_port.map_or(0, |port| u32::from(port) + 1));
        fields.context.push(alert.context.0);
        fields.handling.push(alert.handling as u8);
        fields.further.push(alert.count.saturating_sub(1));
        Ok(())
    }

    /// Returns the number of `text` in the dictionary, where it is added if it is new.
    fn number(&mut self, field: Field, text: Option<&str>) -> u32 {
        let Some(text) = text else { return 0 };
        let text = &text[..text.floor_char_boundary(FIELD_BYTES_MAX)];
        let recent = self.recent[field as usize];
        if recent != 0 && self.texts[recent as usize - 1] == text {
            return recent;
        }
        let number = match self.numbers.get(text) {
            Some(number) => *number,
            None => {
                self.texts.push(text.to_owned());
                self.text_bytes += text.len() + 5;
                let number =
                    u32::try_from(self.texts.len()).expect("bounded by alerts times fields");
                self.numbers.insert(text.to_owned(), number);
                number
            }
        };
        self.recent[field as usize] = number;
        number
    }

    /// Makes the block with zstd at `level` (1-19; 1 is the line's default) and empties the builder.
    ///
    /// # Panics
    /// If the builder is empty: there is no block without alerts.
    #[must_use]
    pub fn finish(&mut self, level: i32) -> Bytes {
        assert!(!self.is_empty(), "a block holds at least one alert");
        let alerts = u16::try_from(self.len()).expect("bounded by BLOCK_ALERTS_MAX");
        let columns = std::mem::take(&mut self.fields.columns);
        let columns =
            columns.into_iter().map(|c| if c.iter().all(|n| *n == 0) { Vec::new() } else { c });
        let mut fields = FieldsV2 {
            texts: self.texts.iter().map(String::as_str).collect(),
            columns: columns.collect(),
            ..std::mem::take(&mut self.fields)
        };
        for ports in [&mut fields.src_port, &mut fields.dst_port] {
            if ports.iter().all(|port| *port == 0) {
                ports.clear();
            }
        }
        if fields.handling.iter().all(|id| *id == 0) {
            fields.handling.clear();
        }
        if fields.further.iter().all(|further| *further == 0) {
            fields.further.clear();
        }
        let raw = codec::encode(&fields).expect("fields are bounded");
        assert!(raw.len() <= BLOCK_FIELD_BYTES_MAX, "push keeps the fields within their bound");
        let mut block = Vec::with_capacity(HEADER_BYTES + raw.len() + self.records.len() / 4);
        block.resize(HEADER_BYTES, 0);
        let fields_zstd = compress_into(&mut block, &raw, level);
        let records_zstd = compress_into(&mut block, &self.records, level);
        let sizes = [raw.len(), fields_zstd, self.records.len(), records_zstd];
        block[..3].copy_from_slice(MAGIC);
        block[3] = VERSION;
        block[4..6].copy_from_slice(&alerts.to_le_bytes());
        for (size, at) in sizes.into_iter().zip([8, 12, 16, 20]) {
            let size = u32::try_from(size).expect("parts are bounded");
            block[at..at + 4].copy_from_slice(&size.to_le_bytes());
        }
        let crc = checksum(&block);
        block[CRC_AT].copy_from_slice(&crc.to_le_bytes());
        self.clear();
        Bytes::from(block)
    }

    /// Empties the builder and keeps its buffers.
    fn clear(&mut self) {
        self.records.clear();
        self.texts.clear();
        self.numbers.clear();
        self.text_bytes = 0;
        self.recent = [0; Field::COUNT];
        self.last_observed = 0;
        self.fields = FieldsV2 { columns: vec![Vec::new(); Field::COUNT], ..FieldsV2::default() };
    }
}

/// Compresses `raw` behind what `block` holds; returns how many bytes that made.
fn compress_into(block: &mut Vec<u8>, raw: &[u8], level: i32) -> usize {
    let start = block.len();
    let bound = zstd::zstd_safe::compress_bound(raw.len());
    block.resize(start + bound, 0);
    let written = zstd::bulk::compress_to_buffer(raw, &mut block[start..], level)
        .expect("the buffer has zstd's own bound");
    block.truncate(start + written);
    written
}

/// CRC-32C over a block, its own place taken as zero-length.
fn checksum(block: &[u8]) -> u32 {
    let head = crc32c::crc32c(&block[..CRC_AT.start]);
    crc32c::crc32c_append(head, &block[CRC_AT.end..])
}

/// A block whose header and checksum are right; its parts are decompressed on demand.
#[derive(Clone, Debug)]
pub struct Block {
    bytes: Bytes,
    alerts: u16,
    fields_raw: usize,
    fields_zstd: usize,
    records_raw: usize,
}

impl Block {
    /// Checks the header, the bounds and the checksum of `bytes`. Nothing is decompressed.
    ///
    /// # Errors
    /// Says what is wrong; never panics, whatever the input.
    pub fn parse(bytes: Bytes) -> Result<Self, BlockError> {
        let within = |what, got: usize, max: usize| {
            if got <= max { Ok(got) } else { Err(BlockError::TooLarge { what, got, max }) }
        };
        if bytes.len() < HEADER_BYTES {
            return Err(BlockError::Length { expected: HEADER_BYTES, got: bytes.len() });
        }
        within("length", bytes.len(), BLOCK_BYTES_MAX)?;
        if &bytes[..3] != MAGIC {
            return Err(BlockError::Magic);
        }
        if !VERSIONS.contains(&bytes[3]) {
            return Err(BlockError::Version(bytes[3]));
        }
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize
        };
        let alerts = u16::from_le_bytes([bytes[4], bytes[5]]);
        within("count of alerts", usize::from(alerts), BLOCK_ALERTS_MAX)?;
        let fields_raw = within("size of fields", word(8), BLOCK_FIELD_BYTES_MAX)?;
        let records_raw = within("size of records", word(16), BLOCK_RECORD_BYTES_MAX)?;
        let (fields_zstd, records_zstd) = (word(12), word(20));
        let expected = HEADER_BYTES.saturating_add(fields_zstd).saturating_add(records_zstd);
        if expected != bytes.len() {
            return Err(BlockError::Length { expected, got: bytes.len() });
        }
        if alerts == 0 || bytes[6..8] != [0, 0] {
            return Err(BlockError::Fields("no alerts, or reserved bytes in use"));
        }
        let (stored, computed) = (u32::try_from(word(24)).unwrap_or(0), checksum(&bytes));
        if stored != computed {
            return Err(BlockError::Checksum { stored, computed });
        }
        Ok(Self { bytes, alerts, fields_raw, fields_zstd, records_raw })
    }

    /// Returns the bytes as they were spooled, sent and stored.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Returns its checksum, which was compared when it was parsed.
    #[must_use]
    pub fn checksum(&self) -> u32 {
        let bytes = self.bytes[CRC_AT].try_into().expect("a block has a whole header");
        u32::from_le_bytes(bytes)
    }

    /// Returns how many alerts it holds: 1 to [`BLOCK_ALERTS_MAX`].
    #[must_use]
    pub fn alerts(&self) -> u16 {
        self.alerts
    }

    /// Decompresses the fields.
    ///
    /// # Errors
    /// Says what is wrong; never panics, whatever the input.
    pub fn decompress_fields(&self) -> Result<FieldBytes, BlockError> {
        let part = &self.bytes[HEADER_BYTES..HEADER_BYTES + self.fields_zstd];
        let raw = decompress(part, self.fields_raw, "fields")?;
        let (version, alerts) = (self.bytes[3], usize::from(self.alerts));
        Ok(FieldBytes { raw, version, alerts, records_raw: self.records_raw })
    }

    /// Decompresses the records and returns them one by one, byte for byte as the detector wrote them.
    ///
    /// # Errors
    /// Says what is wrong; never panics, whatever the input.
    pub fn records(&self) -> Result<Vec<Bytes>, BlockError> {
        let fields = self.decompress_fields()?;
        let lens = fields.decode()?.fields.record_lens;
        let part = &self.bytes[HEADER_BYTES + self.fields_zstd..];
        let mut raw = Bytes::from(decompress(part, self.records_raw, "records")?);
        Ok(lens.into_iter().map(|len| raw.split_to(len as usize)).collect())
    }
}

/// Decompresses `part`, which must give exactly `size` bytes.
fn decompress(part: &[u8], size: usize, what: &'static str) -> Result<Vec<u8>, BlockError> {
    match zstd::bulk::decompress(part, size) {
        Ok(raw) if raw.len() == size => Ok(raw),
        Ok(_) | Err(_) => Err(BlockError::Compression(what)),
    }
}

/// The decompressed fields of a block.
#[derive(Debug)]
pub struct FieldBytes {
    raw: Vec<u8>,
    version: u8,
    alerts: usize,
    records_raw: usize,
}

impl FieldBytes {
    /// Decodes the columns and checks that they agree.
    ///
    /// # Errors
    /// Says what is wrong; never panics, whatever the input.
    pub fn decode(&self) -> Result<Fields<'_>, BlockError> {
        let mut fields: FieldsV2<'_> = match self.version {
            1 => codec::decode::<FieldsV1<'_>>(&self.raw).map(Into::into),
            _ => codec::decode(&self.raw),
        }
        .map_err(|_| BlockError::Fields("encoding"))?;
        let full = |len: usize| len == self.alerts;
        let optional = |len: usize| len == 0 || full(len);
        if ![fields.record_lens.len(), fields.observed.len(), fields.time.len()]
            .into_iter()
            .all(full)
            || ![fields.severity.len(), fields.action.len(), fields.context.len()]
                .into_iter()
                .all(full)
            || !optional(fields.src_port.len())
            || ![fields.dst_port.len(), fields.handling.len(), fields.further.len()]
                .into_iter()
                .all(optional)
            || fields.columns.len() < Field::COUNT_V2
            || !fields.columns.iter().all(|column| optional(column.len()))
        {
            return Err(BlockError::Fields("columns of different lengths"));
        }
        fields.columns.resize(Field::COUNT, Vec::new());
        let texts = u32::try_from(fields.texts.len()).unwrap_or(u32::MAX);
        if fields.columns.iter().flatten().any(|number| *number > texts) {
            return Err(BlockError::Fields("a text that is not in the dictionary"));
        }
        if fields.texts.iter().any(|text| text.len() > FIELD_BYTES_MAX || text.is_empty()) {
            return Err(BlockError::Fields("a text that is empty or too long"));
        }
        let lens: u64 = fields.record_lens.iter().map(|len| u64::from(*len)).sum();
        if lens != self.records_raw as u64 {
            return Err(BlockError::Fields("lengths that do not add up to the records"));
        }
        let mut observed = Vec::with_capacity(self.alerts);
        let mut at = 0_i64;
        for difference in &fields.observed {
            at = at.wrapping_add(*difference);
            observed.push(u64::try_from(at).map_err(|_| BlockError::Fields("a time before 1970"))?);
        }
        Ok(Fields { fields, observed })
    }
}

/// The decoded fields of a block: its alerts without their records.
#[derive(Debug)]
pub struct Fields<'a> {
    fields: FieldsV2<'a>,
    observed: Vec<u64>,
}

impl<'a> Fields<'a> {
    /// Returns how many alerts there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.observed.len()
    }

    /// Returns whether there are none, which no valid block says.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.observed.is_empty()
    }

    /// Returns the dictionary; text number `n` stands at `n - 1`.
    #[must_use]
    pub fn texts(&self) -> &[&'a str] {
        &self.fields.texts
    }

    /// Returns the number of the alert's text of `field` in the dictionary, zero if it is absent. Within one
    /// block equal texts have equal numbers, so numbers can be compared and counted in place of texts.
    #[must_use]
    pub fn number(&self, position: usize, field: Field) -> u32 {
        self.fields.columns[field as usize].get(position).copied().unwrap_or(0)
    }

    /// Returns the text of `field` of the alert at `position`.
    #[must_use]
    pub fn text(&self, position: usize, field: Field) -> Option<&'a str> {
        let number = self.number(position, field) as usize;
        number.checked_sub(1).map(|index| self.fields.texts[index])
    }

    /// Returns the severity of the alert at `position`.
    #[must_use]
    pub fn severity(&self, position: usize) -> Severity {
        Severity::from_id(self.fields.severity[position])
    }

    /// Returns how the alert at `position` came to be sent.
    #[must_use]
    pub fn handling(&self, position: usize) -> Handling {
        Handling::from_id(self.fields.handling.get(position).copied().unwrap_or_default())
    }

    /// Returns how many alerts the one at `position` stands for, itself included.
    #[must_use]
    pub fn count(&self, position: usize) -> u64 {
        self.fields.further.get(position).copied().unwrap_or_default().saturating_add(1)
    }

    /// Returns when the agent read the alert at `position`.
    #[must_use]
    pub fn observed_at(&self, position: usize) -> Timestamp {
        Timestamp::from_ms(self.observed[position])
    }

    /// Returns when the alert at `position` happened, if its product says so.
    #[must_use]
    pub fn time(&self, position: usize) -> Option<Timestamp> {
        let difference = self.fields.time[position];
        let observed = i64::try_from(self.observed[position]).ok()?;
        let time = (difference != NO_TIME).then(|| observed.wrapping_add(difference))?;
        u64::try_from(time).ok().map(Timestamp::from_ms)
    }

    /// Returns the alert at `position`.
    ///
    /// # Panics
    /// If `position` is not below [`Self::len`].
    #[must_use]
    pub fn alert(&self, position: usize) -> Alert<'a> {
        let port = |column: &[u32]| {
            let port = column.get(position).copied().unwrap_or(0).checked_sub(1)?;
            u16::try_from(port).ok()
        };
        let mut alert = Alert {
            time: self.time(position),
            observed_at: self.observed_at(position),
            severity: self.severity(position),
            action: Action::from_id(self.fields.action[position]),
            src_port: port(&self.fields.src_port),
            dst_port: port(&self.fields.dst_port),
            context: ContextVersion(self.fields.context[position]),
            handling: self.handling(position),
            count: self.count(position),
            ..Alert::default()
        };
        for field in Field::ALL {
            if let Some(text) = self.text(position, field) {
                alert.set(field, Cow::Borrowed(text));
            }
        }
        alert
    }
}

#[cfg(test)]
mod tests;
