//! One alert with its record, kept beyond the batch that it was read in.
//!
//! Its texts stand in one buffer, which is used again when another takes its place: a flood that is folded costs a
//! copy each, and no allocation. A buffer that is much larger than what takes its place is let go, so that memory is
//! what the bytes say, twice as much at most.

use shared::{
    alert::{Action, Alert, Field, Severity},
    context::ContextVersion,
    time::Timestamp,
};

/// How much larger than twice its content a buffer may be: less than it costs to ask for one.
const SPARE_BYTES: usize = 256;

/// An alert and its record.
#[derive(Debug, Default)]
pub struct Kept {
    record: Vec<u8>,
    texts: String,
    /// Which field's text ends where in `texts`.
    ends: Vec<(Field, usize)>,
    time: Option<Timestamp>,
    observed_at: Timestamp,
    severity: Severity,
    action: Action,
    src_port: Option<u16>,
    dst_port: Option<u16>,
    context: ContextVersion,
}

impl Kept {
    /// Returns how many bytes it takes to keep this.
    pub(super) fn size_of(alert: &Alert<'_>, record: &[u8]) -> usize {
        record.len()
            + Field::ALL.into_iter().filter_map(|f| alert.text(f)).map(str::len).sum::<usize>()
    }

    /// Returns how many bytes it takes.
    pub(super) fn bytes(&self) -> usize {
        self.record.len() + self.texts.len()
    }

    /// Keeps this in place of what was kept.
    pub(super) fn put(&mut self, alert: &Alert<'_>, record: &[u8]) {
        let texts = Self::size_of(alert, record) - record.len();
        self.record.clear();
        if self.record.capacity() > 2 * record.len() + SPARE_BYTES {
            self.record = Vec::with_capacity(record.len());
        }
        self.record.extend_from_slice(record);
        self.texts.clear();
        if self.texts.capacity() > 2 * texts + SPARE_BYTES {
            self.texts = String::with_capacity(texts);
        }
        self.ends.clear();
        for field in Field::ALL {
            if let Some(text) = alert.text(field) {
                self.texts.push_str(text);
                self.ends.push((field, self.texts.len()));
            }
        }
        self.time = alert.time;
        self.observed_at = alert.observed_at;
        self.severity = alert.severity;
        self.action = alert.action;
        self.src_port = alert.src_port;
        self.dst_port = alert.dst_port;
        self.context = alert.context;
    }

    /// Returns the record.
    #[must_use]
    pub fn record(&self) -> &[u8] {
        &self.record
    }

    /// Returns the alert as it was; how it is handled is for the caller to say.
    #[must_use]
    pub fn alert(&self) -> Alert<'_> {
        let mut alert = Alert::default();
        alert.time = self.time;
        alert.observed_at = self.observed_at;
        alert.severity = self.severity;
        alert.action = self.action;
        alert.src_port = self.src_port;
        alert.dst_port = self.dst_port;
        alert.context = self.context;
        let mut start = 0;
        for (field, end) in &self.ends {
            alert.set(*field, &self.texts[start..*end]);
            start = *end;
        }
        alert
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_comes_back_as_it_was_kept_whatever_was_kept_before() {
        let mut first = Alert::default();
        first.set(Field::Title, "a long title that is there no more");
        first.set(Field::Url, "/a");
        let mut second = Alert::default();
        second.set(Field::Product, "suricata");
        second.set(Field::User, "root");
        second.time = Some(Timestamp::from_ms(7));
        second.severity = Severity::High;
        second.action = Action::Denied;
        second.dst_port = Some(443);
        let mut kept = Kept::default();
        for (alert, record) in [(&first, "one"), (&second, "two"), (&first, "three")] {
            kept.put(alert, record.as_bytes());
            assert_eq!(&kept.alert(), alert);
            assert_eq!(kept.record(), record.as_bytes());
            assert_eq!(kept.bytes(), Kept::size_of(alert, record.as_bytes()));
        }
    }

    #[test]
    fn a_small_alert_lets_the_memory_of_a_large_one_go() {
        let mut large = Alert::default();
        let text = "t".repeat(4_000);
        large.set(Field::Title, &*text);
        let mut kept = Kept::default();
        kept.put(&large, &[b'r'; 100_000]);
        kept.put(&Alert::default(), b"small");
        assert!(kept.record.capacity() + kept.texts.capacity() <= 2 * (5 + SPARE_BYTES));
    }
}
