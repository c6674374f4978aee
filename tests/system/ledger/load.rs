//! What writes: a detector's file that is rotated, and a device that sends datagrams. Each counts what it wrote.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::Write as _,
    net::{SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use anyhow::Result;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use shared::time::Timestamp;

use super::pushes::Pushes;

/// Bytes of a line that is cut.
const LONG_LINE_BYTES: usize = 300 << 10;
/// Random bytes in a record of a flood, as hex digits: it compresses to half, and fills a spool of 32 MiB in seconds.
const PAYLOAD_BYTES: usize = 2_000;
/// The like in a record of the noise that is held back: the smallest ring is full of it within twenty seconds.
const NOISE_PAYLOAD_BYTES: usize = 1_600;
/// When the first record of noise or of an attack happened, 2026-11-02 08:00 UTC; each other a millisecond after the
/// one before.
const FIRST_AT: Timestamp = Timestamp::from_ms(1_793_606_400_000);
/// From how many addresses the attack comes, one after the other.
pub(super) const ATTACKERS: u64 = 4;

/// Something that writes.
#[derive(Clone, Debug)]
pub(super) enum Load {
    File(FileLoad),
    Datagrams(Datagrams),
    Pushes(Pushes),
}

impl Load {
    /// Writes until `stop`; as much as it can while `flood` says so.
    pub(super) fn run(
        &self,
        rng: &mut StdRng,
        stop: &AtomicBool,
        flood: Option<&AtomicBool>,
    ) -> Result<()> {
        match self {
            Self::File(file) => file.run(rng, stop, flood),
            Self::Datagrams(datagrams) => datagrams.run(rng, stop),
            Self::Pushes(pushes) => pushes.run(rng, stop),
        }
    }
}

/// What the records of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Alerts and other events, now and then one that is broken or too long.
    Mixed,
    /// Alerts that a policy holds back. Each is told by its number.
    Noise,
    /// Alerts that come again and again from a few addresses. Each is told by its number.
    Attack,
}

impl Shape {
    /// Returns the record with this number.
    pub(super) fn record(self, number: u64) -> String {
        let time = time_of(number).to_string();
        let time = time.trim_end_matches('Z');
        let (rule, source, payload) = match self {
            Self::Noise => {
                let mut rng = StdRng::seed_from_u64(number);
                (7, 1, payload(&mut rng, NOISE_PAYLOAD_BYTES))
            }
            Self::Attack | Self::Mixed => (8, 10 + number % ATTACKERS, String::new()),
        };
        format!(
            "{{\"timestamp\":\"{time}000+0000\",\"event_type\":\"alert\",\"flow_id\":{number},\
             \"src_ip\":\"10.66.0.{source}\",\"dest_ip\":\"10.0.0.1\",\"payload\":\"{payload}\",\
             \"alert\":{{\"signature_id\":{rule},\"signature\":\"rule {rule}\",\"severity\":3}}}}"
        )
    }

    /// Returns the number of a record that this made, byte for byte.
    pub(super) fn number_of(self, record: &str) -> Option<u64> {
        let (_, rest) = record.split_once("\"flow_id\":")?;
        let number = rest.split(',').next()?.parse().ok()?;
        (self.record(number) == record).then_some(number)
    }
}

/// Returns when the record with this number happened.
pub(super) fn time_of(number: u64) -> Timestamp {
    FIRST_AT.saturating_add(Duration::from_millis(number))
}

/// How a file is rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rotation {
    /// It is renamed, and another is begun.
    Renamed,
    /// It is copied, and then emptied.
    CopiedAndEmptied,
}

/// A file in Suricata's EVE.
#[derive(Clone, Debug)]
pub(super) struct FileLoad {
    source: &'static str,
    shape: Shape,
    pub(super) rotation: Rotation,
    path: PathBuf,
    written: Arc<AtomicU64>,
    rotated: Arc<AtomicU64>,
}

impl FileLoad {
    /// A file that is renamed to rotate it.
    pub(super) fn new(source: &'static str, shape: Shape, path: PathBuf) -> Self {
        let (written, rotated) = (Arc::default(), Arc::default());
        Self { source, shape, rotation: Rotation::Renamed, path, written, rotated }
    }

    /// Returns the name of the source that reads it.
    pub(super) fn source(&self) -> &'static str {
        self.source
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns how many records were written.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    /// Returns how often it was rotated.
    pub(super) fn rotated(&self) -> u64 {
        self.rotated.load(Relaxed)
    }

