//! The command line: commands, options, and the help that teaches them.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use shared::alert::Severity;

use crate::{
    args::{
        authority::AuthorityCommand,
        policies::PolicyCommand,
        recalls::{RecallArgs, RecallsArgs},
        values::{Entity, Moment, SlaTime},
    },
    limits::LIST_ITEMS_MAX,
};

pub(crate) mod authority;
mod help;
pub(crate) mod policies;
pub(crate) mod recalls;
pub(crate) mod values;

/// Works the queue and looks at cases, alerts and agents, over the coordinator's API.
#[derive(Debug, Parser)]
#[command(
    name = "signalbox",
    version,
    after_help = help::program(),
    infer_subcommands = false,
    max_term_width = 100
)]
pub(crate) struct Cli {
    /// Options of all commands.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of all commands.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Options of all commands")]
pub(crate) struct Global {
    /// Address of the coordinator's API, such as `https://signalbox.example:8443`.
    #[arg(long, global = true, value_name = "URL", env = "SIGNALBOX_COORDINATOR")]
    pub(crate) coordinator: Option<String>,
    /// File with the root certificates (PEM) that the coordinator's certificate must lead to.
    #[arg(long, global = true, value_name = "FILE", env = "SIGNALBOX_ROOT")]
    pub(crate) root: Option<PathBuf>,
    /// File that holds the token and nothing else; `-` is standard input.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Print the API's JSON, one document, for programs.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print without colours, as with NO_COLOR in the environment.
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Take the next case from the queue and show it.
    Next(NextArgs),
    /// Show a case: what, where, since when, and what was found.
    Show(ShowArgs),
    /// Decide a case that you hold.
    Verdict(VerdictArgs),
    /// Give a case that you hold back to the queue.
    Release(ReleaseArgs),
    /// Hold a case for longer.
    Renew(RenewArgs),
    /// Take a named case: leads only, for everybody else the queue chooses.
    Claim(ClaimArgs),
    /// Show how many cases wait, and the next ones.
    Queue(QueueArgs),
    /// List cases, the newest first.
    Cases(CasesArgs),
    /// Search alerts by host, address, user, hash, rule or domain.
    Search(SearchArgs),
    /// List agents and how they are, show one, revoke it, or decide whose its identity is.
    #[command(alias = "agent")]
    Agents(AgentsArgs),
    /// Show what became of every record of a tenant's sources, and where that cannot be told.
    Ledger(LedgerArgs),
    /// Ask agents for what a rule of their policy held back or folded, or show what came.
    Recall(RecallArgs),
    /// List what was recalled, the newest first.
    Recalls(RecallsArgs),
    /// Sign, roll out and take back what a tenant's agents hold back and fold.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Replace the authority that agents believe, and see how far that is.
    #[command(subcommand)]
    Authority(AuthorityCommand),
    /// Follow what happens, until interrupted.
    Watch(WatchArgs),
    /// Make, list and revoke tokens.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Look at tenants and change them.
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// Read the journal: everything that changed, and who changed it.
    Journal(JournalArgs),
    /// Sign in, or take a token, and store it with the coordinator's address and root certificate.
    Login(LoginArgs),
    /// Make the token worthless, and forget it.
    #[command(after_help = help::LOGOUT)]
    Logout,
    /// Say whom the coordinator takes you for.
    Whoami,
    /// Print completions for a shell.
    #[command(after_help = help::COMPLETIONS)]
    Completions {
        /// For which shell.
        shell: Shell,
    },
}

/// Options of `login`.
#[derive(Debug, Args)]
#[command(after_help = help::LOGIN)]
pub(crate) struct LoginArgs {
    /// Only print the address to sign in at; open no browser.
    #[arg(long)]
    pub(crate) no_browser: bool,
    /// Take a token instead: typed without being shown, or from standard input.
    #[arg(long, conflicts_with = "no_browser")]
    pub(crate) with_token: bool,
}

/// Options of `next`.
#[derive(Debug, Args)]
#[command(after_help = help::NEXT)]
pub(crate) struct NextArgs {
    /// How long you hold it, from 30s to 1h; the coordinator's default is 15m.
    #[arg(long, value_name = "TIME", value_parser = values::length)]
    pub(crate) lease: Option<Duration>,
    /// How long to wait where none waits, at most 30s.
    #[arg(long, value_name = "TIME", value_parser = values::length)]
    pub(crate) wait: Option<Duration>,
}

/// Options of `show`.
#[derive(Debug, Args)]
#[command(
    after_help = help::SHOW
)]
pub(crate) struct ShowArgs {
    /// The case's id or a unique beginning of at least 4 letters.
    #[arg(value_parser = values::case)]
    pub(crate) case: String,
    /// How many of its newest alerts to show; 5 where absent.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=500))]
    pub(crate) alerts: Option<u16>,
    /// Show alerts with the record as the detector wrote it.
    #[arg(long)]
    pub(crate) record: bool,
}

