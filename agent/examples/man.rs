//! Writes the agent's manual pages, one a command, into a folder: `cargo run --example man -- FOLDER`.
//!
//! They are made of the command line's own help, so they say what the program does. The package compresses them.

use std::{fs, path::Path, process::ExitCode};

use agent::args::Cli;
use clap::CommandFactory as _;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprintln!("usage: man FOLDER");
        return ExitCode::from(64);
    };
    match write(Path::new(&folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", Path::new(&folder).display());
            ExitCode::FAILURE
        }
    }
}

fn write(folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), folder)
}
