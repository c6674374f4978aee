//! Blocks that are none, whose parts disagree, or that unpack to more than they say.
//!
//! The coordinator looks at a block's fields before it stores it, and at its records when somebody reads them: a block
//! whose records are broken is stored, and its alerts are shown with why they have none.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use shared::{
    alert::{Alert, Field, Severity},
    block::{BlockBuilder, HEADER_BYTES},
    wire::codec,
};

use super::{
    Must, Suite,
    arena::{ATTACKER, Arena, Member, now},
    client::{Line, Session},
    frames::BREACH,
};

/// What hides in a few kilobytes.
const BOMB_BYTES: usize = 256 << 20;
/// Fields and records, as a header says how many bytes they have.
const FIELDS_RAW_AT: usize = 8;
const RECORDS_RAW_AT: usize = 16;
const CRC_AT: usize = 24;

const STORED: Must = Must::new(
    "it is stored, and the tenant's alerts can still be read",
    &["stored and read with records"],
    &["signalbox_blocks_stored_total"],
);

/// What the search says in place of a record that cannot be unpacked.
const NO_RECORD: &str = "record_unreadable";
const UNREADABLE: Must = Must::new(
    "the tenant's alerts can still be read, with why they have no record, and that is counted",
    &["stored and read without records"],
    &["signalbox_records_unreadable_total"],
);

/// A block's fields as its format has them.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Fields {
    texts: Vec<String>,
    record_lens: Vec<u32>,
    observed: Vec<i64>,
    time: Vec<i64>,
    severity: Vec<u8>,
    action: Vec<u8>,
    src_port: Vec<u32>,
    dst_port: Vec<u32>,
    context: Vec<u64>,
    columns: Vec<Vec<u32>>,
    handling: Vec<u8>,
    further: Vec<u64>,
}

pub(super) fn run(suite: &mut Suite<'_>) -> Result<()> {
    let good = good()?;
    headers(suite, &good)?;
    let (fields, records) = parts(&good)?;
    compressions(suite, &good, &fields, &records)?;
    disagreements(suite, &fields, &records)?;
    oddities(suite, &fields, &records)
}

fn good() -> Result<Bytes> {
    let mut builder = BlockBuilder::new();
    for number in 0..2 {
        let mut alert = Alert::default();
        (alert.observed_at, alert.severity) = (now(), Severity::High);
        alert.set(Field::DeviceHostname, format!("host-{number}"));
        builder.push(&alert, b"a record")?;
    }
    Ok(builder.finish(1))
}

/// Returns a block's fields, unpacked, and its records, unpacked.
fn parts(block: &[u8]) -> Result<(Fields, Vec<u8>)> {
    let word = |at: usize| {
        let bytes = block.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map(|bytes| u32::from_le_bytes(bytes) as usize).context("a header")
    };
    let (fields_len, fields, records) = (word(12)?, word(FIELDS_RAW_AT)?, word(RECORDS_RAW_AT)?);
    let (packed_fields, packed_records) =
        block[HEADER_BYTES..].split_at_checked(fields_len).context("two parts")?;
    let fields = zstd::bulk::decompress(packed_fields, fields)?;
    Ok((codec::decode(&fields)?, zstd::bulk::decompress(packed_records, records)?))
}

/// What a header says beside its parts.
#[derive(Clone, Copy)]
struct Header {
    version: u8,
    alerts: usize,
    fields_raw: usize,
    records_raw: usize,
}

/// Puts a block together, with its checksum.
fn build(header: Header, fields: &[u8], records: &[u8]) -> Bytes {
    let Header { version, alerts, fields_raw, records_raw } = header;
    let mut block = b"SBK".to_vec();
    block.push(version);
    block.extend_from_slice(&u16::try_from(alerts).unwrap_or(u16::MAX).to_le_bytes());
    block.extend_from_slice(&[0; 2]);
    for len in [fields_raw, fields.len(), records_raw, records.len()] {
        block.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
    }
    block.extend_from_slice(&[0; 4]);
    block.extend_from_slice(fields);
    block.extend_from_slice(records);
    Bytes::from(summed(block))
}