/// What a case was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Outcome {
    /// An attack, or its success.
    Malicious,
    /// Not cleared up, and to be escalated.
    Suspicious,
    /// What was seen happened, and is wanted.
    BenignExpected,
    /// What the alert says did not happen.
    BenignFalsePositive,
}

/// Options of `verdict`.
#[derive(Debug, Args)]
#[command(after_help = help::VERDICT)]
pub(crate) struct VerdictArgs {
    /// The case's id or a unique beginning of at least 4 letters.
    #[arg(value_parser = values::case)]
    pub(crate) case: String,
    /// What it was found to be.
    #[arg(value_enum)]
    pub(crate) outcome: Outcome,
    /// Why, for whoever reads it next year.
    #[arg(long, short, value_name = "TEXT", value_parser = values::reason)]
    pub(crate) reason: String,
    /// Number of the claim; remembered since `next` where absent.
    #[arg(long, value_name = "N")]
    pub(crate) fence: Option<u64>,
    /// Revision of the case that was read; remembered since `next` or `show` where absent. Where evidence came since,
    /// the verdict is refused.
    #[arg(long, value_name = "N")]
    pub(crate) revision: Option<u64>,
}

/// Options of `release`.
#[derive(Debug, Args)]
#[command(
    after_help = help::RELEASE
)]
pub(crate) struct ReleaseArgs {
    /// The case's id or a unique beginning of at least 4 letters.
    #[arg(value_parser = values::case)]
    pub(crate) case: String,
    /// Why, for whoever takes it next.
    #[arg(long, short, value_name = "TEXT", value_parser = values::reason)]
    pub(crate) reason: String,
    /// Number of the claim; remembered since `next` where absent.
    #[arg(long, value_name = "N")]
    pub(crate) fence: Option<u64>,
}

/// Options of `renew`.
#[derive(Debug, Args)]
#[command(after_help = help::RENEW)]
pub(crate) struct RenewArgs {
    /// The case's id or a unique beginning of at least 4 letters.
    #[arg(value_parser = values::case)]
    pub(crate) case: String,
    /// How long from now, from 30s to 1h; the coordinator's default is 15m.
    #[arg(long, value_name = "TIME", value_parser = values::length)]
    pub(crate) lease: Option<Duration>,
    /// Number of the claim; remembered since `next` where absent.
    #[arg(long, value_name = "N")]
    pub(crate) fence: Option<u64>,
}

/// Options of `claim`.
#[derive(Debug, Args)]
#[command(after_help = help::CLAIM)]
pub(crate) struct ClaimArgs {
    /// The case's id or a unique beginning of at least 4 letters.
    #[arg(value_parser = values::case)]
    pub(crate) case: String,
    /// How long you hold it, from 30s to 1h; the coordinator's default is 15m.
    #[arg(long, value_name = "TIME", value_parser = values::length)]
    pub(crate) lease: Option<Duration>,
}

/// Options of `queue`.
#[derive(Debug, Args)]
pub(crate) struct QueueArgs {
    /// How many of the next cases to show.
    #[arg(long, value_name = "N", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=500))]
    pub(crate) limit: u16,
}

/// How much of a list.
#[derive(Clone, Debug, Args)]
pub(crate) struct Paging {
    /// Most items to print.
    #[arg(long, value_name = "N", value_parser = values::count)]
    pub(crate) limit: Option<usize>,
    #[arg(long, conflicts_with = "limit")]
    #[arg(help = format!("Print all items, at most {LIST_ITEMS_MAX}"))]
    pub(crate) all: bool,
    /// Go on behind an earlier list: its `next`. The filter must be the same: name times as instants, since how long
    /// ago moves on.
    #[arg(long, value_name = "TEXT")]
    pub(crate) cursor: Option<String>,
}

/// Where a case stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StateArg {
    /// Waits in the queue.
    Open,
    /// Somebody has it.
    Claimed,
    /// Decided.
    Closed,
}

