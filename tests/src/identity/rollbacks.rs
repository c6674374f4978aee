//! Whether an agent takes an older policy or trust bundle than it has, from a coordinator that offers them.

use anyhow::{Result, ensure};
use shared::{
    policy::{PolicyOutcome, PolicyRefusal},
    trust::{TrustOutcome, TrustRefusal},
};

use crate::cluster::{Cluster, Deceived, Kind, Said, Source};

/// How many older ones there are of each.
const OLDER: u64 = 50;

/// Offers an agent all that came before what it has; returns how many offers that were, and how many it refused for
/// what they are. It is killed and started again after the first half.
pub(super) fn refused(cluster: &Cluster, tenant: &str) -> Result<(usize, usize)> {
    let eve = cluster.folder().join("rollbacks.json");
    let sources = [Source::new("eve", Kind::SuricataEve, &eve)];
    let mut deceived = Deceived::new(cluster, tenant, &sources)?;
    deceived.agent.process.start()?;
    let newest = [
        deceived.signed(&deceived.policy(OLDER + 1))?,
        deceived.signed_trust(&deceived.bundle(OLDER + 1))?,
    ];
    let heard = deceived.lie(&newest)?;
    ensure!(!heard.answers.iter().any(is_rollback), "it takes what is newer: {heard:?}");
    let mut lies = Vec::new();
    for number in 1..=OLDER {
        lies.push(deceived.signed(&deceived.policy(number))?);
        lies.push(deceived.signed_trust(&deceived.bundle(number))?);
    }
    let mut refused = 0;
    for half in lies.chunks(lies.len() / 2) {
        let heard = deceived.lie(half)?;
        refused += heard.answers.iter().filter(|said| is_rollback(said)).count();
        deceived.agent.process.kill()?;
        deceived.agent.process.start()?;
    }
    deceived.agent.process.kill()?;
    Ok((lies.len(), refused))
}

fn is_rollback(said: &Said) -> bool {
    match said {
        Said::Policy(ack) => {
            let reason = PolicyRefusal::Rollback;
            matches!(&ack.outcome, PolicyOutcome::Refused { reason: it, .. } if *it == reason)
        }
        Said::Trust(ack) => {
            let reason = TrustRefusal::Rollback;
            matches!(&ack.outcome, TrustOutcome::Refused { reason: it, .. } if *it == reason)
        }
    }
}
