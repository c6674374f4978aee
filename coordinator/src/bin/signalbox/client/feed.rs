//! The live feed: server-sent events, resumed behind the last one that came whole.

use std::{
    io::{self, BufRead, BufReader, Read as _},
    time::Duration,
};

use shared::backoff::Backoff;
use ureq::http::{Method, header};

use crate::{
    client::{Client, TryError, is_success, pause},
    failure::{About, Failure},
    limits::{
        FEED_LINE_BYTES_MAX, FEED_SILENCE_TIMEOUT, FEED_WAIT_MAX, FEED_WAIT_MIN, RESPONSE_BYTES_MAX,
    },
};

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// Its number in the journal.
    pub(crate) id: Option<String>,
    /// Its document.
    pub(crate) data: String,
}

/// Takes lines of a feed and puts events together, as the specification of server-sent events says.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    event: Event,
    has_data: bool,
    /// Of the last event that had one, whether or not it had anything else to say.
    last_id: Option<String>,
}

impl Parser {
    /// Takes one line without its end; returns the event that it completes.
    pub(crate) fn handle_line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            if event.id.is_some() {
                self.last_id.clone_from(&event.id);
            }
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" if !value.contains('\0') => self.event.id = Some(value.to_owned()),
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
                self.has_data = true;
            }
            // Comments keep the connection alive; other fields say nothing that the document does not say.
            _ => {}
        }
        None
    }
}

/// Reads one line of at most `bytes_max` bytes; none at the end.
fn read_line(from: &mut impl BufRead, bytes_max: usize) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    from.by_ref().take(limit + 1).read_until(b'\n', &mut line)?;
    match line.pop() {
        None => return Ok(None),
        Some(b'\n') => {}
        Some(_) if line.len() >= bytes_max => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a line of the feed is too long",
            ));
        }
        // The end came in the middle of a line, which then is none.
        Some(_) => return Ok(None),
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(line)
        .map(Some)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// What ended a connection of the feed.
enum End {
    /// Whoever reads has enough.
    Enough,
    /// It broke, or the coordinator ended it.
    Broken(String),
}

impl Client {
    /// Follows the feed from behind entry `after`, or from its head, until `take` returns false. Breaks are bridged:
    /// `note` is told of each, and how long until the next try.
    ///
    /// # Errors
    /// The coordinator refuses, or `take` fails. A coordinator that does not answer is waited for.
    pub(crate) fn follow(
        &self,
        after: Option<u64>,
        mut take: impl FnMut(&Event) -> Result<bool, Failure>,
        mut note: impl FnMut(&str, Duration),
    ) -> Result<(), Failure> {
        let mut last = after.map(|after| after.to_string());
        let mut backoff = Backoff::new(FEED_WAIT_MIN, FEED_WAIT_MAX);
        let mut was_connected = false;
        loop {
            let end = match self.open(last.as_deref()) {
                Ok(body) => {
                    was_connected = true;
                    self.drain(body, &mut last, &mut backoff, &mut take)?
                }
                // Who never got through should hear at once that it is the address that is wrong; after that,
                // whatever stands in the way may go away again.
                Err(TryError::Broken(failure) | TryError::Final(failure))
                    if was_connected && matches!(failure, Failure::Unreachable { .. }) =>
                {
                    End::Broken(failure.to_string())
                }
                Err(TryError::Broken(failure) | TryError::Final(failure)) => return Err(failure),
                Err(TryError::Busy(failure, _)) => End::Broken(failure.to_string()),
            };
            let End::Broken(cause) = end else { return Ok(()) };
            let wait = backoff.next_wait(rand::random());
            note(&cause, wait);
            pause(wait);
        }
    }

    fn open(&self, last: Option<&str>) -> Result<ureq::Body, TryError> {
        let mut request = self.request(&Method::GET, "/v1/events");
        if let Some(headers) = request.headers_mut() {
            headers.insert(header::ACCEPT, header::HeaderValue::from_static("text/event-stream"));
        }
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let sent = match request.body(()) {
            Ok(request) => {
                let request = self.agent.configure_request(request);
                self.agent.run(request.timeout_per_read(Some(FEED_SILENCE_TIMEOUT)).build())
            }
            Err(error) => Err(ureq::Error::Http(error)),
        };
        let mut response = sent.map_err(|error| self.failed(&error))?;
        let status = response.status().as_u16();
        if is_success(status) {
            return Ok(response.into_body());
        }
        let read = response.body_mut().with_config().limit(RESPONSE_BYTES_MAX).read_to_vec();
        let bytes = read.map_err(|error| self.failed(&error))?;
        let text = String::from_utf8_lossy(&bytes);
        Err(match self.refused(status, &text, None, &About::General) {
            // A proxy in between speaks for a coordinator that starts again.
            TryError::Final(failure @ Failure::Odd { .. }) if status >= 500 => {
                TryError::Busy(failure, None)
            }
            other => other,
        })
    }

    fn drain(
        &self,
        body: ureq::Body,
        last: &mut Option<String>,
        backoff: &mut Backoff,
        take: &mut impl FnMut(&Event) -> Result<bool, Failure>,
    ) -> Result<End, Failure> {
        let mut lines = BufReader::new(body.into_with_config().limit(u64::MAX).reader());
        let mut parser = Parser::default();
        loop {
            let line = match read_line(&mut lines, FEED_LINE_BYTES_MAX) {
                Ok(Some(line)) => line,
                Ok(None) => return Ok(End::Broken("the coordinator ended the feed".to_owned())),
                Err(error) => return Ok(End::Broken(error.to_string())),
            };
            // Only what arrives shows that the connection is good again.
            backoff.reset();
            let wants_more = match parser.handle_line(&line) {
                Some(event) => take(&event)?,
                None => true,
            };
            if parser.last_id.is_some() {
                last.clone_from(&parser.last_id);
            }
            if !wants_more {
                return Ok(End::Enough);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(text: &str) -> Vec<Event> {
        let (mut from, mut parser) = (text.as_bytes(), Parser::default());
        let mut events = Vec::new();
        while let Some(line) = read_line(&mut from, 64).unwrap() {
            events.extend(parser.handle_line(&line));
        }
        events
    }

    fn event(id: Option<&str>, data: &str) -> Event {
        Event { id: id.map(str::to_owned), data: data.to_owned() }
    }

    #[test]
    fn events_are_put_together_from_their_lines() {
        let text = ": hello\n\nid: 7\nevent: case_claimed\ndata: {\"a\":1}\n\n:keep-alive\n\n\
                    id:8\r\ndata:one\r\ndata: two\r\n\r\n";
        assert_eq!(events(text), [event(Some("7"), "{\"a\":1}"), event(Some("8"), "one\ntwo")]);
    }

    #[test]
    fn an_id_without_data_is_where_to_go_on_and_no_event() {
        let mut parser = Parser::default();
        assert_eq!(parser.handle_line("id: 7"), None);
        assert_eq!(parser.last_id, None, "it is not whole yet");
        assert_eq!(parser.handle_line(""), None);
        assert_eq!(parser.last_id.as_deref(), Some("7"));
    }

    #[test]
    fn an_event_that_was_cut_off_is_none_so_that_it_is_asked_for_again() {
        assert_eq!(events("id: 7\ndata: {\"a\"\n"), []);
        assert_eq!(events("id: 7\ndata: x\n\nid: 8\ndata: {\"a"), [event(Some("7"), "x")]);
    }

    #[test]
    fn a_line_without_end_is_an_error_and_not_an_ever_growing_buffer() {
        let error = read_line(&mut BufReader::new(io::repeat(b'x')), 64).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
