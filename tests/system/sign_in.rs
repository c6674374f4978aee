//! People sign in at a real provider: npm's `oidc-provider`, which is certified, on this machine, driven as a browser
//! drives it; with the shipped programs, real HTTPS, and its pinned packages in `target/oidc-provider`.
//!
//! Where there is no `node` and `npm`, or no registry to have the packages from, this says so and checks nothing.

mod browser;

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::cluster::Cluster;

use self::browser::Browser;

const TIMEOUT: Duration = Duration::from_secs(60);
/// Exit codes of `signalbox`.
const REFUSED: i32 = 4;
const UNREACHABLE: i32 = 7;

/// The provider's process.
struct Provider {
    child: Child,
    said: BufReader<ChildStdout>,
    issuer: String,
}

impl Provider {
    /// Starts the provider; nothing where that is not possible here.
    fn start(redirect: &str) -> Result<Option<Self>> {
        let Some(folder) = installed()? else { return Ok(None) };
        let mut child = Command::new("node")
            .arg("provider.mjs")
            .arg(redirect)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let said = BufReader::new(child.stdout.take().context("its output")?);
        let mut provider = Self { child, said, issuer: String::new() };
        provider.issuer = provider.line()?;
        ensure!(provider.issuer.starts_with("http://127.0.0.1:"), "{:?}", provider.issuer);
        Ok(Some(provider))
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    /// Has it sign with a new key from here on.
    fn rotate(&mut self) -> Result<()> {
        self.child.stdin.as_mut().context("its input")?.write_all(b"rotate\n")?;
        let said = self.line()?;
        ensure!(said == "rotated", "{said:?}");
        Ok(())
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _was_running = self.child.kill().is_ok();
        let _is_gone = self.child.wait().is_ok();
    }
}

/// Installs the provider's pinned packages, and returns where; nothing where that is not possible here.
fn installed() -> Result<Option<PathBuf>> {
    let own = std::env::current_exe()?;
    let target = own.ancestors().nth(3).context("target/PROFILE/deps/system")?;
    let folder = target.join("oidc-provider");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("oidc");
    fs::create_dir_all(&folder)?;
    let is_new = fs::read(folder.join("package-lock.json")).ok()
        != fs::read(sources.join("package-lock.json")).ok();
    for name in ["package.json", "package-lock.json", "provider.mjs"] {
        fs::copy(sources.join(name), folder.join(name))?;
    }
    if !is_new && folder.join("node_modules/oidc-provider/package.json").is_file() {
        return Ok(Some(folder));
    }
    let npm = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
        .current_dir(&folder)
        .output();
    let why = match npm {
        Err(error) => format!("npm cannot be run: {error}"),
        Ok(done) if !done.status.success() => {
            // Else the next run would take half an installation for a whole one.
            fs::remove_file(folder.join("package-lock.json"))?;
            format!("npm installs nothing: {}", String::from_utf8_lossy(&done.stderr))
        }
        Ok(_) => return Ok(Some(folder)),
    };
    eprintln!("skipped: signing in at a real provider: {why}");
    Ok(None)
}

/// Somebody before a terminal, with a home of their own.
struct Person<'a> {
    cluster: &'a Cluster,
    home: PathBuf,
}

/// A `signalbox login` that waits, with what it told.
struct Login {
    child: Child,
    url: String,
    code: String,
    rest: BufReader<std::process::ChildStderr>,
}

impl Login {
    /// Waits until it ends; returns its code and what else it said.
    fn end(mut self) -> Result<(Option<i32>, String)> {
        let mut said = String::new();
        std::io::Read::read_to_string(&mut self.rest, &mut said)?;
        Ok((self.child.wait()?.code(), said))
    }
}