/// Options of `cases`.
#[derive(Debug, Args)]
#[command(after_help = help::CASES)]
pub(crate) struct CasesArgs {
    /// Only of this tenant.
    #[arg(long, value_name = "TENANT")]
    pub(crate) tenant: Option<String>,
    /// Only those that stand so.
    #[arg(long, value_enum)]
    pub(crate) state: Option<StateArg>,
    /// Only those at least so severe.
    #[arg(long, value_parser = values::severity())]
    pub(crate) severity: Option<Severity>,
    /// Only those about this host.
    #[arg(long, value_name = "NAME")]
    pub(crate) host: Option<String>,
    /// Only those opened since: an instant, a day, or how long ago, such as 24h or 7d.
    #[arg(long, value_name = "WHEN", value_parser = values::moment)]
    pub(crate) since: Option<Moment>,
    /// Only those opened until.
    #[arg(long, value_name = "WHEN", value_parser = values::moment)]
    pub(crate) until: Option<Moment>,
    /// How much.
    #[command(flatten)]
    pub(crate) paging: Paging,
}

/// Options of `search`.
#[derive(Debug, Args)]
#[command(
    after_help = help::SEARCH
)]
pub(crate) struct SearchArgs {
    /// What the alerts name; all alerts of the tenant where absent.
    #[arg(value_name = "[KIND:]VALUE", value_parser = values::entity)]
    pub(crate) entity: Option<Entity>,
    /// Of this tenant; needed where the token may see several.
    #[arg(long, value_name = "TENANT")]
    pub(crate) tenant: Option<String>,
    /// Received since: an instant, a day, or how long ago, such as 24h or 7d.
    #[arg(long, value_name = "WHEN", value_parser = values::moment)]
    pub(crate) from: Option<Moment>,
    /// Received until.
    #[arg(long, value_name = "WHEN", value_parser = values::moment)]
    pub(crate) to: Option<Moment>,
    /// Show alerts with the record as the detector wrote it.
    #[arg(long)]
    pub(crate) record: bool,
    /// How much.
    #[command(flatten)]
    pub(crate) paging: Paging,
}

/// Options of `agents`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = help::AGENTS)]
pub(crate) struct AgentsArgs {
    /// One agent.
    #[command(subcommand)]
    pub(crate) command: Option<AgentsCommand>,
    /// Only of this tenant.
    #[arg(long, value_name = "TENANT")]
    pub(crate) tenant: Option<String>,
    /// How much.
    #[command(flatten)]
    pub(crate) paging: Paging,
}

/// What to do with one agent.
#[derive(Debug, Subcommand)]
pub(crate) enum AgentsCommand {
    /// Show one agent with its host's contexts and its gaps.
    #[command(after_help = help::AGENTS_SHOW)]
    Show {
        /// The agent's id, a UUID.
        agent: String,
    },
    /// Let an agent in no more, for good: its connections are ended. What it sent stays.
    #[command(after_help = help::AGENTS_REVOKE)]
    Revoke {
        /// The agent's id, a UUID.
        agent: String,
        /// Why, for whoever reads it next year.
        #[arg(long, short, value_name = "TEXT", value_parser = values::reason)]
        reason: String,
        /// Whose it is; needed where it was never connected.
        #[arg(long, value_name = "TENANT")]
        tenant: Option<String>,
    },
    /// Decide which of several hosts keeps an identity that they all use.
    #[command(after_help = help::AGENTS_RESOLVE)]
    Resolve {
        /// The agent's id, a UUID.
        agent: String,
        /// The host that keeps it: its process, as `agents show` shows it.
        #[arg(long, value_name = "PROCESS")]
        keep: String,
        /// Why, for whoever reads it next year.
        #[arg(long, short, value_name = "TEXT", value_parser = values::reason)]
        reason: String,
    },
}

/// Options of `ledger`.
#[derive(Debug, Args)]
#[command(after_help = help::LEDGER)]
pub(crate) struct LedgerArgs {
    /// Whose.
    pub(crate) tenant: String,
    /// Only of this agent, by its id.
    #[arg(long, value_name = "AGENT")]
    pub(crate) agent: Option<String>,
    /// What ended since: an instant, a day, or how long ago, such as 24h or 7d; 24h where absent.
    #[arg(long, value_name = "WHEN", value_parser = values::moment)]
    pub(crate) since: Option<Moment>,
    /// What ended until.
    #[arg(long, value_name = "WHEN", value_parser = values::moment)]
    pub(crate) until: Option<Moment>,
}

