//! Hosts that become agents by a join token, with the shipped programs.

use std::{
    fs::{self, File},
    io::Write as _,
    path::PathBuf,
    process::{Command, Output},
    time::Duration,
};

use anyhow::{Context as _, Result};
use certs::Store;

use super::{Cluster, Process, Source};

/// A host with a configuration and no identity.
#[derive(Debug)]
pub struct Host {
    /// The agent's process, to be started once the host has joined.
    pub process: Process,
    /// Where its identity is kept.
    pub identity: PathBuf,
    /// Where its spool is.
    pub spool: PathBuf,
    program: PathBuf,
}

impl Cluster {
    /// Lets the coordinator issue certificates, from its next start on.
    ///
    /// # Errors
    /// Files cannot be written.
    pub fn let_hosts_join(&self) -> Result<()> {
        let folder = self.folder().join("authority");
        Store::new(&folder).write_intermediate(&self.authority)?;
        let (certificate, key) = (folder.join("intermediate.pem"), folder.join("intermediate.key"));
        let text = format!(
            "[authority]\ncertificate = {certificate:?}\nkey = {key:?}\naddresses = [\"{}\"]\n",
            self.coordinator.ingest
        );
        let config = self.coordinator.process.config();
        Ok(File::options().append(true).open(config)?.write_all(text.as_bytes())?)
    }

    /// Sets up a coordinator that issues certificates, and starts it.
    ///
    /// # Errors
    /// As [`Self::new`], or it is not ready within `timeout`.
    pub fn issuing(timeout: Duration) -> Result<Self> {
        let mut cluster = Self::new()?;
        cluster.let_hosts_join()?;
        cluster.coordinator.process.start()?;
        cluster.coordinator.wait_until_ready(timeout)?;
        Ok(cluster)
    }

    /// Returns the text of a new join token of a tenant that exists.
    ///
    /// # Errors
    /// The coordinator does not make one.
    pub fn join_token(&self, tenant: &str, uses: u32) -> Result<String> {
        let uses = uses.to_string();
        let made = self.cli(&["token", "create", "--tenant", tenant, "--uses", &uses])?;
        Ok(made["text"].as_str().context("a token's text")?.to_owned())
    }

    /// Sets up a host that has not joined.
    ///
    /// # Errors
    /// Files cannot be written.
    pub fn host(&self, name: &str, sources: &[Source]) -> Result<Host> {
        let folder = self.folder().join(format!("host-{name}"));
        fs::create_dir(&folder)?;
        let sources: String = sources.iter().map(Source::to_toml).collect();
        let text = format!("[identity]\ndir = \"identity\"\n[spool]\ndir = \"spool\"\n{sources}");
        let config = folder.join("agent.toml");
        fs::write(&config, text)?;
        let process = Process::new(&self.programs.agent, &config, folder.join("log"));
        Ok(Host {
            process,
            identity: folder.join("identity"),
            spool: folder.join("spool"),
            program: self.programs.agent.clone(),
        })
    }
}

impl Host {
    /// Runs `signalbox-agent check`.
    ///
    /// # Errors
    /// The program cannot be run.
    pub fn check(&self) -> Result<Output> {
        let mut command = Command::new(&self.program);
        command.args(["check", "--config"]).arg(self.process.config());
        Ok(command.output()?)
    }

    /// Runs `signalbox-agent join` with these arguments, and starts nothing.
    ///
    /// # Errors
    /// The program cannot be run.
    pub fn join(&self, args: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.program);
        command.args(["join", "--no-start", "--config"]).arg(self.process.config()).args(args);
        Ok(command.output()?)
    }
}
