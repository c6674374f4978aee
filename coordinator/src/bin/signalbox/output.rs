//! Where results and complaints go: results to standard output, everything else to standard error.

use std::io::{self, IsTerminal as _, Write};

use crate::{
    failure::Failure,
    limits::{COLUMNS_DEFAULT, COLUMNS_MIN},
    text,
};

/// The two streams, and how they want their text.
pub(crate) struct Output {
    out: Box<dyn Write>,
    is_json: bool,
    is_coloured: bool,
    is_coloured_error: bool,
    columns: usize,
}

impl Output {
    /// Returns the process's own streams. Colours go only to terminals, and only without `--no-color` and `NO_COLOR`.
    pub(crate) fn new(no_color: bool, is_json: bool) -> Self {
        let wants_none = no_color
            || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        let (out, error) = (io::stdout(), io::stderr());
        let columns = terminal_size::terminal_size_of(&out)
            .map_or(COLUMNS_DEFAULT, |(terminal_size::Width(columns), _)| usize::from(columns));
        Self {
            is_json,
            is_coloured: !wants_none && out.is_terminal(),
            is_coloured_error: !wants_none && error.is_terminal(),
            columns: columns.max(COLUMNS_MIN),
            out: Box::new(io::BufWriter::new(out)),
        }
    }

    /// Returns whether a program reads along.
    pub(crate) const fn is_json(&self) -> bool {
        self.is_json
    }

    /// Returns for how many columns to lay out.
    pub(crate) const fn columns(&self) -> usize {
        self.columns
    }

    /// Writes text with marks, and a line break if it does not end with one.
    pub(crate) fn text(&mut self, marked: &str) -> Result<(), Failure> {
        let text = text::finish(marked, self.is_coloured);
        self.out.write_all(text.as_bytes())?;
        if !text.ends_with('\n') {
            self.out.write_all(b"\n")?;
        }
        Ok(())
    }

    /// Writes one JSON document.
    pub(crate) fn json(&mut self, document: &str) -> Result<(), Failure> {
        self.out.write_all(text::safe_json(document.trim_end()).as_bytes())?;
        self.out.write_all(b"\n")?;
        Ok(())
    }

    /// Writes bytes as they are: scripts for shells.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.out.write_all(bytes)?)
    }

    /// Hands everything on that was written so far.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.out.flush()?)
    }

    /// Says something beside the result.
    pub(crate) fn note(&self, marked: &str) {
        self.complain(&text::finish(marked, self.is_coloured_error));
    }

    /// Says why the command was not done, and what to do next.
    pub(crate) fn report(&mut self, failure: &Failure) {
        // What was written before it goes first; that it cannot be written is the lesser evil now.
        let _flushed = self.out.flush().is_ok();
        self.note(&failure.render());
    }

    fn complain(&self, text: &str) {
        // Nobody listens if this fails.
        let _written = writeln!(io::stderr(), "{text}").is_ok();
    }
}
