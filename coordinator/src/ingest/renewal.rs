//! The next certificates of agents, and the signing for hosts that become some: on threads of their own,
//! [`SIGNINGS_MAX`] at once, as a signer elsewhere takes its time and blocks are prepared meanwhile.
//!
//! Whose a certificate is stands in whom the caller has met, never in the request. What was issued is not noted: it
//! counts once it is shown (see [`crate::command::identities`]).
//!
//! [`SIGNINGS_MAX`]: crate::limits::SIGNINGS_MAX

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use certs::SigningRequest;
use quinn::Connection;
use shared::{
    ids::{AgentId, TenantId},
    join::encode_frame,
    limits::JOIN_FRAME_BYTES_MAX,
    renewal::{RenewRefusal, RenewReply, RenewRequest},
    time::Timestamp,
    wire::{LEN_BYTES, checked_len, codec},
};
use tokio::{sync::oneshot, task::spawn_blocking, time::timeout};

use super::{LINGER, Peer, Shared, standing};
use crate::{
    command::identities,
    limits::{JOIN_REQUEST_TIMEOUT, JOIN_TIMEOUT, LATE_RENEWALS_MAX, LATE_RENEWALS_WINDOW},
    store::schema::AgentKey,
    tls::Issuer,
};

/// How many agents of each tenant were late with their renewal, since when. There are as many tenants as certificates
/// were ever issued for.
#[derive(Debug, Default)]
pub struct LateRenewals(Mutex<HashMap<TenantId, (Timestamp, u32)>>);

impl LateRenewals {
    /// Counts one more; returns whether it is not one too many.
    fn count(&self, tenant: TenantId, now: Timestamp) -> bool {
        let mut tenants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, count) = tenants.entry(tenant).or_insert((now, 0));
        // A clock that was set back begins anew, too.
        if now < *since || now.since(*since) >= LATE_RENEWALS_WINDOW {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count <= LATE_RENEWALS_MAX
    }
}

/// Serves an agent over the protocol of renewals: one request, one answer. Whom it has met and that it may be served
/// the caller has looked at.
pub(super) async fn serve(shared: &Arc<Shared>, connection: &Connection, peer: &Peer) {
    let exchange = timeout(JOIN_TIMEOUT, exchange(shared, connection, peer));
    match shared.shutdown.run_until_cancelled(exchange).await {
        Some(Ok(Ok(()))) | None => {}
        Some(Ok(Err(error))) => tracing::info!(agent = %peer.key.agent, error, "renewal broke off"),
        Some(Err(_late)) => tracing::info!(agent = %peer.key.agent, "renewal took too long"),
    }
}

async fn exchange(
    shared: &Arc<Shared>,
    connection: &Connection,
    peer: &Peer,
) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let asked = timeout(JOIN_REQUEST_TIMEOUT, async {
        let (send, mut recv) = connection.accept_bi().await.map_err(|error| text(&error))?;
        let mut len = [0; LEN_BYTES];
        recv.read_exact(&mut len).await.map_err(|error| text(&error))?;
        let len = checked_len(len, JOIN_FRAME_BYTES_MAX).map_err(|error| text(&error))?;
        let mut body = vec![0; len];
        recv.read_exact(&mut body).await.map_err(|error| text(&error))?;
        let request: RenewRequest = codec::decode(&body).map_err(|error| text(&error))?;
        Ok::<_, String>((send, request))
    });
    let (mut send, request) = asked.await.map_err(|late| text(&late))??;
    let AgentKey { tenant, agent } = peer.key;
    // Much may have happened since the handshake: the host may have shown a later certificate meanwhile.
    let reply = if let Err(failure) = standing::check(shared, peer).await {
        shared.counters.renewals_refused.add_one();
        tracing::error!(%tenant, %agent, %failure, "no certificate for the agent");
        RenewReply::Refused(RenewRefusal::Unavailable)
    } else if shared.late.count(tenant, shared.clock.now()) {
        renew(Arc::clone(shared), (tenant, agent), request.signing_request).await
    } else {
        shared.counters.renewals_refused.add_one();
        tracing::error!(%tenant, %agent, "too many agents of the tenant renew late");
        RenewReply::Refused(RenewRefusal::TooMany)
    };
    let frame = encode_frame(&reply).map_err(|error| text(&error))?;
    send.write_all(&frame).await.map_err(|error| text(&error))?;
    // Finishing fails only on a stream that is reset, and then nobody waits for its end.
    let _reset = send.finish().is_err();
    let _late = timeout(LINGER, connection.closed()).await.is_err();
    Ok(())
}

