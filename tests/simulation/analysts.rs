//! Analysts: they claim, renew, release and decide, with new fences and with old ones.

use std::{collections::BTreeSet, time::Duration};

use coordinator::{
    command::{CommandError, cases, cases::Caller},
    limits::{LEASE_MAX, LEASE_MIN},
    store::{
        engine::Staged,
        schema::CaseKey,
        tables::{LoadError, Source},
    },
    triage::{
        case::{Case, CaseId, CaseState, Fence, Judgement, VerdictKind, is_live},
        queue::{QueueView, TenantScope, next},
    },
};
use shared::time::Timestamp;

use crate::random::Random;

/// Most claims that an analyst remembers, live and stale ones.
const CLAIMS_MAX: usize = 12;

/// What an analyst asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wish {
    Claim(CaseId, Duration),
    Renew(CaseId, Fence, Duration),
    Release(CaseId, Fence),
    Decide(CaseId, Fence, VerdictKind),
}

#[derive(Debug)]
pub(crate) struct Analyst {
    pub(crate) caller: Caller,
    /// Every claim that was answered, so that old fences are used, too.
    claims: Vec<(CaseId, Fence)>,
}

/// Returns the analysts: two who see everything, and one for each tenant.
pub(crate) fn team() -> Vec<Analyst> {
    let only = |tenant: &str| {
        let tenant = tenant.parse().expect("it is a tenant's name");
        TenantScope::Only(BTreeSet::from([tenant]))
    };
    let scopes = [TenantScope::All, TenantScope::All, only("acme"), only("globex")];
    let analyst = |(name, scope): (&str, TenantScope)| Analyst {
        caller: Caller { name: name.to_owned(), scope, person: None },
        claims: Vec::new(),
    };
    ["ann", "bob", "cat", "dan"].into_iter().zip(scopes).map(analyst).collect()
}

impl Analyst {
    /// Returns what the analyst wants now. `known` are cases that were open at some time.
    pub(crate) fn wish(
        &self,
        view: &QueueView,
        known: &[CaseId],
        now: Timestamp,
        random: &mut Random,
    ) -> Option<Wish> {
        let seconds = random.between(LEASE_MIN.as_secs() / 2, LEASE_MAX.as_secs() / 20);
        let lease = Duration::from_secs(seconds);
        let claim = random.pick(&self.claims).copied();
        match (random.below(8), claim) {
            (0..=2, _) | (_, None) => {
                let (case, _) = next(view, &self.caller.scope, now)?;
                Some(Wish::Claim(case, lease))
            }
            // A case that somebody else has, that is closed, or that is another tenant's.
            (3, _) => Some(Wish::Claim(*random.pick(known)?, lease)),
            (4, Some((case, fence))) => Some(Wish::Renew(case, fence, lease)),
            (5, Some((case, fence))) => Some(Wish::Release(case, fence)),
            (6, Some((case, Fence(fence)))) => {
                Some(Wish::Decide(case, Fence(fence + 1), VerdictKind::Suspicious))
            }
            (_, Some((case, fence))) => {
                Some(Wish::Decide(case, fence, VerdictKind::BenignExpected))
            }
        }
    }

    /// Takes in that a claim was answered.
    pub(crate) fn learn(&mut self, case: &Case) {
        if self.claims.len() == CLAIMS_MAX {
            self.claims.remove(0);
        }
        self.claims.push((case.id, case.fence));
    }
}

/// Carries a wish out, and checks that what was granted may be granted (L5, L6).
pub(crate) fn grant(
    staged: &mut Staged<'_>,
    caller: &Caller,
    wish: Wish,
    now: Timestamp,
) -> Result<Case, CommandError> {
    let before =
        |staged: &Staged<'_>, id| -> Result<Option<Case>, LoadError> { staged.load(&CaseKey(id)) };
    let (id, given) = match wish {
        Wish::Claim(id, _) => (id, None),
        Wish::Renew(id, fence, _) | Wish::Release(id, fence) | Wish::Decide(id, fence, _) => {
            (id, Some(fence))
        }
    };
    let known = before(staged, id)?;
    let granted = match wish {
        Wish::Claim(id, lease) => cases::claim(staged, caller, id, lease, now),
        Wish::Renew(id, fence, lease) => cases::renew(staged, caller, (id, fence), lease, now),
        Wish::Release(id, fence) => cases::release(staged, caller, (id, fence), "later", now),
        Wish::Decide(id, fence, kind) => {
            let judgement = Judgement { kind, reason: "seen before", revision_read: None };
            cases::decide(staged, caller, (id, fence), judgement, now)
        }
    }?;
    let known = known.expect("L6: only a stored case changes");
    assert!(caller.scope.allows(known.tenant), "L5: {} got {}'s case", caller.name, known.tenant);
    match given {
        None => {
            let is_free = match known.state {
                CaseState::Open => true,
                CaseState::Claimed { until, .. } => !is_live(until, now),
                CaseState::Closed(_) => false,
            };
            assert!(is_free, "L6: {wish:?} was granted on {:?}", known.state);
            assert_eq!(granted.fence.0, known.fence.0 + 1, "L6: each claim has its own fence");
        }
        Some(fence) => {
            assert_eq!(fence, known.fence, "L6: {wish:?} was granted with an old fence");
            assert_eq!(known.last_holder.as_ref(), Some(&caller.name), "L6: another's claim");
        }
    }
    Ok(granted)
}
