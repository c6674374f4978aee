//! `signalbox`: the command line over the coordinator's HTTPS API, for analysts, leads and administrators.
//!
//! A command is: read the settings, ask the coordinator, write what it says: as text for people, or as the API's own
//! JSON for programs. What the coordinator sends came from customers' hosts and may be written by an attacker, so no
//! text of it reaches a terminal before [`text::safe`] has seen it.
//!
//! ```text
//! main ─▶ args ─▶ settings ─▶ client ═▶ coordinator
//!           └──▶ commands ─▶ render ─▶ output          claims (fences that this person holds)
//! ```
//!
//! Not here: any decision about a case. The coordinator decides; this program says what it decided.

use std::process::ExitCode;

use clap::Parser as _;

use crate::{
    args::Cli,
    failure::{EXIT_USAGE, Failure},
    output::Output,
};

mod args;
mod claims;
mod client;
mod commands;
mod failure;
mod files;
mod limits;
mod output;
mod render;
mod settings;
mod text;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let is_help = !error.use_stderr();
            let _printed = error.print().is_ok();
            return if is_help { ExitCode::SUCCESS } else { ExitCode::from(EXIT_USAGE) };
        }
    };
    let mut output = Output::new(cli.global.no_color, cli.global.json);
    match commands::run(cli, &mut output).and_then(|()| output.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read along has seen enough, as `head` does.
        Err(Failure::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            output.report(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}
