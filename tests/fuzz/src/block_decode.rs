//! `Block`: a block's bytes, and the columns in it.

use bytes::Bytes;
use shared::{
    alert::Field,
    block::{Block, BlockBuilder, BlockError, FieldBytes, HEADER_BYTES},
    limits::{BLOCK_ALERTS_MAX, BLOCK_FIELD_BYTES_MAX, BLOCK_RECORD_BYTES_MAX, FIELD_BYTES_MAX},
};

use super::input::Input;

/// Most bytes of a zstd frame that is one block.
const ZSTD_BLOCK_BYTES_MAX: usize = 128 << 10;

/// Reads `data` as a block, or as the columns of one, as its first byte says; checksums are made good, since no
/// mutation would. What decodes keeps its bounds, and its alerts can be packed again.
///
/// # Panics
/// If not so.
pub fn block_decode(data: &[u8]) {
    let mut input = Input::new(data);
    let block = if input.byte().is_multiple_of(2) {
        Bytes::copy_from_slice(input.bytes(usize::MAX))
    } else {
        around_columns(&mut input)
    };
    let Some(block) = parse(block) else { return };
    assert!((1..=BLOCK_ALERTS_MAX).contains(&usize::from(block.alerts())));
    let Ok(raw) = block.decompress_fields() else {
        assert!(block.records().is_err(), "records need the fields");
        return;
    };
    let records = block.records();
    if check_fields(&block, &raw)
        && let Ok(records) = records
    {
        pack_again(&raw, &records);
    }
}

/// Parses a block, with its checksum made good.
fn parse(bytes: Bytes) -> Option<Block> {
    match Block::parse(bytes.clone()) {
        Ok(block) => Some(block),
        Err(BlockError::Checksum { computed, .. }) => {
            let mut bytes = bytes.to_vec();
            bytes[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&computed.to_le_bytes());
            let block = Block::parse(bytes.into());
            Some(block.expect("the checksum is checked last"))
        }
        Err(_) => None,
    }
}

/// Returns a block of which the rest of the input is the columns, uncompressed.
fn around_columns(input: &mut Input<'_>) -> Bytes {
    let alerts = u16::try_from(input.number()).unwrap_or(u16::MAX);
    let records = vec![b'r'; input.number().min(ZSTD_BLOCK_BYTES_MAX)];
    let columns = input.bytes(ZSTD_BLOCK_BYTES_MAX);
    let (fields_zstd, records_zstd) = (stored(columns), stored(&records));
    let mut block = b"SBK\x01".to_vec();
    block.extend_from_slice(&alerts.to_le_bytes());
    block.extend_from_slice(&[0; 2]);
    for len in [columns.len(), fields_zstd.len(), records.len(), records_zstd.len(), 0] {
        block.extend_from_slice(&u32::try_from(len).expect("short").to_le_bytes());
    }
    block.extend_from_slice(&fields_zstd);
    block.extend_from_slice(&records_zstd);
    block.into()
}

/// Returns a zstd frame that holds `bytes` as they are (RFC 8878, section 3.1.1).
fn stored(bytes: &[u8]) -> Vec<u8> {
    let len = u32::try_from(bytes.len()).expect("short");
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0xa0];
    frame.extend_from_slice(&len.to_le_bytes());
    frame.extend_from_slice(&(len << 3 | 1).to_le_bytes()[..3]);
    frame.extend_from_slice(bytes);
    frame
}

/// Checks all that the columns say, and tells whether they decode.
fn check_fields(block: &Block, raw: &FieldBytes) -> bool {
    let Ok(fields) = raw.decode() else {
        assert!(block.records().is_err(), "records need the fields");
        return false;
    };
    assert_eq!(fields.len(), usize::from(block.alerts()));
    assert!(fields.texts().iter().all(|text| (1..=FIELD_BYTES_MAX).contains(&text.len())));
    assert!(fields.texts().iter().map(|text| text.len()).sum::<usize>() <= BLOCK_FIELD_BYTES_MAX);
    for at in 0..fields.len() {
        let alert = fields.alert(at);
        assert_eq!(alert.time, fields.time(at));
        for field in Field::ALL {
            assert!(fields.number(at, field) as usize <= fields.texts().len());
            assert_eq!(alert.text(field), fields.text(at, field));
        }
    }
    if let Ok(records) = block.records() {
        assert_eq!(records.len(), fields.len());
        assert!(records.iter().map(Bytes::len).sum::<usize>() <= BLOCK_RECORD_BYTES_MAX);
    }
    true
}

/// Packs the alerts again: whatever one block held and another takes reads back the same.
fn pack_again(raw: &FieldBytes, records: &[Bytes]) {
    let fields = raw.decode().expect("decoded before");
    let mut builder = BlockBuilder::new();
    let mut taken = Vec::new();
    for (at, record) in records.iter().enumerate() {
        if builder.push(&fields.alert(at), record).is_ok() {
            taken.push((fields.alert(at), record));
        }
    }
    if taken.is_empty() {
        return;
    }
    let block = Block::parse(builder.finish(1)).expect("what is made can be read");
    let raw = block.decompress_fields().expect("what is made can be read");
    let fields = raw.decode().expect("what is made can be read");
    let records = block.records().expect("what is made can be read");
    assert_eq!(records.len(), taken.len());
    for (at, (alert, record)) in taken.iter().enumerate() {
        assert_eq!(&records[at], *record);
        assert_eq!(&fields.alert(at), alert);
    }
}
