//! The `signalbox-agent` program: see the library for how it works.

use std::{
    io::{BufRead as _, ErrorKind, Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use agent::{
    app::{
        self, Outcome,
        check::{Verdict, check},
        log,
        notify::Notifier,
        policy,
        show::{Form, Reading, ShowError, Summary, show},
        try_policy::Trial,
    },
    args::{
        Cli, Command, EventsArgs, JoinArgs, NormaliseArgs, ServiceArgs, StatusArgs, TryPolicyArgs,
    },
    clock,
    config::{Config, DEFAULT_PATH, EXAMPLE, home},
    context::host_name,
    evtx::{self, EventsError},
    limits::EVENTS_MEMORY_MAX,
    platform::{bound_memory, open_regular, standard_input},
    service::{AfterInstall, AfterUninstall, Step, plan_install, plan_uninstall},
    status::{Health, Snapshot},
};
use anyhow::{Context as _, Result};
use clap::{CommandFactory as _, Parser as _};
use clap_complete::Shell;
use shared::join::JoinToken;
use tokio_util::sync::CancellationToken;

/// The agent's unit.
const SERVICE: &str = "signalbox-agent.service";
/// Longest standard input that a token is read from.
const TOKEN_BYTES_MAX: u64 = 64 << 10;

const FAILED: u8 = 1;
/// What `status` says to monitoring, beside 0.
const DEGRADED: u8 = 1;
const DOWN: u8 = 2;
const GRACE_EXCEEDED: u8 = 3;
const USAGE: u8 = 64;

/// Writes a line to standard output. Whoever does not read on (`| head`, `| grep -q`) has read enough: what a command
/// does, and the code that it ends with, is the same.
macro_rules! say {
    ($($text:tt)*) => {{
        let _heard = writeln!(std::io::stdout(), $($text)*).is_ok();
    }};
}

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
        Command::Events(args) => return events(args),
        Command::Join(args) => return join(args),
        Command::Run(common) | Command::Check(common) => &common.config,
        Command::Status(args) => &args.common.config,
        Command::Normalise(args) if args.source.is_none() => return normalise(None, args),
        Command::Normalise(args) => &args.common.config,
        Command::InstallService(args) => return install_service(args),
        Command::UninstallService(args) => return uninstall_service(args),
        Command::Completions { shell } => return completions(*shell),
        Command::TryPolicy(args) if args.kind.is_some() => return try_policy(None, args),
        Command::TryPolicy(args) => &args.common.config,
    };
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(error) => {
            report(&error.to_string());
            return ExitCode::from(USAGE);
        }
    };
    match cli.command {
        Command::Run(_) => run(config),
        Command::Check(common) => check_all(&config, &common.config),
        Command::Status(args) => show_status(&config, &args),
        Command::Normalise(args) => normalise(Some(&config), &args),
        // They need no configuration, and have returned.
        Command::Join(_)
        | Command::InstallService(_)
        | Command::UninstallService(_)
        | Command::Completions { .. }
        | Command::Events(_) => ExitCode::SUCCESS,
        Command::TryPolicy(args) => try_policy(Some(&config), &args),
    }
}

