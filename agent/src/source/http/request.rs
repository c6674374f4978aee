//! What a request's head says, and the records in its body.

use std::ops::Range;

use httparse::{EMPTY_HEADER, Request, Status};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::body::Framing;
use crate::limits::{HTTP_BODY_BYTES_MAX, HTTP_HEAD_BYTES_MAX, HTTP_RECORDS_MAX};

/// Most header lines of a request.
const HEADERS_MAX: usize = 64;

/// Digest of the token that a request must have: comparing digests tells nobody how much of a token
/// is right.
pub(super) type TokenDigest = [u8; 32];

pub(super) fn digest(token: &[u8]) -> TokenDigest {
    Sha256::digest(token).into()
}

/// Why a request is refused: what is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is not written as a request, or its body is no JSON.
    Malformed(&'static str),
    /// Its token is missing or another.
    Unauthorized,
    /// It is no POST.
    NotPost,
    /// It does not say how long its body is.
    NoLength,
    /// Its body is sent in a way that is not known here.
    UnknownCoding,
    /// Its body is compressed by what is not known here.
    UnknownCompression,
    /// Its head, its body or the number of records in it is over the bound.
    TooLarge,
    /// There are too many of it, or the spool takes nothing: try again after these seconds.
    Busy(u32),
}

/// A head that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Bytes of the head.
    pub(super) len: usize,
    /// How the body that follows is sent.
    pub(super) framing: Framing,
    /// Whether it is compressed with gzip.
    pub(super) is_compressed: bool,
    /// Whether the sender waits for a word before it sends the body.
    pub(super) expects_word: bool,
    /// Whether another request may follow.
    pub(super) is_kept: bool,
}

/// Reads the head that `bytes` begin with; nothing if it is not whole yet.
pub(super) fn head(bytes: &[u8], token: &TokenDigest) -> Result<Option<Head>, Refusal> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = Request::new(&mut headers);
    let len = match request.parse(bytes) {
        Ok(Status::Complete(len)) => len,
        Ok(Status::Partial) if bytes.len() < HTTP_HEAD_BYTES_MAX => return Ok(None),
        Ok(Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Err(Refusal::TooLarge);
        }
        Err(_) => return Err(Refusal::Malformed("no HTTP request")),
    };
    let named = |name: &'static str| {
        let headers = request.headers.iter();
        headers.filter(move |it| it.name.eq_ignore_ascii_case(name)).map(|it| it.value)
    };
    let has = |name, word: &str| {
        let words = named(name).filter_map(|value| str::from_utf8(value).ok());
        words.flat_map(|value| value.split(',')).any(|it| it.trim().eq_ignore_ascii_case(word))
    };
    let given = named("authorization").next().and_then(|value| {
        let (scheme, token) = value.split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
    });
    // First of all: nobody learns anything without it.
    if given.is_none_or(|given| digest(given) != *token) {
        return Err(Refusal::Unauthorized);
    }
    if request.method != Some("POST") {
        return Err(Refusal::NotPost);
    }
    let framing = framing(named("content-length"), named("transfer-encoding"))?;
    if framing == Framing::Chunked && request.version != Some(1) {
        return Err(Refusal::Malformed("chunks came with HTTP/1.1"));
    }
    let is_compressed = is_compressed(named("content-encoding"))?;
    Ok(Some(Head {
        len,
        framing,
        is_compressed,
        expects_word: has("expect", "100-continue"),
        is_kept: request.version == Some(1) && !has("connection", "close"),
    }))
}

/// Returns how the body is sent. A request that says it twice is refused: what stands between could have understood it
/// otherwise (RFC 9112, section 6.3).
fn framing<'h>(
    mut lengths: impl Iterator<Item = &'h [u8]>,
    mut codings: impl Iterator<Item = &'h [u8]>,
) -> Result<Framing, Refusal> {
    match (lengths.next(), codings.next()) {
        (None, None) => return Err(Refusal::NoLength),
        (None, Some(coding)) if !coding.eq_ignore_ascii_case(b"chunked") => {
            return Err(Refusal::UnknownCoding);
        }
        (None, Some(_)) if codings.next().is_none() => return Ok(Framing::Chunked),
        (Some(length), None) if lengths.next().is_none() => {
            let is_number = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
            let length = str::from_utf8(length).ok().filter(|_| is_number);
            let length = length.ok_or(Refusal::Malformed("the length is no number"))?;
            let length = length.parse().ok().filter(|length| *length <= HTTP_BODY_BYTES_MAX);
            return length.map(Framing::Length).ok_or(Refusal::TooLarge);
        }
        _ => {}
    }
    Err(Refusal::Malformed("the length is said more than once"))
}

