//! The agent's next certificate: when it is asked for, the key that waits for it, and that it takes the place of the
//! one before.
//!
//! The key is made here, and anew each time: what a connection lost is asked for again with another. Nothing is kept of
//! a key whose certificate did not come. The certificate before is kept until a coordinator has welcomed the agent with
//! the next: to one that is refused before that, it does not lose its place.

use std::time::Duration;

use certs::{KeyError, PrivateKey, SKEW};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use shared::{
    renewal::{RenewRefusal, RenewReply, due_at},
    time::Timestamp,
};
use thiserror::Error;

use crate::{
    config::IdentityConfig,
    limits::RENEW_RETRY_INTERVAL,
    tls::{self, Credentials, ReplaceError},
};

/// Why there is no next certificate.
#[derive(Debug, Error)]
pub(super) enum RenewError {
    /// No key can be made.
    #[error("no key can be made: {0}")]
    Key(#[from] KeyError),
    /// The coordinator issues none.
    #[error("refused: {0}")]
    Refused(#[from] RenewRefusal),
    /// It cannot take the place of the one before.
    #[error(transparent)]
    Replace(#[from] ReplaceError),
    /// An answer came for which no key waits.
    #[error("an answer came that was not waited for")]
    NoKey,
}

/// Who the agent is, and when that is to be renewed.
#[derive(Debug)]
pub(super) struct Identity {
    files: IdentityConfig,
    credentials: Credentials,
    due_at: Timestamp,
    /// Nothing is asked for before.
    retry_at: Timestamp,
    key: Option<PrivateKey>,
    /// Whether no coordinator has welcomed the agent with this certificate yet, and the one before is kept.
    is_new: bool,
    /// Whether the agent went back to the one before, and no new one was welcomed since.
    has_gone_back: bool,
    /// Whom the present connection was made to: by this name, with this chain.
    peer: Option<(ServerName<'static>, Vec<CertificateDer<'static>>)>,
}

impl Identity {
    /// Returns what the `files` hold; `share`, by chance from 0 to 1, says how much before two thirds of its life the
    /// certificate is renewed.
    pub(super) fn new(files: IdentityConfig, credentials: Credentials, share: f64) -> Self {
        // A certificate begins a little before it was issued.
        let issued_at = credentials.not_before.saturating_add(SKEW).min(credentials.not_after);
        let due_at = due_at(issued_at, credentials.not_after, share);
        let is_new = tls::is_kept(&files);
        let (retry_at, has_gone_back) = (Timestamp::ZERO, false);
        Self { files, credentials, due_at, retry_at, key: None, is_new, has_gone_back, peer: None }
    }

    /// Returns what proves it.
    pub(super) const fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Notes whom the next session is with.
    pub(super) fn meet(&mut self, name: &str, chain: Vec<CertificateDer<'static>>) {
        self.peer = ServerName::try_from(name.to_owned()).ok().map(|name| (name, chain));
    }

    /// Returns whether the agent would still believe whom the session is with.
    pub(super) fn believes_peer(&self, now: Timestamp) -> bool {
        let now = UnixTime::since_unix_epoch(Duration::from_millis(now.as_ms()));
        self.peer.as_ref().is_some_and(|(name, chain)| {
            let verified = self.credentials.trust.verify(chain, name, now);
            verified.inspect_err(|error| tracing::warn!(%error, "coordinator's chain")).is_ok()
        })
    }

    /// Returns in how long it is time to ask for the next certificate.
    pub(super) fn due_in(&self, now: Timestamp) -> Duration {
        self.due_at.max(self.retry_at).since(now)
    }

    /// Returns whether the next certificate may be asked for although the agent's own clock does not say that it is
    /// due: not again soon after the last time.
    pub(super) fn may_ask(&self, now: Timestamp) -> bool {
        now >= self.retry_at
    }

    /// Makes a key, and returns the signing request for it. If nothing comes of it, it is time again after a while.
    ///
    /// # Errors
    /// [`RenewError::Key`].
    pub(super) fn begin(&mut self, now: Timestamp) -> Result<Vec<u8>, RenewError> {
        self.retry_at = now.saturating_add(RENEW_RETRY_INTERVAL);
        let key = PrivateKey::generate()?;
        let signing_request = key.signing_request()?;
        self.key = Some(key);
        Ok(signing_request)
    }

    /// Notes that what was asked for was not even looked at: it may be asked for again with the next connection.
    pub(super) fn turned_away(&mut self) {
        (self.retry_at, self.key) = (Timestamp::ZERO, None);
    }

    /// Puts what came in the place of what is there: from here on it is what proves the agent's identity. However soon
    /// the clocks of both ends say that it is to be renewed again, that is not before a while has passed.
    ///
    /// # Errors
    /// [`RenewError`]: the identity is as it was.
    pub(super) fn take(
        &mut self,
        reply: RenewReply,
        share: f64,
        now: Timestamp,
    ) -> Result<(), RenewError> {
        let key = self.key.take().ok_or(RenewError::NoKey)?;
        let chain = match reply {
            RenewReply::Renewed(chain) => chain,
            RenewReply::Refused(refusal) => return Err(refusal.into()),
        };
        let credentials = self.credentials.replace(&self.files, (&key, &chain), now)?;
        let next = Self::new(self.files.clone(), credentials, share);
        let retry_at = now.saturating_add(RENEW_RETRY_INTERVAL);
        *self = Self { retry_at, has_gone_back: self.has_gone_back, ..next };
        Ok(())
    }

    /// Notes that a coordinator has welcomed the agent: the certificate before is not needed any more.
    pub(super) fn welcomed(&mut self) {
        if !std::mem::take(&mut self.is_new) {
            return;
        }
        self.has_gone_back = false;
        if let Err(error) = tls::drop_kept(&self.files) {
            tracing::warn!(%error, "the certificate before the last stays beside it");
        }
    }

    /// Goes back to the certificate before, if no coordinator has welcomed the agent with this one; returns whether it
    /// did. The next may be asked for at once, unless that was asked for at once already, and refused as well.
    pub(super) fn go_back(&mut self, share: f64) -> bool {
        if !std::mem::take(&mut self.is_new) {
            return false;
        }
        match self.credentials.go_back(&self.files) {
            Ok(credentials) => {
                let before = Self::new(self.files.clone(), credentials, share);
                let retry_at = if self.has_gone_back { self.retry_at } else { Timestamp::ZERO };
                *self = Self { retry_at, has_gone_back: true, ..before };
                true
            }
            Err(error) => {
                tracing::error!(%error, "the certificate before the last cannot be used");
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{NOW, World};

    /// Returns an identity that has just got its next certificate.
    fn renewed(world: &World, identity: &mut Identity, now: Timestamp) {
        identity.begin(now).unwrap();
        let key = PrivateKey::generate().unwrap();
        let chain = world.certify("acme", &key);
        identity.key = Some(key);
        identity.take(RenewReply::Renewed(chain), 0.5, now).unwrap();
    }

    #[test]
    fn an_agent_goes_back_once_and_only_from_a_certificate_that_nobody_welcomed() {
        let world = World::new();
        let credentials = Credentials::load(&world.config).unwrap();
        let mut identity = Identity::new(world.config.clone(), credentials, 0.5);
        assert!(!identity.go_back(0.5), "there is nothing before it");
        renewed(&world, &mut identity, NOW);
        assert!(!identity.may_ask(NOW));
        assert!(identity.go_back(0.5) && !identity.go_back(0.5));
        assert!(identity.may_ask(NOW), "the next one may be good");

        renewed(&world, &mut identity, NOW);
        assert!(identity.go_back(0.5));
        assert!(!identity.may_ask(NOW), "but is not asked for again and again");

        renewed(&world, &mut identity, NOW);
        let credentials = Credentials::load(&world.config).unwrap();
        let mut identity = Identity::new(world.config.clone(), credentials, 0.5);
        identity.welcomed();
        assert!(!identity.go_back(0.5) && !tls::is_kept(&world.config));
        identity.welcomed();
        renewed(&world, &mut identity, NOW);
        assert!(identity.go_back(0.5) && identity.may_ask(NOW));
    }

    #[test]
    fn who_was_turned_away_may_ask_again_at_once_and_who_was_not_answered_after_a_while() {
        let world = World::new();
        let credentials = Credentials::load(&world.config).unwrap();
        let mut identity = Identity::new(world.config.clone(), credentials, 0.5);
        identity.begin(NOW).unwrap();
        assert!(!identity.may_ask(NOW));
        identity.turned_away();
        assert!(identity.may_ask(NOW));
        let answer = identity.take(RenewReply::Renewed(Vec::new()), 0.5, NOW);
        assert!(matches!(answer, Err(RenewError::NoKey)), "nothing is waited for");
    }

    #[test]
    fn a_new_certificate_is_not_renewed_at_once_whatever_the_clocks_say() {
        let world = World::new();
        let credentials = Credentials::load(&world.config).unwrap();
        let far_ahead = credentials.not_after.saturating_add(Duration::from_secs(3_600));
        let mut identity = Identity::new(world.config.clone(), credentials, 0.5);
        assert!(identity.due_in(NOW) > RENEW_RETRY_INTERVAL);
        assert!(identity.due_in(far_ahead).is_zero());
        renewed(&world, &mut identity, far_ahead);
        assert_eq!(identity.due_in(far_ahead), RENEW_RETRY_INTERVAL);
    }
}