/// Makes this host an agent, and starts the service if there is one.
fn join(args: &JoinArgs) -> ExitCode {
    let failed = |code: u8, text: &str| {
        report(text);
        ExitCode::from(code)
    };
    let token = match args.token.as_str() {
        "-" => read_token(),
        text => Ok(text.to_owned()),
    };
    let token = match token.map(|text| text.parse::<JoinToken>()) {
        Ok(Ok(token)) => token,
        Ok(Err(error)) => return failed(USAGE, &error.to_string()),
        Err(error) => return failed(FAILED, &format!("standard input cannot be read: {error}")),
    };
    let home = match home(&args.common.config) {
        Ok(home) => home,
        Err(error) => return failed(USAGE, &error.to_string()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let joined = runtime.context("start the runtime").and_then(|runtime| {
        runtime.block_on(app::join::join(&home, &token, host_name(), args.again))
    });
    let member = match joined {
        Ok(member) => member,
        Err(error) => return failed(FAILED, &format!("{error:#}")),
    };
    say!("This host is agent {} of {} now.", member.agent, member.tenant);
    say!("Its identity is in {}, good until {}.", home.identity.display(), member.not_after);
    // A configuration of one's own is not the service's.
    let is_service = args.common.config == Path::new(DEFAULT_PATH);
    if args.no_start || !is_service || !has_unit() {
        say!("Start it: systemctl enable --now signalbox-agent, or signalbox-agent run");
        return ExitCode::SUCCESS;
    }
    for arguments in [["enable", SERVICE], ["restart", SERVICE]] {
        let done = std::process::Command::new("systemctl").args(arguments).status();
        if !done.is_ok_and(|status| status.success()) {
            let command = arguments.join(" ");
            return failed(
                FAILED,
                &format!(
                    "joined, but not started (systemctl {command}): signalbox-agent check says why"
                ),
            );
        }
    }
    say!("It runs; signalbox-agent status shows what it does.");
    ExitCode::SUCCESS
}

/// Reads a token from standard input's first line.
fn read_token() -> std::io::Result<String> {
    let mut line = String::new();
    std::io::stdin().lock().take(TOKEN_BYTES_MAX).read_line(&mut line)?;
    Ok(line)
}

/// Returns whether systemd runs here and knows the service.
fn has_unit() -> bool {
    let folders = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
    Path::new("/run/systemd/system").is_dir()
        && folders.iter().any(|folder| Path::new(folder).join(SERVICE).exists())
}

fn run(config: Config) -> ExitCode {
    log::start(config.log, std::env::var_os("JOURNAL_STREAM").as_deref());
    match run_until_signal(config) {
        Ok(Outcome::Drained) => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        Ok(Outcome::GraceExceeded) => {
            tracing::warn!("stopped before everything was acked: the spool keeps the rest");
            ExitCode::from(GRACE_EXCEEDED)
        }
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "agent failed");
            ExitCode::from(FAILED)
        }
    }
}

fn run_until_signal(config: Config) -> Result<Outcome> {
    // One thread for the network; the pipeline has its own. Name look-ups take a short-lived one
    // more.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .context("start the runtime")?;
    runtime.block_on(async {
        let stop = CancellationToken::new();
        let mut agent = std::pin::pin!(app::run(config, notifier(), stop.clone()));
        let mut signals = Signals::new().context("listen for signals")?;
        tokio::select! {
            outcome = &mut agent => return outcome,
            () = signals.next() => stop.cancel(),
        }
        tokio::select! {
            outcome = &mut agent => outcome,
            () = signals.next() => Ok(Outcome::GraceExceeded),
        }
    })
}

/// SIGTERM and SIGINT; Ctrl-C where there are no signals.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    #[cfg(not(unix))]
    fn new() -> std::io::Result<Self> {
        Ok(Self {})
    }

    /// Waits for the next signal.
    ///
    /// # Cancel safety
    /// Cancel-safe: a signal that nobody took is there for the next call.
    #[cfg(unix)]
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    #[cfg(not(unix))]
    async fn next(&mut self) {
        let _heard = tokio::signal::ctrl_c().await.is_ok();
    }
}

/// Returns the way to the service manager, as it names itself in the environment.
fn notifier() -> Notifier {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    // Where a shell stands between, the watchdog is the shell's.
    let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    let watchdog = number("WATCHDOG_USEC").filter(|_| is_ours).map(Duration::from_micros);
    Notifier::new(std::env::var_os("NOTIFY_SOCKET").as_deref(), watchdog)
}

