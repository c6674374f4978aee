//! The next certificates of agents, and the signing for hosts that become some: on threads of their own,
//! [`SIGNINGS_MAX`] at once, as a signer elsewhere takes its time and blocks are prepared meanwhile.
//!
//! Whose a certificate is stands in whom the caller has met, never in the request. What was issued counts once it is
//! shown (see [`crate::command::identities`]); its serial number is noted before (see [`crate::command::issued`]).
//!
//! [`SIGNINGS_MAX`]: crate::limits::SIGNINGS_MAX

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use certs::{CertificateInfo, SigningRequest};
use quinn::Connection;
use shared::{
    ids::{AgentId, TenantId},
    join::encode_frame,
    limits::{COMMIT_TIMEOUT, JOIN_FRAME_BYTES_MAX},
    renewal::{RenewRefusal, RenewReply, RenewRequest},
    time::Timestamp,
    trust::SpkiDigest,
    wire::{LEN_BYTES, checked_len, codec},
};
use tokio::{sync::oneshot, task::spawn_blocking, time::timeout};

use super::{LINGER, Peer, Shared, standing};
use crate::{
    command::{
        identities,
        issued::{self, Proof},
    },
    limits::{
        JOIN_REQUEST_TIMEOUT, JOIN_TIMEOUT, LATE_RENEWALS_MAX, RENEWALS_OF_AGENT_MAX,
        RENEWALS_WINDOW,
    },
    store::{engine::Staged, schema::AgentKey, values::IssuedCertificate},
    tls::Issuer,
};

type TenantAgent = (TenantId, AgentId);

/// How often the agents of each tenant have asked for their next certificates lately. There are as many tenants and
/// agents as certificates were ever issued for: only who has proved one is counted.
#[derive(Debug, Default)]
pub struct Renewals(Mutex<HashMap<TenantId, Window>>);

/// What one tenant's agents have asked for.
#[derive(Debug)]
struct Window {
    since: Timestamp,
    /// Agents whose certificate had ended.
    late: u32,
    of_agents: HashMap<AgentId, Asked>,
}

/// What one agent has asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    times: u32,
    /// Whether it is counted among those who were late.
    is_late: bool,
}

