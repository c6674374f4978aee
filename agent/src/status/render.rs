//! A snapshot as text for people.

use std::fmt::{self, Write as _};

use shared::time::Timestamp;

use super::{
    Bound, HeldStatus, LedgerStatus, LinkState, PolicySource, PolicyStatus, ProcessState,
    RuleState, RuleStatus, SignedPolicyStatus, Snapshot, SourceStatus, SpoolState, TrustStatus,
};
use crate::config::show_bytes;

impl Snapshot {
    /// Writes what an administrator wants to see, at `now`.
    #[must_use]
    pub fn render(&self, now: Timestamp) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _written = self.write(&mut text, now).is_ok();
        text
    }

    fn write(&self, out: &mut String, now: Timestamp) -> fmt::Result {
        let matters = self.matters(now);
        writeln!(out, "health   {}", self.health(now).as_str())?;
        for matter in &matters {
            writeln!(out, "         {}: {}", matter.part, matter.text)?;
            writeln!(out, "           -> {}", matter.advice)?;
        }
        writeln!(out, "agent    {} of tenant {}", self.agent, self.tenant)?;
        writeln!(out, "process  {}", self.process_line(now))?;
        writeln!(out, "link     {}", self.link_line(now))?;
        if let (Some(error), Some(at)) = (&self.link.last_error, self.link.last_error_at) {
            writeln!(out, "         last error {} ago: {error}", ago(now, at))?;
        }
        writeln!(out, "cert     {}", self.certificate_line(now))?;
        if let Some(trust) = &self.trust {
            trust.write(out, now)?;
        }
        writeln!(out, "spool    {}", self.spool_line(now))?;
        if let Some(held) = &self.held {
            let instead = "what it should hold is sent";
            writeln!(out, "held     {}", ring_line(held, instead, now))?;
        }
        if let Some(folded) = &self.folded {
            let instead = "what is folded is only counted";
            writeln!(out, "folded   {}", ring_line(folded, instead, now))?;
        }
        let LedgerStatus { acked, waiting } = self.ledger;
        writeln!(out, "ledger   interval {acked} acked, {waiting} waiting")?;
        writeln!(out, "limits   {}", self.limits_line())?;
        writeln!(out)?;
        writeln!(out, "{:<8} {:>12} {:>12} {:>12}", "lane", "last block", "acked", "waiting")?;
        let number = |seq: Option<shared::ids::Seq>| seq.map_or(0, shared::ids::Seq::as_u64);
        for lane in &self.lanes {
            let (last, acked) = (number(lane.last), number(lane.acked));
            writeln!(out, "{:<8} {last:>12} {acked:>12} {:>12}", lane.lane, lane.waiting)?;
        }
        writeln!(out)?;
        self.write_sources(out, now)
    }

    fn write_sources(&self, out: &mut String, now: Timestamp) -> fmt::Result {
        writeln!(
            out,
            "{:<16} {:>12} {:>10} {:>10} {:>10} {:>8} {:>8} {:>12} {:>10} {:>6}",
            "source",
            "records",
            "skipped",
            "malformed",
            "over long",
            "rotated",
            "cut",
            "offset",
            "behind",
            "for"
        )?;
        for source in &self.sources {
            writeln!(
                out,
                "{:<16} {:>12} {:>10} {:>10} {:>10} {:>8} {:>8} {:>12} {:>10} {:>6}",
                source.name,
                source.records,
                source.skipped,
                source.malformed,
                source.over_long,
                source.rotated,
                source.truncated,
                source.offset,
                show_bytes(source.behind_bytes),
                source.behind_since.map_or_else(|| "-".to_owned(), |since| ago(now, since)),
            )?;
            write_notes(out, source)?;
        }
        let outcomes = self.attribution.list().into_iter().filter(|(_, count)| *count > 0);
        let outcomes: Vec<String> =
            outcomes.map(|(name, count)| format!("{count} {}", name.replace('_', " "))).collect();
        if !outcomes.is_empty() {
            writeln!(out)?;
            writeln!(out, "processes behind connections: {}", outcomes.join(", "))?;
        }
        self.policy.as_ref().map_or(Ok(()), |policy| policy.write(out, now))
    }

    /// Writes the link and the spool in one line.
    pub(super) fn line(&self) -> String {
        let now = self.written_at;
        format!("{}; spool {}", self.link_line(now), self.spool_line(now))
    }

    fn process_line(&self, now: Timestamp) -> String {
        let (version, pid) = (&self.agent_version, self.pid);
        let age = ago(now, self.written_at);
        match self.process {
            ProcessState::Stopped => format!("not running: it stopped in good order {age} ago"),
            _ if self.is_stale(now) => {
                format!(
                    "not running: its last sign of life is {age} old, what follows is as of then"
                )
            }
            ProcessState::Running => {
                format!("running for {}, version {version}, pid {pid}", ago(now, self.started_at))
            }
            ProcessState::Draining => format!("stopping, version {version}, pid {pid}"),
        }
    }

    fn certificate_line(&self, now: Timestamp) -> String {
        let until = self.certificate_until;
        let failed = self.renewal_error.as_ref();
        let failed = failed.map_or_else(String::new, |error| format!("; NOT RENEWED: {error}"));
        if until <= now {
            return format!("EXPIRED {} ago, {until}{failed}", ago(now, until));
        }
        format!("valid until {until}, {} left{failed}", ago(until, now))
    }

    fn link_line(&self, now: Timestamp) -> String {
        let address = self.link.address.as_deref().unwrap_or("no address yet");
        let since = ago(now, self.link.since);
        match self.link.state {
            LinkState::Connecting => format!("connecting to {address}"),
            LinkState::Connected => {
                let coordinator = self.link.coordinator.as_deref().unwrap_or("a coordinator");
                let over = self.link.udp_error.as_ref().map_or_else(String::new, |why| {
                    format!(" over TCP (UDP failed: {why}; it is tried again)")
                });
                format!("connected to {coordinator} at {address} for {since}{over}")
            }
            LinkState::Waiting => {
                let wait = self.link.retry_at.map_or_else(String::new, |at| {
                    format!(", next try in {:.1} s", at.since(now).as_secs_f64())
                });
                format!("not connected for {since}{wait}")
            }
            LinkState::SetBack => {
                "the coordinator refuses this spool: it is an older copy, and a person must act"
                    .to_owned()
            }
            LinkState::Revoked => {
                "the coordinator has revoked this agent, and takes nothing: a person must act"
                    .to_owned()
            }
            LinkState::Superseded => {
                "the coordinator knows a later certificate of this agent: a person must act"
                    .to_owned()
            }
            LinkState::Quarantined => {
                "another host uses this agent's identity, nothing is taken: a person must act"
                    .to_owned()
            }
            LinkState::Stopped => "closed".to_owned(),
        }
    }

    fn limits_line(&self) -> String {
        let limits = &self.limits;
        let mut line = format!("processor {} %", limits.cpu_percent);
        if let Some(max) = limits.cpu_percent_max {
            line = format!("{line} of {max} %");
        }
        let (bytes, bytes_max) = (limits.memory_bytes, limits.memory_bytes_max);
        line = format!("{line}, memory {} of {}", show_bytes(bytes), show_bytes(bytes_max));
        line.push_str(match limits.at {
            None => "",
            Some(Bound::Cpu) => ", AT THE PROCESSOR'S BOUND: the sources are slowed",
            Some(Bound::Memory) => ", AT THE MEMORY'S BOUND: the sources are slowed",
        });
        if limits.slowed_ms > 0 {
            line = format!("{line}; slowed for {} s so far", limits.slowed_ms / 1_000);
        }
        line
    }

    fn spool_line(&self, now: Timestamp) -> String {
        let spool = &self.spool;
        let mut line = format!("{} of {}", show_bytes(spool.bytes), show_bytes(spool.bytes_max));
        line.push_str(match spool.state {
            SpoolState::Ok => "",
            SpoolState::Full => ", FULL: the sources wait until the coordinator acks",
            SpoolState::DiskFull => ", DISK FULL: the sources wait until there is room",
            SpoolState::Failing => ", FAILING: the sources wait until the disk works",
        });
        if let Some(error) = &spool.error {
            line = format!("{line} ({error})");
        }
        if let Some(at) = spool.oldest_unacked {
            line = format!("{line}, oldest alert not acked is {} old", ago(now, at));
        }
        if spool.damage > 0 {
            line = format!("{line}, {} damaged places were found at the start", spool.damage);
        }
        line
    }
}