fn check_all(config: &Config, path: &Path) -> ExitCode {
    say!("{:<8} {:<16} {} is valid", "ok", "configuration", path.display());
    let findings = check(config, clock::wall());
    for finding in &findings {
        say!("{finding}");
    }
    if findings.iter().any(|finding| finding.verdict == Verdict::Problem) {
        ExitCode::from(FAILED)
    } else {
        ExitCode::SUCCESS
    }
}

/// Shows a running agent's state; the exit code is for monitoring.
fn show_status(config: &Config, args: &StatusArgs) -> ExitCode {
    let snapshot = match Snapshot::load(&config.status_path) {
        Ok(snapshot) => snapshot,
        Err(error) => {
            report(&error.to_string());
            return ExitCode::from(DOWN);
        }
    };
    let now = clock::wall();
    if args.json {
        match snapshot.to_json(now) {
            Ok(text) => say!("{text}"),
            Err(error) => report(&error.to_string()),
        }
    } else {
        say!("{}", snapshot.render(now).trim_end());
    }
    match snapshot.health(now) {
        Health::Well => ExitCode::SUCCESS,
        Health::Degraded => ExitCode::from(DEGRADED),
        Health::Down => ExitCode::from(DOWN),
    }
}

/// Returns how files are read: as of the kind that is named, as a source of `config`, or as what the first of them
/// looks like. Says why if that is not to be known.
fn reading(
    kind: Option<&str>,
    source: Option<&str>,
    config: Option<&Config>,
    files: &[PathBuf],
) -> Result<Reading, ExitCode> {
    let reading = match (kind, source.zip(config)) {
        (Some(kind), _) => Ok(Reading::of_kind(kind)),
        (None, Some((name, config))) => Ok(Reading::of_source(config, name)),
        (None, None) => files.first().map(|path| Reading::guess(path, clock::now())).transpose(),
    };
    match reading {
        Ok(Some(reading)) => Ok(reading),
        Ok(None) => {
            let sources = config.map(|config| config.sources.as_slice()).unwrap_or_default();
            let names: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
            report(&format!("the configuration has no such source, only: {}", names.join(", ")));
            Err(ExitCode::from(USAGE))
        }
        Err(error) => {
            report(&error.to_string());
            Err(ExitCode::from(FAILED))
        }
    }
}

/// Shows what a policy would do with the records of files.
fn try_policy(config: Option<&Config>, args: &TryPolicyArgs) -> ExitCode {
    let mut files = Vec::with_capacity(args.files.len());
    for file in &args.files {
        let one = std::slice::from_ref(file);
        match reading(args.kind.as_deref(), args.source.as_deref(), config, one) {
            Ok(reading) if reading.is_known() => files.push((file.clone(), reading)),
            Ok(_) if std::fs::metadata(file).is_ok_and(|file| file.len() == 0) => {}
            Ok(reading) => {
                report(&format!("{}: {reading}", file.display()));
                return ExitCode::from(FAILED);
            }
            Err(code) => return code,
        }
    }
    let now = (clock::wall(), clock::now());
    // What is tried needs no place to be held in.
    let policy = match policy::load(&args.policy, true, now.0) {
        Ok(policy) => policy,
        Err(error) => {
            report(&error.to_string());
            return ExitCode::from(USAGE);
        }
    };
    let mut trial = Trial::new(policy, args.examples, now);
    if let Err(error) = trial.read(&files) {
        report(&error.to_string());
        return ExitCode::from(FAILED);
    }
    trial.finish();
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let written = if args.json { trial.write_json(&mut out) } else { trial.write_text(&mut out) };
    match written.and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            report(&format!("the output cannot be written: {error}"));
            ExitCode::from(FAILED)
        }
    }
}

