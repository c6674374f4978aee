//! Checks the Sigma engine against the public rules, their regression sets and another implementation's matches: see
//! [`tests::sigma::check`].

use std::process::ExitCode;

use anyhow::Result;

fn main() -> Result<ExitCode> {
    Ok(if tests::sigma::check::run()? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
