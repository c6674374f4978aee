//! Takes records that detectors push by HTTP, and answers when they are safe.
//!
//! A request is a POST of JSON values: one, one after the other (JSON lines), or a list; each is a
//! record. It is answered with 200 only after a commit is durable that has the fate of each of its
//! records, so a sender that repeats what was not answered so loses nothing (L1). A sender whose
//! connection breaks before that does not know, and may send twice.
//!
//! Like a [`Listener`](super::Listener) it is polled and has no thread. HTTP/1.1 by itself: no TLS,
//! one request of a connection at a time; bodies with their length or in chunks, and packed with gzip or not.
//!
//! # States of a connection
//! ```text
//! head ──▶ body ──▶ ready ──▶ handed out ──▶ answered ──▶ head, or left
//!   └────────┴── refused: answered, then left
//! left: our half is closed; what still comes is thrown away until the other half is closed, too, or for a moment
//! ```
//! Left and not closed at once, because a system that closes a connection with something unread in it takes the answer
//! back that is on its way.
//!
//! # Limits
//! [`CONNECTIONS_MAX`] connections, [`HTTP_BODIES_MAX`] bodies at once; beyond them, and while the
//! spool takes nothing, the answer is 503 and says when to try again. A connection that asks for nothing makes place
//! for a new one, the quietest first: who has no token cannot keep others out by holding all places.

mod body;
mod request;

#[cfg(unix)]
use std::os::fd::AsFd as _;
use std::{
    fmt,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    ops::Range,
    path::PathBuf,
    time::{Duration, Instant},
};

use self::{
    body::{Body, Framing},
    request::{Refusal, TokenDigest},
};
#[cfg(unix)]
use super::Wake;
use super::{Batch, Counts, Intake, ReadBuffer, Status};
use crate::{
    limits::{
        CONNECTIONS_MAX, HTTP_BODIES_MAX, HTTP_HEAD_BYTES_MAX, HTTP_RETRY_SECONDS,
        HTTP_TOKEN_BYTES, OPEN_RETRY_INTERVAL, UNFINISHED_MAX,
    },
    platform,
};
use shared::limits::RECORD_BYTES_MAX;

/// Bytes asked for in one read.
const CHUNK_BYTES: usize = 8 << 10;
/// How many times as many are thrown away at one look after the last answer.
const REST_CHUNKS_MAX: usize = 16;
/// How long a sender has to take in the last answer.
const LEAVING_MAX: Duration = Duration::from_secs(2);

/// Where a connection is.
#[derive(Debug)]
enum State {
    /// Before or within a head.
    Head,
    /// Within a body.
    Body { body: Body, is_kept: bool },
    /// With records to be handed out, from this one on.
    Ready { body: Vec<u8>, records: Vec<Range<usize>>, next: usize, is_kept: bool },
    /// With records that were handed out, the last before this end.
    HandedOut { count: usize, end: u64, is_kept: bool },
    /// With an answer on its way, after which another request may come or not.
    Answering { is_kept: bool },
    /// With an answer that was written and is the last.
    Left { since: Option<Instant> },
    /// To be closed.
    Over,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    state: State,
    /// What was read and not used.
    pending: Vec<u8>,
    /// What is to be written.
    out: Vec<u8>,
    heard_at: Instant,
    /// When the head began that is not whole yet: who sends it byte by byte is not waited for longer than who sends
    /// none.
    head_since: Option<Instant>,
    /// Whether the sender has closed its half: nothing more comes.
    has_ended: bool,
}

/// Takes records at one address.
#[derive(Debug)]
pub struct Http {
    address: SocketAddr,
    token_file: PathBuf,
    token: TokenDigest,
    socket: Option<TcpListener>,
    connections: Vec<Connection>,
    /// Whose records are handed out next.
    turn: usize,
    /// Where the last batch ended, counted over all.
    end: u64,
    /// Up to where the commit under way covers what was handed out.
    covered: u64,
    retry_at: Option<Instant>,
    status: Status,
    counts: Counts,
}

impl fmt::Display for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.local_address().unwrap_or(self.address))
    }
}

