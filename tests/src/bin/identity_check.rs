//! Checks what is promised of identities and writes `target/reports/identity.json`: see [`tests::identity`].

use std::process::ExitCode;

use anyhow::Result;

fn main() -> Result<ExitCode> {
    Ok(if tests::identity::run()? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