/// Puts the right checksum into a block.
fn summed(mut block: Vec<u8>) -> Vec<u8> {
    let head = crc32c::crc32c(&block[..CRC_AT]);
    let sum = crc32c::crc32c_append(head, &block[HEADER_BYTES..]);
    block[CRC_AT..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
    block
}

/// Puts a block of these fields together.
fn of(fields: &Fields, records: &[u8]) -> Result<Bytes> {
    let raw = codec::encode(fields)?;
    let header = Header {
        version: 2,
        alerts: fields.record_lens.len(),
        fields_raw: raw.len(),
        records_raw: records.len(),
    };
    Ok(build(header, &zstd::bulk::compress(&raw, 1)?, &zstd::bulk::compress(records, 1)?))
}

/// Has a new agent of a tenant send a block.
async fn send(arena: &Arena, tenant: &str, block: &Bytes) -> Result<(String, Member)> {
    let (line, member) = (Line::udp(arena).await?, arena.member(tenant)?);
    Ok((Session::open(&line, &member).await?.store(block).await?, member))
}

fn refused(suite: &mut Suite<'_>, name: &str, block: &Bytes) -> Result<()> {
    let arena = suite.arena;
    suite.attempt(name, &BREACH, async { Ok(send(arena, ATTACKER, block).await?.0) })
}

fn headers(suite: &mut Suite<'_>, good: &Bytes) -> Result<()> {
    let changed = |at: usize, bytes: &[u8]| {
        let mut block = good.to_vec();
        block[at..at + bytes.len()].copy_from_slice(bytes);
        Bytes::from(summed(block))
    };
    let mut damaged = good.to_vec();
    damaged[HEADER_BYTES + 3] ^= 1;
    let noise: Vec<u8> = (0..4_096).map(|_| rand::random()).collect();
    let blocks = [
        ("a block of noise", Bytes::from(noise)),
        ("a block that is a header's beginning", good.slice(..HEADER_BYTES - 1)),
        ("a block that lacks its end", good.slice(..good.len() - 1)),
        ("a block with a byte too many", Bytes::from([&good[..], b"x"].concat())),
        ("a block of another magic", changed(0, b"SBX")),
        ("a block of a version to come", changed(3, &[3])),
        ("a block of version 0", changed(3, &[0])),
        ("a block without alerts", changed(4, &[0, 0])),
        ("a block of too many alerts", changed(4, &[1, 2])),
        ("a block with reserved bytes in use", changed(6, &[1, 0])),
        ("a block whose fields are said to be 4 GiB", changed(FIELDS_RAW_AT, &[255; 4])),
        ("a block whose records are said to be 4 GiB", changed(RECORDS_RAW_AT, &[255; 4])),
        ("a block whose parts are said to be longer", changed(12, &[255; 4])),
        ("a block with a flipped bit", Bytes::from(damaged)),
    ];
    blocks.iter().try_for_each(|(name, block)| refused(suite, name, block))
}

/// Parts that do not unpack to what the header says.
fn compressions(
    suite: &mut Suite<'_>,
    good: &Bytes,
    fields: &Fields,
    records: &[u8],
) -> Result<()> {
    let raw = codec::encode(fields)?;
    let (fields_raw, records_raw) = (raw.len(), records.len());
    let header = Header { version: 2, alerts: 2, fields_raw, records_raw };
    let (packed, packed_records) =
        (zstd::bulk::compress(&raw, 1)?, zstd::bulk::compress(records, 1)?);
    let bomb = zstd::bulk::compress(&vec![0; BOMB_BYTES], 19)?;
    let largest = Header { fields_raw: 1 << 20, records_raw: 1 << 20, ..header };
    let sized = |fields_raw| Header { fields_raw, ..header };
    let blocks = [
        ("a block whose fields unpack to 256 MiB", build(largest, &bomb, &packed_records)),
        ("a block whose fields are not packed", build(header, &raw, &packed_records)),
        ("a block without fields", build(sized(0), &[], &packed_records)),
        ("a block whose fields are larger", build(sized(fields_raw - 1), &packed, &packed_records)),
        (
            "a block whose fields are smaller",
            build(sized(fields_raw + 1), &packed, &packed_records),
        ),
        (
            "a block of one version in the other's form",
            build(Header { version: 1, ..header }, &packed, &packed_records),
        ),
    ];
    blocks.iter().try_for_each(|(name, block)| refused(suite, name, block))?;
    let stored = [
        (
            "a block whose records unpack to 256 MiB",
            build(Header { records_raw, ..header }, &packed, &bomb),
        ),
        ("a block whose records are not packed", build(header, &packed, records)),
    ];
    stored.iter().try_for_each(|(name, block)| stored_and_read(suite, name, &UNREADABLE, block))?;
    ensure_good(suite, good)
}

/// Has a good block stored: what the others are made from is not what is refused.
fn ensure_good(suite: &mut Suite<'_>, good: &Bytes) -> Result<()> {
    harmless(suite, "a block as it should be", good)
}

/// Sends a block that is stored and as good as any.
fn harmless(suite: &mut Suite<'_>, name: &str, block: &Bytes) -> Result<()> {
    stored_and_read(suite, name, &STORED, block)
}

/// Sends a block that is stored, and reads all that its tenant has.
///
/// The tenant has nothing else: what one block spoils is not to be laid to the next.
fn stored_and_read(suite: &mut Suite<'_>, name: &str, must: &Must, block: &Bytes) -> Result<()> {
    let arena = suite.arena;
    let tenant = format!("{ATTACKER}-{}", suite.attempts.len());
    suite.attempt(name, must, async {
        let (stored, member) = send(arena, &tenant, block).await?;
        if stored != "acked 1" {
            return Ok(stored);
        }
        let tenant = member.tenant.as_str();
        let mut found = String::new();
        for args in [
            &["search", "--tenant", tenant, "--record", "--all"][..],
            &["search", "--tenant", tenant, "--all"],
            &["cases", "--tenant", tenant, "--all"],
        ] {
            match arena.cluster.cli(args) {
                Ok(answer) => found.push_str(&answer.to_string()),
                Err(error) => return Ok(format!("stored, and then {error:#}")),
            }
        }
        let how = if found.contains(NO_RECORD) { "without" } else { "with" };
        Ok(format!("stored and read {how} records"))
    })
}

/// Fields that do not agree with each other or with the records.
fn disagreements(suite: &mut Suite<'_>, fields: &Fields, records: &[u8]) -> Result<()> {
    let changed = |change: fn(&mut Fields)| {
        let mut fields = fields.clone();
        change(&mut fields);
        of(&fields, records)
    };
    let raw = codec::encode(fields)?;
    let cut = |raw: &[u8]| {
        let header = Header {
            version: 2,
            alerts: fields.record_lens.len(),
            fields_raw: raw.len(),
            records_raw: records.len(),
        };
        let packed = zstd::bulk::compress(raw, 1)?;
        anyhow::Ok(build(header, &packed, &zstd::bulk::compress(records, 1)?))
    };
    let blocks = [
        ("fields without their last byte", cut(&raw[..raw.len() - 1])?),
        ("fields with a byte too many", cut(&[&raw[..], b"x"].concat())?),
        ("fields of zeros", cut(&vec![0; raw.len()])?),
        ("fields that claim 2^60 texts", cut(&[&[253][..], &[255; 7], &[15], &raw].concat())?),
        ("records longer than there are", changed(|it| it.record_lens[0] += 1)?),
        ("records shorter than there are", changed(|it| it.record_lens[0] -= 1)?),
        ("records of 4 GiB", changed(|it| it.record_lens[0] = u32::MAX)?),
        ("a column that is too short", changed(|it| it.severity.truncate(1))?),
        ("a column that is too long", changed(|it| it.context.push(1))?),
        ("ports of one alert", changed(|it| it.src_port = vec![1])?),
        ("a column of texts that is too short", changed(|it| it.columns[0] = vec![1])?),
        ("too few columns of texts", changed(|it| it.columns.truncate(3))?),
        ("too many columns of texts", changed(|it| it.columns.resize(257, Vec::new()))?),
        ("a text that is not in the dictionary", changed(|it| it.columns[0] = vec![1, 99])?),
        ("a text that is empty", changed(|it| it.texts[0].clear())?),
        ("a text that is too long", changed(|it| it.texts[0] = "x".repeat(5_000))?),
        ("a dictionary of a million texts", changed(|it| it.texts = vec![String::new(); 999_999])?),
    ];
    blocks
        .iter()
        .try_for_each(|(name, block)| refused(suite, &format!("a block with {name}"), block))
}

/// Values that no agent sends and that are allowed.
fn oddities(suite: &mut Suite<'_>, fields: &Fields, records: &[u8]) -> Result<()> {
    let changed = |change: fn(&mut Fields)| {
        let mut fields = fields.clone();
        change(&mut fields);
        of(&fields, records)
    };
    let blocks = [
        ("alerts that stand for 2^64 each", changed(|it| it.further = vec![u64::MAX; 2])?),
        (
            "unknown severities and actions",
            changed(|it| {
                (it.severity, it.action) = (vec![255; 2], vec![255; 2]);
            })?,
        ),
        ("ports beyond all", changed(|it| it.src_port = vec![u32::MAX; 2])?),
        ("alerts from before all time", changed(|it| it.time = vec![i64::MIN; 2])?),
        ("alerts from after all time", changed(|it| it.time = vec![i64::MAX - 1; 2])?),
        (
            "markup and escapes in a host's name",
            changed(|it| {
                it.texts[0] = "\u{1b}[2J\"}],{\"tenant\":\"globex\"<script>\r\n\0".to_owned();
            })?,
        ),
    ];
    blocks
        .iter()
        .try_for_each(|(name, block)| harmless(suite, &format!("a block with {name}"), block))
}
