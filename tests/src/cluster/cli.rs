//! The `signalbox` command line against a cluster's coordinator, as the first administrator.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use coordinator::limits::RECALL_ATTEMPTS_QUICK;
use serde_json::Value;

use super::Cluster;

/// Most records of a page of a recall.
const PAGE: &str = "10000";

/// What came of a recall.
#[derive(Clone, Debug)]
pub struct Recalled {
    /// The recall and each agent's answer, as the API tells them.
    pub details: Value,
    /// The records that came.
    pub records: Vec<String>,
}

impl Recalled {
    /// Returns one of the recall's counts.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn count(&self, name: &str) -> Result<u64> {
        self.details["recall"][name].as_u64().with_context(|| format!("no {name} in a recall"))
    }
}

impl Cluster {
    /// Returns where the `signalbox` command line is.
    #[must_use]
    pub fn cli_program(&self) -> &Path {
        &self.programs.cli
    }

    /// Runs `signalbox` with these arguments, and returns the JSON that it prints.
    ///
    /// # Errors
    /// It fails; the error has what it says.
    pub fn cli(&self, args: &[&str]) -> Result<Value> {
        let coordinator = &self.coordinator;
        let token = self.folder().join("token");
        fs::write(&token, coordinator.admin_token()?)?;
        let output = Command::new(&self.programs.cli)
            .args(args)
            .args(["--json", "--coordinator"])
            .arg(format!("https://localhost:{}", coordinator.api.port()))
            .arg("--root")
            .arg(&coordinator.root)
            .arg("--token-file")
            .arg(&token)
            .env("HOME", self.folder())
            .output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "signalbox {args:?}: {error}");
        serde_json::from_slice(&output.stdout).with_context(|| format!("signalbox {args:?}"))
    }

    /// Asks for a recall without waiting for it, and returns its id; `window` is since when and until when.
    ///
    /// # Errors
    /// The coordinator does not take it.
    pub fn ask_recall(
        &self,
        tenant: &str,
        rule: &str,
        window: Option<(&str, &str)>,
    ) -> Result<String> {
        let mut args = vec!["recall", "--tenant", tenant, "--rule", rule];
        args.extend(["--max-bytes", "67108864"]);
        if let Some((since, until)) = window {
            args.extend(["--since", since, "--until", until]);
        }
        let asked = self.cli(&args)?;
        Ok(asked["id"].as_str().context("an id")?.to_owned())
    }

    /// Returns whether a recall of one agent has broken off so often that the agent is asked again only after a pause.
    ///
    /// # Errors
    /// The coordinator does not say.
    pub fn is_recall_paused(&self, id: &str) -> Result<bool> {
        let found = self.cli(&["recall", id, "--limit", "1"])?;
        let answer = &found["details"]["answers"][0];
        let attempts = answer["attempts"].as_u64().context("attempts")?;
        let is_open = matches!(answer["state"].as_str(), Some("waiting" | "answering"));
        Ok(is_open && attempts >= RECALL_ATTEMPTS_QUICK.into())
    }

    /// Waits until a recall is finished, and returns all that came.
    ///
    /// # Errors
    /// The coordinator does not say.
    pub fn recalled(&self, id: &str) -> Result<Recalled> {
        let mut found = self.cli(&["recall", id, "--follow", "--limit", PAGE])?;
        let mut records = records_of(&found["records"]["items"])?;
        while let Some(cursor) = found["records"]["next"].as_str() {
            let page = self.cli(&["recall", id, "--limit", PAGE, "--cursor", cursor])?;
            records.extend(records_of(&page["records"]["items"])?);
            found["records"]["next"] = page["records"]["next"].clone();
        }
        Ok(Recalled { details: found["details"].take(), records })
    }
}

/// Returns the records of a page, as their detectors wrote them.
///
/// # Errors
/// The page has another form.
pub fn records_of(items: &Value) -> Result<Vec<String>> {
    let text = |item: &Value| item["record"].as_str().map(str::to_owned).context("a record");
    items.as_array().context("items")?.iter().map(text).collect()
}
