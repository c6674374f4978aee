//! Reads real detectors' records as an agent does and writes `target/reports/edge.json`: see [`tests::edge`].

use std::process::ExitCode;

use anyhow::Result;

fn main() -> Result<ExitCode> {
    Ok(if tests::edge::run()? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
