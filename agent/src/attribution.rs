//! Says which process, user and parent owned the connection of an alert, and which interface and range it came
//! through.
//!
//! Only the host itself knows it, and only while the connection lives, so it is looked up at once. An alert whose
//! connection ends on this host gets [`Field::Attribution`]: for each end that is this host's the interface, its
//! network, and the process, or the reason why there is none ([`Outcome`]). "Could not tell" is an answer; a guess is
//! not: an alert that was read too late is [`Outcome::Stale`] although a socket would match, and a process that
//! started after the alert is not the one.
//!
//! # Way of an alert
//! ```text
//! an end's address is this host's? ──no──▶ not_local      (a hash of each address)
//!      │yes                                               (below: only for alerts about this host)
//! young enough? ─▶ protocol with ports? ─▶ answered just now? ─▶ time and number left? ─▶ look it up:
//!      table of sockets ─▶ inode ─▶ process that holds it ─▶ name, file, user, start, ancestors
//! ```
//! # Limits
//! A look-up takes at most [`LOOKUP_TIME_MAX`], all of a second together [`LOOKUPS_TIME_MAX`] and the configured
//! number: beyond that the answer is [`Outcome::Budget`]. Answers are kept for a moment, so a flood over one connection
//! is one look-up.

mod answers;
mod budget;
mod form;
mod local;
mod lookup;

use std::{
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use serde::{Deserialize, Serialize};
use shared::{
    alert::{Alert, Field},
    context::HostContext,
    time::Timestamp,
};

use self::{
    answers::{Answer, Answers},
    budget::Budget,
    local::LocalAddresses,
    lookup::Lookup,
};
use crate::{
    limits::{ATTRIBUTION_AGE_MAX, LOOKUP_TIME_MAX, LOOKUPS_TIME_MAX},
    proc::Proc,
};

/// What the configuration says about attribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttributionPolicy {
    /// Whether anything is looked up or said at all.
    pub is_enabled: bool,
    /// Most look-ups a second; at least 1.
    pub per_second_max: u32,
}

impl Default for AttributionPolicy {
    /// On, and 50 a second.
    fn default() -> Self {
        Self { is_enabled: true, per_second_max: 50 }
    }
}

/// What came of it for one end of a connection; for [`Self::NotLocal`], for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The process is known.
    Found,
    /// No address of the alert is this host's.
    NotLocal,
    /// This host has no such socket.
    NoSocket,
    /// The agent may not see who holds it.
    Permission,
    /// Too many look-ups, or this one took too long.
    Budget,
    /// The connection or the process is over.
    Gone,
    /// Neither TCP nor UDP, or no port, or a system on which this is not known.
    Unsupported,
    /// The alert is too old, or does not say when it happened.
    Stale,
}

impl Outcome {
    /// Returns the name in alerts and counters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::NotLocal => "not_local",
            Self::NoSocket => "no_socket",
            Self::Permission => "permission",
            Self::Budget => "budget",
            Self::Gone => "gone",
            Self::Unsupported => "unsupported",
            Self::Stale => "stale",
        }
    }
}

/// How often each outcome came, since the process started: alerts for `not_local`, ends of connections for the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are the outcomes'")]
pub struct Counts {
    pub found: u64,
    pub not_local: u64,
    pub no_socket: u64,
    pub permission: u64,
    pub budget: u64,
    pub gone: u64,
    pub unsupported: u64,
    pub stale: u64,
}

impl Counts {
    fn add(&mut self, outcome: Outcome) {
        *match outcome {
            Outcome::Found => &mut self.found,
            Outcome::NotLocal => &mut self.not_local,
            Outcome::NoSocket => &mut self.no_socket,
            Outcome::Permission => &mut self.permission,
            Outcome::Budget => &mut self.budget,
            Outcome::Gone => &mut self.gone,
            Outcome::Unsupported => &mut self.unsupported,
            Outcome::Stale => &mut self.stale,
        } += 1;
    }

    /// Returns each outcome's name and number.
    #[must_use]
    pub fn list(&self) -> [(&'static str, u64); 8] {
        [
            (Outcome::Found.as_str(), self.found),
            (Outcome::NotLocal.as_str(), self.not_local),
            (Outcome::NoSocket.as_str(), self.no_socket),
            (Outcome::Permission.as_str(), self.permission),
            (Outcome::Budget.as_str(), self.budget),
            (Outcome::Gone.as_str(), self.gone),
            (Outcome::Unsupported.as_str(), self.unsupported),
            (Outcome::Stale.as_str(), self.stale),
        ]
    }
}

/// One end of an alert's connection that is this host's, and what the alert says of the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Question {
    protocol: Protocol,
    local: SocketAddr,
    /// Absent where the alert does not name the other end whole; then only who listens can be told.
    remote: Option<SocketAddr>,
}

/// Which tables of sockets are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Protocol {
    Tcp,
    Udp,
    /// The alert does not say it: both, TCP first.
    Unsaid,
}

