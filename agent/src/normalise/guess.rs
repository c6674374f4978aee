//! Guesses from a file's first lines which product wrote it.
//!
//! Each product's reader tries the lines: the one that finds the most of what it looks for is it, if
//! it finds at least [`LIKENESS_MIN`] values in a line that it can read. Objects that no product's reader knows are
//! some other product's, whose places only a field map can name.

use super::{Event, Kind, Normaliser, PRODUCTS, Product, Writing, paths::Slots};

/// Fewest values that a line has of its product, on average. Two are a time and some common word.
const LIKENESS_MIN: usize = 3;
/// What a line counts that names its product's own types or columns.
const NAMED: usize = 4;

impl Kind {
    /// Returns the kind whose records the lines look like; nothing where they look like none.
    #[must_use]
    pub fn guess(lines: &[&[u8]]) -> Option<Self> {
        let mut best = None;
        for product in PRODUCTS {
            let mut reader = Normaliser::new(Self::Product(product), "");
            let readable: Vec<usize> =
                lines.iter().filter_map(|line| likeness(product, &mut reader, line)).collect();
            let likeness: usize = readable.iter().sum();
            let is_better = best.is_none_or(|(most, _)| likeness > most);
            if likeness >= LIKENESS_MIN * readable.len().max(1) && is_better {
                best = Some((likeness, product));
            }
        }
        best.map(|(_, product)| Self::Product(product))
    }
}

/// Returns how many values of the product are in the line; nothing where its reader cannot read it.
fn likeness(product: &Product, reader: &mut Normaliser, line: &[u8]) -> Option<usize> {
    if reader.take_header(line) {
        return Some(NAMED);
    }
    let text = str::from_utf8(line).ok()?;
    let is_object = text.trim_ascii_start().starts_with('{');
    if is_object && matches!(product.writing, Writing::Syslog) {
        return None;
    }
    let mut found = Slots::default();
    reader.read(text, &mut found).ok()?;
    if found.stopped {
        return Some(NAMED);
    }
    match (product.event)(&found) {
        Event::Untyped => Some(0),
        Event::Alert | Event::Other => Some(found.count()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guess(lines: &[&str]) -> Option<&'static str> {
        let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
        match Kind::guess(&lines)? {
            Kind::Product(product) => Some(product.kind),
            Kind::JsonLines(_) => None,
        }
    }

    #[test]
    fn each_products_records_are_known_by_what_is_in_them() {
        let eve = r#"{"timestamp":"2026-11-02T09:12:33Z","event_type":"alert","src_ip":"10.0.0.5",
            "proto":"TCP","alert":{"signature_id":1,"signature":"s","severity":1}}"#;
        let flow = r#"{"timestamp":"2026-11-02T09:12:33Z","event_type":"flow"}"#;
        let wazuh = r#"{"timestamp":"2026-11-02T09:12:33Z","rule":{"level":3,"id":"1",
            "description":"d"},"agent":{"id":"001","name":"a"}}"#;
        let falco = r#"{"time":"2026-11-02T09:12:33Z","rule":"r","priority":"Error","output":"o",
            "source":"syscall"}"#;
        let notice = r#"{"ts":1793610753.1,"note":"A::B","msg":"m","id.orig_h":"10.0.0.5"}"#;
        let conn = r#"{"_path":"conn","ts":1793610753.1}"#;
        for (line, kind) in [
            (eve, "suricata_eve"),
            (flow, "suricata_eve"),
            (wazuh, "wazuh"),
            (falco, "falco"),
            (notice, "zeek_notice"),
            (conn, "zeek_notice"),
            ("#separator \\x09", "zeek_notice"),
            ("<35>Nov  2 09:12:33 gw sshd[7]: refused", "syslog"),
            ("CEF:0|Acme|Wall|1|4711|Port scan|8|src=10.0.0.5", "syslog"),
        ] {
            assert_eq!(guess(&[line]), Some(kind), "{line}");
        }
        assert_eq!(guess(&[flow, flow, eve, "{\"cut"]), Some("suricata_eve"));
    }

    #[test]
    fn records_of_no_known_product_are_not_guessed_at() {
        for lines in [
            &[][..],
            &[""],
            &["plain text"],
            &[r#"{"time":1793610753,"message":"m","client":{"address":"10.0.0.5"}}"#],
            &[r#"{"timestamp":1793610753,"proto":"tcp"}"#],
        ] {
            assert_eq!(guess(lines), None, "{lines:?}");
        }
    }
}
