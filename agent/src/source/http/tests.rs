//! With real connections on loopback.
#![expect(clippy::disallowed_methods, reason = "a driver's time, as a test hands it in")]

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};

use super::*;
use crate::limits::READ_BYTES;

const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const DEADLINE: Duration = Duration::from_secs(20);
const TOKEN: &str = "a-token-of-enough-length";

/// Sets a file's permission bits, where it has some.
fn set_mode(path: &Path, mode: u32) {
    #[cfg(unix)]
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    #[cfg(not(unix))]
    let _ = (path, mode);
}

fn write_token(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    set_mode(path, 0o600);
}

struct World {
    http: Http,
    buffer: ReadBuffer,
    now: Instant,
    _folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        write_token(&token, &format!("{TOKEN}\n"));
        let http = Http::new(LOOPBACK, token);
        assert_eq!(*http.status(), Status::Reading);
        Self { http, buffer: ReadBuffer::new(), now: Instant::now(), _folder: folder }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.http.local_address().unwrap()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    /// Sends a request over a new connection.
    fn post(&self, body: &str) -> TcpStream {
        let mut stream = self.connect();
        stream.write_all(request(body).as_bytes()).unwrap();
        stream
    }

    fn until_ready(&mut self) {
        let started_at = Instant::now();
        while !self.http.poll(self.now) {
            assert!(started_at.elapsed() < DEADLINE, "not within {DEADLINE:?}");
            std::thread::yield_now();
        }
    }

    /// Polls until the sender has heard something; returns that.
    fn heard(&mut self, stream: &mut TcpStream) -> String {
        stream.set_nonblocking(true).unwrap();
        let (mut answer, started_at) = (vec![0; 4096], Instant::now());
        loop {
            assert!(started_at.elapsed() < DEADLINE, "not within {DEADLINE:?}");
            self.http.poll(self.now);
            if let Ok(count) = stream.read(&mut answer) {
                stream.set_nonblocking(false).unwrap();
                return String::from_utf8_lossy(&answer[..count]).into_owned();
            }
        }
    }

    fn read(&mut self) -> Vec<(String, u64)> {
        let batch = self.http.read_batch(self.now, &mut self.buffer, READ_BYTES).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        batch.lines().map(|line| (text(line.bytes), line.end)).collect()
    }
}