/// Returns what an agent is answered that asks for its next certificate.
pub(super) async fn renew(
    shared: Arc<Shared>,
    whom: (TenantId, AgentId),
    signing_request: Vec<u8>,
) -> RenewReply {
    let (tenant, agent) = whom;
    let refused = |refusal: RenewRefusal, error: &dyn std::fmt::Display| {
        shared.counters.renewals_refused.add_one();
        tracing::error!(%tenant, %agent, %error, "no certificate for the agent");
        RenewReply::Refused(refusal)
    };
    let request = match SigningRequest::from_der(&signing_request) {
        Ok(request) => request,
        Err(error) => return refused(RenewRefusal::SigningRequest, &error),
    };
    let Some(issuer) = &shared.issuer else {
        return refused(RenewRefusal::Unavailable, &"no [authority] is configured");
    };
    let (engine, now) = (shared.store.engine_handle(), shared.clock.now());
    let key = AgentKey { tenant, agent };
    let at = spawn_blocking(move || identities::issue_at(&*engine, key, certs::SKEW, now)).await;
    let at = match at {
        Ok(Ok(at)) => at,
        Ok(Err(error)) => return refused(RenewRefusal::Unavailable, &error),
        Err(error) => return refused(RenewRefusal::Unavailable, &error),
    };
    let signing = sign(&shared, issuer, whom, request, at);
    let reply = match timeout(JOIN_TIMEOUT, signing).await {
        Ok(Ok(chain)) => RenewReply::Renewed(chain),
        Ok(Err(error)) => return refused(RenewRefusal::Unavailable, &error),
        Err(late) => return refused(RenewRefusal::Unavailable, &late),
    };
    if !reply.is_bounded() {
        return refused(RenewRefusal::Unavailable, &"the chain is longer than agents take");
    }
    shared.counters.certificates_renewed.add_one();
    tracing::info!(%tenant, %agent, "agent has a new certificate");
    reply
}

/// Has a certificate signed, on a thread of its own. Whoever does not wait for it any more leaves its place taken until
/// it ends.
pub(super) async fn sign(
    shared: &Shared,
    issuer: &Issuer,
    whom: (TenantId, AgentId),
    request: SigningRequest,
    now: Timestamp,
) -> Result<Vec<Vec<u8>>, String> {
    let place = Arc::clone(&shared.signings).acquire_owned().await;
    let place = place.map_err(|error| error.to_string())?;
    let (issuer, (out, issued)) = (issuer.clone(), oneshot::channel());
    let work = move || {
        let issued = issuer.issue(whom, &request, now).map_err(|error| with_causes(&error));
        drop(place);
        drop(out.send(issued)); // nobody may listen any more
    };
    let started = thread::Builder::new().name("signer".to_owned()).spawn(work);
    started.map_err(|error| error.to_string())?;
    issued.await.map_err(|_| "the signing thread ended".to_owned())?
}

/// Returns an error with its causes, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_so_many_agents_of_a_tenant_may_be_late_in_an_hour() {
        let late = LateRenewals::default();
        let [acme, globex] = ["acme", "globex"].map(|tenant| tenant.parse().unwrap());
        let at = |seconds: u64| Timestamp::from_ms(seconds * 1_000);
        assert!((0..LATE_RENEWALS_MAX).all(|_| late.count(acme, at(10_000))));
        assert!(!late.count(acme, at(10_001)));
        assert!(late.count(globex, at(10_001)), "L5: of another tenant nothing is counted");
        let later = at(10_000).saturating_add(LATE_RENEWALS_WINDOW);
        assert!(!late.count(acme, later.saturating_sub(Duration::from_secs(1))));
        assert!(late.count(acme, later));
        assert!(late.count(acme, at(1)), "a clock that was set back keeps nobody out");
    }
}
