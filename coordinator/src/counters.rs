//! What the coordinator counts about itself: plain atomics that any part may raise, and their text form.
//!
//! The table of [`Counters`] is the one place where a number gets its name, its help and its place in the text, so
//! a number that is counted is also shown. The text is Prometheus' exposition format, version 0.0.4.
//!
//! # Cost
//! One relaxed atomic addition a count. Numbers that are read together may be of slightly different moments.
//!
//! Not here: numbers that the store knows (journal, sizes, queue); the metrics listener asks it for those.

use std::{
    fmt::Write,
    marker::PhantomData,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use shared::{join::JoinRefusal, policy::PolicyRefusal, trust::TrustRefusal};

/// A number that only goes up, from zero at the start of the process.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one.
    pub fn add_one(&self) {
        self.add(1);
    }

    /// Counts `count`.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    /// Returns the number.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down, such as how many of something there are now.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Counts one more until the returned guard is dropped.
    #[must_use = "the one is gone again when the guard is dropped"]
    pub fn hold(&self) -> Held<'_> {
        self.raise();
        Held(self)
    }

    /// Counts one more. Whoever cannot keep a [`Held`] pairs it with [`Self::lower`].
    pub fn raise(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// Counts one more if there are fewer than `max`; returns whether it did.
    #[must_use]
    pub fn raise_below(&self, max: u64) -> bool {
        let raise = |value| (value < max).then_some(value + 1);
        self.0.fetch_update(Relaxed, Relaxed, raise).is_ok()
    }

    /// Counts one less; never below zero.
    pub fn lower(&self) {
        self.0.update(Relaxed, Relaxed, |value| value.saturating_sub(1));
    }

    /// Sets the number.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// Returns the number.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// One of what a [`Gauge`] counts.
#[derive(Debug)]
pub struct Held<'a>(&'a Gauge);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.lower();
    }
}

/// How long something took, in buckets from half a millisecond to ten seconds.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; Self::BOUNDS_US.len()],
    count: AtomicU64,
    sum_us: AtomicU64,
}

impl Histogram {
    /// Upper ends of the buckets, in microseconds: around the cost of one sync, and up to the longest timeouts.
    const BOUNDS_US: [u64; 13] = [
        500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
        2_500_000, 10_000_000,
    ];

    /// Counts one that took `duration`.
    pub fn observe(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = Self::BOUNDS_US.iter().position(|bound| us <= *bound) {
            self.buckets[bucket].fetch_add(1, Relaxed);
        }
        self.count.fetch_add(1, Relaxed);
        self.sum_us.fetch_add(us, Relaxed);
    }

    /// Returns how many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }
}

/// What a number is counted by: a closed set of names.
pub trait Label: Copy + 'static {
    /// The label's name.
    const NAME: &'static str;
    /// All values, in the order of [`Label::index`].
    const ALL: &'static [Self];
    /// Returns the value's text.
    fn as_str(self) -> &'static str;
    /// Returns the value's place in [`Label::ALL`].
    fn index(self) -> usize;
}

/// Most values of a label.
const LABEL_VALUES_MAX: usize = 12;

/// A counter for each value of a label.
#[derive(Debug)]
pub struct CounterBy<L> {
    counters: [Counter; LABEL_VALUES_MAX],
    label: PhantomData<fn(L)>,
}

impl<L: Label> CounterBy<L> {
    /// Counts one under `label`.
    pub fn add_one(&self, label: L) {
        self.counters[label.index()].add_one();
    }

    /// Returns the number under `label`.
    #[must_use]
    pub fn value(&self, label: L) -> u64 {
        self.counters[label.index()].value()
    }
}

impl<L: Label> Default for CounterBy<L> {
    fn default() -> Self {
        const { assert!(L::ALL.len() <= LABEL_VALUES_MAX, "every value has its counter") };
        Self { counters: Default::default(), label: PhantomData }
    }
}

