//! Attacks a running coordinator and writes `target/reports/attack.json`: see [`tests::attack`]. Arguments name the
//! suites to be run; all are run where there is none.

use std::process::ExitCode;

use anyhow::Result;

fn main() -> Result<ExitCode> {
    let only: Vec<String> = std::env::args().skip(1).collect();
    Ok(if tests::attack::run(&only)? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