/// Tells whether the body is compressed with gzip.
fn is_compressed<'h>(mut codings: impl Iterator<Item = &'h [u8]>) -> Result<bool, Refusal> {
    let is = |coding: &[u8], names: [&str; 2]| {
        names.iter().any(|name| coding.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
    };
    match (codings.next(), codings.next()) {
        (None, _) => Ok(false),
        (Some(coding), None) if is(coding, ["", "identity"]) => Ok(false),
        (Some(coding), None) if is(coding, ["gzip", "x-gzip"]) => Ok(true),
        _ => Err(Refusal::UnknownCompression),
    }
}

/// Finds the records in a body: the JSON values in it, one after the other, or those of the one list
/// that it is.
pub(super) fn records(body: &[u8]) -> Result<Vec<Range<usize>>, Refusal> {
    let malformed = |_| Refusal::Malformed("the body is no JSON");
    let text = str::from_utf8(body).map_err(|_| Refusal::Malformed("the body is no UTF-8"))?;
    let mut found = Vec::new();
    let mut add = |value: &RawValue| {
        if found.len() == HTTP_RECORDS_MAX {
            return Err(Refusal::TooLarge);
        }
        let start = value.get().as_ptr() as usize - text.as_ptr() as usize;
        found.push(start..start + value.get().len());
        Ok(())
    };
    for value in serde_json::Deserializer::from_str(text).into_iter::<&RawValue>() {
        let value = value.map_err(|error| malformed(error.to_string()))?;
        if value.get().starts_with('[') {
            let list: Vec<&RawValue> =
                serde_json::from_str(value.get()).map_err(|error| malformed(error.to_string()))?;
            list.into_iter().try_for_each(&mut add)?;
        } else {
            add(value)?;
        }
    }
    Ok(found)
}

impl Refusal {
    /// Returns what is answered.
    pub(super) fn answer(self) -> Vec<u8> {
        let (status, more, why) = match self {
            Self::Malformed(why) => ("400 Bad Request", String::new(), why),
            Self::Unauthorized => (
                "401 Unauthorized",
                "WWW-Authenticate: Bearer\r\n".to_owned(),
                "the token is missing or wrong",
            ),
            Self::NotPost => {
                ("405 Method Not Allowed", "Allow: POST\r\n".to_owned(), "records are posted")
            }
            Self::NoLength => {
                ("411 Length Required", String::new(), "say the body's length, or send chunks")
            }
            Self::UnknownCoding => {
                ("501 Not Implemented", String::new(), "of transfer codings only chunked is known")
            }
            Self::UnknownCompression => (
                "415 Unsupported Media Type",
                "Accept-Encoding: gzip\r\n".to_owned(),
                "of content codings only gzip is known",
            ),
            Self::TooLarge => ("413 Content Too Large", String::new(), "send less at once"),
            Self::Busy(seconds) => (
                "503 Service Unavailable",
                format!("Retry-After: {seconds}\r\n"),
                "nothing was taken: try again later",
            ),
        };
        let body = format!("{{\"error\":\"{why}\"}}\n");
        answer(status, &format!("{more}Connection: close\r\n"), &body)
    }
}

/// Returns the answer to a request whose records are durable.
pub(super) fn accepted(records: usize, is_kept: bool) -> Vec<u8> {
    let more = if is_kept { "" } else { "Connection: close\r\n" };
    answer("200 OK", more, &format!("{{\"accepted\":{records}}}\n"))
}

fn answer(status: &str, more: &str, body: &str) -> Vec<u8> {
    let len = body.len();
    format!(
        "HTTP/1.1 {status}\r\n{more}Content-Type: application/json\r\nContent-Length: {len}\r\n\r\n\
         {body}"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Option<Head>, Refusal> {
        head(text.as_bytes(), &digest(b"secret"))
    }

    #[test]
    fn a_head_says_how_long_its_body_is() {
        let text = "POST /x HTTP/1.1\r\nAuthorization: Bearer secret\r\nContent-Length: 12\r\n\r\n";
        let len = text.len();
        let framing = Framing::Length(12);
        let expected =
            Head { len, framing, is_compressed: false, expects_word: false, is_kept: true };
        assert_eq!(of(text), Ok(Some(expected)));
        assert_eq!(of(&text[..len - 1]), Ok(None));
        let more =
            text.replace("/1.1", "/1.0").replace("\r\n\r\n", "\r\nexpect: 100-Continue\r\n\r\n");
        let head = of(&more).unwrap().unwrap();
        assert_eq!((head.expects_word, head.is_kept), (true, false));
        let closing = text.replace("\r\n\r\n", "\r\nConnection: x, Close\r\n\r\n");
        assert!(!of(&closing).unwrap().unwrap().is_kept);
        let chunked = text.replace("Content-Length: 12", "Transfer-Encoding: Chunked");
        assert_eq!(of(&chunked).unwrap().unwrap().framing, Framing::Chunked);
        for (name, is_compressed) in [("gzip", true), ("X-GZIP", true), ("identity", false)] {
            let packed = text.replace("\r\n\r\n", &format!("\r\nContent-Encoding: {name}\r\n\r\n"));
            assert_eq!(of(&packed).unwrap().unwrap().is_compressed, is_compressed, "{name}");
        }
    }

    #[test]
    fn what_is_refused_is_refused_before_its_body_comes() {
        let cases = [
            ("GET / HTTP/1.1\r\n\r\n", Refusal::Unauthorized),
            ("POST / HTTP/1.1\r\nAuthorization: Bearer other\r\n\r\n", Refusal::Unauthorized),
            ("POST / HTTP/1.1\r\nAuthorization: Basic secret\r\n\r\n", Refusal::Unauthorized),
            ("GET / HTTP/1.1\r\nAuthorization: bearer secret\r\n\r\n", Refusal::NotPost),
            ("POST / HTTP/1.1\r\nAuthorization: Bearer secret\r\n\r\n", Refusal::NoLength),
            (
                "POST / HTTP/1.1\r\nAuthorization: Bearer secret\r\nContent-Length: 5\r\n\
                 Transfer-Encoding: chunked\r\n\r\n",
                Refusal::Malformed("the length is said more than once"),
            ),
            (
                "POST / HTTP/1.1\r\nAuthorization: Bearer secret\r\nContent-Length: 5\r\n\
                 Content-Length: 6\r\n\r\n",
                Refusal::Malformed("the length is said more than once"),
            ),
            (
                "POST / HTTP/1.1\r\nAuthorization: Bearer secret\r\nContent-Length: +5\r\n\r\n",
                Refusal::Malformed("the length is no number"),
            ),
            (
                "POST / HTTP/1.1\r\nAuthorization: Bearer secret\r\n\
                 Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
                Refusal::Malformed("the length is said more than once"),
            ),
            (
                "POST / HTTP/1.1\r\nAuthorization: Bearer secret\r\n\
                 Transfer-Encoding: gzip, chunked\r\n\r\n",
                Refusal::UnknownCoding,
            ),
            (
                "POST / HTTP/1.0\r\nAuthorization: Bearer secret\r\n\
                 Transfer-Encoding: chunked\r\n\r\n",
                Refusal::Malformed("chunks came with HTTP/1.1"),
            ),
            (
                "POST / HTTP/1.1\r\nAuthorization: Bearer secret\r\nContent-Length: 5\r\n\
                 Content-Encoding: br\r\n\r\n",
                Refusal::UnknownCompression,
            ),
            (
                "POST / HTTP/1.1\r\nAuthorization: Bearer secret\r\n\
                 Content-Length: 999999999\r\n\r\n",
                Refusal::TooLarge,
            ),
            ("hello\r\n\r\n", Refusal::Malformed("no HTTP request")),
        ];
        for (text, expected) in cases {
            assert_eq!(of(text), Err(expected), "{text}");
        }
        assert_eq!(of(&"x".repeat(HTTP_HEAD_BYTES_MAX)), Err(Refusal::TooLarge));
    }

    #[test]
    fn records_are_the_values_of_a_body_or_of_its_list() {
        let found = |body: &str| -> Vec<String> {
            let ranges = records(body.as_bytes()).unwrap();
            ranges.into_iter().map(|range| body[range].to_owned()).collect()
        };
        assert_eq!(found("{\"a\":1}"), ["{\"a\":1}"]);
        assert_eq!(found("{\"a\":1}\n{\"b\": [2]}\n\n"), ["{\"a\":1}", "{\"b\": [2]}"]);
        assert_eq!(found(" [ {\"a\":\n1} , {} ] "), ["{\"a\":\n1}", "{}"]);
        assert_eq!(found(""), [""; 0]);
        for wrong in ["{", "{} x", "[1,", "<Event/>"] {
            assert_eq!(records(wrong.as_bytes()), Err(Refusal::Malformed("the body is no JSON")));
        }
        assert!(matches!(records(b"\xff"), Err(Refusal::Malformed(_))));
        assert_eq!(records(&b"1 ".repeat(HTTP_RECORDS_MAX + 1)), Err(Refusal::TooLarge));
    }
}
