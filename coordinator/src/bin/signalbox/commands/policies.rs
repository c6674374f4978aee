//! Policies: signed here, brought to the coordinator, rolled out, and taken back.

use std::{path::Path, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use certs::{PolicyKey, SKEW};
use coordinator::api::types::{AgentPolicyState, PolicyRollout, PolicyVersion};
use shared::{
    ids::TenantId,
    policy::{Policy, PolicyLimits},
    time::Timestamp,
};

use super::Desk;
use crate::{
    args::{
        Paging,
        policies::{KeyArgs, PolicyCommand, PushArgs, RollbackArgs, SignArgs, TermsArgs},
    },
    client::{
        Ask,
        path::{Query, escape},
    },
    failure::{About, Failure},
    files,
    output::Output,
    render::policies,
};

/// How long a policy is good where nothing was said: long enough to be looked at each quarter.
const LIFE_HOURS: u32 = 90 * 24;
/// How many versions are listed where nothing was said.
const VERSIONS_LISTED: usize = 50;
/// How many agents are listed where nothing was said: those of a large customer.
const AGENTS_LISTED: usize = 500;

/// Does what was asked about a policy.
pub(super) fn run(command: &PolicyCommand, desk: &mut Desk<'_>) -> Result<(), Failure> {
    match command {
        PolicyCommand::Push(args) => push(args, desk),
        PolicyCommand::Sign(args) => sign(args, desk.now, desk.output),
        PolicyCommand::Show { tenant, version } => show(tenant, *version, desk),
        PolicyCommand::List { tenant, paging } => list(tenant, paging, desk),
        PolicyCommand::Status { tenant, paging } => status(tenant, paging, desk),
        PolicyCommand::Advance { tenant, meant } => {
            let body = serde_json::json!({ "is_meant": meant });
            change(tenant, "advance", &body, desk)
        }
        PolicyCommand::Halt { tenant, reason } => {
            change(tenant, "halt", &serde_json::json!({ "reason": reason }), desk)
        }
        PolicyCommand::Rollback(args) => rollback(args, desk),
    }
}

/// Signs a policy into a file; asks nobody.
pub(super) fn sign(args: &SignArgs, now: Timestamp, output: &mut Output) -> Result<(), Failure> {
    let key = load_key(&args.key, output)?;
    let policy = policy_of(args.tenant, args.version, &args.file, &args.terms, now)?;
    let envelope = sealed(&key, &policy)?;
    let text = format!("{}\n", STANDARD.encode(envelope));
    files::create_private(&args.out)
        .and_then(|mut file| {
            std::io::Write::write_all(&mut file, text.as_bytes())?;
            file.sync_all()
        })
        .map_err(|error| files::failure("cannot write", &args.out, &error))?;
    if output.is_json() {
        let key = key.public_key().id().to_string();
        let signed = serde_json::json!({
            "tenant": args.tenant.as_str(), "version": args.version, "key": key,
        });
        return output.json(&signed.to_string());
    }
    output.text(&policies::signed(&policy, &key.public_key().id().to_string(), &args.out))
}

fn push(args: &PushArgs, desk: &mut Desk<'_>) -> Result<(), Failure> {
    let envelope = if args.key.key.is_some() {
        let key = load_key(&args.key, desk.output)?;
        let version = newest(args.tenant, desk)?.map_or(1, |newest| newest.version + 1);
        let policy = policy_of(args.tenant, version, &args.file, &args.terms, desk.now)?;
        STANDARD.encode(sealed(&key, &policy)?)
    } else {
        // What `policy sign` wrote; the coordinator looks at it.
        text_of(&args.file)?.trim().to_owned()
    };
    let body = serde_json::json!({ "envelope": envelope, "stage": args.stage });
    bring(args.tenant, &body, desk)
}

/// Signs the content of an earlier version anew, above the newest.
fn rollback(args: &RollbackArgs, desk: &mut Desk<'_>) -> Result<(), Failure> {
    let tenant = args.tenant;
    let key = load_key(&args.key, desk.output)?;
    let about = About::Tenant(tenant.to_string());
    let path = format!("/v1/tenants/{}/rollout", escape(tenant.as_str()));
    let (_, rollout) = desk.client.read::<PolicyRollout>(&Ask::read(path).about(about))?;
    let to = match args.to {
        Some(version) => version,
        None if rollout.base > 0 => rollout.base,
        None => {
            return Err(Failure::usage(
                format!("version {} is the first of {tenant}: nothing was before", rollout.version),
                "push a policy that holds less, or name a version with --to",
            ));
        }
    };
    let earlier = version_of(tenant.as_str(), Some(to), desk)?.1;
    let policy = Policy {
        tenant,
        version: rollout.version + 1,
        not_before: desk.now.saturating_sub(SKEW),
        expires_at: end_of(args.expires, desk.now),
        text: earlier.text.unwrap_or_default(),
        limits: PolicyLimits { cpu_percent: earlier.cpu_percent },
        coordinators: earlier.coordinators,
    };
    let envelope = STANDARD.encode(sealed(&key, &policy)?);
    let body = serde_json::json!({ "envelope": envelope, "stage": args.stage, "copy_of": to });
    bring(tenant, &body, desk)
}

fn bring(tenant: TenantId, body: &serde_json::Value, desk: &mut Desk<'_>) -> Result<(), Failure> {
    let path = format!("/v1/tenants/{}/policies", escape(tenant.as_str()));
    let ask = Ask::post(path, body).about(About::Tenant(tenant.to_string()));
    let (answer, rollout) = desk.client.read::<PolicyRollout>(&ask)?;
    desk.print(&answer, |now, _| policies::rollout(&rollout, now))
}

fn change(
    tenant: &str,
    what: &str,
    body: &serde_json::Value,
    desk: &mut Desk<'_>,
) -> Result<(), Failure> {
    let path = format!("/v1/tenants/{}/rollout/{what}", escape(tenant));
    let ask = Ask::post(path, body).about(About::Tenant(tenant.to_owned()));
    let (answer, rollout) = desk.client.read::<PolicyRollout>(&ask)?;
    desk.print(&answer, |now, _| policies::rollout(&rollout, now))
}

fn show(tenant: &str, version: Option<u64>, desk: &mut Desk<'_>) -> Result<(), Failure> {
    let (answer, found) = version_of(tenant, version, desk)?;
    desk.print(&answer, |now, _| policies::version(&found, now))
}

fn version_of(
    tenant: &str,
    version: Option<u64>,
    desk: &Desk<'_>,
) -> Result<(crate::client::Answer, PolicyVersion), Failure> {
    let path = format!("/v1/tenants/{}/policy", escape(tenant));
    let path = Query::default().with("version", version).on(&path);
    desk.client.read(&Ask::read(path).about(About::Tenant(tenant.to_owned())))
}

fn list(tenant: &str, paging: &Paging, desk: &mut Desk<'_>) -> Result<(), Failure> {
    let path = format!("/v1/tenants/{}/policies", escape(tenant));
    let about = About::Tenant(tenant.to_owned());
    let list = desk.client.list(&path, &Query::default(), paging, VERSIONS_LISTED, &about)?;
    desk.print_list(&list, "There is no policy.", |items: &[PolicyVersion], columns| {
        policies::list(items, columns)
    })
}

fn status(tenant: &str, paging: &Paging, desk: &mut Desk<'_>) -> Result<(), Failure> {
    let path = format!("/v1/tenants/{}/rollout", escape(tenant));
    let about = About::Tenant(tenant.to_owned());
    let ask = Ask::read(path.clone()).about(about.clone());
    let (answer, rollout) = desk.client.read::<PolicyRollout>(&ask)?;
    let path = format!("{path}/agents");
    let list = desk.client.list(&path, &Query::default(), paging, AGENTS_LISTED, &about)?;
    if desk.output.is_json() {
        let agents = list.json()?;
        let text = format!("{{\"rollout\":{},\"agents\":{agents}}}", answer.text);
        return desk.output.json(&text);
    }
    let text = policies::rollout(&rollout, desk.now);
    desk.output.text(&text)?;
    let now = desk.now;
    desk.print_list(&list, "There is no agent.", |items: &[AgentPolicyState], columns| {
        policies::agents(items, now, columns)
    })
}

/// Returns the newest version that the coordinator keeps.
fn newest(tenant: TenantId, desk: &Desk<'_>) -> Result<Option<PolicyVersion>, Failure> {
    let path = format!("/v1/tenants/{}/policies", escape(tenant.as_str()));
    let paging = Paging { limit: Some(1), all: false, cursor: None };
    let about = About::Tenant(tenant.to_string());
    let list = desk.client.list(&path, &Query::default(), &paging, 1, &about)?;
    Ok(list.items::<PolicyVersion>(&desk.client)?.into_iter().next())
}

fn policy_of(
    tenant: TenantId,
    version: u64,
    file: &Path,
    terms: &TermsArgs,
    now: Timestamp,
) -> Result<Policy, Failure> {
    Ok(Policy {
        tenant,
        version,
        // For hosts whose clock is behind.
        not_before: now.saturating_sub(SKEW),
        expires_at: end_of(terms.expires, now),
        text: text_of(file)?,
        limits: PolicyLimits { cpu_percent: terms.cpu },
        coordinators: terms.addresses.clone(),
    })
}

fn end_of(hours: Option<u32>, now: Timestamp) -> Timestamp {
    let hours = u64::from(hours.unwrap_or(LIFE_HOURS));
    now.saturating_add(Duration::from_secs(hours * 3_600))
}

fn sealed(key: &PolicyKey, policy: &Policy) -> Result<Vec<u8>, Failure> {
    key.sign(policy).map_err(|error| {
        Failure::usage(
            format!("the policy cannot be signed: {error}"),
            "signalbox-agent try-policy shows what it would do before it is signed",
        )
    })
}

fn text_of(path: &Path) -> Result<String, Failure> {
    let failed = |error: &std::io::Error| files::failure("cannot read", path, error);
    let bytes = files::load(path).map_err(|error| failed(&error))?;
    String::from_utf8(bytes).map_err(|_| failed(&std::io::Error::other("it is no text")))
}

/// Loads the key that signs.
fn load_key(args: &KeyArgs, output: &mut Output) -> Result<PolicyKey, Failure> {
    let Some(path) = &args.key else {
        return Err(Failure::usage(
            "there is no key to sign with",
            "--key names the file that `certs policy-key` made",
        ));
    };
    if files::is_open_to_others(path) {
        let path = path.display();
        output.note(&format!("warning: others can read {path}; chmod 600 it"));
    }
    let passphrase = args.passphrase_file.as_deref().map(text_of).transpose()?;
    let passphrase = passphrase.as_deref().and_then(|text| text.lines().next()).map(str::trim);
    PolicyKey::parse(&text_of(path)?, passphrase).map_err(|error| {
        Failure::usage(
            format!("{}: {error}", path.display()),
            "--passphrase-file names the file whose first line opens it",
        )
    })
}
