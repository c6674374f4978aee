use proptest::prelude::*;

use super::*;

fn alert(n: u64) -> Alert<'static> {
    let mut alert = Alert {
        time: Some(Timestamp::from_ms(1_760_000_000_000 + n)),
        observed_at: Timestamp::from_ms(1_760_000_000_500 + n * 3),
        severity: Severity::High,
        action: Action::Allowed,
        src_port: Some(u16::MAX),
        dst_port: Some(0),
        context: ContextVersion(7),
        ..Alert::default()
    };
    alert.set(Field::Title, format!("title {}", n % 3));
    alert.set(Field::SrcIp, format!("10.0.0.{}", n % 7));
    alert
}

fn block_of(count: u64) -> Bytes {
    let mut builder = BlockBuilder::new();
    for n in 0..count {
        builder.push(&alert(n), format!("{{\"n\":{n}}}").as_bytes()).unwrap();
    }
    builder.finish(1)
}

#[test]
fn a_block_gives_back_its_alerts_and_their_records_byte_for_byte() {
    let block = Block::parse(block_of(100)).unwrap();
    let raw = block.decompress_fields().unwrap();
    let fields = raw.decode().unwrap();
    let records = block.records().unwrap();
    assert_eq!((fields.len(), records.len()), (100, 100));
    for (n, record) in records.iter().enumerate() {
        assert_eq!(fields.alert(n), alert(n as u64));
        assert_eq!(*record, format!("{{\"n\":{n}}}"));
    }
}

#[test]
fn a_builder_that_was_emptied_remembers_nothing() {
    let mut builder = BlockBuilder::new();
    builder.push(&alert(1), b"a").unwrap();
    let first = builder.finish(1);
    builder.push(&alert(1), b"a").unwrap();
    assert_eq!(builder.finish(1), first);
    assert!(builder.is_empty());
}

#[test]
fn a_full_builder_refuses_and_stays_as_it_was() {
    let mut builder = BlockBuilder::new();
    for n in 0..BLOCK_ALERTS_MAX as u64 {
        builder.push(&alert(n), b"r").unwrap();
    }
    assert_eq!(builder.push(&alert(0), b"r"), Err(PushError::Full));
    assert_eq!(Block::parse(builder.finish(1)).unwrap().alerts() as usize, BLOCK_ALERTS_MAX);

    let long = vec![b'x'; RECORD_BYTES_MAX];
    for _ in 0..BLOCK_RECORD_BYTES_MAX / RECORD_BYTES_MAX {
        builder.push(&alert(0), &long).unwrap();
    }
    assert_eq!(builder.push(&alert(0), &long), Err(PushError::Full));
    let longer = vec![b'x'; RECORD_BYTES_MAX + 1];
    assert_eq!(
        BlockBuilder::new().push(&alert(0), &longer),
        Err(PushError::RecordTooLong(RECORD_BYTES_MAX + 1))
    );
}

#[test]
fn incompressible_texts_at_their_limit_still_make_a_block_within_its_bound() {
    let mut builder = BlockBuilder::new();
    let mut state = 1_u64;
    let mut letters = |len: usize| -> String {
        (0..len)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
                char::from(b' ' + u8::try_from(state >> 58).unwrap())
            })
            .collect()
    };
    loop {
        let mut alert = alert(0);
        for field in Field::ALL {
            alert.set(field, letters(FIELD_BYTES_MAX + 10));
        }
        let record = letters(20_000);
        if builder.push(&alert, record.as_bytes()) == Err(PushError::Full) {
            break;
        }
    }
    let block = Block::parse(builder.finish(1)).unwrap();
    assert!(block.alerts() > 10);
    assert_eq!(block.records().unwrap().len(), usize::from(block.alerts()));
}

#[test]
fn every_flipped_bit_is_noticed() {
    let good = block_of(5);
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bytes = good.to_vec();
            bytes[at] ^= 1 << bit;
            assert!(Block::parse(Bytes::from(bytes)).is_err(), "byte {at}, bit {bit}");
        }
    }
    assert!(Block::parse(good.slice(..good.len() - 1)).is_err());
}

#[test]
fn version_one_is_read_from_the_bytes_that_it_wrote() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/block_v1.bin");
    let block = Block::parse(Bytes::from(std::fs::read(path).unwrap())).unwrap();
    let raw = block.decompress_fields().unwrap();
    let fields = raw.decode().unwrap();
    assert!((0..20).all(|n| fields.alert(n) == alert(n as u64)));
}

fn detailed(n: u64) -> Alert<'static> {
    let mut alert = handled(n);
    for field in Field::ALL.into_iter().filter(|field| *field as usize >= Field::COUNT_V2) {
        alert.set(field, format!("{field:?} {}", n % 4));
    }
    alert
}

