//! `make demo`: the whole line on one machine, with the real programs, in front of one's eyes.
//!
//! It makes certificates, starts a coordinator and the agents of two tenants on loopback, feeds them recorded detector
//! output or the caller's own files, shows what an analyst sees, and leaves everything running until Ctrl-C. All that
//! it writes lies in `.demo` in the folder where it is started.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `EVE` | Suricata's `eve.json` that tenant `acme` reads instead of the recordings |
//! | `WAZUH` | Wazuh's `alerts.json` that tenant `globex` reads instead of the recordings |
//! | `KEEP=1` | goes on with what the last demo left in `.demo`, instead of anew |
//! | `DEMO_EXIT=1` | ends after the show, for tests |
//!
//! Exit codes: 0 ended as asked, 1 failed.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a show")]

mod children;
mod feed;
mod options;
mod place;
mod show;
mod tenants;

use std::{process::ExitCode, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{sleep, timeout},
};

use self::{
    children::Children,
    feed::Feed,
    options::Options,
    place::Place,
    show::{Show, step},
};

/// How often a program that died is noticed while all that happens is waiting.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);
/// Ctrl-C reaches a command of the show, too; so long after it failed the reason is looked for here.
const SIGNAL_GRACE: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\ndemo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::new().context("listen for signals")?;
        let options = Options::load()?;
        let place = Place::enter(&std::env::current_dir()?, options.keep).await?;
        let mut children = Children::new(place.log_dir());
        let played = tokio::select! {
            played = play(&place, &options, &mut children) => played,
            () = signals.next() => Ok(()),
        };
        let interrupted = played.is_err() && timeout(SIGNAL_GRACE, signals.next()).await.is_ok();
        println!("\nstopping the agents and the coordinator");
        let stopped = children.stop().await;
        if !interrupted {
            played?;
        }
        stopped?;
        println!("stopped; what it stored is in {}: go on with make demo KEEP=1", place.shown());
        Ok(())
    })
}

/// The demo from start to end. Ends by itself only where that was asked for.
///
/// # Cancel safety
/// Dropped early, the programs that it started go on; `children` stops them.
async fn play(place: &Place, options: &Options, children: &mut Children) -> Result<()> {
    let tenants = tenants::choose(options, place);
    step("Certificates: one authority, one certificate for each program");
    place.make_certificates(&tenants)?;
    place.write_configuration(&tenants)?;

    step("The coordinator: it takes alerts over QUIC and gives out cases over HTTPS");
    place.start_coordinator(children)?;
    place.wait_until_ready(children).await?;
    let show = Show::new(place);
    show.make_tokens()?;

    step("One agent for each tenant, as they would run on two customers' hosts");
    let mut feed = Feed::open(&tenants)?;
    for tenant in &tenants {
        place.start_agent(children, tenant)?;
    }
    feed::run(&mut feed, &tenants, &show, children).await?;
    show.play()?;
    if options.is_short {
        return Ok(());
    }
    show.print_next_things(&tenants);
    loop {
        children.check()?;
        sleep(WATCH_INTERVAL).await;
    }
}

/// What ends the demo: Ctrl-C, SIGTERM, or the terminal going away.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one.
    ///
    /// # Cancel safety
    /// Cancel-safe: a signal that nobody took is there for the next call.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}
