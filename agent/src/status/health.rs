//! What a snapshot says of the agent's health: what is not well, and what to do about it.
//!
//! Pure: a snapshot and the hour in, the matters out, worst first. `status` shows them to people, and its exit code
//! tells monitoring the worst.

use std::time::Duration;

use serde::Serialize;
use shared::time::Timestamp;

use super::{Bound, LinkState, ProcessState, Snapshot, SourceStatus, SpoolState};
use crate::config::show_bytes;

/// How long the link may be down before a person should look: a restarted coordinator has all its agents back sooner.
const LINK_PATIENCE: Duration = Duration::from_secs(60);
/// How long a source may be behind its file before a person should look: longer than a burst.
const LAG_PATIENCE: Duration = Duration::from_secs(60);
/// How long a loss that is over is a matter for a person: an hour, so that who looks twice a shift sees it.
const LOSS_MEMORY: Duration = Duration::from_secs(60 * 60);
/// From when on a certificate's end is a matter for a person: the time to notice, and to renew without haste.
pub const EXPIRY_WARNING: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// What to do where the coordinator has revoked the agent.
pub const REVOKED_ADVICE: &str = "ask whoever runs the coordinator why; where this host is to \
                                  stay, signalbox-agent join --again TOKEN makes it another agent";
/// What to do where somebody has used a later certificate of this agent.
pub const SUPERSEDED_ADVICE: &str = "if an old copy of the identity's folder was put back, or \
                                     this host is a copy of another, signalbox-agent join \
                                     --again TOKEN makes it another agent; if not, tell whoever \
                                     runs the coordinator: somebody else has its identity";
/// What to do where another host uses this agent's identity.
pub const QUARANTINED_ADVICE: &str = "whoever runs the coordinator decides which of the two keeps \
                                      it (signalbox agent resolve); where this host is a copy of \
                                      another, signalbox-agent join --again TOKEN makes it another \
                                      agent";
/// Share of the spool, in percent, from which on its end is near: with the default of 1 GiB some hours are left.
const SPOOL_PERCENT_WARNING: u64 = 80;

/// How the agent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// It reads, and all arrives.
    Well,
    /// It runs, but a person should look.
    Degraded,
    /// It does not run.
    Down,
}

impl Health {
    /// Returns the word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }
}

/// One thing that is not well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Matter {
    /// How bad it is.
    pub health: Health,
    /// The part: process, link, certificate, spool, held, folded, memory, policy, trust, or a source's name.
    pub part: String,
    /// What is the matter.
    pub text: String,
    /// What to do about it.
    pub advice: String,
}

impl Snapshot {
    /// Returns how the agent is at `now`.
    #[must_use]
    pub fn health(&self, now: Timestamp) -> Health {
        self.matters(now).first().map_or(Health::Well, |matter| matter.health)
    }