fn request(body: &str) -> String {
    format!(
        "POST /alerts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn texts(records: &[(String, u64)]) -> Vec<&str> {
    records.iter().map(|(text, _)| text.as_str()).collect()
}

fn is_silent(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let peeked = stream.peek(&mut [0]);
    stream.set_nonblocking(false).unwrap();
    peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

#[test]
fn a_request_is_answered_when_its_records_are_stored_and_not_before() {
    let mut world = World::new();
    let mut sender = world.post("{\"a\":1}\n{\"b\":2}");
    world.until_ready();
    assert_eq!(texts(&world.read()), ["{\"a\":1}", "{\"b\":2}"]);
    assert!(!world.http.poll(world.now) && is_silent(&sender));
    assert_eq!(world.http.changed(None), [], "what came cannot be read again");
    assert!(is_silent(&sender));
    world.http.stored();
    let answer = world.heard(&mut sender);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("{\"accepted\":2}"));

    // Another one over the same connection.
    sender.write_all(request("[{\"c\":3}]").as_bytes()).unwrap();
    world.until_ready();
    assert_eq!(texts(&world.read()), ["{\"c\":3}"]);
    assert_eq!(world.http.changed(None), [], "what came cannot be read again");
    world.http.stored();
    assert!(world.heard(&mut sender).contains("\"accepted\":1"));
    assert_eq!(world.http.counts().records, 3);
}

#[test]
fn a_commit_within_a_batch_answers_only_what_it_covers() {
    let mut world = World::new();
    let mut first = world.post("{\"a\":1}");
    world.until_ready();
    let mut second = world.post("{\"b\":1} {\"b\":2}");
    let started_at = Instant::now();
    while world.http.connections.len() < 2
        || !world.http.connections.iter().all(|it| matches!(it.state, State::Ready { .. }))
    {
        assert!(started_at.elapsed() < DEADLINE);
        world.http.poll(world.now);
    }
    let records = world.read();
    assert_eq!(records.len(), 3);
    assert_eq!(world.http.changed(Some(records[1].1)), [], "what came cannot be read again");
    world.http.stored();
    assert!(world.heard(&mut first).contains("200 OK"));
    assert!(is_silent(&second));
    assert_eq!(world.http.changed(None), [], "what came cannot be read again");
    world.http.stored();
    assert!(world.heard(&mut second).contains("\"accepted\":2"));
}

#[test]
fn a_request_without_records_is_answered_and_one_that_waits_for_a_word_gets_it() {
    let mut world = World::new();
    let mut sender = world.connect();
    let text = request("{}").replace("Host", "Expect: 100-continue\r\nHost");
    let (head, body) = text.split_at(text.len() - 2);
    sender.write_all(head.as_bytes()).unwrap();
    assert!(world.heard(&mut sender).starts_with("HTTP/1.1 100 Continue"));
    sender.write_all(body.as_bytes()).unwrap();
    world.until_ready();
    assert_eq!(texts(&world.read()), ["{}"]);
    let mut empty = world.post("");
    world.until_ready();
    assert!(world.read().is_empty());
    assert_eq!(world.http.changed(None), [], "what came cannot be read again");
    world.http.stored();
    assert!(world.heard(&mut empty).contains("\"accepted\":0"));
}

#[test]
fn a_body_in_chunks_is_taken_however_it_comes_and_packed_or_not() {
    let mut world = World::new();
    let head = request("").replace("Content-Length: 0", "Transfer-Encoding: chunked");
    let mut sender = world.connect();
    let half = head.len() + 9;
    let text =
        head.clone() + "7\r\n{\"a\":1}\r\n8\r\n {\"b\":2}\r\n0\r\n\r\n" + &request("{\"c\":3}");
    sender.write_all(&text.as_bytes()[..half]).unwrap();
    while world.http.connections.iter().all(|it| !matches!(it.state, State::Body { .. })) {
        assert!(!world.http.poll(world.now), "it is not whole");
    }
    sender.write_all(&text.as_bytes()[half..]).unwrap();
    world.until_ready();
    assert_eq!(texts(&world.read()), ["{\"a\":1}", "{\"b\":2}"]);
    assert_eq!(world.http.changed(None), [], "what came cannot be read again");
    world.http.stored();
    // What came behind it is the next request.
    world.until_ready();
    assert_eq!(texts(&world.read()), ["{\"c\":3}"]);

    // One that is longer than what is read at once.
    let records = "{\"number\":12345678}\n".repeat(5_000);
    let mut packed = GzEncoder::new(Vec::new(), Compression::none());
    packed.write_all(records.as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    let head = head.replace("Host: x", "Host: x\r\nContent-Encoding: gzip");
    let mut sender = world.connect();
    let sending = std::thread::spawn(move || {
        sender.write_all(head.as_bytes()).unwrap();
        for chunk in packed.chunks(1_000) {
            write!(sender, "{:x}\r\n", chunk.len()).unwrap();
            sender.write_all(&[chunk, b"\r\n"].concat()).unwrap();
        }
        sender.write_all(b"0\r\n\r\n").unwrap();
        sender
    });
    let mut count = 0;
    while count < 5_000 {
        world.until_ready();
        let records = world.read();
        assert!(records.iter().all(|(text, _)| text == "{\"number\":12345678}"));
        count += records.len();
    }
    drop(sending.join().unwrap());
}

#[test]
fn what_is_not_taken_is_refused_with_its_reason() {
    let mut world = World::new();
    let cases = [
        (request("{}").replace(TOKEN, "other"), "401"),
        (request("{}").replace("POST", "GET"), "405"),
        (request("{\"a\""), "400"),
        ("hello\r\n\r\n".to_owned(), "400"),
        (request("").replace("Length: 0", "Length: 99999999"), "413"),
        (request("x").replace("Content-Length: 1", "Transfer-Encoding: chunked"), "400"),
        (request("x").replace("Content-Length: 1", "Transfer-Encoding: br"), "501"),
        (request("{}").replace("Host", "Content-Encoding: br\r\nHost"), "415"),
        (request("{}").replace("Host", "Content-Encoding: gzip\r\nHost"), "400"),
    ];
    for (text, status) in cases {
        let mut sender = world.connect();
        sender.write_all(text.as_bytes()).unwrap();
        let answer = world.heard(&mut sender);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{text}: {answer}");
        assert!(answer.contains("Connection: close"));
    }
    assert!(world.read().is_empty());
}

#[test]
fn while_the_spool_takes_nothing_requests_are_put_off() {
    let mut world = World::new();
    let mut sender = world.post("{}");
    let started_at = Instant::now();
    let mut answer = vec![0; 4096];
    sender.set_nonblocking(true).unwrap();
    let count = loop {
        assert!(started_at.elapsed() < DEADLINE);
        world.http.refuse(world.now);
        if let Ok(count) = sender.read(&mut answer) {
            break count;
        }
    };
    let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("Retry-After: "), "{answer}");
    assert!(world.read().is_empty());
}

#[test]
fn no_more_bodies_and_connections_are_held_than_may_be() {
    let mut world = World::new();
    let unfinished = request("{}").replace("Length: 2", "Length: 1000");
    let mut senders = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut sender = world.connect();
        sender.write_all(unfinished.as_bytes()).unwrap();
        senders.push(sender);
    }
    let last = senders.last_mut().unwrap();
    assert!(world.heard(last).starts_with("HTTP/1.1 503 "));
    let is_body = |it: &&Connection| matches!(it.state, State::Body { .. });
    let bodies = world.http.connections.iter().filter(is_body).count();
    assert_eq!(bodies, HTTP_BODIES_MAX);
    let started_at = Instant::now();
    while !world.http.connections.is_empty() {
        assert!(started_at.elapsed() < DEADLINE);
        world.now += UNFINISHED_MAX;
        world.http.poll(world.now);
    }
}

