//! Tells sessions that there may be something to ask their agents for.
//!
//! Whoever has stored a recall rings; each session then looks into the store whether it is about its agent. What to
//! ask stands in the store alone, so a ring that is missed costs time and nothing else: a session also looks when its
//! agent has greeted.

use tokio::sync::watch;

/// A handle of the bell; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Bell(watch::Sender<u64>);

impl Bell {
    /// Wakes all who listen.
    pub fn ring(&self) {
        self.0.send_modify(|rings| *rings = rings.wrapping_add(1));
    }

    /// Returns what changes with each ring from here on.
    #[must_use]
    pub fn listen(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_listens_hears_that_it_rang_and_not_how_often() {
        let bell = Bell::default();
        let mut listener = bell.listen();
        assert!(!listener.has_changed().unwrap());
        bell.ring();
        bell.ring();
        assert!(listener.has_changed().unwrap());
        listener.mark_unchanged();
        assert!(!listener.has_changed().unwrap());
    }
}