/// Reads the token that senders must have. A file that everybody on this host may read is refused: a group may share
/// it.
///
/// # Errors
/// Says what is wrong with the file.
pub fn load_token(path: &std::path::Path) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let wrong = |error: io::Error| format!("{shown}: {error}");
    let mut token = Vec::new();
    let file = platform::open_regular(path).map_err(wrong)?;
    let mode = platform::mode(&file.metadata().map_err(wrong)?);
    if let Some(mode) = mode.filter(|mode| mode & 0o007 != 0) {
        return Err(format!(
            "{shown} may be read by everybody on this host (mode {mode:o}): run chmod o= on it"
        ));
    }
    file.take(*HTTP_TOKEN_BYTES.end() as u64 + 2).read_to_end(&mut token).map_err(wrong)?;
    let token = token.trim_ascii().to_vec();
    let is_text = token.iter().all(u8::is_ascii_graphic);
    if is_text && HTTP_TOKEN_BYTES.contains(&token.len()) {
        return Ok(token);
    }
    let (min, max) = (HTTP_TOKEN_BYTES.start(), HTTP_TOKEN_BYTES.end());
    Err(format!("{shown} holds no token: {min} to {max} letters, digits and signs on one line"))
}

impl Http {
    /// Returns what takes records at an address from those who have the token in the file; if that
    /// is not possible yet, its status says so.
    #[must_use]
    pub fn new(address: SocketAddr, token_file: PathBuf) -> Self {
        let mut http = Self {
            address,
            token_file,
            token: TokenDigest::default(),
            socket: None,
            connections: Vec::new(),
            turn: 0,
            end: 0,
            covered: 0,
            retry_at: None,
            status: Status::Reading,
            counts: Counts::default(),
        };
        http.bind();
        http
    }

    /// Returns the address that it listens at, if it does.
    #[must_use]
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.socket.as_ref()?.local_addr().ok()
    }

    fn bind(&mut self) {
        let bound = load_token(&self.token_file).and_then(|token| {
            let text = |error: io::Error| error.to_string();
            let socket = TcpListener::bind(self.address).map_err(text)?;
            socket.set_nonblocking(true).map_err(text)?;
            Ok((request::digest(&token), socket))
        });
        match bound {
            Ok((token, socket)) => {
                (self.token, self.socket) = (token, Some(socket));
                self.status = Status::Reading;
            }
            Err(reason) => self.status = Status::Unreadable(reason),
        }
    }

    /// Takes connections, and each connection on as far as it goes; `refusal` is for new requests.
    fn advance(&mut self, now: Instant, refusal: Option<Refusal>) {
        if self.socket.is_none() {
            if self.retry_at.is_some_and(|at| now < at) {
                return;
            }
            self.retry_at = Some(now + OPEN_RETRY_INTERVAL);
            self.bind();
        }
        self.accept(now);
        let is_body =
            |it: &&Connection| matches!(it.state, State::Body { .. } | State::Ready { .. });
        let mut bodies = self.connections.iter().filter(is_body).count();
        for connection in &mut self.connections {
            connection.advance(now, &self.token, refusal, &mut bodies);
        }
        let before = self.connections.len();
        self.connections.retain(|connection| !matches!(connection.state, State::Over));
        if self.connections.len() < before {
            self.turn = 0;
        }
    }

    fn accept(&mut self, now: Instant) {
        for _ in 0..CONNECTIONS_MAX {
            let Some(socket) = &self.socket else { return };
            let Ok((mut stream, _)) = socket.accept() else { return };
            if self.connections.len() == CONNECTIONS_MAX {
                self.make_place(now);
            }
            if self.connections.len() == CONNECTIONS_MAX {
                self.counts.refused += 1;
                let answer = Refusal::Busy(HTTP_RETRY_SECONDS).answer();
                // Who does not hear it sees the connection closed.
                let _heard = stream.set_nonblocking(true).is_ok() && stream.write(&answer).is_ok();
                continue;
            }
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            let (pending, out) = (Vec::new(), Vec::new());
            self.connections.push(Connection {
                stream,
                state: State::Head,
                pending,
                out,
                heard_at: now,
                head_since: None,
                has_ended: false,
            });
        }
    }

    /// Closes the connection that is nobody's request for longest, if there is one; what came a moment ago may have a
    /// request that was not read yet.
    fn make_place(&mut self, now: Instant) {
        let is_idle = |it: &Connection| {
            matches!(it.state, State::Head | State::Left { .. }) && it.heard_at < now
        };
        let idle = self.connections.iter().enumerate().filter(|(_, it)| is_idle(it));
        if let Some((index, _)) = idle.min_by_key(|(_, it)| it.head_since.unwrap_or(it.heard_at)) {
            self.connections.remove(index);
            self.turn = 0;
        }
    }
}