/// Writes what there is to say of a source besides its counters.
fn write_notes(out: &mut String, source: &SourceStatus) -> fmt::Result {
    let counts = [
        (source.dropped, "datagrams were dropped by the system: they came too fast"),
        (source.refused, "connections were refused: there were too many"),
        (source.gone, "records are gone: their log wrote over them before they were read"),
        (
            source.lost_files,
            "files were gone before they were read to their end: their rest is lost",
        ),
        (
            source.files.map_or(0, |files| files.beyond),
            "files are not read: more match than the agent keeps count of",
        ),
        (
            source.untimed,
            "records say no time that can be believed, and are sent as of when they were read",
        ),
    ];
    for (count, what) in counts.into_iter().filter(|(count, _)| *count > 0) {
        writeln!(out, "  {}: {count} {what}", source.path.display())?;
    }
    for (why, count) in &source.malformed_by_reason {
        writeln!(
            out,
            "  {}: {count} malformed, and sent as they are: {why}",
            source.path.display()
        )?;
    }
    if let Some(files) = &source.files {
        writeln!(
            out,
            "  {}: {} files, {} open, {} waiting; not read: {} that others have, {} compressed",
            source.path.display(),
            files.known,
            files.open,
            files.waiting,
            files.same,
            files.compressed
        )?;
    }
    if let Some(error) = &source.error {
        writeln!(out, "  {}: {error}", source.path.display())?;
    }
    Ok(())
}