    /// Writes the snapshot as JSON for programs, with the health and its matters at `now` beside what the file holds.
    ///
    /// # Errors
    /// None that is known: every value can be written.
    pub fn to_json(&self, now: Timestamp) -> serde_json::Result<String> {
        #[derive(Serialize)]
        struct Shown<'a> {
            health: Health,
            matters: Vec<Matter>,
            #[serde(flatten)]
            snapshot: &'a Snapshot,
        }
        let (health, matters) = (self.health(now), self.matters(now));
        serde_json::to_string_pretty(&Shown { health, matters, snapshot: self })
    }

    /// Returns everything that is not well at `now`, the worst first.
    #[must_use]
    pub fn matters(&self, now: Timestamp) -> Vec<Matter> {
        if let Some(down) = self.down(now) {
            return vec![down]; // what its file says of the rest is of then
        }
        let mut matters = Vec::new();
        matters.extend(self.certificate_matter(now));
        matters.extend(self.link_matter(now));
        matters.extend(self.spool_matter());
        matters.extend(self.held_matter());
        matters.extend(self.folded_matter());
        matters.extend(self.memory_matter());
        matters.extend(self.policy_matter());
        matters.extend(self.signed_policy_matter());
        matters.extend(self.trust_matter());
        matters.extend(self.sources.iter().filter_map(|source| source_matter(source, now)));
        matters.extend(self.sources.iter().filter_map(|source| loss_matter(source, now)));
        matters.extend(self.sources.iter().filter_map(beyond_matter));
        matters.extend(self.sources.iter().filter_map(shared_matter));
        matters.sort_by_key(|matter| std::cmp::Reverse(matter.health));
        matters
    }

    fn policy_matter(&self) -> Option<Matter> {
        let policy = self.policy.as_ref()?;
        let error = policy.error.as_ref()?;
        let instead = match policy.loaded_at {
            Some(_) => format!("version {} stays in force", policy.version),
            None => "everything is sent".to_owned(),
        };
        let advice = "correct the file: it is looked at again within ten seconds, and \
                      signalbox-agent try-policy shows what it would do";
        Some(degraded("policy", format!("it is not taken, {instead}: {error}"), advice))
    }

    fn signed_policy_matter(&self) -> Option<Matter> {
        let signed = self.policy.as_ref()?.signed.as_ref()?;
        if let Some(error) = &signed.error {
            let advice = "put the provider's keys into the file that [policy] trusted_keys names; \
                          what is stored is replaced by the next policy";
            return Some(degraded("policy", error.clone(), advice));
        }
        if let Some(last) = &signed.last_refusal {
            let text = format!("version {} is refused: {}", last.version, last.text.escape_debug());
            let advice = "tell your provider: signalbox policy status shows it, too";
            return Some(degraded("policy", text, advice));
        }
        if signed.has_ended && !signed.is_overridden {
            let text = format!("signed version {} has ended: everything is sent", signed.version);
            return Some(degraded("policy", text, "ask your provider for the next one"));
        }
        None
    }

    fn trust_matter(&self) -> Option<Matter> {
        let trust = self.trust.as_ref()?;
        if let Some(error) = &trust.error {
            let (text, advice) = if trust.sequence == 0 {
                (
                    format!("the configured root counts in place of a bundle: {error}"),
                    "where that root still leads to the coordinator, it sends the bundle again; \
                     if not, ask your provider for a join token: signalbox-agent join --again \
                     TOKEN says the rest",
                )
            } else {
                (
                    format!(
                        "bundle {} counts on, and no further is taken: {error}",
                        trust.sequence
                    ),
                    "put the key's line back into the file that [policy] trusted_keys names, and \
                     restart the agent; a next bundle that a trusted key signed ends this, too",
                )
            };
            return Some(degraded("trust", text, advice));
        }
        let last = trust.last_refusal.as_ref()?;
        let text =
            format!("trust bundle {} is refused: {}", last.version, last.text.escape_debug());
        let advice = "tell your provider: signalbox authority show says it, too";
        Some(degraded("trust", text, advice))
    }

    fn down(&self, now: Timestamp) -> Option<Matter> {
        let text = if self.process == ProcessState::Stopped {
            "it was stopped in good order"
        } else if self.is_stale(now) {
            "it has shown no sign of life for too long: it was killed, or hangs"
        } else {
            return None;
        };
        let advice = "systemctl start signalbox-agent, or signalbox-agent run; why it ended \
                      stands in its log: journalctl -u signalbox-agent";
        Some(Matter {
            health: Health::Down,
            part: "process".to_owned(),
            text: text.to_owned(),
            advice: advice.to_owned(),
        })
    }

    fn held_matter(&self) -> Option<Matter> {
        let error = self.held.as_ref()?.error.as_ref()?;
        let text = format!("it takes nothing, and what it should hold is sent: {error}");
        Some(degraded("held", text, "see to the disk that [held] dir is on"))
    }

    fn folded_matter(&self) -> Option<Matter> {
        let error = self.folded.as_ref()?.error.as_ref()?;
        let text = format!("originals of what is folded are not kept: {error}");
        Some(degraded("folded", text, "see to the disk that [held] dir is on"))
    }

    fn certificate_matter(&self, now: Timestamp) -> Option<Matter> {
        let (from, until) = (self.certificate_from, self.certificate_until);
        let advice =
            "ask your provider for a join token: signalbox-agent join --again TOKEN says the rest";
        // It is renewed when a third of its life is left.
        let is_late = until.since(now) < EXPIRY_WARNING.min(until.since(from) / 4);
        if until <= now {
            return Some(degraded(
                "certificate",
                format!(
                    "it ended {until}: it is renewed as soon as the coordinator is reached, unless \
                     that is too long ago"
                ),
                advice,
            ));
        }
        match &self.renewal_error {
            Some(error) if is_late => {
                let text = format!("it expires {until}, and was not renewed: {error}");
                Some(degraded("certificate", text, advice))
            }
            None if is_late => Some(degraded("certificate", format!("it expires {until}"), advice)),
            Some(_) | None => None,
        }
    }

    fn link_matter(&self, now: Timestamp) -> Option<Matter> {
        let link = &self.link;
        match link.state {
            LinkState::Connected | LinkState::Stopped => return None,
            LinkState::SetBack => {
                let advice = format!(
                    "stop the agent, move the folder {} aside, and start it: it makes a new one",
                    self.spool.dir.display()
                );
                return Some(degraded(
                    "link",
                    "the coordinator knows a newer spool".to_owned(),
                    &advice,
                ));
            }
            LinkState::Revoked => {
                let text = "the coordinator has revoked this agent, and takes nothing from it";
                return Some(degraded("link", text.to_owned(), REVOKED_ADVICE));
            }
            LinkState::Superseded => {
                let text = "the coordinator knows a later certificate of this agent";
                return Some(degraded("link", text.to_owned(), SUPERSEDED_ADVICE));
            }
            LinkState::Quarantined => {
                let text = "another host uses this agent's identity, and the coordinator takes \
                            nothing from this one";
                return Some(degraded("link", text.to_owned(), QUARANTINED_ADVICE));
            }
            LinkState::Connecting | LinkState::Waiting => {}
        }
        let down_since = link.down_since.unwrap_or(link.since);
        if now.since(down_since) < LINK_PATIENCE {
            return None;
        }
        let address = link.address.as_deref().unwrap_or("the coordinator");
        let error = link.last_error.as_deref().unwrap_or("no answer");
        let advice = format!(
            "let UDP to {address}, or else TCP, leave this host and its network, and run \
             signalbox-agent check; nothing is lost while the spool has room"
        );
        Some(degraded("link", format!("not connected: {error}"), &advice))
    }

    fn memory_matter(&self) -> Option<Matter> {
        if self.limits.at != Some(Bound::Memory) {
            return None;
        }
        let (bytes, bytes_max) = (self.limits.memory_bytes, self.limits.memory_bytes_max);
        let text = format!(
            "{} are in memory, more than {}: the sources are slowed",
            show_bytes(bytes),
            show_bytes(bytes_max)
        );
        Some(degraded("memory", text, "raise limits.memory, or give this agent fewer sources"))
    }

    fn spool_matter(&self) -> Option<Matter> {
        let spool = &self.spool;
        let matter = |text: &str, advice: &str| Some(degraded("spool", text.to_owned(), advice));
        match spool.state {
            SpoolState::Full => matter(
                "it is full, and the sources wait",
                "see to the link; what takes longer than this needs a larger spool.max_bytes",
            ),
            SpoolState::DiskFull => {
                let advice = format!("make room on the disk of {}", spool.dir.display());
                matter("the disk is full, and the sources wait", &advice)
            }
            SpoolState::Failing => matter(
                "the disk fails, and the sources wait",
                "look at the kernel's log (journalctl -k) and replace the disk",
            ),
            SpoolState::Ok => {
                let percent = spool.bytes.saturating_mul(100) / spool.bytes_max.max(1);
                let is_waiting = self.lanes.iter().any(|lane| lane.waiting > 0);
                if percent < SPOOL_PERCENT_WARNING || !is_waiting {
                    return None;
                }
                matter(
                    &format!("{percent} % of it is used"),
                    "see to the link: when the spool is full, the sources wait",
                )
            }
        }
    }
}

