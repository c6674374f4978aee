//! A detector that pushes its alerts by HTTP, and goes on with the next when it gets no answer.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use rand::{RngExt as _, rngs::StdRng};
use tests::cluster::addresses;

/// How long an answer may take: an agent whose spool is full answers at once that it takes nothing.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Pushes records, and counts what was answered.
#[derive(Clone, Debug)]
pub(super) struct Pushes {
    source: &'static str,
    to: SocketAddr,
    token: PathBuf,
    answered: Arc<AtomicU64>,
    unsure: Arc<AtomicU64>,
}

/// What came of a push.
enum Outcome {
    /// All of it is safe.
    Answered,
    /// None of it was taken.
    Refused,
}

impl Pushes {
    pub(super) fn new(source: &'static str, token: &Path) -> Result<Self> {
        let [to] = addresses()?;
        File::options()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(token)?
            .write_all(TOKEN.as_bytes())?;
        let (answered, unsure) = (Arc::default(), Arc::default());
        Ok(Self { source, to, token: token.to_owned(), answered, unsure })
    }

    /// Returns the source that takes them, for an agent's configuration.
    pub(super) fn to_toml(&self) -> String {
        let Self { source, to, token, .. } = self;
        format!(
            "[[source]]\nname = {source:?}\nkind = \"suricata_eve\"\n\
             listen = \"http://{to}\"\ntoken_file = {token:?}\n"
        )
    }

    /// Returns the name of the source that takes them.
    pub(super) fn source(&self) -> &'static str {
        self.source
    }

    /// Returns how many records were answered for.
    pub(super) fn answered(&self) -> u64 {
        self.answered.load(Relaxed)
    }

    /// Returns how many records were sent and not answered for.
    pub(super) fn unsure(&self) -> u64 {
        self.unsure.load(Relaxed)
    }

    pub(super) fn run(&self, rng: &mut StdRng, stop: &AtomicBool) -> Result<()> {
        let mut number = 0_u64;
        while !stop.load(Relaxed) {
            // Nobody listens while the agent is down, and nothing is sent then.
            let Ok(stream) = TcpStream::connect(self.to) else {
                thread::sleep(Duration::from_millis(20));
                continue;
            };
            stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
            let mut answers = BufReader::new(stream);
            for _ in 0..rng.random_range(1..20) {
                let count = rng.random_range(1..40);
                let body = records(number, count);
                number += count;
                match self.push(&mut answers, &body) {
                    Ok(Outcome::Answered) => _ = self.answered.fetch_add(count, Relaxed),
                    Ok(Outcome::Refused) => break,
                    Err(error) if error.is::<io::Error>() => {
                        self.unsure.fetch_add(count, Relaxed);
                        break;
                    }
                    Err(error) => return Err(error),
                }
                thread::sleep(Duration::from_millis(rng.random_range(1..40)));
            }
        }
        Ok(())
    }

    /// Sends a request and reads the answer; an error of the connection leaves open what became of it.
    fn push(&self, stream: &mut BufReader<TcpStream>, body: &str) -> Result<Outcome> {
        let head = format!(
            "POST / HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {TOKEN}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.to,
            body.len()
        );
        stream.get_mut().write_all([head.as_str(), body].concat().as_bytes())?;
        let (mut status, mut length) = (String::new(), 0);
        if stream.read_line(&mut status)? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line)? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().context("the length of an answer")?;
            }
        }
        stream.read_exact(&mut vec![0; length])?;
        match status.split(' ').nth(1) {
            Some("200") => Ok(Outcome::Answered),
            Some("503") => Ok(Outcome::Refused),
            _ => bail!("the agent answers {status:?}"),
        }
    }
}

/// What the agent wants to be shown.
const TOKEN: &str = "a-detector-that-pushes-its-alerts-0123456789";

/// Returns so many alerts as JSON lines.
fn records(from: u64, count: u64) -> String {
    let mut text = String::new();
    for number in from..from + count {
        writeln!(
            text,
            "{{\"timestamp\":\"2026-11-02T08:00:00.000000+0000\",\"event_type\":\"alert\",\
             \"flow_id\":{number},\"src_ip\":\"10.3.0.{}\",\"alert\":{{\"signature_id\":9,\
             \"signature\":\"pushed\",\"severity\":2}}}}",
            number % 250
        )
        .expect("a text takes all");
    }
    text
}
