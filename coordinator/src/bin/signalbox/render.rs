//! What people read: pure functions from the API's values and `now` to text with marks.
//!
//! Whatever may have been written on a customer's host goes through [`safe`] on its way into a line.

use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use coordinator::api::types::JournalActor;

use crate::text::{Paint, paint, safe, shorten};

pub(crate) mod admin;
pub(crate) mod agents;
pub(crate) mod alerts;
mod attribution;
pub(crate) mod authority;
pub(crate) mod cases;
mod claims;
mod hosts;
pub(crate) mod journal;
pub(crate) mod ledger;
pub(crate) mod policies;
pub(crate) mod recalls;

/// Longest foreign text in a cell. Titles of real rules are shorter; what an attacker writes need not be.
const CELL_CHARS_MAX: usize = 160;

/// Returns foreign text for a cell of a table.
fn cell(text: &str) -> String {
    shorten(&safe(text), CELL_CHARS_MAX)
}

/// Returns foreign text for a cell, or a dash.
fn cell_or_dash(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).map_or_else(|| "-".to_owned(), cell)
}

/// Lays out a table for so many columns; cells that do not fit are broken into lines.
fn table(columns: usize, header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(u16::try_from(columns).unwrap_or(u16::MAX))
        .set_header(header.iter().map(|name| paint(Paint::Dim, name)))
        .add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// Writes `name  value` lines with the values below each other; values that are absent are left out.
fn fields(pairs: &[(&str, Option<String>)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    pairs
        .iter()
        .filter_map(|(name, value)| Some((name, value.as_deref()?)))
        .map(|(name, value)| {
            let gap = " ".repeat(width - name.len());
            format!("  {}{gap}  {value}\n", paint(Paint::Dim, name))
        })
        .collect()
}

/// Writes the heading of a part.
fn heading(text: &str) -> String {
    format!("\n{}\n", paint(Paint::Bold, text))
}

/// Returns who did something.
fn who(actor: &JournalActor) -> String {
    match actor {
        JournalActor::Coordinator => "coordinator".to_owned(),
        JournalActor::Agent { name } => format!("agent {}", cell(name)),
        JournalActor::Person { name, .. } => cell(name),
    }
}

/// Returns a number with what it counts.
fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// What the renderers' tests share.
#[cfg(test)]
mod testing {
    use shared::time::Timestamp;

    use crate::text::finish;

    /// 2026-01-02T03:04:05Z.
    pub(super) const NOW: Timestamp = Timestamp::from_ms(1_767_323_045_000);

    /// Returns the text as it looks without colours, without the blanks at the ends of lines.
    pub(super) fn plain(marked: &str) -> String {
        let text = finish(marked, false);
        text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
    }

    /// Reads a value of the API.
    pub(super) fn parse<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
        serde_json::from_value(value).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::{testing::plain, *};

    #[test]
    fn a_table_fits_its_columns_and_colours_do_not_move_them() {
        let rows = vec![
            vec![paint(Paint::Red, "high"), "a title of several words that is too long".to_owned()],
            vec!["low".to_owned(), "short".to_owned()],
        ];
        let wanted = "SEVERITY  TITLE\nhigh      a title of several words\n          \
                      that is too long\nlow       short";
        assert_eq!(plain(&table(36, &["SEVERITY", "TITLE"], rows)), wanted);
    }

    #[test]
    fn fields_that_are_absent_leave_no_line() {
        let text =
            fields(&[("host", Some("web-3".into())), ("verdict", None), ("a", Some("b".into()))]);
        assert_eq!(plain(&text), "  host     web-3\n  a        b");
    }

    #[test]
    fn a_text_of_an_attacker_is_cut_and_made_harmless() {
        let text = cell(&format!("\u{1b}[2J{}", "x".repeat(10_000)));
        assert!(text.starts_with("\\u{1b}[2Jxx") && text.chars().count() == CELL_CHARS_MAX);
    }
}