impl<'a> Person<'a> {
    fn new(cluster: &'a Cluster, name: &str) -> Result<Self> {
        let home = cluster.folder().join(format!("home-{name}"));
        fs::create_dir_all(&home)?;
        Ok(Self { cluster, home })
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.cluster.cli_program());
        command.args(args).env("HOME", &self.home).env_remove("XDG_CONFIG_HOME");
        for name in ["SIGNALBOX_TOKEN", "SIGNALBOX_TOKEN_FILE", "SIGNALBOX_COORDINATOR"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Result<Output> {
        Ok(self.command(args).output()?)
    }

    fn login_command(&self) -> Command {
        let coordinator = &self.cluster.coordinator;
        let mut command = self.command(&["login", "--no-browser", "--coordinator"]);
        command.arg(format!("https://localhost:{}", coordinator.api.port()));
        command.arg("--root").arg(&coordinator.root);
        command
    }

    /// Begins to sign in.
    fn login(&self) -> Result<Login> {
        let mut child =
            self.login_command().stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut rest = BufReader::new(child.stderr.take().context("what it says")?);
        let (mut url, mut code, mut said) = (None, None, String::new());
        while url.is_none() || code.is_none() {
            let mut line = String::new();
            ensure!(rest.read_line(&mut line)? > 0, "it ended: {said}");
            let text = line.trim();
            if text.starts_with("http://") {
                url = Some(text.to_owned());
            } else if text.len() == 9 && text.as_bytes()[4] == b'-' {
                code = Some(text.to_owned());
            }
            said.push_str(&line);
        }
        let (url, code) = (url.context("an address")?, code.context("a code")?);
        Ok(Login { child, url, code, rest })
    }

    fn whoami(&self) -> Result<Value> {
        let output = self.run(&["whoami", "--json"])?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

/// Signs somebody in who is in a group, and says yes.
fn sign_in(person: &Person<'_>, login: &str) -> Result<()> {
    let started = person.login()?;
    let mut browser = Browser::new(&person.cluster.coordinator.root)?;
    let asked = browser.sign_in(&started.url, login)?;
    ensure!(asked.status == 200, "{}: {}", asked.status, asked.html);
    ensure!(asked.html.contains(&started.code), "{} in {}", started.code, asked.html);
    let done = browser.send(&asked, &[("answer", "yes")])?;
    ensure!(done.html.contains("go back to the terminal"), "{}", done.html);
    let (code, said) = started.end()?;
    ensure!(code == Some(0), "{code:?}: {said}");
    Ok(())
}

fn events(cluster: &Cluster, kind: &str) -> Result<Vec<Value>> {
    let journal = cluster.cli(&["journal", "--all"])?;
    let entries = journal["items"].as_array().context("entries")?;
    Ok(entries.iter().filter(|entry| entry["event"]["kind"] == kind).cloned().collect())
}

/// Lets people sign in at the provider, from the coordinator's next start on.
fn configure(cluster: &Cluster, provider: &Provider) -> Result<()> {
    let secret = cluster.folder().join("oidc.secret");
    fs::write(&secret, "a secret: 100% of it\n")?;
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600))?;
    let text = format!(
        "[api.oidc]\nissuer = {:?}\nclient_id = \"signalbox\"\nclient_secret_file = {secret:?}\n\
         public_url = \"https://localhost:{}\"\nscopes = [\"profile\", \"email\", \"groups\"]\n\
         [[api.oidc.group]]\nname = \"soc-analysts\"\nrole = \"analyst\"\ntenants = [\"acme\"]\n",
        provider.issuer,
        cluster.coordinator.api.port(),
    );
    let config = cluster.coordinator.process.config();
    Ok(File::options().append(true).open(config)?.write_all(text.as_bytes())?)
}

#[test]
fn people_sign_in_at_a_real_provider_over_rotated_keys_and_work_on_while_it_is_away() -> Result<()>
{
    let mut cluster = Cluster::new()?;
    let callback =
        format!("https://localhost:{}/v1/sign-ins/callback", cluster.coordinator.api.port());
    let Some(mut provider) = Provider::start(&callback)? else { return Ok(()) };
    configure(&cluster, &provider)?;
    cluster.coordinator.process.start()?;
    cluster.coordinator.wait_until_ready(TIMEOUT)?;
    cluster.cli(&["tenant", "set", "acme", "--display-name", "ACME"])?;

    let ana = Person::new(&cluster, "ana")?;
    sign_in(&ana, "ana")?;
    let stored = ana.home.join(".config/signalbox/config.toml");
    let mode = fs::metadata(&stored)?.permissions().mode();
    ensure!(mode & 0o777 == 0o600, "the token is for its owner alone: {mode:o}");
    let me = ana.whoami()?;
    ensure!(me["holder"] == "ana@mssp.example" && me["role"] == "analyst", "{me}");
    ensure!(me["tenants"] == serde_json::json!(["acme"]), "{me}");
    ensure!(me["person"]["issuer"] == provider.issuer && me["person"]["subject"] == "ana", "{me}");
    let signed_in = events(&cluster, "signed_in")?;
    ensure!(signed_in.len() == 1 && signed_in[0]["actor"]["subject"] == "ana", "{signed_in:?}");
    ensure!(signed_in[0]["event"]["from"] == "127.0.0.1", "{signed_in:?}");

    // Whoever is in no group is told so, on both sides.
    let eve = Person::new(&cluster, "eve")?;
    let started = eve.login()?;
    let refused = Browser::new(&cluster.coordinator.root)?.sign_in(&started.url, "eve")?;
    ensure!(
        refused.status == 403 && refused.html.contains("none of the groups"),
        "{}",
        refused.html
    );
    let (code, said) = started.end()?;
    ensure!(code == Some(REFUSED) && said.contains("none of the groups"), "{code:?}: {said}");
    ensure!(events(&cluster, "sign_in_refused")?.len() == 1);

    // Keys that the provider has replaced are asked for anew.
    provider.rotate()?;
    let again = Person::new(&cluster, "ana-elsewhere")?;
    sign_in(&again, "ana")?;
    ensure!(again.whoami()?["holder"] == "ana@mssp.example");

    // Without the provider nobody signs in, and whoever has goes on.
    drop(provider);
    ana.whoami()?;
    cluster.coordinator.process.terminate(TIMEOUT)?;
    cluster.coordinator.process.start()?;
    cluster.coordinator.wait_until_ready(TIMEOUT)?;
    let ana = Person::new(&cluster, "ana")?;
    ana.whoami()?;
    let away = Person::new(&cluster, "late")?.login_command().output()?;
    let said = String::from_utf8_lossy(&away.stderr).into_owned();
    ensure!(away.status.code() == Some(UNREACHABLE) && said.contains("go on working"), "{said}");

    let out = ana.run(&["logout"])?;
    ensure!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let gone = ana.run(&["whoami"])?;
    ensure!(!gone.status.success() && !fs::read_to_string(&stored)?.contains("sb_"));
    ensure!(events(&cluster, "token_revoked")?.len() == 1);
    let errors = cluster.coordinator.process.errors()?;
    ensure!(errors.is_empty(), "{errors:?}");
    cluster.coordinator.process.terminate(TIMEOUT)?;
    Ok(())
}
