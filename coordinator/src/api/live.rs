//! The live feed: the journal as server-sent events.
//!
//! A client follows the journal from behind the entry that it names, or from its head. Entries come in order, each
//! once, with their number as `id`, so a client that reconnects with `Last-Event-ID` loses nothing and sees nothing
//! twice. The first event carries no data: it names the entry behind which the feed begins, so that also a client that
//! has not received an entry yet can come back to its place.
//!
//! # States
//! ```text
//! read up to the durable head ─▶ check the token ─▶ give out what the caller may see ─▶ wait for the head
//! ```
//!
//! # Limits
//! [`FEED_CLIENTS_MAX`] clients, each with at most [`TAIL_ENTRIES_MAX`] entries in memory: a slow client is not read
//! for. The token is checked before each batch and at least every [`FEED_KEEP_ALIVE`], so nothing is sent on a token
//! that was revoked before the batch was read.

use std::{collections::VecDeque, convert::Infallible, sync::Arc};

use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::stream;
use serde::Deserialize;
use tokio::{sync::watch, time::timeout};
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Api,
    auth::{self, Caller, JOURNAL_READERS},
    extract::Asked,
    journal::shows,
    problem::{Kind, Problem},
    read,
    types::JournalEntry,
};
use crate::{
    command::journal::{Chained, read_after},
    counters::Counters,
    limits::{FEED_CLIENTS_MAX, FEED_KEEP_ALIVE, FEED_RETRY, TAIL_ENTRIES_MAX},
};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Tells nginx and its like not to collect the feed into large pieces.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Returns the routes of this module.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(follow))
}

/// From where on.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
struct FeedQuery {
    /// Begins behind this entry; `Last-Event-ID` goes before it. With neither, the feed begins at the journal's head.
    after: Option<u64>,
}

/// Entries of the journal that the caller may see, as they come in: server-sent events whose `id` is the entry's
/// number, whose `event` is its kind and whose `data` is a JournalEntry.
#[utoipa::path(
    get, path = "/v1/events", operation_id = "follow_events", tag = "journal",
    params(
        FeedQuery,
        ("Last-Event-ID" = Option<u64>, Header, description = "Begins behind this entry"),
    ),
    responses((
        status = 200, description = "Server-sent events", body = String,
        content_type = "text/event-stream"
    ))
)]
async fn follow(
    State(api): State<Api>,
    caller: Caller,
    Asked(query): Asked<FeedQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let head = api.store.journal_head();
    let newest = *head.borrow();
    let after = last_event_id(&headers)?.or(query.after).unwrap_or(newest);
    if after > newest {
        let detail = format!("the journal ends at entry {newest}; there is no entry {after}");
        return Err(Problem::invalid("after", detail)
            .hint("begin without a number; this coordinator's store is another, or older"));
    }
    let place = Place::take(&api.counters).ok_or_else(|| {
        let detail = format!("{FEED_CLIENTS_MAX} clients follow the feed, as many as may");
        Problem::new(Kind::TooManyClients, detail).hint("try again in a moment")
    })?;
    let feed = Feed {
        with_hashes: JOURNAL_READERS.contains(&caller.role()),
        api,
        caller,
        head,
        after,
        is_new: true,
        entries: VecDeque::new(),
        _place: place,
    };
    let events = stream::unfold(feed, async |mut feed| Some((feed.next().await?, feed)));
    let keep_alive = KeepAlive::new().interval(FEED_KEEP_ALIVE);
    let mut response = Sse::new(events).keep_alive(keep_alive).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    Ok(response)
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(header) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    let number = header.to_str().ok().and_then(|text| text.trim().parse().ok());
    let problem = || Problem::invalid("Last-Event-ID", "must be the number of a journal entry");
    number.map(Some).ok_or_else(problem)
}

/// One of the [`FEED_CLIENTS_MAX`] places; given back when dropped.
struct Place(Arc<Counters>);

impl Place {
    fn take(counters: &Arc<Counters>) -> Option<Self> {
        let is_taken = counters.feed_clients.raise_below(FEED_CLIENTS_MAX as u64);
        is_taken.then(|| Self(Arc::clone(counters)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.feed_clients.lower();
    }
}

/// One client's way through the journal.
struct Feed {
    api: Api,
    caller: Caller,
    with_hashes: bool,
    head: watch::Receiver<u64>,
    /// Number of the newest entry that was looked at.
    after: u64,
    /// Whether nothing was sent yet.
    is_new: bool,
    /// Read, allowed, and not sent yet.
    entries: VecDeque<Chained>,
    _place: Place,
}

impl Feed {
    /// Returns the next event; `None` ends the feed: the coordinator stops, the token is not good any more, or the
    /// store cannot be read. The client comes back, and is then told.
    ///
    /// # Cancel safety
    /// Dropped while it waits, nothing is lost: an entry leaves the feed only in what is returned.
    async fn next(&mut self) -> Option<Result<Event, Infallible>> {
        if std::mem::take(&mut self.is_new) {
            let begin = Event::default().id(self.after.to_string()).retry(FEED_RETRY);
            return Some(Ok(begin));
        }
        loop {
            if self.api.stopping.is_cancelled() {
                return None;
            }
            if let Some(chained) = self.entries.pop_front() {
                self.api.counters.feed_entries.add_one();
                return event(&JournalEntry::new(&chained, self.with_hashes)).map(Ok);
            }
            if *self.head.borrow_and_update() > self.after {
                self.read().await?;
                continue;
            }
            tokio::select! {
                () = self.api.stopping.cancelled() => return None,
                news = timeout(FEED_KEEP_ALIVE, self.head.changed()) => match news {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return None, // the writer is gone
                    Err(_) => self.check().await?,
                },
            }
        }
    }

    /// Reads the next entries and keeps those that the caller may see. `None` if that is not possible any more.
    async fn read(&mut self) -> Option<()> {
        let (after, head) = (self.after, *self.head.borrow());
        let read = read::blocking(&self.api.store, move |engine| {
            read_after(engine, after, TAIL_ENTRIES_MAX)
        });
        let mut entries = read.await.ok()?; // logged where it was read
        self.check().await?;
        // What is not announced yet is not known to be durable (L1).
        entries.retain(|entry| entry.number <= head);
        self.after = entries.last()?.number;
        entries.retain(|entry| shows(&self.caller, &entry.entry));
        self.entries.extend(entries);
        Some(())
    }

    /// Looks at the token again. `None` if it is not good any more.
    async fn check(&mut self) -> Option<()> {
        self.caller = auth::check(&self.api, self.caller.key, self.api.clock.now()).await.ok()?;
        Some(())
    }
}

/// Returns an entry as an event; `None` if it cannot be written, which plain data always can.
fn event(entry: &JournalEntry) -> Option<Event> {
    let event = Event::default().id(entry.number.to_string()).event(entry.event.kind());
    event.json_data(entry).inspect_err(|error| tracing::error!(%error, "feed ended")).ok()
}

#[cfg(test)]
mod tests;