impl Intake for Http {
    fn label(&self) -> String {
        self.to_string()
    }

    fn status(&self) -> &Status {
        &self.status
    }

    fn counts(&self) -> Counts {
        self.counts
    }

    /// Takes connections and requests.
    fn poll(&mut self, now: Instant) -> bool {
        self.advance(now, None);
        self.connections.iter().any(|it| matches!(it.state, State::Ready { .. }))
    }

    #[cfg(unix)]
    fn watch<'i>(&'i self, wakes: &mut dyn FnMut(Wake<'i>)) {
        self.socket.iter().for_each(|socket| wakes(Wake::Readable(socket.as_fd())));
        self.connections.iter().for_each(|it| wakes(Wake::Readable(it.stream.as_fd())));
    }

    /// Hands records out, as many as fit.
    fn read_batch<'b>(
        &mut self,
        _now: Instant,
        buffer: &'b mut ReadBuffer,
        _bytes_max: usize,
    ) -> io::Result<Batch<'b>> {
        buffer.clear();
        let at = self.end;
        for step in 0..self.connections.len() {
            let index = (self.turn + step) % self.connections.len();
            let connection = &mut self.connections[index];
            let State::Ready { body, records, next, is_kept } = &mut connection.state else {
                continue;
            };
            let mut has_room = true;
            while has_room && *next < records.len() {
                let record = &body[records[*next].clone()];
                let cut = record.len() > RECORD_BYTES_MAX;
                has_room = buffer.push(&record[..record.len().min(RECORD_BYTES_MAX)], cut);
                if has_room {
                    *next += 1;
                    self.counts.over_long += u64::from(cut);
                }
            }
            if !has_room {
                self.turn = index;
                break;
            }
            let (count, end) = (records.len(), at + buffer.filled() as u64);
            connection.state = State::HandedOut { count, end, is_kept: *is_kept };
        }
        self.end = at + buffer.filled() as u64;
        let batch = Batch::new(buffer, at);
        self.counts.count(&batch);
        Ok(batch)
    }

    fn is_live(&self) -> bool {
        true
    }

    /// What came cannot be read again, so nothing is stored; notes up to where the commit under way covers it.
    fn changed(&mut self, end: Option<u64>) -> Vec<(String, Vec<u8>)> {
        self.covered = end.unwrap_or(self.end);
        Vec::new()
    }

    /// Answers the requests that the commit covers.
    fn stored(&mut self) {
        for connection in &mut self.connections {
            if let State::HandedOut { count, end, is_kept } = connection.state
                && end <= self.covered
            {
                connection.answer(request::accepted(count, is_kept), is_kept);
                connection.write();
            }
        }
    }

    fn awaits_commit(&self) -> bool {
        self.connections.iter().any(|it| matches!(it.state, State::HandedOut { .. }))
    }

    /// Takes connections and requests, and refuses them for now.
    fn refuse(&mut self, now: Instant) {
        self.advance(now, Some(Refusal::Busy(HTTP_RETRY_SECONDS)));
    }
}