impl PolicyStatus {
    fn write(&self, out: &mut String, now: Timestamp) -> fmt::Result {
        writeln!(out)?;
        match self.loaded_at {
            Some(at) => writeln!(
                out,
                "policy   {}, version {}, of {}, {} in force for {}",
                self.name.escape_debug(),
                self.version,
                self.owner.escape_debug(),
                match self.source {
                    PolicySource::File => "of this host's file,",
                    PolicySource::Signed => "signed,",
                },
                ago(now, at)
            )?,
            None => writeln!(out, "policy   NONE IN FORCE, everything is sent")?,
        }
        if let Some(error) = &self.error {
            writeln!(out, "         NOT TAKEN: {error}")?;
        }
        if let Some(signed) = &self.signed {
            signed.write(out, now)?;
        }
        if self.loaded_at.is_none() {
            return Ok(());
        }
        let Self { folded_keys, uncounted, no_room, .. } = self;
        write!(
            out,
            "         {folded_keys} keys are folded, {uncounted} alerts wait to be counted"
        )?;
        if *no_room > 0 {
            write!(out, ", {no_room} were sent because there was no room to fold them")?;
        }
        let Self { correlated_groups, correlated_late, correlated_forgotten, .. } = self;
        if correlated_groups + correlated_late + correlated_forgotten > 0 {
            write!(out, "\n         correlations remember {correlated_groups} groups of alerts")?;
        }
        if *correlated_late > 0 {
            write!(out, ", {correlated_late} alerts came too late to be counted")?;
        }
        if *correlated_forgotten > 0 {
            write!(out, ", {correlated_forgotten} groups were FORGOTTEN for want of room")?;
        }
        writeln!(out, "\n")?;
        writeln!(
            out,
            "{:<24} {:<11} {:>10} {:>10} {:>10} {:>10} {:>10} {:<10} state",
            "rule", "action", "matched", "sent", "held", "folded", "spared", "until"
        )?;
        self.rules.iter().try_for_each(|rule| rule.write(out))
    }
}