/// Shows what the records of files become, with the kind that is named, a source of `config`, or
/// the kind that they look like.
fn normalise(config: Option<&Config>, args: &NormaliseArgs) -> ExitCode {
    let reading = match reading(args.kind.as_deref(), args.source.as_deref(), config, &args.files) {
        Ok(reading) => reading,
        Err(code) => return code,
    };
    let known = if reading.is_known() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) };
    match show_files(&reading, args) {
        Ok(()) => known,
        // Whoever reads has seen enough.
        Err(ShowError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => known,
        Err(error) => {
            report(&error.to_string());
            ExitCode::from(FAILED)
        }
    }
}

fn show_files(reading: &Reading, args: &NormaliseArgs) -> Result<(), ShowError> {
    let form = match (args.each, args.json) {
        (_, true) => Form::Json,
        (true, false) => Form::Each,
        (false, false) => Form::Summary,
    };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut summary = Summary::default();
    for file in &args.files {
        let now = (clock::wall(), clock::now());
        show(file, reading, form, now, &mut out, &mut summary)?;
    }
    if form == Form::Json {
        report(&format!("{reading}\n{summary}"));
    } else {
        writeln!(out, "{reading}\n{summary}")?;
    }
    Ok(out.flush()?)
}

/// Writes the events of a Windows event log file.
fn events(args: &EventsArgs) -> ExitCode {
    let opened = match &args.file {
        Some(path) => open_regular(path),
        None => standard_input(),
    };
    let name = args.file.as_deref().map_or("standard input".into(), Path::to_string_lossy);
    // The file may be made to break whoever reads it.
    let bounded = bound_memory(EVENTS_MEMORY_MAX);
    let form = if args.numbered { evtx::Form::Numbered } else { evtx::Form::Json };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let found = bounded.and(opened).map_err(EventsError::Io).and_then(|mut file| {
        let found = evtx::write_events(&mut file, args.after, form, &mut out)?;
        Ok(out.flush().map(|()| found)?)
    });
    match found {
        Ok(found) if found.unreadable == 0 => ExitCode::SUCCESS,
        Ok(found) => {
            let reason: String = found.reason.unwrap_or_default().chars().take(200).collect();
            report(&format!("{name}: {} events cannot be read: {reason}", found.unreadable));
            ExitCode::from(evtx::SOME_UNREADABLE)
        }
        // Whoever reads has seen enough.
        Err(EventsError::Io(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            report(&format!("{name}: {error}"));
            ExitCode::from(FAILED)
        }
    }
}

fn completions(shell: Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "signalbox-agent", &mut script);
    match std::io::stdout().write_all(&script) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&format!("the output cannot be written: {error}"));
            ExitCode::from(FAILED)
        }
    }
}

fn install_service(args: &ServiceArgs) -> ExitCode {
    let program = match std::env::current_exe().and_then(std::fs::canonicalize) {
        Ok(program) => program,
        Err(error) => {
            report(&format!("the program's own place is not known: {error}"));
            return ExitCode::from(FAILED);
        }
    };
    match plan_install(&args.root, &program, EXAMPLE) {
        Ok(steps) => carry_out(&steps, args.dry_run, &AfterInstall),
        Err(error) => {
            report(&error.to_string());
            ExitCode::from(FAILED)
        }
    }
}

fn uninstall_service(args: &ServiceArgs) -> ExitCode {
    carry_out(&plan_uninstall(&args.root), args.dry_run, &AfterUninstall)
}

/// Carries out the steps, or only says what they would do, and then what is left to do.
fn carry_out(steps: &[Step], is_dry: bool, after: &dyn std::fmt::Display) -> ExitCode {
    for step in steps {
        let done = if is_dry { Ok(step.foresee()) } else { step.carry_out() };
        match done {
            Ok(done) => say!("{}", step.say(done)),
            Err(error) => {
                report(&error.to_string());
                return ExitCode::from(FAILED);
            }
        }
    }
    say!("{after}");
    ExitCode::SUCCESS
}

#[expect(clippy::print_stderr, reason = "there is no log yet")]
fn report(text: &str) {
    eprintln!("signalbox-agent: {text}");
}
