//! A request's body on its way: of a length that was said, or in chunks (RFC 9112, section 7.1), compressed or not.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use httparse::{EMPTY_HEADER, Status};

use super::request::Refusal;
use crate::limits::{HTTP_BODY_BYTES_MAX, HTTP_HEAD_BYTES_MAX};

/// Most fields behind the last chunk; nothing is done with them.
const TRAILERS_MAX: usize = 16;

/// Most bytes of a body in chunks, with what stands around its data: the data of one could come with thousands of times
/// as much, and whoever reads it would be at nothing else.
const CHUNKED_BYTES_MAX: usize = 2 * HTTP_BODY_BYTES_MAX;

/// How a body is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// It has so many bytes.
    Length(usize),
    /// Each piece says its length, and the last one that it is.
    Chunked,
}

/// What comes next of a body in chunks.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// The line that says how long a chunk is.
    Size,
    /// So many bytes of a chunk, and the end of its line.
    Data(usize),
    /// Fields behind the last chunk, and an empty line.
    Trailers,
}

/// A body as far as it has come.
#[derive(Debug)]
pub(super) struct Body {
    framing: Framing,
    is_compressed: bool,
    bytes: Vec<u8>,
    next: Next,
    /// Bytes of chunks that were taken, with what stands around their data.
    taken: usize,
}

impl Body {
    pub(super) fn new(framing: Framing, is_compressed: bool) -> Self {
        Self { framing, is_compressed, bytes: Vec::new(), next: Next::Size, taken: 0 }
    }

    /// Returns how many bytes that were not taken yet are worth waiting for.
    pub(super) fn wanted(&self) -> usize {
        match self.framing {
            Framing::Length(len) => len,
            Framing::Chunked => HTTP_HEAD_BYTES_MAX,
        }
    }

    /// Takes what belongs to it out of what was read; returns whether it is whole.
    pub(super) fn take(&mut self, read: &mut Vec<u8>) -> Result<bool, Refusal> {
        match self.framing {
            Framing::Length(len) if read.len() < len => Ok(false),
            Framing::Length(len) => {
                let rest = read.split_off(len);
                self.bytes = std::mem::replace(read, rest);
                Ok(true)
            }
            Framing::Chunked => {
                let (used, is_whole) = self.take_chunks(read)?;
                read.drain(..used);
                self.taken += used;
                if self.taken > CHUNKED_BYTES_MAX {
                    return Err(Refusal::TooLarge);
                }
                Ok(is_whole)
            }
        }
    }

    /// Returns how many bytes were used, and whether the last chunk was among them.
    fn take_chunks(&mut self, read: &[u8]) -> Result<(usize, bool), Refusal> {
        const WRONG: Refusal = Refusal::Malformed("the body is not in chunks");
        let mut used = 0;
        loop {
            let rest = &read[used..];
            match self.next {
                Next::Size if rest.first().is_some_and(|first| !first.is_ascii_hexdigit()) => {
                    return Err(WRONG);
                }
                Next::Size => match httparse::parse_chunk_size(rest) {
                    Ok(Status::Complete((len, size))) => {
                        used += len;
                        let room = HTTP_BODY_BYTES_MAX - self.bytes.len();
                        self.next = match usize::try_from(size) {
                            Ok(0) => Next::Trailers,
                            Ok(size) if size <= room => Next::Data(size),
                            _ => return Err(Refusal::TooLarge),
                        };
                    }
                    Ok(Status::Partial) if rest.len() < HTTP_HEAD_BYTES_MAX => {
                        return Ok((used, false));
                    }
                    _ => return Err(WRONG),
                },
                Next::Data(0) => match rest {
                    [b'\r', b'\n', ..] => {
                        used += 2;
                        self.next = Next::Size;
                    }
                    [] | [b'\r'] => return Ok((used, false)),
                    _ => return Err(WRONG),
                },
                Next::Data(_) if rest.is_empty() => return Ok((used, false)),
                Next::Data(left) => {
                    let count = left.min(rest.len());
                    self.bytes.extend_from_slice(&rest[..count]);
                    used += count;
                    self.next = Next::Data(left - count);
                }
                Next::Trailers => {
                    let mut fields = [EMPTY_HEADER; TRAILERS_MAX];
                    return match httparse::parse_headers(rest, &mut fields) {
                        Ok(Status::Complete((len, _))) => Ok((used + len, true)),
                        Ok(Status::Partial) if rest.len() < HTTP_HEAD_BYTES_MAX => {
                            Ok((used, false))
                        }
                        Ok(Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
                            Err(Refusal::TooLarge)
                        }
                        Err(_) => Err(WRONG),
                    };
                }
            }
        }
    }