impl SignedPolicyStatus {
    fn write(&self, out: &mut String, now: Timestamp) -> fmt::Result {
        let Self { version, keys, refused, .. } = self;
        match self.expires_at {
            None => writeln!(out, "         none came signed yet, {keys} keys are trusted")?,
            Some(at) if self.has_ended => writeln!(
                out,
                "         signed version {version} ENDED {} ago, {at}: nothing is suppressed by it",
                ago(now, at)
            )?,
            Some(at) => {
                let left = ago(at, now);
                let instead =
                    if self.is_overridden { ", NOT USED: this host's file goes first" } else { "" };
                writeln!(out, "         signed version {version} ends {at}, in {left}{instead}")?;
            }
        }
        if let Some(error) = &self.error {
            writeln!(out, "         {error}")?;
        }
        if let Some(last) = &self.last_refusal {
            writeln!(
                out,
                "         REFUSED version {} {} ago ({}): {}; {refused} so far",
                last.version,
                ago(now, last.at),
                last.reason,
                last.text.escape_debug()
            )?;
        }
        Ok(())
    }
}

impl TrustStatus {
    fn write(&self, out: &mut String, now: Timestamp) -> fmt::Result {
        let Self { roots, distrusted, refused, .. } = self;
        match self.sequence {
            0 if self.error.is_some() => {
                writeln!(out, "trust    the configured root, as the bundle cannot be used")?;
            }
            0 => writeln!(out, "trust    the configured root; no bundle came yet")?,
            sequence => {
                let replaced = match self.is_root_replaced {
                    true => "; the configured root is none of them, and does not count",
                    false => "",
                };
                writeln!(
                    out,
                    "trust    bundle {sequence}: {roots} roots, {distrusted} distrusted{replaced}"
                )?;
            }
        }
        if let Some(error) = &self.error {
            writeln!(out, "         {error}")?;
        }
        if let Some(last) = &self.last_refusal {
            writeln!(
                out,
                "         REFUSED bundle {} {} ago ({}): {}; {refused} so far",
                last.version,
                ago(now, last.at),
                last.reason,
                last.text.escape_debug()
            )?;
        }
        Ok(())
    }
}

impl RuleStatus {
    fn write(&self, out: &mut String) -> fmt::Result {
        let sent = self.sent + self.audit_samples + self.beyond_expected + self.let_through;
        let (id, title) = (self.id.escape_debug(), self.title.escape_debug());
        let until = self.expires_at.to_string();
        writeln!(
            out,
            "{:<24} {:<11} {:>10} {sent:>10} {:>10} {:>10} {:>10} {:<10} {}",
            id.to_string(),
            self.action,
            self.matched,
            self.held,
            self.folded,
            self.spared,
            until.split('T').next().unwrap_or_default(),
            match self.state {
                RuleState::InForce => "in force",
                RuleState::BeyondExpected => "BEYOND EXPECTED: suppresses nothing",
                RuleState::Expired => "EXPIRED: does nothing",
            }
        )?;
        writeln!(out, "  {title} (owner: {})", self.owner.escape_debug())
    }
}

fn ring_line(held: &HeldStatus, instead: &str, now: Timestamp) -> String {
    let (bytes, max) = (show_bytes(held.bytes), show_bytes(held.bytes_max));
    let mut line = format!("{} records, {bytes} of {max}", held.records);
    if let Some(at) = held.oldest {
        line = format!("{line}, oldest {} old", ago(now, at));
    }
    for (count, what) in [(held.evicted, "evicted"), (held.lost, "lost")] {
        if count > 0 {
            line = format!("{line}, {count} {what}");
        }
    }
    if let Some(error) = &held.error {
        line = format!("{line}, TAKES NOTHING, {instead} ({error})");
    }
    line
}

/// Writes how long ago `at` was, in the largest unit of which there are two.
fn ago(now: Timestamp, at: Timestamp) -> String {
    let seconds = now.since(at).as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
