//! Where the system does not say whether a read would wait: a thread waits instead, and reads one chunk ahead.

use std::{
    cell::RefCell,
    io::{self, Read},
    marker::PhantomData,
    sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    thread,
};

use super::Poll;
use crate::limits::READ_BYTES;

/// A pipe that a thread reads. The thread ends with the pipe, or when there is nobody to take what it read.
#[derive(Debug)]
pub(in crate::source) struct Polled<R> {
    chunks: Receiver<io::Result<Vec<u8>>>,
    /// What is handed out next; the thread reads no more once it is an error.
    next: RefCell<Next>,
    pipe: PhantomData<fn() -> R>,
}

#[derive(Debug)]
enum Next {
    /// Bytes, of which those up to an index were handed out.
    Bytes(Vec<u8>, usize),
    Failed(io::Error),
    Over,
}

/// Starts the thread that reads a pipe.
///
/// # Errors
/// Whatever the system reports.
pub(in crate::source) fn polled<R: Read + Send + 'static>(from: R) -> io::Result<Polled<R>> {
    let (taken, chunks) = sync_channel(0);
    thread::Builder::new().name("pipe".to_owned()).spawn(move || read(from, &taken))?;
    Ok(Polled { chunks, next: RefCell::new(Next::Bytes(Vec::new(), 0)), pipe: PhantomData })
}

fn read(mut from: impl Read, taken: &SyncSender<io::Result<Vec<u8>>>) {
    let mut buffer = vec![0; READ_BYTES / 8];
    loop {
        let chunk = match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => Ok(buffer[..count].to_vec()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let is_last = chunk.is_err();
        if taken.send(chunk).is_err() || is_last {
            return;
        }
    }
}

impl<R> Poll for Polled<R> {
    fn is_readable(&self) -> bool {
        let mut next = self.next.borrow_mut();
        if matches!(&*next, Next::Bytes(bytes, done) if *done == bytes.len()) {
            *next = match self.chunks.try_recv() {
                Ok(Ok(bytes)) => Next::Bytes(bytes, 0),
                Ok(Err(error)) => Next::Failed(error),
                Err(TryRecvError::Empty) => return false,
                Err(TryRecvError::Disconnected) => Next::Over,
            };
        }
        true
    }
}

impl<R> Poll for &mut Polled<R> {
    fn is_readable(&self) -> bool {
        (**self).is_readable()
    }
}

impl<R> Read for Polled<R> {
    /// Takes what was read ahead; where that is nothing, it would wait.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.is_readable() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let next = self.next.get_mut();
        match next {
            Next::Bytes(bytes, done) => {
                let count = buffer.len().min(bytes.len() - *done);
                buffer[..count].copy_from_slice(&bytes[*done..*done + count]);
                *done += count;
                Ok(count)
            }
            Next::Failed(_) => match std::mem::replace(next, Next::Over) {
                Next::Failed(error) => Err(error),
                Next::Bytes(..) | Next::Over => Ok(0),
            },
            Next::Over => Ok(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::source::{ReadBuffer, pipe::Pipe};

    #[test]
    fn what_is_written_is_read_to_its_end_and_nothing_waits() {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut reader = polled(reader).unwrap();
        assert!(!reader.is_readable());
        assert_eq!(reader.read(&mut [0; 9]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let long = vec![b'x'; READ_BYTES / 2];
        let written = [b"a1\n".as_slice(), &long, b"\nlast"].concat();
        let expected = [2, long.len().min(shared::limits::RECORD_BYTES_MAX), 4];
        let writing = thread::spawn(move || writer.write_all(&written).unwrap());
        let (mut pipe, mut buffer, mut found) = (Pipe::default(), ReadBuffer::new(), Vec::new());
        while !pipe.is_over() {
            if !pipe.is_ready(&reader) {
                thread::yield_now();
                continue;
            }
            pipe.read(&mut reader, &mut buffer).unwrap();
            let batch = crate::source::Batch::new(&buffer, 0);
            found.extend(batch.lines().map(|line| line.bytes.len()));
        }
        writing.join().unwrap();
        assert_eq!(found, expected);
        assert!(reader.is_readable() && reader.read(&mut [0; 9]).unwrap() == 0, "it stays over");
    }

    #[test]
    fn an_error_is_said_once_and_is_the_end() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        let mut reader = polled(Broken).unwrap();
        while !reader.is_readable() {
            thread::yield_now();
        }
        assert_eq!(reader.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        while !reader.is_readable() {
            thread::yield_now();
        }
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    }
}
