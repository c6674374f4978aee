//! Writes what a test or a benchmark measured to `target/reports`, for people and for later comparison.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// Returns the folder of reports, under the workspace's `target`.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/reports")
}

/// Writes `value` as readable JSON to `NAME.json` in [`folder`], whole or not at all, and says so on standard output.
///
/// # Errors
/// Whatever the system reports.
#[expect(clippy::print_stdout, reason = "whoever runs the test is told where its report is")]
pub fn write(name: &str, value: &Value) -> io::Result<()> {
    let folder = folder();
    fs::create_dir_all(&folder)?;
    let unfinished = folder.join(format!(".{name}.{}", std::process::id()));
    fs::write(&unfinished, format!("{value:#}\n"))?;
    fs::rename(&unfinished, folder.join(format!("{name}.json")))?;
    println!("wrote target/reports/{name}.json");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_written_whole_in_place_of_the_one_before() {
        for seeds in [1, 2] {
            write("report-test", &serde_json::json!({ "seeds": seeds })).unwrap();
            let path = folder().join("report-test.json");
            let text = fs::read_to_string(&path).unwrap();
            assert_eq!(text, format!("{{\n  \"seeds\": {seeds}\n}}\n"));
        }
        fs::remove_file(folder().join("report-test.json")).unwrap();
    }
}
