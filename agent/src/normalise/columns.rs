//! Records in columns that header lines name, as Zeek's ASCII writer makes them.
//!
//! ```text
//! #separator \x09
//! #empty_field    (empty)
//! #unset_field    -
//! #path   notice
//! #fields ts      uid     id.orig_h       note    msg
//! ```
//! The lines after the first are written with the separator that the first names. Further lines
//! that begin with `#` say nothing that is needed here. Whoever goes on within a file knows the
//! header at its beginning: a second one before that place, with other columns, is not looked for.
//!
//! See Zeek's `LogAscii` options.

use super::{
    Malformed,
    paths::Take,
    value::{Raw, unescaped_hex},
};

/// Returns whether the line is one of a header's.
pub(super) fn is_header(line: &[u8]) -> bool {
    line.first() == Some(&b'#')
}

/// What the header lines so far say.
#[derive(Clone, Debug)]
pub(super) struct Header {
    separator: String,
    empty: String,
    unset: String,
    /// The log that the records belong to.
    log: Option<String>,
    /// The columns' names; none before there was a header.
    names: Vec<String>,
}

impl Default for Header {
    fn default() -> Self {
        Self {
            separator: "\t".to_owned(),
            empty: "(empty)".to_owned(),
            unset: "-".to_owned(),
            log: None,
            names: Vec::new(),
        }
    }
}

impl Header {
    /// Takes what one of its lines says. The line of the separator begins a header anew.
    pub(super) fn take(&mut self, line: &[u8]) {
        let Ok(line) = str::from_utf8(line.strip_prefix(b"#").unwrap_or(line)) else { return };
        let line = line.trim_end_matches('\r');
        if let Some(separator) = line.strip_prefix("separator ") {
            *self = Self::default();
            if !separator.is_empty() {
                self.separator = unescaped_hex(separator).into_owned();
            }
            return;
        }
        let Some((key, value)) = line.split_once(&self.separator) else { return };
        match key {
            "empty_field" => value.clone_into(&mut self.empty),
            "unset_field" => value.clone_into(&mut self.unset),
            "path" => self.log = Some(value.to_owned()),
            "fields" => self.names = value.split(&self.separator).map(str::to_owned).collect(),
            _ => {}
        }
    }

    /// Returns whether the records are those of another log than `log`.
    pub(super) fn is_of_other_log(&self, log: &str) -> bool {
        !self.names.is_empty() && self.log.as_ref().is_some_and(|own| own != log)
    }

    /// Finds the values in a record.
    ///
    /// # Errors
    /// Fails without a header, and where the record has not its number of columns: then no value is
    /// known to stand under its name.
    pub(super) fn read<'a>(
        &self,
        record: &'a str,
        take: &mut Take<'_, 'a>,
    ) -> Result<(), Malformed> {
        if self.names.is_empty() {
            return Err(Malformed::NoHeader);
        }
        let record = record.trim_end_matches('\r');
        let columns = record.split(&self.separator).count();
        if columns != self.names.len() {
            return Err(Malformed::Columns { found: columns });
        }
        for (name, value) in self.names.iter().zip(record.split(&self.separator)) {
            if !value.is_empty() && *value != *self.unset && *value != *self.empty {
                take(&[name.as_str()], Raw::hex(value));
            }
        }
        Ok(())
    }
}