/// Declares a set of label values and their texts.
macro_rules! label {
    ($(#[$doc:meta])* $type:ident, $name:literal, {
        $($(#[$value_doc:meta])* $value:ident = $text:literal),* $(,)?
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type { $($(#[$value_doc])* $value,)* }

        impl Label for $type {
            const NAME: &'static str = $name;
            const ALL: &'static [Self] = &[$(Self::$value),*];
            fn as_str(self) -> &'static str {
                match self { $(Self::$value => $text,)* }
            }
            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

label! {
    /// Why an agent's connection came to nothing before its session.
    HandshakeRefused, "reason", {
        /// There are as many connections or handshakes as there may be.
        Full = "full",
        /// Its address knocks too often.
        TooMany = "too_many",
        /// It did not finish in time.
        TimedOut = "timed_out",
        /// TLS failed: no certificate, one of another authority, one that has run out, or another protocol.
        Tls = "tls",
        /// The certificate does not name an agent of a tenant.
        Identity = "identity",
        /// The certificate has ended.
        Expired = "expired",
        /// The agent was revoked.
        Revoked = "revoked",
        /// The agent has shown a later certificate.
        Superseded = "superseded",
        /// Nobody could tell whether it was let in.
        Unknown = "unknown",
        /// Its issuer is distrusted, and it was not issued here.
        DistrustedIssuer = "distrusted_issuer",
    }
}

label! {
    /// Why a connection over TCP carries nothing, or nothing more.
    TunnelRefused, "reason", {
        /// There are as many connections or handshakes as there may be.
        Full = "full",
        /// Its address knocks too often.
        TooMany = "too_many",
        /// It did not finish in time.
        TimedOut = "timed_out",
        /// TLS failed, or it speaks another protocol.
        Tls = "tls",
        /// What came through it is no datagram.
        Framing = "framing",
    }
}

label! {
    /// Why a host was not let in.
    JoinRefused, "reason", {
        /// No token has its secret.
        Unknown = "unknown",
        /// Its token has run out.
        Expired = "expired",
        /// Its token has been used as often as it may be.
        Used = "used",
        /// Its token was revoked.
        Revoked = "revoked",
        /// Its signing request is none.
        SigningRequest = "signing_request",
        /// Too many of its address were refused.
        TooMany = "too_many",
        /// No certificate could be issued, or the store did not answer.
        Unavailable = "unavailable",
        /// What came is no request, or none came in time.
        NoRequest = "no_request",
    }
}

impl From<JoinRefusal> for JoinRefused {
    fn from(refusal: JoinRefusal) -> Self {
        match refusal {
            JoinRefusal::Unknown => Self::Unknown,
            JoinRefusal::Expired(_) => Self::Expired,
            JoinRefusal::Used => Self::Used,
            JoinRefusal::Revoked => Self::Revoked,
            JoinRefusal::SigningRequest => Self::SigningRequest,
            JoinRefusal::TooMany => Self::TooMany,
            JoinRefusal::Unavailable => Self::Unavailable,
        }
    }
}

label! {
    /// Why an agent did not take a policy.
    PolicyRefused, "reason", {
        /// Its bytes are no policy, or too many.
        Malformed = "malformed",
        /// Its key is not trusted there.
        UnknownKey = "unknown_key",
        /// The key did not sign it.
        BadSignature = "bad_signature",
        /// It is another tenant's.
        ForeignTenant = "foreign_tenant",
        /// Its version is not above what was taken before.
        Rollback = "rollback",
        /// It has ended, or not begun.
        Untimely = "untimely",
        /// Its rules cannot be done there.
        Unusable = "unusable",
        /// The agent could not store it.
        NotStored = "not_stored",
        /// The agent ended soon after it, again and again.
        Crashed = "crashed",
    }
}

impl From<PolicyRefusal> for PolicyRefused {
    fn from(refusal: PolicyRefusal) -> Self {
        match refusal {
            PolicyRefusal::TooLarge | PolicyRefusal::Malformed => Self::Malformed,
            PolicyRefusal::UnknownKey => Self::UnknownKey,
            PolicyRefusal::BadSignature => Self::BadSignature,
            PolicyRefusal::ForeignTenant => Self::ForeignTenant,
            PolicyRefusal::Rollback => Self::Rollback,
            PolicyRefusal::Expired | PolicyRefusal::NotYet => Self::Untimely,
            PolicyRefusal::Unusable | PolicyRefusal::NowhereToHold => Self::Unusable,
            PolicyRefusal::NotStored => Self::NotStored,
            PolicyRefusal::Crashed => Self::Crashed,
        }
    }
}

label! {
    /// Why an agent did not take a trust bundle.
    TrustRefused, "reason", {
        /// Its bytes are no trust bundle, or too many.
        Malformed = "malformed",
        /// Its key is not trusted there.
        UnknownKey = "unknown_key",
        /// The key did not sign it.
        BadSignature = "bad_signature",
        /// It is another trust domain's.
        ForeignDomain = "foreign_domain",
        /// Its sequence is not above what was taken before.
        Rollback = "rollback",
        /// The agent could not store it.
        NotStored = "not_stored",
    }
}

impl From<TrustRefusal> for TrustRefused {
    fn from(refusal: TrustRefusal) -> Self {
        match refusal {
            TrustRefusal::TooLarge | TrustRefusal::Malformed => Self::Malformed,
            TrustRefusal::UnknownKey => Self::UnknownKey,
            TrustRefusal::BadSignature => Self::BadSignature,
            TrustRefusal::ForeignDomain => Self::ForeignDomain,
            TrustRefusal::Rollback => Self::Rollback,
            TrustRefusal::NotStored => Self::NotStored,
        }
    }
}

label! {
    /// What kind of answer a request to the API got.
    StatusClass, "class", {
        /// It worked (1xx, 2xx, 3xx).
        Good = "good",
        /// The caller may not, or sends no token (401, 403).
        Denied = "denied",
        /// The caller asks for something that is not possible (other 4xx).
        Refused = "refused",
        /// The coordinator could not (5xx).
        Failed = "failed",
    }
}

label! {
    /// How signing in ended.
    SignInEnd, "end", {
        /// The person has a token.
        Admitted = "admitted",
        /// The person is in no group, has not asked for it, or the provider did not sign them in.
        Refused = "refused",
        /// The provider was of no help.
        Provider = "provider",
    }
}

impl StatusClass {
    /// Returns the class of an HTTP status.
    #[must_use]
    pub const fn of(status: u16) -> Self {
        match status {
            401 | 403 => Self::Denied,
            400..500 => Self::Refused,
            500.. => Self::Failed,
            _ => Self::Good,
        }
    }
}

/// Something that is shown under a name.
trait Metric {
    const TYPE: &'static str;
    /// What the name ends in, by Prometheus' custom.
    const SUFFIX: &'static str = "";
    fn write(&self, name: &str, out: &mut String);
}

/// Appends a sample; writing to a text cannot fail.
fn sample(out: &mut String, name: &str, labels: &str, value: impl std::fmt::Display) {
    let written = writeln!(out, "{name}{labels} {value}");
    debug_assert!(written.is_ok(), "a text takes everything");
}

impl Metric for Counter {
    const TYPE: &'static str = "counter";
    const SUFFIX: &'static str = "_total";
    fn write(&self, name: &str, out: &mut String) {
        sample(out, name, "", self.value());
    }
}

impl Metric for Gauge {
    const TYPE: &'static str = "gauge";
    fn write(&self, name: &str, out: &mut String) {
        sample(out, name, "", self.value());
    }
}

impl<L: Label> Metric for CounterBy<L> {
    const TYPE: &'static str = "counter";
    const SUFFIX: &'static str = "_total";
    fn write(&self, name: &str, out: &mut String) {
        for label in L::ALL {
            let labels = format!("{{{}=\"{}\"}}", L::NAME, label.as_str());
            sample(out, name, &labels, self.value(*label));
        }
    }
}

impl Metric for Histogram {
    const TYPE: &'static str = "histogram";
    fn write(&self, name: &str, out: &mut String) {
        // The count is read first and the buckets are capped by it, so that they never seem to hold more than all.
        let count = self.count();
        let mut up_to = 0;
        for (bound, bucket) in Self::BOUNDS_US.iter().zip(&self.buckets) {
            up_to = (up_to + bucket.load(Relaxed)).min(count);
            let labels = format!("{{le=\"{}\"}}", seconds(*bound));
            sample(out, &format!("{name}_bucket"), &labels, up_to);
        }
        sample(out, &format!("{name}_bucket"), "{le=\"+Inf\"}", count);
        sample(out, &format!("{name}_sum"), "", seconds(self.sum_us.load(Relaxed)));
        sample(out, &format!("{name}_count"), "", count);
    }
}

/// Returns microseconds as seconds, exactly and without needless zeros.
fn seconds(us: u64) -> String {
    let text = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Appends the two lines that stand before a metric's samples.
fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let written = writeln!(out, "# HELP {name} {}\n# TYPE {name} {kind}", help.trim());
    debug_assert!(written.is_ok(), "a text takes everything");
}

/// Appends a gauge that is not kept here. `samples` are labels such as `{lane="bulk"}`, or nothing, and values.
///
/// `name` stands behind `signalbox_`; labels must need no escaping.
pub fn write_gauge(out: &mut String, name: &str, help: &str, samples: &[(&str, u64)]) {
    let name = format!("signalbox_{name}");
    head(out, &name, "gauge", help);
    samples.iter().for_each(|(labels, value)| sample(out, &name, labels, value));
}

/// Declares the counters, and writes each with its help.
macro_rules! counters {
    ($($field:ident: $type:ty = $help:literal;)*) => {
        /// Everything that is counted, shared by all parts of the coordinator.
        #[derive(Debug, Default)]
        pub struct Counters { $(#[doc = $help] pub $field: $type,)* }

        impl Counters {
            /// Appends all of them as Prometheus text.
            pub fn write(&self, out: &mut String) {
                $({
                    type This = $type;
                    let suffix = <This as Metric>::SUFFIX;
                    let name = format!("signalbox_{}{suffix}", stringify!($field));
                    head(out, &name, <This as Metric>::TYPE, $help);
                    self.$field.write(&name, out);
                })*
            }
        }
    };
}

counters! {
    connections_open: Gauge = "Connections of agents that are open now.";
    connections_accepted: Counter = "Connections of agents whose certificate was accepted.";
    handshakes_open: Gauge = "Handshakes of agents that are going on now.";
    handshakes_refused: CounterBy<HandshakeRefused> = "Handshakes that failed, by reason.";
    addresses_asked: Counter = "Packets that were answered by asking for a proof of the address.";
    tunnels_open: Gauge = "Connections over TCP that carry an agent's QUIC now.";
    tunnels_accepted: Counter = "Connections over TCP that were accepted.";
    tunnels_refused: CounterBy<TunnelRefused> = "Connections over TCP that were refused, and why.";
    tunnel_datagrams_dropped: Counter = "Packets for agents over TCP that they did not take.";
    joins_open: Gauge = "Hosts that are joining, and agents that renew what has ended, now.";
    agents_joined: Counter = "Certificates that were given to hosts for a join token.";
    certificates_renewed: Counter = "Next certificates that were signed for agents.";
    renewals_refused: Counter = "Renewals that were refused.";
    joins_refused: CounterBy<JoinRefused> = "Hosts that were not let in, by reason.";
    sessions_open: Gauge = "Sessions of agents that are open now.";
    sessions_replaced: Counter = "Sessions that ended because the same agent connected anew.";
    sessions_revoked: Counter = "Sessions that ended because the agent was revoked, or might be.";
    sessions_quarantined: Counter = "Sessions of hosts whose identity another one uses, too.";
    spools_set_back: Counter = "Times that an agent found its spool to be an older copy.";
    sessions_silent: Counter = "Sessions that ended because the agent fell silent.";
    frames_waited: Counter = "Frames that waited for others to be stored: there was no room.";
    frames_over_quota: Counter = "Frames that waited because their tenant or agent sends too fast.";
    frames_refused: Counter = "Frames that broke the protocol; each ended its connection.";
    heartbeats: Counter = "Heartbeats of agents that were noted.";
    recalls_asked: Counter = "Recalls that agents were asked for.";
    rollouts_halted: Counter = "Roll-outs of a policy that stopped by themselves.";
    policies_offered: Counter = "Signed policies that agents were offered.";
    policies_acknowledged: Counter = "Times that an agent said which policy it has.";
    policies_refused: CounterBy<PolicyRefused> = "Policies that agents did not take, by reason.";
    trust_offered: Counter = "Trust bundles that agents were offered.";
    trust_acknowledged: Counter = "Times that an agent said which trust bundle it has.";
    trust_refused: CounterBy<TrustRefused> = "Trust bundles that agents did not take, by reason.";
    reissues_asked: Counter = "Agents that were asked to renew because the authority was replaced.";
    reissues_forced: Counter = "Agents of a distrusted issuer that were sent to renew.";
    records_recalled: Counter = "Records that agents had held back and sent when asked.";
    records_unreadable: Counter = "Records that were asked for and cannot be unpacked.";
    contexts_stored: Counter = "Changes of a host's context that were stored.";
    blocks_stored: Counter = "Blocks that were stored.";
    blocks_repeated: Counter = "Blocks that came again and changed nothing.";
    alerts_stored: Counter = "Alerts that were stored.";
    bytes_stored: Counter = "Bytes of blocks that were stored, as they came.";
    gaps_recorded: Counter = "Gaps that were recorded: blocks that will never come.";
    ledger_intervals: Counter = "Intervals of agents' ledgers that were stored.";
    ledger_gaps_explained: Counter = "Gaps that ledgers showed and explained.";
    ledger_gaps_unexplained: Counter = "Gaps of ledgers that nothing explains.";
    cases_touched: Counter = "Cases that a stored block opened, re-opened or added to.";
    commits_failed: Counter = "Changes that the store did not take, or may not have taken.";
    commit_seconds: Histogram = "Time from handing a block to the writer until it was durable.";
    api_connections_open: Gauge = "Connections to the API that are open now.";
    api_requests: CounterBy<StatusClass> = "Requests to the API, by kind of answer.";
    api_request_seconds: Histogram = "Time from a request to the API until the head of its answer.";
    sign_ins_open: Gauge = "People who sign in now.";
    sign_ins: CounterBy<SignInEnd> = "Sign-ins of people, by how they ended.";
    lockouts: Counter = "Addresses that were locked out of the API for too many failed attempts.";
    requests_locked_out: Counter = "Requests to the API that were refused because of a lockout.";
    feed_clients: Gauge = "Clients of the live feed that are connected now.";
    feed_entries: Counter = "Journal entries that were sent to clients of the live feed.";
    leases_expired: Counter = "Leases that ran out and brought their case back to the queue.";
    cases_deleted: Counter = "Closed cases that retention deleted.";
    retention_runs: Counter = "Runs of retention over one tenant that were stored.";
    upkeep_failed: Counter = "Runs of a timer that did not do their work.";
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(counters: &Counters) -> String {
        let mut out = String::new();
        counters.write(&mut out);
        out
    }

    fn value_of(text: &str, name: &str) -> String {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is not in\n{text}")).to_owned()
    }

    #[test]
    fn every_number_is_shown_once_under_its_name_with_help_and_kind() {
        let counters = Counters::default();
        counters.blocks_stored.add(3);
        counters.handshakes_refused.add_one(HandshakeRefused::Revoked);
        let text = text(&counters);
        assert_eq!(value_of(&text, "signalbox_blocks_stored_total"), "3");
        assert_eq!(value_of(&text, "signalbox_handshakes_refused_total{reason=\"revoked\"}"), "1");
        let helps: Vec<_> = text.lines().filter(|line| line.starts_with("# HELP")).collect();
        let kinds: Vec<_> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
        assert_eq!(helps.len(), kinds.len());
        let mut names: Vec<_> = kinds.iter().map(|line| line.split(' ').nth(2).unwrap()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), kinds.len());
    }

    #[test]
    fn a_gauge_counts_what_is_held_and_never_below_zero() {
        let gauge = Gauge::default();
        let (one, two) = (gauge.hold(), gauge.hold());
        assert_eq!(gauge.value(), 2);
        drop(one);
        assert_eq!(gauge.value(), 1);
        drop(two);
        gauge.lower();
        assert_eq!(gauge.value(), 0);
        assert!(gauge.raise_below(1) && !gauge.raise_below(1));
        assert_eq!(gauge.value(), 1);
    }

    #[test]
    fn buckets_hold_everything_up_to_their_end() {
        let counters = Counters::default();
        for ms in [1, 2, 700, 60_000] {
            counters.commit_seconds.observe(Duration::from_millis(ms));
        }
        let text = text(&counters);
        let bucket =
            |le: &str| value_of(&text, &format!("signalbox_commit_seconds_bucket{{le=\"{le}\"}}"));
        assert_eq!(bucket("0.0005"), "0");
        assert_eq!(bucket("0.001"), "1", "the end belongs to the bucket");
        assert_eq!(bucket("0.0025"), "2");
        assert_eq!(bucket("1"), "3");
        assert_eq!(bucket("10"), "3");
        assert_eq!(bucket("+Inf"), "4");
        assert_eq!(value_of(&text, "signalbox_commit_seconds_sum"), "60.703");
        assert_eq!(value_of(&text, "signalbox_commit_seconds_count"), "4");
    }

    #[test]
    fn answers_are_told_apart_by_who_can_do_something_about_them() {
        let classes = [200, 304, 401, 403, 404, 409, 500, 503].map(StatusClass::of);
        use StatusClass::{Denied, Failed, Good, Refused};
        assert_eq!(classes, [Good, Good, Denied, Denied, Refused, Refused, Failed, Failed]);
    }
}