impl Renewals {
    /// Counts a request; returns why it is one too many, if it is.
    fn count(
        &self,
        whom: (TenantId, AgentId),
        is_late: bool,
        now: Timestamp,
    ) -> Option<RenewRefusal> {
        let (tenant, agent) = whom;
        let mut tenants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Window { since: now, late: 0, of_agents: HashMap::new() };
        let window = tenants.entry(tenant).or_insert_with(new);
        // A clock that was set back begins anew, too.
        if now < window.since || now.since(window.since) >= RENEWALS_WINDOW {
            *window = new();
        }
        let asked = window.of_agents.get(&agent).copied().unwrap_or_default();
        if asked.times >= RENEWALS_OF_AGENT_MAX {
            return Some(RenewRefusal::TooOften);
        }
        let is_one_more = is_late && !asked.is_late;
        if is_one_more && window.late >= LATE_RENEWALS_MAX {
            return Some(RenewRefusal::TooMany);
        }
        window.late += u32::from(is_one_more);
        let asked = Asked { times: asked.times + 1, is_late: asked.is_late || is_late };
        window.of_agents.insert(agent, asked);
        None
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
    let asked = asked.await.map_err(|late| text(&late)).flatten();
    let (mut send, request) = asked.inspect_err(|_| shared.counters.renewals_refused.add_one())?;
    let AgentKey { tenant, agent } = peer.key;
    // Much may have happened since the handshake: the host may have shown a later certificate meanwhile.
    let standing = if peer.is_distrusted {
        standing::check_reissue(shared, peer).await
    } else {
        standing::check(shared, peer).await
    };
    let reply = if let Err(failure) = standing {
        shared.counters.renewals_refused.add_one();
        tracing::error!(%tenant, %agent, %failure, "no certificate for the agent");
        RenewReply::Refused(RenewRefusal::Unavailable)
    } else if is_contested(shared, peer).await {
        // Nobody can tell which of the hosts asks: a later certificate would decide between them.
        shared.counters.renewals_refused.add_one();
        tracing::error!(%tenant, %agent, "no certificate: several hosts use this identity");
        RenewReply::Refused(RenewRefusal::Unavailable)
    } else {
        // Who is sent here is not late, however many come at once.
        let is_late = !peer.is_distrusted;
        let whom = (peer.key, peer.proof());
        renew(Arc::clone(shared), whom, is_late, request.signing_request).await
    };
    let frame = encode_frame(&reply).map_err(|error| text(&error))?;
    send.write_all(&frame).await.map_err(|error| text(&error))?;
    // Finishing fails only on a stream that is reset, and then nobody waits for its end.
    let _reset = send.finish().is_err();
    let _late = timeout(LINGER, connection.closed()).await.is_err();
    Ok(())
}

/// Returns whether nobody can tell whose host asks.
async fn is_contested(shared: &Shared, peer: &Peer) -> bool {
    if peer.is_distrusted {
        standing::is_reissue_contested(shared, peer.key).await
    } else {
        standing::is_contested(shared, peer.key).await
    }
}

/// Returns what an agent is answered that asks for its next certificate, over a session or late.
pub(super) async fn renew(
    shared: Arc<Shared>,
    (key, before): (AgentKey, Proof),
    is_late: bool,
    signing_request: Vec<u8>,
) -> RenewReply {
    let AgentKey { tenant, agent } = key;
    let whom = (tenant, agent);
    let refused = |refusal: RenewRefusal, error: &dyn std::fmt::Display| {
        shared.counters.renewals_refused.add_one();
        tracing::error!(%tenant, %agent, %error, "no certificate for the agent");
        RenewReply::Refused(refusal)
    };
    if let Some(refusal) = shared.renewals.count(whom, is_late, shared.clock.now()) {
        return refused(refusal, &refusal);
    }
    let request = match SigningRequest::from_der(&signing_request) {
        Ok(request) => request,
        Err(error) => return refused(RenewRefusal::SigningRequest, &error),
    };
    let Some(issuer) = &shared.issuer else {
        return refused(RenewRefusal::Unavailable, &"no [authority] is configured");
    };
    let (engine, now) = (shared.store.engine_handle(), shared.clock.now());
    let at = spawn_blocking(move || identities::issue_at(&*engine, key, certs::SKEW, now)).await;
    let at = match at {
        Ok(Ok(at)) => at,
        Ok(Err(error)) => return refused(RenewRefusal::Unavailable, &error),
        Err(error) => return refused(RenewRefusal::Unavailable, &error),
    };
    let signing = sign(&shared, issuer, (whom, Some(before)), request, at);
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

/// Has a certificate signed, on a thread of its own, for a host that joins or for who has shown the one before. Whoever
/// does not wait for it any more leaves its place taken until it ends.
pub(super) async fn sign(
    shared: &Shared,
    issuer: &Issuer,
    (whom, before): (TenantAgent, Option<Proof>),
    request: SigningRequest,
    now: Timestamp,
) -> Result<Vec<Vec<u8>>, String> {
    let place = Arc::clone(&shared.signings).acquire_owned().await;
    let place = place.map_err(|error| error.to_string())?;
    let (spki, issuer, (out, issued)) = (issuer.spki(), issuer.clone(), oneshot::channel());
    let work = move || {
        let issued = issuer.issue(whom, &request, now).map_err(|error| with_causes(&error));
        drop(place);
        drop(out.send(issued)); // nobody may listen any more
    };
    let started = thread::Builder::new().name("signer".to_owned()).spawn(work);
    started.map_err(|error| error.to_string())?;
    let chain = issued.await.map_err(|_| "the signing thread ended".to_owned())??;
    note(shared, whom, (&chain, spki), before).await?;
    Ok(chain)
}

/// Stores number and key of a certificate before it leaves, and by which one it was asked for: where its issuer is
/// distrusted one day, they alone tell the certificate from a forged one.
async fn note(
    shared: &Shared,
    (tenant, agent): TenantAgent,
    (chain, issuer): (&[Vec<u8>], SpkiDigest),
    before: Option<Proof>,
) -> Result<(), String> {
    let leaf = chain.first().ok_or("the chain is empty")?;
    let info = CertificateInfo::from_der(leaf).map_err(|error| error.to_string())?;
    let (serial, at) = (info.serial.as_bytes().to_vec(), shared.clock.now());
    let issued = IssuedCertificate { serial, holder: info.spki, issuer, at, is_shown: false };
    let key = AgentKey { tenant, agent };
    let command =
        move |staged: &mut Staged<'_>| issued::record(staged, key, issued, before.as_ref());
    match timeout(COMMIT_TIMEOUT, shared.store.write(command)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(format!("its serial number is not stored: {error}")),
        Err(_late) => Err("its serial number was not stored in time".to_owned()),
    }
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

    const NOW: Timestamp = Timestamp::from_ms(1_795_600_000_000);

    fn whom(tenant: &str, agent: u32) -> (TenantId, AgentId) {
        let agent = format!("00000000-0000-4000-8000-{agent:012}");
        (tenant.parse().unwrap(), agent.parse().unwrap())
    }

    #[test]
    fn one_agent_takes_up_its_own_renewals_and_not_its_tenants() {
        let renewals = Renewals::default();
        let ask = |agent, now| renewals.count(whom("acme", agent), true, now);
        for _ in 0..RENEWALS_OF_AGENT_MAX {
            assert_eq!(ask(0, NOW), None);
        }
        for _ in 0..2 * LATE_RENEWALS_MAX {
            assert_eq!(ask(0, NOW), Some(RenewRefusal::TooOften));
        }
        assert!((1..LATE_RENEWALS_MAX).all(|agent| ask(agent, NOW).is_none()));
        assert_eq!(ask(LATE_RENEWALS_MAX, NOW), Some(RenewRefusal::TooMany));
        assert_eq!(ask(1, NOW), None, "it is among those who were late");
        let others = [("acme", false), ("globex", true)];
        for (tenant, is_late) in others {
            assert_eq!(renewals.count(whom(tenant, 9_999), is_late, NOW), None);
        }
        assert_eq!(ask(LATE_RENEWALS_MAX, NOW.saturating_add(RENEWALS_WINDOW)), None);
        assert_eq!(ask(0, NOW.saturating_sub(Duration::from_secs(1))), None, "set back");
    }
}
