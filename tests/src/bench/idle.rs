//! What a connected agent that sends nothing costs the coordinator, and how fast agents are let in.
//!
//! The clients run in a process of their own, which this program starts from itself. It reads a number from its
//! standard input, connects until it has so many, and answers with the seconds that took.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use agent::{config::IdentityConfig, tls::Credentials};
use anyhow::{Context as _, Result, bail};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::mpsc;

use super::{
    Figures,
    client::{Client, endpoint, keep_alive},
    measure::{per_second, scaled},
    programs::Site,
    records::now,
};

const FEW: usize = 500;
const MANY: usize = 2_000;
/// Handshakes at once.
const AT_ONCE: usize = 64;
/// How long the coordinator is left alone before its memory is read.
const SETTLE: Duration = Duration::from_secs(5);

pub(super) fn run(figures: &mut Figures) -> Result<()> {
    let (few, many) = (scaled(FEW, 20), scaled(MANY, 80));
    let site = Site::new()?;
    for number in 0..many {
        site.issue_agent("acme", number as u64)?;
    }
    let coordinator = site.start_coordinator()?;
    let mut clients = Clients::start(&site, coordinator.ingest)?;
    clients.connect(few)?;
    std::thread::sleep(SETTLE);
    let with_few = coordinator.resident()?.now;
    let took = clients.connect(many)?;
    std::thread::sleep(SETTLE);
    let with_many = coordinator.resident()?.now;
    let open = coordinator.metric("signalbox_connections_open")?;
    if open != many as u64 {
        bail!("{open} of {many} connections are open");
    }
    drop(clients);
    coordinator.stop()?;
    #[expect(clippy::cast_precision_loss, reason = "bytes are far below 2^52")]
    let slope = with_many.saturating_sub(with_few) as f64 / (many - few) as f64;
    figures.set("idle_connection_bytes", slope);
    figures.set("handshakes_per_s", per_second(many - few, took));
    Ok(())
}

/// The clients' process.
struct Clients {
    child: Child,
    ask: ChildStdin,
    answer: BufReader<ChildStdout>,
}

impl Clients {
    fn start(site: &Site, coordinator: SocketAddr) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("idle-clients").arg(site.path("")).arg(coordinator.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("start the clients")?;
        let ask = child.stdin.take().context("the clients' input")?;
        let answer = BufReader::new(child.stdout.take().context("the clients' output")?);
        Ok(Self { child, ask, answer })
    }

    /// Lets clients connect until there are `count`; returns how long that took.
    fn connect(&mut self, count: usize) -> Result<Duration> {
        writeln!(self.ask, "{count}")?;
        let mut line = String::new();
        self.answer.read_line(&mut line)?;
        let seconds: f64 = line.trim().parse().context("the clients ended")?;
        Ok(Duration::from_secs_f64(seconds))
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        // They may have ended before.
        let _ended = self.child.kill().and_then(|()| self.child.wait()).is_ok();
    }
}

/// Is the clients' process: connects as many agents as it is told to, with the certificates in `folder`.
///
/// # Errors
/// A connection failed.
pub fn run_clients(folder: &Path, coordinator: SocketAddr) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(folder, coordinator))
}

async fn serve(folder: &Path, coordinator: SocketAddr) -> Result<()> {
    let endpoint = endpoint()?;
    let mut clients: Vec<Client> = Vec::new();
    let mut orders = orders();
    loop {
        let order = tokio::select! {
            order = orders.recv() => order,
            failed = keep_alive(&mut clients, now) => return failed,
        };
        let Some(order) = order else { return Ok(()) };
        let loaded: Vec<_> = (clients.len()..order.parse()?)
            .map(|number| load(folder, number))
            .collect::<Result<_>>()?;
        let start = Instant::now();
        let connected: Vec<Client> = stream::iter(&loaded)
            .map(|credentials| Client::connect(&endpoint, coordinator, credentials))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        let took = start.elapsed().as_secs_f64();
        clients.extend(connected);
        println!("{took}");
    }
}

/// Returns the lines of the standard input, until it ends.
fn orders() -> mpsc::Receiver<String> {
    let (sender, orders) = mpsc::channel(1);
    std::thread::spawn(move || {
        let lines = std::io::stdin().lines().map_while(Result::ok);
        lines.take_while(|line| sender.blocking_send(line.clone()).is_ok()).for_each(drop);
    });
    orders
}

fn load(folder: &Path, number: usize) -> Result<Credentials> {
    let identity = IdentityConfig {
        certificate: folder.join(format!("agent-{number}.pem")),
        key: folder.join(format!("agent-{number}.key")),
        trust_anchor: folder.join("root.pem"),
    };
    Ok(Credentials::load(&identity)?)
}
