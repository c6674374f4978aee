//! Writes down when tokens were used last, each minute, and once more at the end.

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{
    command::{CommandError, access},
    limits::{USES_INTERVAL, USES_MAX},
    store::writer::{Store, WriteError},
    uses::Uses,
};

/// Writes down what was noted until cancelled, and then what is left. What the store does not take is logged, and tried
/// again a minute later.
pub async fn write_down(store: &Store, uses: &Uses, cancel: &CancellationToken) {
    let mut ticks = interval(USES_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
        write_new(store, uses).await;
    }
    write_new(store, uses).await;
}

async fn write_new(store: &Store, uses: &Uses) {
    if let Err(error) = write_all(store, uses).await {
        tracing::warn!(%error, "last uses of tokens are not written down for now");
    }
}

/// Writes down all that was noted until now and not written yet, [`USES_MAX`] at once. What is noted meanwhile is for
/// the next time: while everybody works there is always more.
///
/// # Errors
/// The store did not take it; what it did not take is still noted.
pub async fn write_all(store: &Store, uses: &Uses) -> Result<(), WriteError<CommandError>> {
    let new = uses.take_new();
    let mut left = new.as_slice();
    while let Some(some) = left.chunks(USES_MAX).next() {
        let taken = some.to_vec();
        let written = store.write(move |staged| access::note_uses(staged, &taken)).await;
        if written.is_err() {
            uses.put_back(left);
            return written;
        }
        left = &left[some.len()..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use shared::time::Timestamp;

    use super::*;
    use crate::store::{engine::MemoryEngine, schema::TokenKey, writer};

    fn note(uses: &Uses, number: usize, ms: u64) {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&number.to_be_bytes());
        uses.note(TokenKey(digest), Timestamp::from_ms(ms));
    }

    #[tokio::test]
    async fn writing_comes_to_an_end_while_everybody_works() {
        let (store, _writer) = writer::start(Arc::new(MemoryEngine::new(1))).unwrap();
        let uses = Uses::default();
        (0..3 * USES_MAX).for_each(|number| note(&uses, number, 1));
        let working = async {
            for ms in 2.. {
                (0..3 * USES_MAX).for_each(|number| note(&uses, number, ms));
                tokio::task::yield_now().await;
            }
        };
        let written = tokio::time::timeout(Duration::from_secs(60), async {
            tokio::select! {
                written = write_all(&store, &uses) => written,
                () = working => Ok(()),
            }
        });
        written.await.expect("it comes to an end").unwrap();
    }

    #[tokio::test]
    async fn what_the_store_does_not_take_is_noted_still() {
        let engine = MemoryEngine::new(1);
        let (store, _writer) = writer::start(Arc::new(engine.clone())).unwrap();
        let uses = Uses::default();
        (0..2 * USES_MAX + 1).for_each(|number| note(&uses, number, 1));
        engine.set_unreadable(true);
        assert!(write_all(&store, &uses).await.is_err());
        assert_eq!(uses.take_new().len(), 2 * USES_MAX + 1);
    }
}
