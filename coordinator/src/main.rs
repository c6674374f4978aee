//! The `signalbox-coordinator` program: see the library for how it works.

use std::{
    io::{IsTerminal as _, Write as _},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use clap::Parser as _;
use coordinator::{
    app::{
        self, Outcome,
        check::{Finding, Verdict, check},
    },
    args::{CheckArgs, Cli, Command},
    clock::Clock,
    config::{Config, LogConfig, LogFormat},
};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

/// Decoding and folding make and drop many small values on one thread and free some on another, where the C library's
/// allocator spends a third of the writer's time. What RocksDB allocates stays with that one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FAILED: u8 = 1;
const GRACE_EXCEEDED: u8 = 3;
const USAGE: u8 = 64;

/// Threads of the API and the timers. Two: while one shakes hands or writes a page of JSON, the other answers.
const API_THREADS: usize = 2;

/// Most reads of the store at once, each on a thread. 16: what comes on top only waits longer for the same disk, and
/// each holds a page of up to a few megabytes (L7).
const READS_MAX: usize = 16;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let is_help = !error.use_stderr();
            let _printed = error.print().is_ok();
            return if is_help { ExitCode::SUCCESS } else { ExitCode::from(USAGE) };
        }
    };
    let path = match &cli.command {
        Command::Run(common) => &common.config,
        Command::Check(args) => &args.common.config,
    };
    match Config::load(path) {
        Ok(config) => match &cli.command {
            Command::Run(_) => run(config),
            Command::Check(args) => check_all(&config, args),
        },
        Err(error) => {
            report(&error);
            ExitCode::from(USAGE)
        }
    }
}

fn run(config: Config) -> ExitCode {
    start_log(config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(API_THREADS)
        .max_blocking_threads(READS_MAX)
        .thread_name("api")
        .build();
    let outcome = runtime.context("start the runtime").and_then(|runtime| {
        let outcome = runtime.block_on(serve_until_signal(config));
        // A read that hangs in a failing disk is not waited for: what was acked is durable.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(Outcome::Drained) => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        Ok(Outcome::GraceExceeded) => {
            tracing::warn!("stopped before all was answered: what was acked is kept");
            ExitCode::from(GRACE_EXCEEDED)
        }
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "coordinator failed");
            ExitCode::from(FAILED)
        }
    }
}

async fn serve_until_signal(config: Config) -> Result<Outcome> {
    let mut signals = Signals::new().context("listen for signals")?;
    let running = tokio::select! {
        started = app::start(config, Clock::wall()) => started?,
        () = signals.next() => return Ok(Outcome::Drained), // nobody was served yet
    };
    tokio::select! {
        () = running.failed() => {}
        () = signals.next() => tracing::info!("stopping"),
    }
    tokio::select! {
        outcome = running.shut_down() => outcome,
        () = signals.next() => Ok(Outcome::GraceExceeded),
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next signal.
    ///
    /// # Cancel safety
    /// Cancel-safe: a signal that nobody took is there for the next call.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn start_log(config: LogConfig) {
    let level: LevelFilter = config.level.as_str().parse().expect("it has the same names");
    // The libraries below say at `info` what is of no use to an administrator.
    let filter = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_targets([("coordinator", level), ("signalbox_coordinator", level)]);
    let log = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match config.format {
        LogFormat::Text => log.with_target(false).finish().with(filter).init(),
        LogFormat::Json => log.json().finish().with(filter).init(),
    }
}

/// Writes a line to standard output. Whoever does not read on has read enough: the code to end with is the same.
fn say(line: &dyn std::fmt::Display) {
    let _heard = writeln!(std::io::stdout(), "{line}").is_ok();
}

fn check_all(config: &Config, args: &CheckArgs) -> ExitCode {
    let mut findings = vec![configuration(&args.common.config)];
    findings.extend(check(config, Clock::wall().now()));
    if args.json {
        match serde_json::to_string_pretty(&findings) {
            Ok(text) => say(&text),
            Err(error) => report(&error),
        }
    } else {
        findings.iter().for_each(|finding| say(finding));
    }
    if findings.iter().any(|finding| finding.verdict == Verdict::Problem) {
        ExitCode::from(FAILED)
    } else {
        ExitCode::SUCCESS
    }
}

fn configuration(path: &Path) -> Finding {
    let text = format!("{} is valid", path.display());
    Finding { part: "configuration", verdict: Verdict::Ok, text }
}

#[expect(clippy::print_stderr, reason = "there is no log yet")]
fn report(error: &dyn std::error::Error) {
    eprintln!("signalbox-coordinator: {error}");
}
