//! A policy is signed on an operator's machine, pushed, taken by an agent while it runs, stopped by itself when it
//! holds too much, and taken back; and an agent refuses what a coordinator should never send: shipped programs.

use std::{
    fs::{self, File},
    io::Write as _,
    path::PathBuf,
    time::Duration,
};

use agent::status::PolicySource;
use anyhow::{Context as _, Result, ensure};
use certs::PolicyKey;
use coordinator::clock::Clock;
use serde_json::Value;
use shared::policy::{
    Policy, PolicyAck, PolicyDigest, PolicyLimits, PolicyOffer, PolicyOutcome, PolicyRefusal,
};
use tests::cluster::{Agent, Cluster, Kind, Lie, Said, Source, eventually, lie};

use crate::recall::{POLICY, in_a_month};

const TIMEOUT: Duration = Duration::from_secs(60);
const PASSPHRASE: &str = "correct horse";

struct World {
    cluster: Cluster,
    agent: Agent,
    eve: PathBuf,
    key: PolicyKey,
    written: u64,
}

impl World {
    fn new() -> Result<Self> {
        let mut cluster = Cluster::new()?;
        let key = PolicyKey::generate()?;
        let at = |name: &str| cluster.folder().join(name);
        fs::write(at("policy.key"), key.to_pem(Some(PASSPHRASE))?)?;
        fs::write(at("passphrase"), PASSPHRASE)?;
        fs::write(at("policy.pub"), key.public_key().to_string())?;
        let hold = POLICY.replace("ENDS", &in_a_month());
        fs::write(at("hold.yml"), &hold)?;
        let send = hold.replace("action: hold", "action: send");
        let send = send.replace("  expected: 1000000/s\n  audit: 1/200\n", "");
        fs::write(at("send.yml"), send)?;
        let eve = at("eve.json");
        fs::write(&eve, "")?;
        let append = |path: PathBuf, text: String| -> Result<()> {
            Ok(File::options().append(true).open(path)?.write_all(text.as_bytes())?)
        };
        let config = cluster.coordinator.process.config().to_owned();
        append(config, format!("[policy]\nkeys = {:?}\n", at("policy.pub")))?;
        let mut agent = cluster.agent("acme", &[Source::new("eve", Kind::SuricataEve, &eve)])?;
        let folder = agent.spool.parent().context("the agent's folder")?;
        fs::copy(at("policy.pub"), folder.join("policy.keys"))?;
        let held = "[held]\ndir = \"held\"\nmax_bytes = \"16MiB\"\n[ledger]\ninterval = \"1s\"\n";
        append(agent.process.config().to_owned(), held.to_owned())?;
        cluster.coordinator.process.start()?;
        cluster.coordinator.wait_until_ready(TIMEOUT)?;
        agent.process.start()?;
        let world = Self { cluster, agent, eve, key, written: 0 };
        eventually("the agent to be known", TIMEOUT, || {
            let agents = world.cluster.cli(&["agents", "--tenant", "acme"])?;
            Ok((agents["items"].as_array().is_some_and(|items| items.len() == 1)).then_some(()))
        })?;
        Ok(world)
    }

    /// Has the detector write alerts that the rule is about, and waits until the agent has read them.
    fn write(&mut self, count: u64) -> Result<()> {
        let mut text = String::new();
        for number in self.written..self.written + count {
            text.push_str(&format!(
                "{{\"timestamp\":\"2026-01-01T00:00:{:02}.000000+0000\",\"event_type\":\"alert\",\
                 \"src_ip\":\"10.0.0.1\",\"flow_id\":{number},\
                 \"alert\":{{\"signature_id\":7,\"signature\":\"noise\",\"severity\":3}}}}\n",
                number % 60
            ));
        }
        self.written += count;
        File::options().append(true).open(&self.eve)?.write_all(text.as_bytes())?;
        eventually("all to be read", TIMEOUT, || {
            let status = self.agent.status()?;
            let read = status.map_or(0, |status| status.sources[0].records);
            Ok((read == self.written).then_some(()))
        })
    }

    fn path(&self, name: &str) -> String {
        self.cluster.folder().join(name).display().to_string()
    }

