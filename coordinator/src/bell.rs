//! Tells sessions that there may be something to ask their agents for or to offer them, or that an agent was revoked.
//!
//! Whoever has stored a recall, a policy, a trust bundle or a revocation rings; each session then looks into the store
//! whether it is about its agent. What is true stands in the store alone, so a ring that is missed costs time and
//! nothing else: a session also looks when its agent greets.

use std::future::pending;

use tokio::sync::watch;

/// A handle of the bell; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Bell(watch::Sender<u64>);

impl Bell {
    /// Wakes all who listen.
    pub fn ring(&self) {
        self.0.send_modify(|rings| *rings = rings.wrapping_add(1));
    }

    /// Returns what hears each ring from here on.
    #[must_use]
    pub fn listen(&self) -> Listener {
        Listener(self.0.subscribe())
    }
}

/// Whoever waits for a bell.
#[derive(Debug)]
pub struct Listener(watch::Receiver<u64>);

impl Listener {
    /// Waits until it has rung since the last time; rings that come together are one. Once nobody can ring any more it
    /// waits for ever.
    ///
    /// # Cancel safety
    /// A ring that comes meanwhile is heard by the next call.
    pub async fn rung(&mut self) {
        if self.0.changed().await.is_err() {
            pending::<()>().await;
        }
    }
}

/// The bells that sessions listen to.
#[derive(Clone, Debug, Default)]
pub struct Bells {
    /// Rung when there may be something to recall.
    pub recalls: Bell,
    /// Rung when there may be a policy to offer.
    pub policies: Bell,
    /// Rung when there is a trust bundle to offer.
    pub trust: Bell,
    /// Rung when an agent was revoked.
    pub revocations: Bell,
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn whoever_listens_hears_that_it_rang_and_not_how_often() {
        let bell = Bell::default();
        let mut listener = bell.listen();
        let mut hears = || listener.rung().now_or_never().is_some();
        assert!(!hears());
        bell.ring();
        bell.ring();
        assert!(hears());
        assert!(!hears());
        bell.ring();
        drop(bell);
        assert!(hears(), "what rang before nobody could ring is heard");
        assert!(!hears());
    }
}
