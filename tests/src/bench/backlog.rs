//! The agent's memory while a GiB of blocks is spooled that nobody takes: no coordinator answers, a policy of 100 rules
//! is in force, and what it holds and folds is kept.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    Figures, filter,
    measure::{mib, scaled},
    programs::{Site, free_udp},
    records::{Random, now},
};

/// Bytes of blocks in the spool.
const BACKLOG_BYTES: usize = 1 << 30;
/// Letters of a record's payload, six bits each: so much of it no compression makes smaller.
const PAYLOAD_LETTERS: usize = 720;
/// Records for each byte of backlog, with a share more for what compression makes of the letters after all.
const RECORD_BYTES_SPOOLED: usize = 480;
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(300);

pub(super) fn run(figures: &mut Figures) -> Result<()> {
    let backlog = scaled(BACKLOG_BYTES, 16 << 20);
    let site = Site::new()?;
    write(&site.path("eve"), backlog / RECORD_BYTES_SPOOLED)?;
    fs::write(site.path("policy.yml"), filter::rules(10, now()))?;
    let more = "[policy]\npath = \"policy.yml\"\n[held]\ndir = \"held\"\n";
    let agent = site.start_agent(1, "acme", free_udp()?, more)?;
    let begun = Instant::now();
    let mut looks: Vec<(u64, u64)> = Vec::new();
    while looks.last().is_none_or(|(spooled, _)| *spooled < backlog as u64) {
        ensure!(begun.elapsed() < PATIENCE, "the backlog is not spooled: {:?}", looks.last());
        std::thread::sleep(LOOK_INTERVAL);
        let spooled = agent.status().map_or(0, |status| status.spool.bytes);
        looks.push((spooled, agent.resident()?.now));
    }
    let most = agent.resident()?.max;
    let held = agent.status().and_then(|status| status.held).map_or(0, |held| held.records);
    ensure!(held > 0, "the policy holds nothing");
    drop(agent); // in order it would wait for somebody to take the spool, and say that nobody did
    // Flat is what is as high at the end as it was after the first quarter. The highest of each, since what a block is
    // made in is taken and given back: a median says how long the agent stood at which of the two.
    let quarter = backlog as u64 / 4;
    let within = |from: u64, to: u64| {
        let those = looks.iter().filter(|(spooled, _)| (from..to).contains(spooled));
        those.map(|(_, resident)| *resident).max()
    };
    let (early, late) = (within(quarter, 2 * quarter), within(3 * quarter, u64::MAX));
    let (early, late) = early.zip(late).context("too quick to be looked at")?;
    figures.set("agent_backlog_rss_mib", mib(most));
    figures.set("agent_backlog_rss_growth_mib", mib(late) - mib(early));
    Ok(())
}

/// Writes a detector's file of `count` alerts, the most of whose bytes are a packet's.
fn write(path: &Path, count: usize) -> Result<()> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut random = Random::new(7);
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut text = String::new();
    for number in 0..count {
        text.clear();
        write!(
            text,
            "{{\"timestamp\":\"2026-11-02T09:{:02}:{:02}.{:06}+0000\",\"event_type\":\"alert\",\
             \"src_ip\":\"10.20.0.{}\",\"src_port\":{},\"dest_ip\":\"203.0.113.{}\",\
             \"dest_port\":443,\"proto\":\"TCP\",\"alert\":{{\"signature_id\":{},\"signature\":\
             \"ET HUNTING Suspicious POST to dotted quad\",\"severity\":3}},\"payload\":\"",
            number / 60_000_000 % 60,
            number / 1_000_000 % 60,
            number % 1_000_000,
            random.below(250),
            random.below(60_000),
            random.below(250),
            2_020_000 + random.below(600)
        )?;
        for _ in 0..PAYLOAD_LETTERS / 10 {
            let mut bits = random.next();
            for _ in 0..10 {
                text.push(char::from(LETTERS[(bits & 63) as usize]));
                bits >>= 6;
            }
        }
        text.push_str("\"}\n");
        file.write_all(text.as_bytes())?;
    }
    Ok(file.into_inner()?.sync_all()?)
}
