use super::*;

#[test]
fn whole_records_in_any_number_of_blocks_are_sound() {
    for length in [0, 1, 100, 32_761, 32_762, 70_000] {
        let log = log_of(&[length, length, 5]);
        assert_eq!(verdict(&[&log]), "sound", "{length} bytes");
        let mut reserved = log;
        reserved.resize(reserved.len() + 50_000, 0);
        assert_eq!(verdict(&[&reserved]), "sound", "{length} bytes with room reserved");
    }
    assert_eq!(verdict(&[]), "sound");
}

#[test]
fn a_last_record_cut_anywhere_is_a_torn_end() {
    let start = log_of(&[100]).len();
    let log = log_of(&[100, 70_000]);
    let (second, third) = (BLOCK_BYTES, 2 * BLOCK_BYTES);
    for (length, fragment) in [
        (start + 1, start),
        (start + 7, start),
        (second - 1, start),
        (second + 1, second),
        (third - 1, second),
        (third + 6, third),
        (log.len() - 1, third),
    ] {
        assert_eq!(verdict(&[&log[..length]]), format!("torn 1 {fragment}"), "cut at {length}");
    }
}

#[test]
fn a_hole_in_the_last_record_is_a_torn_end() {
    let mut log = log_of(&[100, 100_000]);
    log[BLOCK_BYTES..2 * BLOCK_BYTES].fill(0);
    assert_eq!(verdict(&[&log]), format!("torn 1 {BLOCK_BYTES}"));
}

#[test]
fn a_flipped_bit_before_another_record_is_damage() {
    let first = log_of(&[100]).len();
    for at in [0, 4, 6, 7, 50] {
        let mut log = log_of(&[100, 200, 300]);
        log[first + at] ^= 4;
        assert_eq!(verdict(&[&log]), format!("damaged 1 {first}"), "byte {at}");
    }
}

#[test]
fn a_torn_end_with_a_later_log_after_it_is_damage() {
    let log = log_of(&[100, 200]);
    let torn = &log[..log.len() - 1];
    assert_eq!(verdict(&[torn, &log_of(&[])]), "torn 1 107");
    assert_eq!(verdict(&[torn, &log_of(&[1])]), "damaged 1 107");
    assert_eq!(verdict(&[&log, torn]), "torn 2 107");
}

fn verdict(logs: &[&[u8]]) -> String {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("MANIFEST-000001"), "not a log").unwrap();
    for (number, log) in logs.iter().enumerate() {
        fs::write(folder.path().join(format!("{:06}.log", number + 1)), log).unwrap();
    }
    let number = |path: PathBuf| {
        path.file_stem().unwrap().to_str().unwrap().trim_start_matches('0').to_owned()
    };
    match check(folder.path()).unwrap() {
        Verdict::Sound => "sound".to_owned(),
        Verdict::TornEnd { path, offset } => format!("torn {} {offset}", number(path)),
        Verdict::Damaged { path, offset } => format!("damaged {} {offset}", number(path)),
    }
}

/// Returns a log of records with the given lengths, laid out as RocksDB does.
fn log_of(lengths: &[usize]) -> Vec<u8> {
    let mut log = Vec::new();
    for (number, length) in lengths.iter().enumerate() {
        let record = vec![u8::try_from(number).unwrap() + 1; *length];
        let mut rest = &record[..];
        let mut first = true;
        loop {
            let mut room = BLOCK_BYTES - log.len() % BLOCK_BYTES;
            if room < HEADER_BYTES {
                log.resize(log.len() + room, 0);
                room = BLOCK_BYTES;
            }
            let (fragment, after) = rest.split_at(rest.len().min(room - HEADER_BYTES));
            let last = after.is_empty();
            let kind = match (first, last) {
                (true, true) => KIND_WHOLE,
                (true, false) => KIND_FIRST,
                (false, false) => 3,
                (false, true) => 4,
            };
            let checked = [&[kind], fragment].concat();
            log.extend(masked(crc32c::crc32c(&checked)).to_le_bytes());
            log.extend(u16::try_from(fragment.len()).unwrap().to_le_bytes());
            log.extend(checked);
            rest = after;
            first = false;
            if last {
                break;
            }
        }
    }
    log
}
