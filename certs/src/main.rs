//! `certs`: the command line of Signalbox's certificate authority.
//!
//! Exit codes: 0 done, 1 failed, 64 bad usage.

mod args;
mod commands;

use std::{
    error::Error,
    io::{self, Write},
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use clap::Parser;
use shared::time::Timestamp;

use crate::args::Args;

const FAILED: u8 = 1;
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let code = if error.use_stderr() { USAGE } else { 0 };
            return if error.print().is_ok() { code.into() } else { FAILED.into() };
        }
    };
    let mut out = io::stdout().lock();
    let result = commands::run(&args, now(), &mut out).and_then(|()| Ok(out.flush()?));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where standard error is closed too, the exit code is all that is left to say.
            drop(writeln!(io::stderr(), "certs: {}", with_causes(&error)));
            FAILED.into()
        }
    }
}

fn now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "the program's only look at the clock")]
    let now = SystemTime::now();
    // A clock before 1970 is unset; issuing refuses it, because no authority is valid then.
    let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_ms(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

/// Returns the error and what caused it, the outermost first.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