fn source_matter(source: &SourceStatus, now: Timestamp) -> Option<Matter> {
    if let Some(error) = &source.error {
        let advice = "check the path and that the detector writes; what is forbidden, allow to the \
                      agent's user (usermod -a -G GROUP signalbox-agent, and restart it)";
        return Some(degraded(&source.name, format!("{}: {error}", source.path.display()), advice));
    }
    let since = source.behind_since.filter(|since| now.since(*since) >= LAG_PATIENCE)?;
    let text = format!(
        "{} behind its file for {} s",
        show_bytes(source.behind_bytes),
        now.since(since).as_secs()
    );
    let advice = "the detector writes faster than the agent reads: a burst passes, else let it \
                  write less, or raise limits.cpu";
    Some(degraded(&source.name, text, advice))
}

/// What was lost a short while ago; the counters go on telling it after that.
fn loss_matter(source: &SourceStatus, now: Timestamp) -> Option<Matter> {
    source.lost_at.filter(|at| now.since(*at) < LOSS_MEMORY)?;
    let (text, advice) = if source.lost_files > 0 {
        let text =
            format!("{} files were gone before they were read to their end", source.lost_files);
        (text, "keep rotated files uncompressed until they are read (logrotate: delaycompress)")
    } else if source.gone > 0 {
        let text = format!("its writer let go of {} records before they were read", source.gone);
        (text, "let the log grow larger before it writes over itself")
    } else if source.dropped > 0 {
        let text = format!("the system dropped {} datagrams that came too fast", source.dropped);
        (text, "let the senders use TCP, or raise net.core.rmem_max and limits.cpu")
    } else {
        let text = format!("{} connections were refused", source.refused);
        (text, "let the senders keep one connection each; signalbox-agent status shows how many")
    };
    Some(degraded(&source.name, text, advice))
}

