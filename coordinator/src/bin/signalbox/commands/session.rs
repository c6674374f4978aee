//! Introducing oneself: settings, who one is, and completions for the shell.

use std::{
    io::{self, BufRead as _, IsTerminal as _, Read as _},
    process::{Command as Process, Stdio},
};

use clap::CommandFactory as _;
use clap_complete::Shell;
use coordinator::api::types::Me;
use shared::time::Timestamp;

use super::Desk;
use crate::{
    args::{Cli, Global},
    client::{Ask, Client},
    failure::Failure,
    files,
    limits::FILE_BYTES_MAX,
    output::Output,
    render::admin,
    settings::{Environment, Secret, Settings, Stored, named_token, path},
};

const ME: &str = "/v1/me";

/// Says whom the coordinator takes the caller for.
pub(super) fn whoami(desk: &mut Desk<'_>) -> Result<(), Failure> {
    let (answer, me) = desk.client.read::<Me>(&Ask::read(ME))?;
    let coordinator = desk.client.coordinator().to_owned();
    desk.print(&answer, |now, _| admin::me(&me, &coordinator, now))
}

/// Checks settings against the coordinator, and stores them if it knows the token.
pub(super) fn login(
    global: &Global,
    environment: &impl Environment,
    now: Timestamp,
    output: &mut Output,
) -> Result<(), Failure> {
    let path = path(environment)?;
    // A file that cannot be read is what login is there to write anew.
    let mut stored = Stored::load(&path).unwrap_or_default();
    stored.token = None;
    let token = match named_token(global, environment)? {
        Some(token) => token,
        None => ask_token(output)?,
    };
    let mut settings = Settings::with_token(global, stored, Some(token))?;
    settings.root = std::fs::canonicalize(&settings.root).unwrap_or(settings.root);
    let to_store = Stored {
        coordinator: Some(settings.coordinator.clone()),
        root: Some(settings.root.clone()),
        token: Some(settings.token.clone()),
    };
    let client = Client::new(settings)?;
    let (answer, me) = client.read::<Me>(&Ask::read(ME))?;
    to_store.store(&path)?;
    if output.is_json() {
        return output.json(&answer.text);
    }
    output.text(&admin::me(&me, client.coordinator(), now))?;
    output.note(&format!("Stored in {}.", path.display()));
    Ok(())
}

/// Takes the token from standard input; from a terminal, without showing it.
fn ask_token(output: &Output) -> Result<Secret, Failure> {
    let input = io::stdin();
    let failed = |error: io::Error| Failure::File {
        what: "cannot read the token from standard input".to_owned(),
        cause: error.to_string(),
    };
    if !input.is_terminal() {
        let bytes = files::read_bounded(input.lock()).map_err(failed)?;
        return Secret::parse(&String::from_utf8_lossy(&bytes), "standard input");
    }
    let hidden = Hidden::start();
    output.note(match hidden {
        Some(_) => "Token (it is not shown):",
        None => "Token (it IS shown; better use --token-file):",
    });
    let mut line = String::new();
    input.lock().take(FILE_BYTES_MAX).read_line(&mut line).map_err(failed)?;
    drop(hidden);
    Secret::parse(&line, "what was typed")
}

/// While it lives, the terminal does not show what is typed.
struct Hidden;

impl Hidden {
    fn start() -> Option<Self> {
        stty("-echo").then_some(Self)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _shown_again = stty("echo");
    }
}

/// Sets the terminal that is standard input; where there is no `stty`, it cannot.
fn stty(mode: &str) -> bool {
    let set = Process::new("stty").arg(mode).stdout(Stdio::null()).stderr(Stdio::null()).status();
    set.is_ok_and(|status| status.success())
}

/// Prints completions.
pub(super) fn completions(shell: Shell, output: &mut Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "signalbox", &mut script);
    output.raw(&script)
}
