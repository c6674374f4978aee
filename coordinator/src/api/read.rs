//! Reads of the store, off the threads that carry requests.

use super::{
    page::{self, Filter, PageQuery},
    problem::Problem,
};
use crate::{
    limits::PAGE_ITEMS_MAX,
    store::{
        engine::{Direction, Engine},
        schema::range_of,
        tables::{LoadError, Rows, Source as _, Table},
        writer::Store,
    },
};

/// Runs `read` where it may block, and returns what it read.
///
/// # Errors
/// The read's own problem; `internal` if it panicked.
///
/// # Cancel safety
/// Dropped early, the read still runs to its end; it changes nothing.
pub async fn blocking<T, E, F>(store: &Store, read: F) -> Result<T, Problem>
where
    T: Send + 'static,
    E: Into<Problem> + Send + 'static,
    F: FnOnce(&dyn Engine) -> Result<T, E> + Send + 'static,
{
    let engine = store.engine_handle();
    match tokio::task::spawn_blocking(move || read(&*engine)).await {
        Ok(outcome) => outcome.map_err(Into::into),
        Err(error) => Err(Problem::internal(&error)),
    }
}

/// Reads a page of the table whose keys are digests, and the cursor of the next one, in the list of this name. A row
/// that is not shown to the caller is passed over: the cursor may name none.
///
/// # Errors
/// The query's own problem, or the read's.
pub async fn page_by_digest<K>(
    store: &Store,
    list: &str,
    query: &PageQuery,
    key_of: fn([u8; 32]) -> K,
    digest_of: fn(&K) -> &[u8; 32],
    is_shown: impl Fn(&K::Value) -> bool + Send + 'static,
) -> Result<(Rows<K>, Option<String>), Problem>
where
    K: Table + Send + 'static,
{
    let limit = page::limit(query.limit)?;
    let filter = Filter::new(list, &[]);
    let after = filter
        .start(query.cursor.as_deref(), |position| Some(key_of(position.try_into().ok()?)))?;
    let rows = blocking(store, move |engine| {
        let (mut from, to) = range_of::<K>(&[]);
        if let Some(after) = after {
            from = after.encode();
            from.push(0);
        }
        let mut shown = Vec::new();
        loop {
            let rows: Rows<K> =
                engine.load_range(&from..&to, Direction::Forward, PAGE_ITEMS_MAX)?;
            let is_last = rows.len() < PAGE_ITEMS_MAX;
            if let Some((key, _)) = rows.last() {
                from = key.encode();
                from.push(0);
            }
            shown.extend(rows.into_iter().filter(|(_, row)| is_shown(row)));
            if is_last || shown.len() > limit {
                return Ok::<_, LoadError>(shown);
            }
        }
    });
    let mut rows = rows.await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|(key, _)| filter.cursor(digest_of(key)));
    Ok((rows, next))
}