impl Connection {
    /// Goes on as far as it can without waiting.
    fn advance(
        &mut self,
        now: Instant,
        token: &TokenDigest,
        refusal: Option<Refusal>,
        bodies: &mut usize,
    ) {
        self.write();
        if matches!(self.state, State::Head | State::Body { .. }) {
            self.read(now);
        }
        if let State::Left { since } = &mut self.state {
            let since = *since.get_or_insert(now);
            self.read_rest(since, now);
        }
        if matches!(self.state, State::Head) && !self.pending.is_empty() {
            match request::head(&self.pending, token) {
                Ok(None) => {}
                Ok(Some(_)) if refusal.is_some() || *bodies >= HTTP_BODIES_MAX => {
                    self.refuse(refusal.unwrap_or(Refusal::Busy(HTTP_RETRY_SECONDS)));
                }
                Ok(Some(head)) => {
                    self.pending.drain(..head.len);
                    self.head_since = None;
                    let is_awaited = head.framing != Framing::Length(0) && self.pending.is_empty();
                    if head.expects_word && is_awaited {
                        self.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                        self.write();
                    }
                    *bodies += 1;
                    let body = Body::new(head.framing, head.is_compressed);
                    self.state = State::Body { body, is_kept: head.is_kept };
                    self.read(now);
                }
                Err(refused) => self.refuse(refused),
            }
        }
        while let State::Body { body, .. } = &mut self.state {
            let before = self.pending.len();
            match body.take(&mut self.pending) {
                Ok(true) => self.take_records(refusal),
                // There may be more of it than was read at once.
                Ok(false) if before > self.pending.len() => self.read(now),
                Ok(false) => break,
                Err(refused) => self.refuse(refused),
            }
        }
        if self.has_ended && matches!(self.state, State::Head | State::Body { .. }) {
            self.state = State::Over;
        }
    }

    /// Takes the records out of a body that is whole.
    fn take_records(&mut self, refusal: Option<Refusal>) {
        let State::Body { body, is_kept } = std::mem::replace(&mut self.state, State::Head) else {
            return;
        };
        let taken = refusal.map_or_else(|| body.finish(), Err);
        let taken = taken.and_then(|body| Ok((request::records(&body)?, body)));
        match taken {
            Ok((records, body)) => self.state = State::Ready { body, records, next: 0, is_kept },
            Err(refused) => self.refuse(refused),
        }
    }

    /// Throws away what still comes after the last answer.
    fn read_rest(&mut self, since: Instant, now: Instant) {
        let mut bytes = [0; CHUNK_BYTES];
        for _ in 0..REST_CHUNKS_MAX {
            match self.stream.read(&mut bytes) {
                Ok(0) => return self.state = State::Over,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return self.state = State::Over,
            }
        }
        if now.saturating_duration_since(since) >= LEAVING_MAX {
            self.state = State::Over;
        }
    }

    /// Reads what is there: at most a head before its body, and no more than the body then.
    fn read(&mut self, now: Instant) {
        let wanted = match &self.state {
            State::Body { body, .. } => body.wanted(),
            _ => HTTP_HEAD_BYTES_MAX,
        };
        while self.pending.len() < wanted {
            let filled = self.pending.len();
            let chunk = CHUNK_BYTES.min(wanted - filled);
            self.pending.resize(filled + chunk, 0);
            let read = self.stream.read(&mut self.pending[filled..]);
            self.pending.truncate(filled + read.as_ref().copied().unwrap_or_default());
            match read {
                Ok(0) => return self.has_ended = true,
                Ok(_) => {
                    self.heard_at = now;
                    if matches!(self.state, State::Head) {
                        self.head_since.get_or_insert(now);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let since = self.head_since.unwrap_or(self.heard_at);
                    if now.duration_since(since) >= UNFINISHED_MAX {
                        self.state = State::Over;
                    }
                    return;
                }
                Err(_) => return self.state = State::Over,
            }
        }
    }

    fn refuse(&mut self, refused: Refusal) {
        self.answer(refused.answer(), false);
        self.write();
    }

    fn answer(&mut self, answer: Vec<u8>, is_kept: bool) {
        self.out.extend(answer);
        self.state = State::Answering { is_kept };
    }

    /// Writes what can be written.
    fn write(&mut self) {
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(0) => return self.state = State::Over,
                Ok(count) => drop(self.out.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Its records keep their fate; who sent them is gone.
                Err(_) => {
                    self.out.clear();
                    if matches!(self.state, State::Answering { .. }) {
                        self.state = State::Over;
                    }
                    return;
                }
            }
        }
        if let State::Answering { is_kept } = self.state {
            self.state = if is_kept {
                State::Head
            } else if self.stream.shutdown(Shutdown::Write).is_ok() {
                State::Left { since: None }
            } else {
                State::Over
            };
        }
    }
}

#[cfg(test)]
mod tests;