/// Options of `watch`.
#[derive(Debug, Args)]
#[command(
    after_help = help::WATCH
)]
pub(crate) struct WatchArgs {
    /// Begin behind this entry of the journal; at its end where absent.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) after: Option<u64>,
    /// Only of this tenant.
    #[arg(long, value_name = "TENANT")]
    pub(crate) tenant: Option<String>,
    /// Only of this kind, such as case_claimed; may be given several times.
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Vec<String>,
    /// End after so many entries.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
}

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleArg {
    /// Reads its own tenant.
    Customer,
    /// Reads everything in its scope, the journal included.
    Auditor,
    /// Works the queue.
    Analyst,
    /// Besides, changes tenants and reads the journal.
    Lead,
    /// Besides, makes and revokes tokens.
    Admin,
}

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token: for a person or program, or, without a HOLDER, one by which hosts become a tenant's agents.
    ///
    /// The secret of a HOLDER's token is written to a file, and to nowhere else. A join token is printed, this once:
    /// give it to the customer, who runs `signalbox-agent join TOKEN`. Whoever has it can make a host an agent of the
    /// tenant until it is used up, expired or revoked.
    #[command(after_help = help::TOKEN_CREATE)]
    Create(TokenCreateArgs),
    /// List tokens, without their secrets.
    List(TokenListArgs),
    /// Make a token, or a join token, worthless at once. Agents that joined by it stay.
    Revoke {
        /// The token's public name, as `token list` shows it.
        token: String,
    },
}

/// Options of `token list`.
#[derive(Debug, Args)]
pub(crate) struct TokenListArgs {
    /// The join tokens, by which hosts become agents.
    #[arg(long)]
    pub(crate) join: bool,
    /// Which part of the list.
    #[command(flatten)]
    pub(crate) paging: Paging,
}

/// Options of `token create`.
#[derive(Debug, Args)]
pub(crate) struct TokenCreateArgs {
    /// Whose: the name that will stand in the journal, 1 to 64 of a-z, A-Z, 0-9 and ._-@. Without it, hosts join by
    /// the token.
    #[arg(requires_all = ["role", "out"])]
    pub(crate) holder: Option<String>,
    /// What it allows.
    #[arg(long, value_enum, requires = "holder")]
    pub(crate) role: Option<RoleArg>,
    /// Only of this tenant; may be given several times. A customer has exactly one, and a join token as well.
    #[arg(long, value_name = "TENANT", required_unless_present = "holder")]
    pub(crate) tenant: Vec<String>,
    /// Good for so many days; 90 where absent.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=366))]
    #[arg(requires = "holder")]
    pub(crate) days: Option<u32>,
    /// New file for the secret, readable by you alone.
    #[arg(long, short, value_name = "FILE", requires = "holder")]
    pub(crate) out: Option<PathBuf>,
    /// How many hosts join by the token; 1 where absent.
    #[arg(long, value_name = "N", conflicts_with = "holder")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) uses: Option<u32>,
    /// How long hosts can join by the token, such as 8h or 7d; 24h where absent.
    #[arg(long, value_name = "LENGTH", value_parser = values::hours, conflicts_with = "holder")]
    pub(crate) expires: Option<u32>,
}

/// What to do with tenants.
#[derive(Debug, Subcommand)]
pub(crate) enum TenantCommand {
    /// List tenants.
    List(Paging),
    /// Show a tenant.
    Show {
        /// The tenant's id.
        tenant: String,
    },
    /// Change a tenant, or make it.
    #[command(after_help = help::TENANT_SET)]
    Set(TenantSetArgs),
}

/// Options of `tenant set`.
#[derive(Debug, Args)]
pub(crate) struct TenantSetArgs {
    /// The tenant's id: 1 to 32 of a-z, 0-9 and inner `-`.
    pub(crate) tenant: String,
    /// Its name for people.
    #[arg(long, value_name = "TEXT")]
    pub(crate) display_name: Option<String>,
    /// Time from receipt to verdict for a severity, in minutes or as 4h; may be given several times.
    #[arg(long, value_name = "SEVERITY=TIME", value_parser = values::sla_time)]
    pub(crate) sla: Vec<SlaTime>,
    /// Only if it still has this revision, as `tenant show` told it.
    #[arg(long, value_name = "N")]
    pub(crate) if_revision: Option<u64>,
}

/// Options of `journal`.
#[derive(Debug, Args)]
#[command(
    after_help = help::JOURNAL
)]
pub(crate) struct JournalArgs {
    /// Only entries behind this number, the oldest first.
    #[arg(long, value_name = "NUMBER", conflicts_with = "before")]
    pub(crate) after: Option<u64>,
    /// Only entries before this number, the newest first.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) before: Option<u64>,
    /// Only about this case.
    #[arg(long, value_parser = values::case)]
    pub(crate) case: Option<String>,
    /// Only of this tenant.
    #[arg(long, value_name = "TENANT")]
    pub(crate) tenant: Option<String>,
    /// How much.
    #[command(flatten)]
    pub(crate) paging: Paging,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_of_all_commands_may_stand_behind_the_command() {
        let cli = parse("signalbox next --wait 30s --json --coordinator https://box").unwrap();
        assert!(cli.global.json && cli.global.coordinator.as_deref() == Some("https://box"));
        let Command::Next(next) = cli.command else { panic!("{cli:?}") };
        assert_eq!((next.lease, next.wait), (None, Some(Duration::from_secs(30))));
    }

