//! Writes Windows event log files as they are specified: a header, and chunks with events as binary XML.

const CHUNK_BYTES: usize = 64 << 10;
const CHUNK_HEADER_BYTES: usize = 512;
const HEADER_BYTES: usize = 4096;
/// 2026-11-02 08:00 UTC as a FILETIME.
const WRITTEN_AT: u64 = 134_379_936_000_000_000;

/// Returns a log of these chunks, each of the events with these ids. `at_home` says which id each had on the host that
/// it comes from.
pub(crate) fn log_file(
    chunks: &[std::ops::RangeInclusive<u64>],
    at_home: impl Fn(u64) -> u64,
) -> Vec<u8> {
    let mut file = header(chunks.len() as u16);
    for ids in chunks {
        let mut chunk = vec![0; CHUNK_HEADER_BYTES];
        for id in ids.clone() {
            let at = chunk.len();
            event(&mut chunk, id, at_home(id));
            let size = (chunk.len() + 4 - at) as u32;
            chunk.extend(size.to_le_bytes());
            chunk[at + 4..at + 8].copy_from_slice(&size.to_le_bytes());
        }
        let free = chunk.len() as u32;
        assert!(chunk.len() <= CHUNK_BYTES, "a chunk has room for fewer");
        chunk[..8].copy_from_slice(b"ElfChnk\0");
        for (at, id) in [(8, ids.start()), (16, ids.end()), (24, ids.start()), (32, ids.end())] {
            chunk[at..at + 8].copy_from_slice(&id.to_le_bytes());
        }
        chunk[40..44].copy_from_slice(&128_u32.to_le_bytes());
        chunk[48..52].copy_from_slice(&free.to_le_bytes());
        chunk.resize(CHUNK_BYTES, 0);
        file.extend(chunk);
    }
    file
}

fn header(chunks: u16) -> Vec<u8> {
    let mut header = vec![0; HEADER_BYTES];
    header[..8].copy_from_slice(b"ElfFile\0");
    header[32..36].copy_from_slice(&128_u32.to_le_bytes());
    header[36..38].copy_from_slice(&1_u16.to_le_bytes());
    header[38..40].copy_from_slice(&3_u16.to_le_bytes());
    header[40..42].copy_from_slice(&4096_u16.to_le_bytes());
    header[42..44].copy_from_slice(&chunks.to_le_bytes());
    header
}

/// Appends an event, but for the copy of its size at its end.
fn event(out: &mut Vec<u8>, id: u64, id_at_home: u64) {
    out.extend(b"\x2a\x2a\0\0\0\0\0\0");
    out.extend(id.to_le_bytes());
    out.extend(WRITTEN_AT.to_le_bytes());
    out.extend([0x0f, 1, 1, 0]);
    start(out, "Event");
    start(out, "System");
    value(out, "EventID", "4625");
    value(out, "EventRecordID", &id_at_home.to_string());
    value(out, "Channel", "Security");
    value(out, "Computer", "dc1.acme.example");
    out.push(0x04);
    out.push(0x04);
    out.push(0x00);
}

/// Begins an element that has others in it.
fn start(out: &mut Vec<u8>, name: &str) {
    open(out, name);
    out.push(0x02);
}

/// Appends an element with a text.
fn value(out: &mut Vec<u8>, name: &str, text: &str) {
    start(out, name);
    out.extend([0x05, 0x01]);
    out.extend((text.len() as u16).to_le_bytes());
    out.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
    out.push(0x04);
}

fn open(out: &mut Vec<u8>, name: &str) {
    out.push(0x01);
    out.extend([0; 4]); // its length, which nobody needs
    let at = out.len() + 4; // the name follows its own place
    out.extend((at as u32).to_le_bytes());
    out.extend([0; 6]); // no further name, and a hash that nobody needs
    out.extend((name.len() as u16).to_le_bytes());
    out.extend(name.encode_utf16().flat_map(u16::to_le_bytes));
    out.extend([0; 2]);
}
