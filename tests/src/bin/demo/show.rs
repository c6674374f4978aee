//! What an analyst sees, by the real command line, and what to try next.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{children::shown, place::Place, tenants::Tenant};

/// The exit code of `signalbox next` where no case waits.
const NOTHING_WAITS: i32 = 3;
/// Who decides the demo's cases.
const ANALYST: &str = "ana";
const LEAD: &str = "lea";

/// Prints what the demo does next.
pub(crate) fn step(text: &str) {
    println!("\n== {text}");
}

/// Runs `signalbox` in front of the audience.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Show<'a> {
    place: &'a Place,
}

impl<'a> Show<'a> {
    /// Returns the show of a demo whose coordinator serves.
    pub(crate) const fn new(place: &'a Place) -> Self {
        Self { place }
    }

    /// Makes tokens for an analyst, a lead and a customer, unless they are there, and logs the analyst in.
    ///
    /// # Errors
    /// `signalbox` failed.
    pub(crate) fn make_tokens(&self) -> Result<()> {
        let admin = self.place.admin_token().display().to_string();
        let grants: [(&str, &[&str]); 3] = [
            (ANALYST, &["--role", "analyst"]),
            (LEAD, &["--role", "lead"]),
            ("acme", &["--role", "customer", "--tenant", "acme"]),
        ];
        for (holder, grant) in grants {
            let path = self.place.token(holder);
            if path.exists() {
                continue;
            }
            let out = shown(&path);
            let create = ["--token-file", &admin, "token", "create", holder, "--out", &out];
            print!("  {}", self.ask(&[&create[..], grant].concat())?);
        }
        let token = self.place.token(ANALYST).display().to_string();
        self.ask(&["--token-file", &token, "login"])?;
        println!("  {} is signalbox with {ANALYST}'s token", shown(&self.place.wrapper()));
        Ok(())
    }

    /// Shows agents and queue, decides one case, and takes the next.
    ///
    /// # Errors
    /// `signalbox` failed.
    pub(crate) fn play(&self) -> Result<()> {
        self.run("The agents, as the coordinator sees them", &["agents"])?;
        self.run("The queue: one for all customers, the earliest deadline first", &["queue"])?;
        if self.waiting()? == 0 {
            println!("\nNo case waits: there was no alert in what the agents read.");
            return Ok(());
        }
        self.run("An analyst asks for work, and the queue chooses", &["next"])?;
        if let Some(case) = self.held()? {
            let reason = "demo: not cleared up, goes to the second line";
            let verdict = ["verdict", &case, "suspicious", "--reason", reason];
            self.run("The analyst decides", &verdict)?;
            self.run("And takes the next one, which stays claimed", &["next"])?;
        }
        Ok(())
    }

    /// Prints what can be tried by hand.
    pub(crate) fn print_next_things(&self, tenants: &[Tenant]) {
        let signalbox = shown(&self.place.wrapper());
        let token = |holder| shown(&self.place.token(holder));
        step("Everything runs. Things to try in another terminal, in this folder:");
        let mut things = vec![
            (
                format!("{signalbox} --help"),
                "what else it does; it is the program `signalbox` above",
            ),
            (format!("{signalbox} queue"), "what waits, and how long it may"),
        ];
        if let Ok(Some(case)) = self.held() {
            let verdict = format!("{signalbox} verdict {case} malicious --reason 'host isolated'");
            things.push((format!("{signalbox} show {case} --record"), "the case that ana holds"));
            things.push((verdict, "decide it"));
        }
        things.push((format!("{signalbox} next"), "take the next one; the queue chooses which"));
        things.push((format!("{signalbox} watch"), "follow what happens, while you do the rest"));
        if let Some(source) = tenants
            .iter()
            .flat_map(|t| &t.sources)
            .find(|s| s.recording.is_some() && s.kind == "wazuh")
        {
            let search = format!("{signalbox} search 203.0.113.77 --tenant acme");
            things.push((search, "what else is known of the attacker"));
            let path = shown(&source.path);
            let again = format!("tail -n 1 {path} | tee -a {path}");
            things.push((again, "another alert; `watch` shows it arrive"));
        }
        let customer = format!("{signalbox} --token-file {} cases", token("acme"));
        things.push((customer, "what customer acme sees: nothing of globex"));
        let journal = format!("{signalbox} --token-file {} journal", token(LEAD));
        things.push((journal, "who did what, hash-chained; as a lead"));
        if let Some(tenant) = tenants.first() {
            let program = shown(&self.place.agent_program());
            let config = shown(&self.place.agent(tenant.name).join("agent.toml"));
            things.push((format!("{program} status --config {config}"), "an agent about itself"));
        }
        things.push((format!("curl -s {}/metrics", self.place.metrics_url()), "the counters"));
        for (command, what) in things {
            println!("\n  # {what}\n  {command}");
        }
        let (api, root) = (self.place.api_url(), self.place.shown());
        println!("\n  API       {api}/v1 (its description: {api}/v1/openapi.json)");
        println!("  metrics   {}/metrics, /healthz, /readyz", self.place.metrics_url());
        println!("  logs      {}", shown(&self.place.log_dir()));
        println!("  all files {root}; removed by the next make demo, kept by make demo KEEP=1");
        println!("\nCtrl-C ends it.");
    }

    /// Returns how many cases wait.
    ///
    /// # Errors
    /// `signalbox` failed.
    pub(crate) fn waiting(&self) -> Result<u64> {
        let queue: Value = serde_json::from_str(&self.ask(&["queue", "--json"])?)?;
        queue["waiting"].as_u64().context("the queue says how many cases wait")
    }

    /// Returns the case that the analyst claimed last and still holds.
    fn held(&self) -> Result<Option<String>> {
        let cases = self.ask(&["cases", "--state", "claimed", "--all", "--json"])?;
        let cases: Value = serde_json::from_str(&cases)?;
        let items = cases["items"].as_array().context("a list has items")?;
        let mine = items.iter().filter(|case| case["holder"] == ANALYST);
        // Times in RFC 3339 and UTC are in the order of their texts.
        let newest = mine.max_by_key(|case| case["lease_until"].as_str().map(str::to_owned));
        Ok(newest.and_then(|case| case["id"].as_str()).map(str::to_owned))
    }

    /// Runs `signalbox` for the audience.
    fn run(&self, what: &str, arguments: &[&str]) -> Result<()> {
        step(what);
        let shown_arguments = arguments.iter().map(|argument| {
            if argument.contains(' ') { format!("'{argument}'") } else { (*argument).to_owned() }
        });
        let line = shown_arguments.collect::<Vec<_>>().join(" ");
        println!("$ {} {line}", shown(&self.place.wrapper()));
        let mut command = Command::new(self.place.wrapper());
        let status = command.args(arguments).stdin(Stdio::null()).status();
        let status = status.context("start signalbox")?;
        if status.success() || status.code() == Some(NOTHING_WAITS) {
            return Ok(());
        }
        bail!("signalbox {line}: {status}");
    }

    /// Runs `signalbox` and returns what it printed.
    fn ask(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(self.place.wrapper());
        let done = command.args(arguments).stdin(Stdio::null()).output();
        let done = done.context("start signalbox")?;
        if !done.status.success() {
            let why = String::from_utf8_lossy(&done.stderr);
            bail!("signalbox {}: {}", arguments.join(" "), why.trim_end());
        }
        String::from_utf8(done.stdout).context("signalbox prints text")
    }
}
