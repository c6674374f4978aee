#![expect(clippy::disallowed_methods, reason = "a driver's time, as a test hands it in")]

use std::{io::Write as _, thread};

use super::*;
use crate::clock;

const LOOPBACK: &str = "127.0.0.1:0";
const DEADLINE: Duration = Duration::from_secs(20);

/// Polls until `count` messages were read.
fn read(listener: &mut Listener, count: usize) -> Vec<String> {
    let (mut buffer, mut read) = (ReadBuffer::new(), Vec::new());
    let start = clock::now();
    while read.len() < count {
        assert!(start.elapsed() < DEADLINE, "{} of {count} messages came", read.len());
        if listener.poll(clock::now()) {
            let batch = listener.read_batch(clock::now(), &mut buffer, READ_BYTES).unwrap();
            read.extend(batch.lines().map(|line| String::from_utf8_lossy(line.bytes).into_owned()));
        } else {
            thread::sleep(Duration::from_millis(1));
        }
    }
    read
}

fn tcp() -> (Listener, SocketAddr) {
    let listener = Listener::tcp(LOOPBACK.parse().unwrap());
    let address = listener.local_address().unwrap();
    (listener, address)
}

#[test]
fn each_datagram_is_a_message_without_the_newlines_at_its_end() {
    for address in [LOOPBACK, "[::1]:0"] {
        let mut listener = Listener::udp(address.parse().unwrap());
        let sender = UdpSocket::bind(address).unwrap();
        let to = listener.local_address().unwrap();
        let long = "x".repeat(20_000);
        for message in ["<1>one\n", "", "\n", "<1>two\nlines\r\n\0", &long] {
            sender.send_to(message.as_bytes(), to).unwrap();
        }
        assert_eq!(read(&mut listener, 3), ["<1>one", "<1>two\nlines", &long]);
        assert_eq!(listener.status(), &Status::Reading);
        let counts = listener.counts();
        assert_eq!((counts.records, counts.bytes, counts.dropped), (3, 20_018, 0));
        assert!(!listener.poll(clock::now()), "nothing is left");
    }
}

#[test]
fn datagrams_that_nobody_reads_are_counted_as_dropped() {
    let mut listener = Listener::udp(LOOPBACK.parse().unwrap());
    let Some(Socket::Udp(socket)) = &listener.socket else { panic!("it listens") };
    SockRef::from(socket).set_recv_buffer_size(4 << 10).unwrap();
    let sender = UdpSocket::bind(LOOPBACK).unwrap();
    let to = listener.local_address().unwrap();
    for _ in 0..200 {
        sender.send_to(&[b'x'; 1_000], to).unwrap();
    }
    let mut buffer = ReadBuffer::new();
    while listener.poll(clock::now()) {
        listener.read_batch(clock::now(), &mut buffer, READ_BYTES).unwrap();
    }
    let later = clock::now() + DROPPED_INTERVAL;
    assert!(!listener.poll(later));
    let counts = listener.counts();
    assert!(counts.records < 200, "{counts:?}");
    assert_eq!(counts.records + counts.dropped, 200, "{counts:?}");
}

#[test]
fn messages_of_many_connections_all_come_and_in_order() {
    let (mut listener, address) = tcp();
    let senders: Vec<_> = (0..20)
        .map(|sender| {
            thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                for number in 0..500 {
                    let text = format!("<1>{sender} {number} {}", "x".repeat(number));
                    let framed = match number % 2 {
                        0 => format!("{} {text}", text.len()),
                        _ => format!("{text}\r\n"),
                    };
                    stream.write_all(framed.as_bytes()).unwrap();
                }
            })
        })
        .collect();
    let mut next = [0; 20];
    for text in read(&mut listener, 20 * 500) {
        let mut words = text.strip_prefix("<1>").unwrap().split(' ');
        let mut number = || words.next().unwrap().parse::<usize>().unwrap();
        let (sender, number) = (number(), number());
        assert_eq!((number, words.next().unwrap().len()), (next[sender], number), "of {sender}");
        next[sender] += 1;
    }
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    assert_eq!(next, [500; 20]);
    while listener.poll(clock::now()) {
        listener.read_batch(clock::now(), &mut ReadBuffer::new(), READ_BYTES).unwrap();
    }
    let Some(Socket::Tcp { connections, .. }) = &listener.socket else { panic!("it listens") };
    assert!(connections.is_empty(), "connections that ended are let go");
}

#[test]
fn what_a_connection_left_unfinished_is_a_message_all_the_same() {
    let (mut listener, address) = tcp();
    TcpStream::connect(address).unwrap().write_all(b"<1>whole\n<1>unfinished").unwrap();
    assert_eq!(read(&mut listener, 2), ["<1>whole", "<1>unfinished"]);
}

#[test]
fn one_that_sends_half_a_message_keeps_nobody_waiting() {
    let (mut listener, address) = tcp();
    let mut slow = TcpStream::connect(address).unwrap();
    slow.write_all(b"<1>half of").unwrap();
    TcpStream::connect(address).unwrap().write_all(b"<1>whole\n").unwrap();
    assert_eq!(read(&mut listener, 1), ["<1>whole"]);
    slow.write_all(b" it\n").unwrap();
    assert_eq!(read(&mut listener, 1), ["<1>half of it"]);
}