fn handled(n: u64) -> Alert<'static> {
    let handling = Handling::ALL[usize::try_from(n % 5).unwrap()];
    let mut alert = Alert { handling, count: 1 + n * n, ..alert(n) };
    alert.set(Field::PolicyRule, "quiet-scanner");
    alert
}

#[test]
fn version_two_is_read_from_the_bytes_that_it_wrote() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/block_v2.bin");
    let block = Block::parse(Bytes::from(std::fs::read(path).unwrap())).unwrap();
    let raw = block.decompress_fields().unwrap();
    let fields = raw.decode().unwrap();
    assert!((0..20).all(|n| fields.alert(n) == handled(n as u64)), "its 26 columns are enough");
}

#[test]
fn a_block_of_35_columns_is_read_from_its_bytes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/block_v2_35.bin");
    let block = Block::parse(Bytes::from(std::fs::read(path).unwrap())).unwrap();
    let raw = block.decompress_fields().unwrap();
    let fields = raw.decode().unwrap();
    let of_35 = |n| {
        let mut alert = detailed(n);
        [Field::UrlHost, Field::TlsName].into_iter().for_each(|field| alert.set(field, ""));
        alert
    };
    assert!((0..20).all(|n| fields.alert(n) == of_35(n as u64)));
}

#[test]
fn a_column_of_a_later_maker_is_passed_over() {
    let mut fields =
        FieldsV2 { columns: vec![Vec::new(); Field::COUNT + 3], ..FieldsV2::default() };
    for column in [&mut fields.observed, &mut fields.time] {
        column.push(1);
    }
    (fields.record_lens, fields.context) = (vec![0], vec![0]);
    (fields.severity, fields.action) = (vec![1], vec![0]);
    fields.texts = vec!["later", "title"];
    fields.columns[Field::Title as usize] = vec![2];
    fields.columns[Field::COUNT + 2] = vec![1];
    let raw = codec::encode(&fields).unwrap();
    let bytes = FieldBytes { raw, version: VERSION, alerts: 1, records_raw: 0 };
    let read = bytes.decode().unwrap();
    assert_eq!(read.alert(0).text(Field::Title), Some("title"));
}

#[test]
fn a_list_longer_than_any_block_has_is_refused_before_it_takes_memory() {
    let decoded = |fields: &FieldsV2<'_>| {
        let raw = codec::encode(fields).unwrap();
        FieldBytes { raw, version: VERSION, alerts: 1, records_raw: 0 }.decode().map(drop)
    };
    let wide = |columns| FieldsV2 { columns: vec![Vec::new(); columns], ..FieldsV2::default() };
    assert_eq!(decoded(&wide(COLUMNS_MAX + 1)), Err(BlockError::Fields("encoding")));
    let different = Err(BlockError::Fields("columns of different lengths"));
    assert_eq!(decoded(&wide(COLUMNS_MAX)), different, "it is read, and has no alert");
    let mut full = wide(Field::COUNT);
    full.texts = vec!["x"; TEXTS_MAX + 1];
    assert_eq!(decoded(&full), Err(BlockError::Fields("encoding")));
}

#[test]
fn what_is_written_now_is_read_from_its_bytes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/block_v2_37.bin");
    let block_of = |count| {
        let mut builder = BlockBuilder::new();
        for n in 0..count {
            builder.push(&detailed(n), format!("{{\"n\":{n}}}").as_bytes()).unwrap();
        }
        builder.finish(1)
    };
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, block_of(20)).unwrap();
    }
    let golden = Bytes::from(std::fs::read(path).unwrap());
    let block = Block::parse(golden).unwrap();
    let raw = block.decompress_fields().unwrap();
    let fields = raw.decode().unwrap();
    assert!((0..20).all(|n| fields.alert(n) == detailed(n as u64)));
    // The columns' bytes are ours to keep; zstd's may differ from version to version.
    let fresh = Block::parse(block_of(20)).unwrap().decompress_fields().unwrap();
    assert_eq!(raw.raw, fresh.raw);
}

/// Gives `bytes` the right length and checksum, so that what lies behind the checksum is reached.
fn sealed(mut bytes: Vec<u8>) -> Bytes {
    if bytes.len() >= HEADER_BYTES {
        let crc = checksum(&bytes);
        bytes[CRC_AT].copy_from_slice(&crc.to_le_bytes());
    }
    Bytes::from(bytes)
}

proptest! {
    #[test]
    fn bytes_from_outside_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(Block::parse(Bytes::from(bytes)));
    }

    #[test]
    fn a_sealed_block_with_changed_bytes_never_panics(at in 0_usize..400, to in any::<u8>()) {
        let mut bytes = block_of(9).to_vec();
        let at = at % bytes.len();
        bytes[at] = to;
        if let Ok(block) = Block::parse(sealed(bytes)) {
            if let Ok(raw) = block.decompress_fields() && let Ok(fields) = raw.decode() {
                (0..fields.len()).for_each(|n| drop(fields.alert(n)));
            }
            drop(block.records());
        }
    }
}