#[test]
fn who_asks_for_nothing_keeps_nobody_out() {
    let mut world = World::new();
    let quiet: Vec<TcpStream> = (0..CONNECTIONS_MAX).map(|_| world.connect()).collect();
    let started_at = Instant::now();
    while world.http.connections.len() < quiet.len() {
        assert!(started_at.elapsed() < DEADLINE);
        world.http.poll(world.now);
    }
    // What has come only just may have a request that was not read yet.
    let mut early = world.post("{}");
    assert!(world.heard(&mut early).starts_with("HTTP/1.1 503 "));
    assert_eq!(world.http.counts().refused, 1);
    world.now += Duration::from_secs(1);
    let _sender = world.post("{}");
    world.until_ready();
    assert_eq!(texts(&world.read()), ["{}"]);
    assert_eq!(world.http.counts().refused, 1);
    assert_eq!(world.http.connections.len(), CONNECTIONS_MAX);
}

#[test]
fn a_sender_hears_why_it_is_refused_before_all_that_it_sends_was_read() {
    let mut world = World::new();
    let mut sender = world.connect();
    let text = request("").replace("Length: 0", "Length: 99999999").replace(TOKEN, "other");
    sender.write_all(text.as_bytes()).unwrap();
    sender.write_all(&[b'x'; 100_000]).unwrap();
    sender.set_nonblocking(true).unwrap();
    let (mut answer, mut piece, started_at) = (Vec::new(), [0; 4096], Instant::now());
    loop {
        assert!(started_at.elapsed() < DEADLINE);
        world.http.poll(world.now);
        match sender.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&piece[..count]),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
    assert!(answer.starts_with(b"HTTP/1.1 401 "));
    drop(sender);
    while !world.http.connections.is_empty() {
        assert!(started_at.elapsed() < DEADLINE);
        world.http.poll(world.now);
    }
}

#[test]
fn a_file_without_a_token_lets_nobody_in_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let mut http = Http::new(LOOPBACK, path.clone());
    assert!(matches!(http.status(), Status::Unreadable(_)) && http.local_address().is_none());
    write_token(&path, "short");
    assert!(load_token(&path).unwrap_err().contains("holds no token"));
    write_token(&path, TOKEN);
    set_mode(&path, 0o644);
    if cfg!(unix) {
        let error = load_token(&path).unwrap_err();
        let said = "by everybody on this host (mode 644): run chmod o= on it";
        assert!(error.ends_with(said), "{error}");
    }
    set_mode(&path, 0o640);
    let now = Instant::now();
    http.poll(now);
    assert_eq!(*http.status(), Status::Reading);
}
