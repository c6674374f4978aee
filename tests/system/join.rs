//! A host becomes an agent with one command and a token: with the shipped programs, real QUIC and real files.

use std::{fs, io::Write as _, os::unix::fs::PermissionsExt as _, process::Output, time::Duration};

use anyhow::{Result, ensure};
use tests::cluster::{Cluster, Kind, Source, eventually, records_of};

const TIMEOUT: Duration = Duration::from_secs(60);

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

fn started() -> Result<Cluster> {
    let cluster = Cluster::issuing(TIMEOUT)?;
    cluster.cli(&["tenant", "set", "acme", "--display-name", "ACME"])?;
    Ok(cluster)
}

fn record(number: usize) -> String {
    format!(
        "{{\"timestamp\":\"2026-01-01T00:00:{number:02}.000000+0000\",\"event_type\":\"alert\",\
         \"src_ip\":\"10.0.0.1\",\
         \"alert\":{{\"signature_id\":7,\"signature\":\"a\",\"severity\":3}}}}"
    )
}

#[test]
fn a_host_joins_with_one_command_and_its_alerts_flow() -> Result<()> {
    let mut cluster = started()?;
    let eve = cluster.folder().join("eve.json");
    let records: Vec<String> = (0..20).map(record).collect();
    fs::File::create(&eve)?.write_all((records.join("\n") + "\n").as_bytes())?;
    let mut host = cluster.host("web", &[Source::new("eve", Kind::SuricataEve, &eve)])?;
    let before = host.check()?;
    ensure!(said(&before).contains("run signalbox-agent join TOKEN"), "{}", said(&before));

    let token = cluster.join_token("acme", 1)?;
    let joined = host.join(&[&token])?;
    ensure!(joined.status.success(), "{}", said(&joined));
    ensure!(said(&joined).contains("of acme now"), "{}", said(&joined));
    let mode = fs::metadata(host.identity.join("key.pem"))?.permissions().mode();
    ensure!(mode & 0o077 == 0, "the key is for its owner alone: {mode:o}");
    let left: Vec<_> = fs::read_dir(&host.identity)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    ensure!(left.len() == 4 && left.iter().all(|name| !name.ends_with(".part")), "{left:?}");

    let after = host.check()?;
    ensure!(after.status.success(), "{}", said(&after));
    host.process.start()?;
    eventually("all records to be found once", TIMEOUT, || {
        let found = cluster.cli(&["search", "--tenant", "acme", "--record", "--all"])?;
        let found = records_of(&found["items"])?;
        ensure!(found.len() <= records.len(), "L2: {} records", found.len());
        Ok((found.len() == records.len()).then_some(()))
    })?;

    let again = host.join(&[&token])?;
    ensure!(said(&again).contains("has joined already"), "{}", said(&again));
    let journal = cluster.cli(&["journal", "--all"])?;
    let kinds = |kind: &str| {
        let entries = journal["items"].as_array().expect("entries");
        entries.iter().filter(|entry| entry["event"]["kind"] == kind).count()
    };
    ensure!((kinds("join_token_created"), kinds("agent_joined")) == (1, 1), "{journal}");
    host.process.terminate(TIMEOUT)?;
    cluster.coordinator.process.terminate(TIMEOUT)?;
    Ok(())
}

#[test]
fn a_token_that_does_not_fit_is_refused_with_what_to_do() -> Result<()> {
    let cluster = started()?;
    let other = {
        // Another coordinator at another place: its root is not the one that the token names.
        let mut other = Cluster::new()?;
        other.let_hosts_join()?;
        other.coordinator.process.start()?;
        other.coordinator.wait_until_ready(TIMEOUT)?;
        other
    };
    let host = cluster.host("one", &[])?;
    let refused = |args: &[&str], says: &str| -> Result<()> {
        let output = host.join(args)?;
        ensure!(!output.status.success() && said(&output).contains(says), "{}", said(&output));
        ensure!(!host.identity.join("certificate.pem").exists(), "nothing was joined");
        Ok(())
    };
    refused(&["hello"], "a join token begins with sbjoin1_")?;
    let token = cluster.join_token("acme", 1)?;
    refused(&[&token[..token.len() - 5]], "was not copied whole")?;

    let parsed: shared::join::JoinToken = token.parse()?;
    let foreign = shared::join::JoinToken {
        addresses: vec![other.coordinator.ingest.to_string()],
        ..parsed.clone()
    };
    refused(&[&foreign.to_string()], "no coordinator answered")?;
    let secret = shared::join::JoinSecret::from_bytes([9; 16]);
    let guessed = shared::join::JoinToken { secret, ..parsed };
    refused(&[&guessed.to_string()], "does not know this token")?;

    let spent = cluster.join_token("acme", 1)?;
    let first = cluster.host("two", &[])?;
    ensure!(first.join(&[&spent])?.status.success());
    refused(&[&spent], "used as often as it may be")?;

    let list = cluster.cli(&["token", "list", "--join", "--all"])?;
    let items = list["items"].as_array().expect("tokens");
    let unused = items.iter().find(|item| item["uses"] == 0).expect("the first token");
    cluster.cli(&["token", "revoke", unused["id"].as_str().expect("an id")])?;
    refused(&[&token], "was revoked")?;

    let (_, metrics) = cluster.coordinator.look_at("/metrics")?;
    for reason in ["unknown", "used", "revoked"] {
        let line = format!("signalbox_joins_refused_total{{reason=\"{reason}\"}} 1");
        ensure!(metrics.contains(&line), "{line}");
    }
    Ok(())
}

#[test]
fn whoever_guesses_at_speed_is_not_listened_to() -> Result<()> {
    let cluster = started()?;
    let host = cluster.host("guesser", &[])?;
    let token: shared::join::JoinToken = cluster.join_token("acme", 1)?.parse()?;
    let guess = |number: u8| {
        let secret = shared::join::JoinSecret::from_bytes([number; 16]);
        let guess = shared::join::JoinToken { secret, ..token.clone() };
        Ok::<_, anyhow::Error>(said(&host.join(&[&guess.to_string()])?))
    };
    for number in 0..10 {
        let said = guess(number)?;
        ensure!(said.contains("does not know this token"), "{number}: {said}");
    }
    let said = guess(10)?;
    ensure!(said.contains("try again in some minutes"), "{said}");
    Ok(())
}