    /// Runs `signalbox policy` with the key.
    fn sign(&self, args: &[&str]) -> Result<Value> {
        let (key, passphrase) = (self.path("policy.key"), self.path("passphrase"));
        let with = ["--key", &key, "--passphrase-file", &passphrase];
        self.cluster.cli(&[&["policy"], args, &with[..]].concat())
    }

    fn status(&self) -> Result<Value> {
        self.cluster.cli(&["policy", "status", "acme"])
    }

    /// Waits until the agent has a version and the coordinator knows that.
    fn in_force(&self, version: u64) -> Result<()> {
        eventually("the version to be in force", TIMEOUT, || {
            let agent = &self.status()?["agents"]["items"][0];
            let is = agent["version"] == version && agent["outcome"] == "in_force";
            Ok(is.then_some(()))
        })?;
        eventually("the agent to show it", TIMEOUT, || {
            let policy = self.agent.status()?.and_then(|status| status.policy);
            let is = policy.is_some_and(|policy| {
                (policy.version, policy.source) == (version, PolicySource::Signed)
            });
            Ok(is.then_some(()))
        })
    }

    /// Returns how many records came to the coordinator as alerts, and how many are held.
    fn counts(&self) -> Result<(u64, u64)> {
        let found = self.cluster.cli(&["search", "--tenant", "acme", "--all"])?;
        let sent = found["items"].as_array().context("items")?.len();
        let held = self.agent.status()?.and_then(|status| status.held);
        Ok((u64::try_from(sent)?, held.map_or(0, |held| held.records)))
    }

    fn offer(&self, tenant: &str, version: u64) -> Result<PolicyOffer> {
        let now = Clock::wall().now();
        let policy = Policy {
            tenant: tenant.parse()?,
            version,
            not_before: now.saturating_sub(Duration::from_secs(60)),
            expires_at: now.saturating_add(Duration::from_secs(3_600)),
            text: fs::read_to_string(self.path("hold.yml"))?,
            limits: PolicyLimits::default(),
            coordinators: Vec::new(),
        };
        Ok(PolicyOffer { version, envelope: self.key.sign(&policy)? })
    }
}

#[test]
fn a_policy_is_pushed_taken_stopped_by_itself_and_taken_back_and_older_ones_are_refused()
-> Result<()> {
    let mut world = World::new()?;
    let (send, hold) = (world.path("send.yml"), world.path("hold.yml"));
    let pushed = world.sign(&["push", "acme", &send, "--stage", "100"])?;
    ensure!((&pushed["version"], &pushed["stage"]) == (&1.into(), &100.into()), "{pushed}");
    world.in_force(1)?;
    world.write(300)?;
    eventually("all to be sent", TIMEOUT, || Ok((world.counts()? == (300, 0)).then_some(())))?;

    eventually("the ledger to have them", TIMEOUT, || {
        let status = world.status()?;
        Ok((status["rollout"]["after"]["records"] == 300).then_some(()))
    })?;

    // The one agent is the one percent.
    let pushed = world.sign(&["push", "acme", &hold])?;
    ensure!((&pushed["version"], &pushed["counts"]["in_stage"]) == (&2.into(), &1.into()));
    world.in_force(2)?;
    world.write(600)?;
    eventually("what the policy holds to be held", TIMEOUT, || {
        let (sent, held) = world.counts()?;
        ensure!(sent + held <= 900, "L3: {sent} + {held}");
        Ok((sent + held == 900 && held > 500).then_some(()))
    })?;
    let halted = eventually("the roll-out to stop by itself", TIMEOUT, || {
        let rollout = world.status()?["rollout"].take();
        Ok((rollout["state"] == "halted").then_some(rollout))
    })?;
    let reason = halted["halted"]["reason"].as_str().context("a reason")?;
    ensure!(reason.contains("held or folded, before it were 0.0 %"), "{halted}");
    ensure!(halted["halted"]["by"]["kind"] == "coordinator", "{halted}");
    // Intervals of the ledger carry the version by which they were decided.
    let after = halted["after"]["records"].as_u64().context("records")?;
    ensure!((200..=600).contains(&after) && halted["before"]["records"] == 300, "{halted}");
    ensure!(world.cluster.cli(&["policy", "advance", "acme"]).is_err(), "it is halted");

    let back = world.sign(&["rollback", "acme"])?;
    ensure!((&back["version"], &back["stage"]) == (&3.into(), &100.into()), "{back}");
    world.in_force(3)?;
    let (sent, held) = world.counts()?;
    world.write(50)?;
    eventually("all to be sent again", TIMEOUT, || {
        Ok((world.counts()? == (sent + 50, held)).then_some(()))
    })?;
    let listed = world.cluster.cli(&["policy", "list", "acme"])?;
    ensure!(listed["items"][0]["copy_of"] == 1, "{listed}");
    ensure!(listed["items"][0]["sha256"] == listed["items"][2]["sha256"], "{listed}");
    let journal = world.cluster.cli(&["journal", "--tenant", "acme", "--all"])?.to_string();
    ensure!(journal.contains("policy_pushed") && journal.contains("policy_halted"), "{journal}");
    deceive(&mut world)
}