    fn open(&self) -> Result<File> {
        Ok(File::options().create(true).append(true).open(&self.path)?)
    }

    fn rotate(&self, file: &mut File) -> Result<()> {
        let number = self.rotated.fetch_add(1, Relaxed) + 1;
        let aside = self.path.with_extension(format!("json.{number}"));
        match self.rotation {
            Rotation::Renamed => {
                fs::rename(&self.path, aside)?;
                *file = self.open()?;
            }
            Rotation::CopiedAndEmptied => {
                fs::copy(&self.path, aside)?;
                file.set_len(0)?;
            }
        }
        Ok(())
    }

    fn run(&self, rng: &mut StdRng, stop: &AtomicBool, flood: Option<&AtomicBool>) -> Result<()> {
        let mut file = self.open()?;
        while !stop.load(Relaxed) {
            let is_flood = flood.is_some_and(|flood| flood.load(Relaxed));
            let count = if is_flood { 500 } else { rng.random_range(1..60) };
            let mut lines = String::new();
            for _ in 0..count {
                let number = self.written();
                match self.shape {
                    Shape::Mixed => line(rng, number, is_flood, &mut lines),
                    Shape::Noise | Shape::Attack => {
                        lines.push_str(&self.shape.record(number));
                        lines.push('\n');
                    }
                }
                self.written.fetch_add(1, Relaxed);
            }
            // Before writing, so that the last file is not empty: until then an agent waits with those before it.
            if rng.random_ratio(1, 100) {
                self.rotate(&mut file)?;
            }
            file.write_all(lines.as_bytes())?;
            if !is_flood {
                thread::sleep(Duration::from_millis(rng.random_range(1..40)));
            }
        }
        Ok(())
    }
}

/// Returns so many random hex digits.
fn payload(rng: &mut StdRng, digits: usize) -> String {
    let mut text = String::with_capacity(digits);
    for _ in 0..digits / 2 {
        write!(text, "{:02x}", rng.random::<u8>()).expect("a text takes all");
    }
    text
}

/// Appends a record: mostly an alert, now and then another event, one that cannot be parsed, or one that is too long.
fn line(rng: &mut StdRng, number: u64, is_flood: bool, out: &mut String) {
    let kind = rng.random_range(0..200);
    let (event_type, severity) = (if kind < 40 { "flow" } else { "alert" }, number % 3 + 1);
    let payload = if is_flood {
        payload(rng, PAYLOAD_BYTES)
    } else if number % 5_000 == 4_999 {
        "x".repeat(LONG_LINE_BYTES)
    } else {
        String::new()
    };
    let text = format!(
        "{{\"timestamp\":\"2026-11-02T08:00:00.000000+0000\",\"event_type\":\"{event_type}\",\
         \"flow_id\":{number},\"src_ip\":\"10.0.0.{}\",\"payload\":\"{payload}\",\
         \"alert\":{{\"signature_id\":{kind},\"signature\":\"rule {kind}\",\
         \"severity\":{severity}}}}}",
        number % 250
    );
    let whole = if kind == 199 { text.len() / 2 } else { text.len() };
    out.push_str(&text[..whole]);
    out.push('\n');
}

/// A device that sends syslog by UDP.
#[derive(Clone, Debug)]
pub(super) struct Datagrams {
    socket: Arc<UdpSocket>,
    to: SocketAddr,
    written: Arc<AtomicU64>,
}

impl Datagrams {
    pub(super) fn new(to: SocketAddr) -> Result<Self> {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0")?);
        Ok(Self { socket, to, written: Arc::default() })
    }

    /// Returns how many datagrams were sent.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    fn run(&self, rng: &mut StdRng, stop: &AtomicBool) -> Result<()> {
        while !stop.load(Relaxed) {
            for _ in 0..rng.random_range(1..30) {
                let number = self.written.fetch_add(1, Relaxed);
                let text = format!("<10>1 2026-11-02T08:00:00Z gw ids - - - event {number}");
                // Nobody listens while the agent is down: that is what the ledger must show.
                drop(self.socket.send_to(text.as_bytes(), self.to));
            }
            thread::sleep(Duration::from_millis(rng.random_range(1..20)));
        }
        Ok(())
    }
}