    /// Returns the whole body, unpacked.
    pub(super) fn finish(self) -> Result<Vec<u8>, Refusal> {
        if !self.is_compressed {
            return Ok(self.bytes);
        }
        let mut unpacked = Vec::new();
        let bound = HTTP_BODY_BYTES_MAX as u64 + 1;
        match MultiGzDecoder::new(&*self.bytes).take(bound).read_to_end(&mut unpacked) {
            Ok(len) if len > HTTP_BODY_BYTES_MAX => Err(Refusal::TooLarge),
            Ok(_) => Ok(unpacked),
            Err(_) => Err(Refusal::Malformed("the body is no gzip")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    /// A body, and what was read behind it.
    type Taken = (Vec<u8>, Vec<u8>);

    /// Hands a body over in pieces of a length, and returns it with what was left of the last piece.
    fn chunked(text: &[u8], piece: usize) -> Result<Option<Taken>, Refusal> {
        let (mut body, mut read) = (Body::new(Framing::Chunked, false), Vec::new());
        for piece in text.chunks(piece) {
            read.extend_from_slice(piece);
            if body.take(&mut read)? {
                return Ok(Some((body.finish()?, read)));
            }
        }
        Ok(None)
    }

    #[test]
    fn chunks_are_put_together_wherever_they_are_cut() {
        let text =
            b"4;name=\"x\"\r\n{\"a\"\r\nA\r\n:1} {\"b\":2\r\n1 \r\n}\r\n0\r\nDigest: x\r\n\r\nPOST";
        let whole = b"{\"a\":1} {\"b\":2}".to_vec();
        for piece in 1..=text.len() {
            let (body, rest) = chunked(text, piece).unwrap().unwrap();
            assert_eq!(body, whole, "in pieces of {piece}");
            assert!(b"POST".starts_with(&rest), "{rest:?}");
        }
        assert_eq!(chunked(&text[..text.len() - 5], 7), Ok(None), "it is not whole");
        assert_eq!(chunked(b"0\r\n\r\n", 9), Ok(Some((Vec::new(), Vec::new()))));
    }

    #[test]
    fn what_is_not_in_chunks_or_has_too_many_bytes_is_refused() {
        for wrong in ["\r\n", "x\r\n", "2\r\nabc\r\n", "-1\r\n", "0\r\n\x01\r\n\r\n"] {
            let refused = chunked(wrong.as_bytes(), 100);
            assert_eq!(refused, Err(Refusal::Malformed("the body is not in chunks")), "{wrong:?}");
        }
        let endless = format!("1;{}", "x".repeat(HTTP_HEAD_BYTES_MAX));
        assert!(matches!(chunked(endless.as_bytes(), 4096), Err(Refusal::Malformed(_))));
        assert_eq!(chunked(b"fffffffffffffff\r\n", 100), Err(Refusal::TooLarge));
        let (size, half) = (HTTP_BODY_BYTES_MAX / 2 + 1, vec![b'x'; HTTP_BODY_BYTES_MAX / 2 + 1]);
        let chunk = [format!("{size:x}\r\n").as_bytes(), &*half, b"\r\n"].concat();
        assert_eq!(chunked(&chunk.repeat(2), 8192), Err(Refusal::TooLarge));
        let trailers = format!("0\r\nA: {}", "x".repeat(HTTP_HEAD_BYTES_MAX));
        assert_eq!(chunked(trailers.as_bytes(), 4096), Err(Refusal::TooLarge));
    }

    #[test]
    fn what_stands_around_the_data_of_chunks_is_bounded_too() {
        let chunk = format!("1;{}\r\na\r\n", "x".repeat(HTTP_HEAD_BYTES_MAX / 2));
        let (mut body, mut read, mut sent) = (Body::new(Framing::Chunked, false), Vec::new(), 0);
        while sent <= CHUNKED_BYTES_MAX {
            read.extend_from_slice(chunk.as_bytes());
            sent += chunk.len();
            match body.take(&mut read) {
                Ok(is_whole) => assert!(!is_whole),
                Err(refused) => return assert_eq!(refused, Refusal::TooLarge),
            }
        }
        panic!("{sent} bytes for {} of data", body.bytes.len());
    }

    #[test]
    fn a_compressed_body_is_unpacked_as_far_as_a_body_may_go() {
        let unpacked = |text: &[u8]| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(text).unwrap();
            let mut packed = encoder.finish().unwrap();
            let mut body = Body::new(Framing::Length(packed.len()), true);
            assert_eq!(body.take(&mut packed), Ok(true));
            body.finish()
        };
        assert_eq!(unpacked(b"{}"), Ok(b"{}".to_vec()));
        assert_eq!(
            unpacked(&vec![b' '; HTTP_BODY_BYTES_MAX]).map(|it| it.len()),
            Ok(HTTP_BODY_BYTES_MAX)
        );
        assert_eq!(unpacked(&vec![b' '; HTTP_BODY_BYTES_MAX + 1]), Err(Refusal::TooLarge));
        let mut body = Body::new(Framing::Length(2), true);
        assert_eq!(body.take(&mut b"{}".to_vec()), Ok(true));
        assert_eq!(body.finish(), Err(Refusal::Malformed("the body is no gzip")));
    }
}