#[test]
fn connections_beyond_the_bound_are_closed_and_counted() {
    let (mut listener, address) = tcp();
    let mut streams: Vec<TcpStream> = Vec::new();
    for number in 0..CONNECTIONS_MAX + 3 {
        let mut stream = TcpStream::connect(address).unwrap();
        writeln!(stream, "<1>{number}").unwrap();
        streams.push(stream);
        if number < CONNECTIONS_MAX {
            read(&mut listener, 1);
        } else {
            listener.poll(clock::now());
        }
    }
    assert_eq!(listener.counts().refused, 3);
    streams.remove(0);
    let start = clock::now();
    let has_room = |listener: &Listener| match &listener.socket {
        Some(Socket::Tcp { connections, .. }) => connections.len() < CONNECTIONS_MAX,
        _ => false,
    };
    while !has_room(&listener) {
        assert!(start.elapsed() < DEADLINE, "an ended connection makes room");
        if listener.poll(clock::now()) {
            listener.read_batch(clock::now(), &mut ReadBuffer::new(), READ_BYTES).unwrap();
        }
    }
    TcpStream::connect(address).unwrap().write_all(b"<1>again\n").unwrap();
    assert_eq!(read(&mut listener, 1), ["<1>again"]);
}

#[test]
fn a_message_that_is_not_finished_for_long_is_taken_as_it_is() {
    let (mut listener, address) = tcp();
    let mut slow = TcpStream::connect(address).unwrap();
    slow.write_all(b"8 <1>whole100 <1>half").unwrap();
    assert_eq!(read(&mut listener, 1), ["<1>whole"]);
    let later = clock::now() + UNFINISHED_MAX;
    assert!(listener.poll(later));
    let mut buffer = ReadBuffer::new();
    let batch = listener.read_batch(later, &mut buffer, READ_BYTES).unwrap();
    let records: Vec<&[u8]> = batch.lines().map(|line| line.bytes).collect();
    assert_eq!(records, [b"<1>half"]);
    let Some(Socket::Tcp { connections, .. }) = &listener.socket else { panic!("it listens") };
    assert!(connections.is_empty());
}

/// Counts how often it is asked for more, of which there always is some.
struct Endless(&'static [u8], usize);

impl io::Read for Endless {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.1 += 1;
        assert!(self.1 < 1_000_000, "it is kept here");
        let len = self.0.len().min(room.len());
        room[..len].copy_from_slice(&self.0[..len]);
        Ok(len)
    }
}

#[test]
fn what_yields_no_message_does_not_keep_it_from_the_other_sources() {
    let mut buffer = ReadBuffer::new();
    for nothing in [&b""[..], b"\n", b" \r\n\0"] {
        let mut endless = Endless(nothing, 0);
        read_datagrams(|room| io::Read::read(&mut endless, room), &mut buffer).unwrap();
        assert!(buffer.is_empty());
    }
    let mut connection = Connection {
        stream: Endless(&[b'\n'; CHUNK_BYTES], 0),
        pending: Vec::new(),
        framing: Framing::default(),
        heard_at: clock::now(),
        is_over: false,
        is_ready: false,
    };
    assert_eq!(connection.read(clock::now(), &mut buffer), (0, true));
    assert!(buffer.is_empty());
}

#[test]
fn what_came_while_nobody_polled_is_read_although_it_is_long_ago() {
    let (mut listener, address) = tcp();
    let mut device = TcpStream::connect(address).unwrap();
    device.write_all(b"<1>whole\n<1>half").unwrap();
    assert_eq!(read(&mut listener, 1), ["<1>whole"]);
    device.write_all(b" and half\n<1>more\n").unwrap();
    let Some(Socket::Tcp { connections, .. }) = &mut listener.socket else { panic!("it listens") };
    let start = clock::now();
    while !connections[0].stream.is_readable() {
        assert!(start.elapsed() < DEADLINE, "it has come");
    }
    let later = clock::now() + UNFINISHED_MAX;
    assert!(listener.poll(later));
    let mut buffer = ReadBuffer::new();
    let batch = listener.read_batch(later, &mut buffer, READ_BYTES).unwrap();
    let records: Vec<&[u8]> = batch.lines().map(|line| line.bytes).collect();
    assert_eq!(records, [&b"<1>half and half"[..], b"<1>more"]);
    assert!(!listener.poll(later), "nothing is unfinished now");
    device.write_all(b"<1>again\n").unwrap();
    assert_eq!(read(&mut listener, 1), ["<1>again"]);
}

#[test]
fn an_address_in_use_is_said_and_tried_again() {
    let (first, address) = tcp();
    let mut second = Listener::tcp(address);
    assert!(matches!(second.status(), Status::Unreadable(_)), "{:?}", second.status());
    let now = clock::now();
    assert!(!second.poll(now));
    drop(first);
    second.poll(now + OPEN_RETRY_INTERVAL);
    assert_eq!(second.status(), &Status::Reading);
}