fn shared_matter(source: &SourceStatus) -> Option<Matter> {
    let other = source.shared_with.as_ref()?;
    let text = format!(
        "links lead source {other} to {} of its files, too: each of their records comes twice",
        source.shared
    );
    let advice = "let one pattern leave out what the other matches, or remove one of the sources";
    Some(degraded(&source.name, text, advice))
}

fn beyond_matter(source: &SourceStatus) -> Option<Matter> {
    let beyond = source.files.map(|files| files.beyond).filter(|beyond| *beyond > 0)?;
    let text = format!("{beyond} files are not read: more match than the agent keeps count of");
    Some(degraded(&source.name, text, "narrow the source's pattern, or move old files away"))
}

fn degraded(part: &str, text: String, advice: &str) -> Matter {
    Matter { health: Health::Degraded, part: part.to_owned(), text, advice: advice.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Facts, LinkStatus, SpoolStatus, Status};

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    /// Returns a snapshot of an agent that has nothing to complain of, and the hour of it.
    fn well() -> (Snapshot, Timestamp) {
        let board = Status::new(Facts {
            tenant: "acme".parse().unwrap(),
            agent: "7d444840-9dc0-41d1-b245-5ffdce74fad2".parse().unwrap(),
            epoch: shared::ids::Epoch(7),
            certificate_from: Timestamp::ZERO,
            certificate_until: Timestamp::from_ms(0),
            spool_dir: "/var/lib/signalbox/spool".into(),
            spool_bytes_max: 1 << 30,
            spool_damage: 0,
        });
        board.set_connected("192.0.2.1:4433", "box1", None);
        let mut snapshot = board.snapshot();
        let now = snapshot.written_at;
        snapshot.certificate_until = now.saturating_add(30 * DAY);
        snapshot.sources = vec![SourceStatus { name: "eve".to_owned(), ..SourceStatus::default() }];
        (snapshot, now)
    }

    /// Returns the one matter of a snapshot.
    fn only(snapshot: &Snapshot, now: Timestamp) -> Matter {
        let mut matters = snapshot.matters(now);
        assert_eq!(matters.len(), 1, "{matters:?}");
        matters.remove(0)
    }

    #[test]
    fn an_agent_that_reads_and_sends_is_well() {
        let (snapshot, now) = well();
        assert_eq!(snapshot.matters(now), []);
        assert_eq!(snapshot.health(now), Health::Well);
        assert!(snapshot.render(now).starts_with("health   well\n"));
    }

    #[test]
    fn an_agent_that_does_not_run_is_down_whatever_else_its_file_says() {
        let (mut snapshot, now) = well();
        snapshot.spool.state = SpoolState::Full;
        let later = now.saturating_add(DAY);
        assert_eq!(only(&snapshot, later).health, Health::Down);
        snapshot.process = ProcessState::Stopped;
        let down = only(&snapshot, now);
        assert_eq!((down.health, down.part.as_str()), (Health::Down, "process"));
    }

    #[test]
    fn a_link_that_is_down_matters_once_it_is_down_for_long_however_often_it_was_dialled() {
        let (mut snapshot, now) = well();
        snapshot.link = LinkStatus {
            state: LinkState::Connecting,
            since: now,
            down_since: Some(now),
            address: Some("box:4433".to_owned()),
            last_error: Some("no answer".to_owned()),
            ..LinkStatus::default()
        };
        assert_eq!(snapshot.health(now), Health::Well);
        let later = now.saturating_add(LINK_PATIENCE);
        snapshot.written_at = later;
        snapshot.link.since = later;
        let matter = only(&snapshot, later);
        assert_eq!((matter.health, matter.part.as_str()), (Health::Degraded, "link"));
        assert!(matter.text.contains("no answer") && matter.advice.contains("UDP to box:4433"));
        snapshot.link.state = LinkState::SetBack;
        assert!(only(&snapshot, later).advice.contains("/var/lib/signalbox/spool aside"));
        snapshot.link.state = LinkState::Revoked;
        let matter = only(&snapshot, later);
        assert!(matter.text.contains("revoked") && matter.advice.contains("join --again TOKEN"));
        snapshot.link.state = LinkState::Quarantined;
        let matter = only(&snapshot, later);
        assert!(matter.text.contains("another host") && matter.advice.contains("agent resolve"));
    }

    #[test]
    fn a_certificate_matters_from_a_week_before_its_end() {
        let (mut snapshot, now) = well();
        snapshot.certificate_until = now.saturating_add(8 * DAY);
        assert_eq!(snapshot.health(now), Health::Well);
        assert!(snapshot.render(now).contains(", 8 days left"), "{}", snapshot.render(now));
        snapshot.certificate_until = now.saturating_add(3 * DAY);
        assert!(only(&snapshot, now).text.starts_with("it expires "));
        snapshot.certificate_until = now;
        assert!(only(&snapshot, now).text.starts_with("it ended "));
        assert!(snapshot.render(now).contains("EXPIRED"));
    }

    #[test]
    fn a_spool_that_takes_nothing_or_fills_up_matters() {
        let (mut snapshot, now) = well();
        let states = [
            (SpoolState::Full, "max_bytes"),
            (SpoolState::DiskFull, "make room"),
            (SpoolState::Failing, "replace the disk"),
        ];
        for (state, advice) in states {
            snapshot.spool = SpoolStatus { state, ..snapshot.spool };
            assert!(only(&snapshot, now).advice.contains(advice), "{state:?}");
        }
        snapshot.spool.state = SpoolState::Ok;
        snapshot.spool.bytes = 900 << 20;
        assert_eq!(snapshot.matters(now), [], "all of it is acked and about to go");
        snapshot.lanes = vec![crate::status::LaneStatus {
            lane: shared::ids::Lane::Bulk,
            last: None,
            acked: None,
            waiting: 5,
        }];
        assert_eq!(only(&snapshot, now).text, "87 % of it is used");
    }

    #[test]
    fn a_source_matters_that_is_not_read_or_stays_behind() {
        let (mut snapshot, now) = well();
        snapshot.sources[0].behind_bytes = 5 << 20;
        snapshot.sources[0].behind_since = Some(now);
        assert_eq!(snapshot.health(now), Health::Well, "a burst");
        let later = now.saturating_add(LAG_PATIENCE);
        snapshot.written_at = later;
        assert_eq!(only(&snapshot, later).text, "5.0 MiB behind its file for 60 s");
        snapshot.sources[0].error = Some("permission denied".to_owned());
        let matter = only(&snapshot, later);
        assert!(matter.text.contains("permission denied") && matter.advice.contains("usermod"));
    }

    #[test]
    fn what_a_source_lost_matters_for_a_while_and_what_it_does_not_read_as_long_as_that_is_so() {
        let (mut snapshot, now) = well();
        snapshot.sources[0].lost_files = 2;
        snapshot.sources[0].lost_at = Some(now);
        let matter = only(&snapshot, now);
        assert!(matter.text.starts_with("2 files") && matter.advice.contains("delaycompress"));
        let later = now.saturating_add(LOSS_MEMORY);
        snapshot.written_at = later;
        assert_eq!(snapshot.health(later), Health::Well);
        let files = crate::status::FilesStatus { beyond: 7, ..Default::default() };
        snapshot.sources[0].files = Some(files);
        assert!(only(&snapshot, later).text.starts_with("7 files are not read"));
    }

    #[test]
    fn more_memory_than_allowed_matters() {
        let (mut snapshot, now) = well();
        snapshot.limits.memory_bytes = 70 << 20;
        snapshot.limits.memory_bytes_max = 64 << 20;
        snapshot.limits.at = Some(Bound::Memory);
        assert!(
            only(&snapshot, now).text.starts_with("70.0 MiB are in memory, more than 64.0 MiB")
        );
        snapshot.limits.at = Some(Bound::Cpu);
        assert_eq!(snapshot.matters(now), [], "a share is there to be used");
        assert!(snapshot.render(now).contains("AT THE PROCESSOR'S BOUND"));
    }

    #[test]
    fn programs_get_the_health_beside_the_snapshot() {
        let (mut snapshot, now) = well();
        snapshot.spool.state = SpoolState::Full;
        let shown: serde_json::Value =
            serde_json::from_str(&snapshot.to_json(now).unwrap()).unwrap();
        assert_eq!(
            (&shown["health"], &shown["matters"][0]["part"]),
            (&"degraded".into(), &"spool".into())
        );
        assert_eq!(shown["agent"], snapshot.agent);
        let read: Snapshot = serde_json::from_value(shown).unwrap();
        assert_eq!(read, snapshot);
    }
}
