//! Introducing oneself, and taking leave: settings, who one is, and completions for the shell.

use std::{
    io::{self, BufRead as _, IsTerminal as _, Read as _},
    process::{Command as Process, Stdio},
};

use clap::CommandFactory as _;
use clap_complete::Shell;
use coordinator::api::types::{Me, Token};

use super::{Desk, sign_in::sign_in};
use crate::{
    args::{Cli, Global, LoginArgs},
    client::{Ask, Client},
    failure::Failure,
    files,
    limits::FILE_BYTES_MAX,
    output::Output,
    render::admin,
    settings::{Environment, Secret, Settings, Stored, named_token, path},
};

const ME: &str = "/v1/me";
const MY_TOKEN: &str = "/v1/me/token";

/// Says whom the coordinator takes the caller for.
pub(super) fn whoami(desk: &mut Desk<'_>) -> Result<(), Failure> {
    let (answer, me) = desk.client.read::<Me>(&Ask::read(ME))?;
    let coordinator = desk.client.coordinator().to_owned();
    desk.print(&answer, |now, _| admin::me(&me, &coordinator, now))
}

/// Takes a token, or signs somebody in for one, and stores it with the settings if the coordinator knows it.
pub(super) fn login(
    global: &Global,
    args: &LoginArgs,
    environment: &impl Environment,
    output: &mut Output,
) -> Result<(), Failure> {
    let path = path(environment)?;
    // A file that cannot be read is what login is there to write anew.
    let mut stored = Stored::load(&path).unwrap_or_default();
    stored.token = None;
    let token = match named_token(global, environment)? {
        Some(token) => token,
        None if args.with_token => ask_token(output)?,
        None => {
            let client = Client::new(Settings::without_token(global, stored.clone())?)?;
            match sign_in(&client, environment, !args.no_browser, output)? {
                Some(token) => token,
                None => ask_token(output)?,
            }
        }
    };
    let mut settings = Settings::with_token(global, stored, Some(token))?;
    settings.root = std::fs::canonicalize(&settings.root).unwrap_or(settings.root);
    let to_store = Stored {
        coordinator: Some(settings.coordinator.clone()),
        root: Some(settings.root.clone()),
        token: settings.token.clone(),
    };
    let client = Client::new(settings)?;
    let (answer, me) = client.read::<Me>(&Ask::read(ME))?;
    to_store.store(&path)?;
    if output.is_json() {
        return output.json(&answer.text);
    }
    output.text(&admin::me(&me, client.coordinator(), super::now()))?;
    output.note(&format!("Stored in {}.", path.display()));
    Ok(())
}

/// Makes the token worthless, and forgets it where it is the stored one.
pub(super) fn logout(
    global: &Global,
    environment: &impl Environment,
    output: &mut Output,
) -> Result<(), Failure> {
    let path = path(environment)?;
    let stored = Stored::load(&path)?;
    let settings = Settings::load(global, environment, stored.clone())?;
    let is_stored = settings.token == stored.token;
    let client = Client::new(settings)?;
    let revoked = match client.read::<Token>(&Ask::delete(MY_TOKEN)) {
        Ok((answer, token)) => Some((answer, token)),
        // It is worth nothing already.
        Err(failure) if failure.problem_name() == Some("unauthorized") => None,
        Err(failure) => return Err(failure),
    };
    if is_stored {
        Stored { token: None, ..stored }.store(&path)?;
    }
    match revoked {
        Some((answer, _)) if output.is_json() => output.json(&answer.text),
        Some((_, token)) => output.text(&admin::revoked(&token)),
        None => {
            output.note("The token was worth nothing any more.");
            Ok(())
        }
    }
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
