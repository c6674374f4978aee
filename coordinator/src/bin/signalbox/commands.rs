//! The commands, each from what was typed to what is printed.

use coordinator::api::types::Time;
use shared::time::Timestamp;

use crate::{
    args::{AgentsCommand, Cli, Command, TenantCommand, TokenCommand, policies::PolicyCommand},
    claims::Claims,
    client::{Answer, Client, list::List},
    failure::Failure,
    output::Output,
    settings::{ProcessEnvironment, Settings, Stored, claims_path, path},
};

mod agents;
mod authority;
mod cases;
mod journal;
mod ledger;
mod policies;
mod queue;
mod recalls;
mod session;
mod sign_in;
mod tenants;
mod tokens;

/// What every command has at hand.
struct Desk<'a> {
    client: Client,
    claims: Claims,
    now: Timestamp,
    output: &'a mut Output,
}

impl Desk<'_> {
    /// Prints an answer: as it came for programs, else what `text` makes of it.
    fn print(
        &mut self,
        answer: &Answer,
        text: impl FnOnce(Timestamp, usize) -> String,
    ) -> Result<(), Failure> {
        if self.output.is_json() {
            return self.output.json(&answer.text);
        }
        let text = text(self.now, self.output.columns());
        self.output.text(&text)
    }

    /// Prints a list: as one page for programs, else what `text` makes of its items.
    fn print_list<T: serde::de::DeserializeOwned>(
        &mut self,
        list: &List,
        nothing: &str,
        text: impl FnOnce(&[T], usize) -> String,
    ) -> Result<(), Failure> {
        if self.output.is_json() {
            return self.output.json(&list.json()?);
        }
        let items: Vec<T> = list.items(&self.client)?;
        if items.is_empty() {
            self.output.note(nothing);
        } else {
            let text = text(&items, self.output.columns());
            self.output.text(&text)?;
        }
        if list.records_gone == Some(true) {
            self.output.note("Some of the alerts are gone: retention has deleted them.");
        }
        if let Some(next) = &list.next {
            let next = crate::text::safe(next);
            self.output.note(&format!("There is more: --limit N, --all, or --cursor {next}"));
        }
        Ok(())
    }
}

/// Does what was typed.
///
/// # Errors
/// It was not done.
pub(crate) fn run(cli: Cli, output: &mut Output) -> Result<(), Failure> {
    let environment = ProcessEnvironment;
    match cli.command {
        Command::Completions { shell } => return session::completions(shell, output),
        Command::Policy(PolicyCommand::Sign(args)) => {
            return policies::sign(&args, now(), output);
        }
        Command::Login(args) => return session::login(&cli.global, &args, &environment, output),
        Command::Logout => return session::logout(&cli.global, &environment, output),
        _ => {}
    }
    let path = path(&environment);
    let stored = match &path {
        Ok(path) => {
            let stored = Stored::load(path)?;
            if stored.token.is_some() && crate::files::is_open_to_others(path) {
                let path = path.display();
                output.note(&format!("warning: others can read {path}; chmod 600 it"));
            }
            stored
        }
        // Whoever has no home must say everything.
        Err(_) => Stored::default(),
    };
    let settings = Settings::load(&cli.global, &environment, stored)?;
    let claims = Claims::new(claims_path(&environment).unwrap_or_default());
    let mut desk = Desk { client: Client::new(settings)?, claims, now: now(), output };
    dispatch(cli.command, &mut desk)
}

fn dispatch(command: Command, desk: &mut Desk<'_>) -> Result<(), Failure> {
    match command {
        Command::Next(args) => queue::next(&args, desk),
        Command::Verdict(args) => queue::verdict(&args, desk),
        Command::Release(args) => queue::release(&args, desk),
        Command::Renew(args) => queue::renew(&args, desk),
        Command::Claim(args) => queue::claim(&args, desk),
        Command::Queue(args) => queue::show(&args, desk),
        Command::Show(args) => cases::show(&args, desk),
        Command::Cases(args) => cases::list(&args, desk),
        Command::Search(args) => cases::search(&args, desk),
        Command::Agents(args) => match &args.command {
            Some(AgentsCommand::Show { agent }) => agents::show(agent, desk),
            Some(AgentsCommand::Revoke { agent, reason, tenant }) => {
                agents::revoke(agent, reason, tenant.as_deref(), desk)
            }
            Some(AgentsCommand::Resolve { agent, keep, reason }) => {
                agents::resolve(agent, keep, reason, desk)
            }
            None => agents::list(&args, desk),
        },
        Command::Ledger(args) => ledger::show(&args, desk),
        Command::Recall(args) => recalls::recall(&args, desk),
        Command::Recalls(args) => recalls::list(&args, desk),
        Command::Policy(command) => policies::run(&command, desk),
        Command::Authority(command) => authority::run(&command, desk),
        Command::Watch(args) => journal::watch(&args, desk),
        Command::Journal(args) => journal::list(&args, desk),
        Command::Token(TokenCommand::Create(args)) => tokens::create(&args, desk),
        Command::Token(TokenCommand::List(args)) => tokens::list(&args, desk),
        Command::Token(TokenCommand::Revoke { token }) => tokens::revoke(&token, desk),
        Command::Tenant(TenantCommand::List(paging)) => tenants::list(&paging, desk),
        Command::Tenant(TenantCommand::Show { tenant }) => tenants::show(&tenant, desk),
        Command::Tenant(TenantCommand::Set(args)) => tenants::set(&args, desk),
        Command::Whoami => session::whoami(desk),
        // Done before there was a client.
        Command::Login(_) | Command::Logout | Command::Completions { .. } => Ok(()),
    }
}

/// The hour, for lengths of time that are shown; a clock before 1970 is taken for 1970.
#[expect(clippy::disallowed_methods, reason = "this is where the command line takes the hour")]
fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp::ZERO.saturating_add(since.unwrap_or_default())
}

/// Returns the text of a moment for a query.
fn moment(at: Option<crate::args::values::Moment>, now: Timestamp) -> Option<Time> {
    at.map(|at| at.at(now))
}