    #[test]
    fn a_verdict_is_one_of_four_and_has_a_reason() {
        let line = "signalbox verdict 7K3M benign-false-positive --reason x --fence 7";
        let Command::Verdict(args) = parse(line).unwrap().command else { panic!() };
        assert_eq!((args.case.as_str(), args.outcome), ("7k3m", Outcome::BenignFalsePositive));
        assert_eq!(args.fence, Some(7));
        assert!(parse("signalbox verdict 7k3m malicious").is_err());
        assert!(parse("signalbox verdict 7k3m out-of-time --reason x").is_err());
        assert!(parse("signalbox verdict 7k3m benign --reason x").is_err());
    }

    #[test]
    fn agents_are_listed_and_shown() {
        let Command::Agents(args) = parse("signalbox agents --tenant acme").unwrap().command else {
            panic!()
        };
        assert!(args.command.is_none() && args.tenant.as_deref() == Some("acme"));
        let Command::Agents(args) = parse("signalbox agents show abc").unwrap().command else {
            panic!()
        };
        assert!(matches!(args.command, Some(AgentsCommand::Show { agent }) if agent == "abc"));
    }

    #[test]
    fn a_recall_is_asked_for_or_shown_and_not_both() {
        let line = "signalbox recall --tenant acme --rule dns-noise --since 24h --follow";
        let Command::Recall(args) = parse(line).unwrap().command else { panic!() };
        assert!(args.recall.is_none() && args.follow && args.since.is_some());
        let Command::Recall(args) = parse("signalbox recall 00ff --all").unwrap().command else {
            panic!()
        };
        assert_eq!(args.recall.as_deref(), Some("00ff"));
        assert!(parse("signalbox recall").is_err());
        assert!(parse("signalbox recall --tenant acme").is_err());
        assert!(parse("signalbox recall 00ff --tenant acme --rule x").is_err());
    }

    #[test]
    fn authorities_are_shown_and_replaced() {
        let line = "signalbox authority agents --behind --limit 5";
        let Command::Authority(AuthorityCommand::Agents(args)) = parse(line).unwrap().command
        else {
            panic!("{line}");
        };
        assert!(args.behind && args.paging.limit == Some(5));
        assert!(parse("signalbox authority agents --behind --other").is_err(), "none is both");
        assert!(parse("signalbox authority push").is_err(), "a bundle is a file");
        assert!(parse("signalbox authority push f --trust-again --anyway").is_ok());
        assert!(parse("signalbox authority").is_err());
    }

    #[test]
    fn a_policy_is_pushed_in_one_of_three_stages_and_taken_back_for_all() {
        let line = "signalbox policy push acme policy.yml --key k";
        let Command::Policy(PolicyCommand::Push(args)) = parse(line).unwrap().command else {
            panic!()
        };
        assert_eq!((args.stage, args.tenant.as_str()), (1, "acme"));
        assert!(parse(&format!("{line} --stage 10")).is_ok());
        assert!(parse(&format!("{line} --stage 50")).is_err());
        assert!(parse(&format!("{line} --cpu 3")).is_err());
        assert!(parse("signalbox policy push ACME policy.yml").is_err());
        let line = "signalbox policy rollback acme --key k";
        let Command::Policy(PolicyCommand::Rollback(args)) = parse(line).unwrap().command else {
            panic!()
        };
        assert_eq!((args.stage, args.to), (100, None));
        assert!(parse("signalbox policy halt acme").is_err(), "a halt has a reason");
        assert!(parse("signalbox policy sign acme p.yml --key k --version 0 --out o").is_err());
    }

    #[test]
    fn a_limit_and_all_do_not_go_together() {
        assert!(parse("signalbox cases --limit 3 --all").is_err());
        assert!(parse("signalbox cases --limit 0").is_err());
    }

    #[test]
    fn the_help_of_every_command_that_has_options_of_its_own_is_there() {
        for command in Cli::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
        }
    }

    #[test]
    fn the_help_names_the_exit_codes_and_the_environment() {
        let help = Cli::command().render_long_help().to_string();
        for text in ["Exit codes:", "SIGNALBOX_TOKEN_FILE", "signalbox next"] {
            assert!(help.contains(text), "{text} in {help}");
        }
    }
}