/// Puts a coordinator in the place of the cluster's that offers what an agent must refuse.
fn deceive(world: &mut World) -> Result<()> {
    let in_force =
        |version| PolicyAck { version, outcome: PolicyOutcome::InForce, ..PolicyAck::nothing() };
    let bare = |said| match said {
        Said::Policy(ack) => Some(ack.about(PolicyDigest::default())),
        Said::Trust(_) => None,
    };
    world.cluster.coordinator.process.terminate(TIMEOUT)?;
    let mut forged = world.offer("acme", 9)?;
    *forged.envelope.last_mut().context("bytes")? ^= 1;
    let lies =
        [world.offer("acme", 2)?, world.offer("globex", 9)?, forged, world.offer("acme", 9)?];
    let lies = lies.map(Lie::Policy);
    let folder = world.cluster.coordinator.root.parent().context("the coordinator's folder")?;
    let heard = lie(world.cluster.coordinator.ingest, folder, &lies, TIMEOUT)?;
    ensure!(heard.policy.about(PolicyDigest::default()) == in_force(3), "what it has");
    let said: Vec<PolicyAck> = heard.answers.into_iter().filter_map(bare).collect();
    let expected = [
        PolicyAck::refused(2, PolicyRefusal::Rollback, ""),
        PolicyAck::refused(9, PolicyRefusal::ForeignTenant, ""),
        PolicyAck::refused(9, PolicyRefusal::BadSignature, ""),
        in_force(9),
    ];
    ensure!(said == expected, "{said:?}");
    let signed = eventually("the agent to show it", TIMEOUT, || {
        let policy = world.agent.status()?.and_then(|status| status.policy);
        Ok(policy.and_then(|policy| policy.signed).filter(|signed| signed.version == 9))
    })?;
    ensure!(signed.refused == 3 && signed.last_refusal.is_none(), "{signed:?}");
    let before = world.agent.status()?.context("a status")?.pid;
    world.agent.process.kill()?;
    world.agent.process.start()?;
    eventually("it to be in force after a kill", TIMEOUT, || {
        // What the killed one wrote last is still there.
        let status = world.agent.status()?.filter(|status| status.pid != before);
        let policy = status.and_then(|status| status.policy);
        let is = |policy: agent::status::PolicyStatus| {
            (policy.version, policy.source) == (9, PolicySource::Signed)
                && policy.loaded_at.is_some()
        };
        Ok(policy.is_some_and(is).then_some(()))
    })
}

#[test]
fn a_host_that_joins_is_told_which_keys_to_trust() -> Result<()> {
    let mut cluster = Cluster::new()?;
    let key = PolicyKey::generate()?;
    let public = cluster.folder().join("policy.pub");
    fs::write(&public, key.public_key().to_string())?;
    let text = format!("[policy]\nkeys = {public:?}\n");
    let config = cluster.coordinator.process.config().to_owned();
    File::options().append(true).open(config)?.write_all(text.as_bytes())?;
    cluster.let_hosts_join()?;
    cluster.coordinator.process.start()?;
    cluster.coordinator.wait_until_ready(TIMEOUT)?;
    cluster.cli(&["tenant", "set", "acme", "--display-name", "ACME"])?;
    let host = cluster.host("web", &[])?;
    let joined = host.join(&[&cluster.join_token("acme", 1)?])?;
    ensure!(joined.status.success(), "{}", String::from_utf8_lossy(&joined.stderr));
    let keys = fs::read_to_string(host.identity.join("policy.keys"))?;
    ensure!(keys.contains(&key.public_key().to_string()), "{keys}");
    Ok(())
}