impl Protocol {
    fn of(text: Option<&str>) -> Option<Self> {
        match text {
            None => Some(Self::Unsaid),
            Some("tcp") => Some(Self::Tcp),
            Some("udp") => Some(Self::Udp),
            Some(_) => None,
        }
    }

    const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Tcp => &["tcp"],
            Self::Udp => &["udp"],
            Self::Unsaid => &["tcp", "udp"],
        }
    }
}

/// Attributes alerts of one host.
#[derive(Debug)]
pub struct Attributor {
    policy: AttributionPolicy,
    clock: fn() -> Instant,
    local: LocalAddresses,
    lookup: Lookup,
    answers: Answers,
    budget: Budget,
    counts: Counts,
}

impl Attributor {
    /// Returns an attributor that knows no address of the host yet; `clock` is asked while a look-up runs.
    #[must_use]
    pub fn new(policy: AttributionPolicy, proc: Proc, clock: fn() -> Instant) -> Self {
        Self {
            policy,
            clock,
            local: LocalAddresses::default(),
            lookup: Lookup::new(proc),
            answers: Answers::default(),
            budget: Budget::new(policy.per_second_max, LOOKUPS_TIME_MAX, LOOKUP_TIME_MAX),
            counts: Counts::default(),
        }
    }

    /// Takes the host's addresses as they are now.
    pub fn know(&mut self, host: &HostContext) {
        self.local = LocalAddresses::of(host);
    }

    /// Returns how often each outcome came.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Sets what is known about the alert's connection; an alert that names no address is left as it is.
    ///
    /// `happened_at` is when the alert was raised, absent where that is not known; `now` is when it was read.
    pub fn attribute(
        &mut self,
        alert: &mut Alert<'_>,
        happened_at: Option<Timestamp>,
        now: Instant,
    ) {
        if !self.policy.is_enabled {
            return;
        }
        let ip = |field| alert.text(field).and_then(|text| text.parse::<IpAddr>().ok());
        let (src, dst) = (ip(Field::SrcIp), ip(Field::DstIp));
        if src.is_none() && dst.is_none() {
            return;
        }
        let is_local = |ip: Option<IpAddr>| ip.is_some_and(|ip| self.local.find(ip).is_some());
        let ends = [
            ("src", is_local(src), src, alert.src_port, dst, alert.dst_port),
            ("dst", is_local(dst), dst, alert.dst_port, src, alert.src_port),
        ];
        if ends.iter().all(|(_, is_local, ..)| !is_local) {
            self.counts.add(Outcome::NotLocal);
            alert.set(Field::Attribution, form::NOT_LOCAL);
            return;
        }
        let age = happened_at.map(|at| alert.observed_at.since(at));
        let happened_at = happened_at.filter(|_| age.is_some_and(|age| age <= ATTRIBUTION_AGE_MAX));
        let protocol = Protocol::of(alert.text(Field::Protocol));
        let mut answered: Vec<(&str, String)> = Vec::with_capacity(2);
        for (name, _, ip, port, other_ip, other_port) in ends.into_iter().filter(|end| end.1) {
            let Some(ip) = ip else { continue };
            let question = protocol.zip(port).map(|(protocol, port)| Question {
                protocol,
                local: SocketAddr::new(ip.to_canonical(), port),
                remote: other_ip
                    .zip(other_port)
                    .map(|(ip, port)| SocketAddr::new(ip.to_canonical(), port)),
            });
            let answer = self.answer(ip, question, happened_at, now);
            self.counts.add(answer.outcome);
            answered.push((name, answer.text));
        }
        alert.set(Field::Attribution, form::ends(&answered));
    }

    /// Returns what is known about the end at `ip`.
    fn answer(
        &mut self,
        ip: IpAddr,
        question: Option<Question>,
        happened_at: Option<Timestamp>,
        now: Instant,
    ) -> Answer {
        let plain = |local: &LocalAddresses, outcome| Answer {
            outcome,
            text: form::end(local.find(ip), outcome, None),
        };
        let Some(happened_at) = happened_at else { return plain(&self.local, Outcome::Stale) };
        let Some(question) = question else { return plain(&self.local, Outcome::Unsupported) };
        if let Some(answer) = self.answers.find(&question, happened_at, now) {
            return answer.clone();
        }
        let begun_at = (self.clock)();
        let Some(until) = self.budget.begin(begun_at) else {
            return plain(&self.local, Outcome::Budget);
        };
        let clock = self.clock;
        let found = self.lookup.run(&question, happened_at, begun_at, &mut || clock() < until);
        self.budget.end(clock().saturating_duration_since(begun_at));
        let answer = Answer {
            outcome: found.outcome,
            text: form::end(self.local.find(ip), found.outcome, found.owner.as_ref()),
        };
        if found.outcome != Outcome::Budget {
            self.answers.keep(question, answer.clone(), happened_at, now);
        }
        answer
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
