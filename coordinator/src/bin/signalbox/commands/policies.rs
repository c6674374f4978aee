//! Policies: signed here, brought to the coordinator, rolled out, and taken back.

use std::{path::Path, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use certs::{PolicyKey, SKEW};
use coordinator::api::types::{AgentPolicyState, PolicyRollout, PolicyVersion};
use sha2::{Digest as _, Sha256};
use shared::{
    ids::TenantId,
    policy::{Policy, PolicyLimits, PolicyPublicKey, open},
    time::Timestamp,
};

use super::Desk;
use crate::{
    args::{
        Paging,
        policies::{
            KeyArgs, NumberArgs, PolicyCommand, PushArgs, RollbackArgs, SignArgs, TermsArgs,
        },
    },
    client::{
        Ask,
        path::{Query, escape},
    },
    failure::{About, Failure},
    files,
    limits::VERSIONS_AHEAD_MAX,
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
        PolicyCommand::Advance { tenant, anyway, meant } => {
            let body = serde_json::json!({ "is_meant": meant, "anyway": anyway });
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
        let newest = newest(args.tenant, desk)?.map_or(0, |newest| newest.version);
        // What is not believed counts for nothing; the number is looked at only where it is that high.
        let is_doubtful = args.number.version.is_none() && newest > VERSIONS_AHEAD_MAX;
        let known = if is_doubtful {
            let keys = trusted(&key, &args.number)?;
            signed_before((args.tenant, newest), &keys, desk).map_or(0, |policy| policy.version)
        } else {
            0
        };
        let version = next_version(args.number.version, newest, known)?;
        let policy = policy_of(args.tenant, version, &args.file, &args.terms, desk.now)?;
        STANDARD.encode(sealed(&key, &policy)?)
    } else {
        // What `policy sign` wrote; the coordinator looks at it.
        text_of(&args.file)?.trim().to_owned()
    };
    let body = serde_json::json!({ "envelope": envelope, "stage": args.stage });
    bring(args.tenant, &body, desk)
}

/// Signs the content of an earlier version anew, above the newest: what is signed is what a trusted key signed before,
/// and nothing else that the coordinator says of it.
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
    let keys = trusted(&key, &args.number)?;
    let earlier = signed_before((tenant, to), &keys, desk)?;
    let version = next_version(args.number.version, rollout.version, to)?;
    let digest = Sha256::digest(&earlier.text).iter().fold(String::new(), |mut text, byte| {
        text.push_str(&format!("{byte:02x}"));
        text
    });
    desk.output.note(&format!(
        "the content of version {to} is signed again as version {version}, sha256 {digest}"
    ));
    let policy = Policy {
        version,
        not_before: desk.now.saturating_sub(SKEW),
        expires_at: end_of(args.expires, desk.now),
        ..earlier
    };
    let envelope = STANDARD.encode(sealed(&key, &policy)?);
    let body = serde_json::json!({ "envelope": envelope, "stage": args.stage, "copy_of": to });
    bring(tenant, &body, desk)
}

/// Returns the keys whose signatures are believed: the signing key's own, and those of the files.
fn trusted(key: &PolicyKey, args: &NumberArgs) -> Result<Vec<PolicyPublicKey>, Failure> {
    let mut keys = vec![key.public_key()];
    for path in &args.trust {
        let named = PolicyPublicKey::parse_list(&text_of(path)?).map_err(|error| {
            Failure::usage(
                format!("{}: {error}", path.display()),
                "--trust names a file like policy.pub, which `certs policy-key` made",
            )
        })?;
        keys.extend(named);
    }
    Ok(keys)
}

/// Returns a version of a tenant's policy that the coordinator keeps, if one of the keys signed it.
fn signed_before(
    (tenant, version): (TenantId, u64),
    keys: &[PolicyPublicKey],
    desk: &Desk<'_>,
) -> Result<Policy, Failure> {
    let (_, found) = version_of(tenant.as_str(), Some(version), desk)?;
    let envelope = found.envelope.unwrap_or_default();
    verified(&envelope, (tenant, version), keys).map_err(|why| {
        Failure::usage(
            format!(
                "version {version} of {tenant}, as the coordinator has it, is not signed: {why}"
            ),
            "--trust names a file with the public key of whoever signed it; where nobody did, look \
             into the coordinator, and push the policy's own file",
        )
    })
}

/// Reads an envelope in base64, if it is the one that is meant and one of the keys signed it.
fn verified(
    envelope: &str,
    (tenant, version): (TenantId, u64),
    keys: &[PolicyPublicKey],
) -> Result<Policy, String> {
    let envelope = STANDARD.decode(envelope).map_err(|error| error.to_string())?;
    let policy = open(&envelope, keys).map_err(|refusal| refusal.to_string())?;
    if (policy.tenant, policy.version) == (tenant, version) {
        Ok(policy)
    } else {
        Err(format!("it is version {} of {}", policy.version, policy.tenant))
    }
}

/// Returns the number to sign with: the one that is asked for, or else the one above the newest that the coordinator
/// names, unless that lies far above `known`, which was seen here. An agent that took such a number would take nothing
/// below it ever again.
fn next_version(asked: Option<u64>, newest: u64, known: u64) -> Result<u64, Failure> {
    if let Some(asked) = asked {
        return Ok(asked);
    }
    let is_likely = newest.saturating_sub(known) <= VERSIONS_AHEAD_MAX;
    newest.checked_add(1).filter(|_| is_likely).ok_or_else(|| {
        Failure::usage(
            format!("the coordinator says that {newest} is the newest version, which is unlikely"),
            "agents that take it take nothing below any more; if it is right, say the next with \
             --version",
        )
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_790_000_000_000);

    fn policy(tenant: &str, version: u64) -> Policy {
        Policy {
            tenant: tenant.parse().unwrap(),
            version,
            not_before: NOW,
            expires_at: end_of(None, NOW),
            text: "policy: acme\n".to_owned(),
            limits: PolicyLimits::default(),
            coordinators: Vec::new(),
        }
    }

    #[test]
    fn only_what_a_trusted_key_signed_for_this_tenant_under_this_number_is_signed_anew() {
        let [key, before, other] = [(); 3].map(|()| PolicyKey::generate().unwrap());
        let keys = [key.public_key(), before.public_key()];
        let acme = "acme".parse().unwrap();
        let read = |key: &PolicyKey, policy: &Policy| {
            verified(&STANDARD.encode(key.sign(policy).unwrap()), (acme, 3), &keys)
        };
        let asked = policy("acme", 3);
        assert_eq!(read(&key, &asked), Ok(asked.clone()));
        assert_eq!(read(&before, &asked), Ok(asked.clone()), "a key of --trust");
        let strangers = read(&other, &asked).unwrap_err();
        assert_eq!(strangers, "the key that it names is not trusted here");
        assert_eq!(read(&key, &policy("acme", 2)).unwrap_err(), "it is version 2 of acme");
        assert_eq!(read(&key, &policy("globex", 3)).unwrap_err(), "it is version 3 of globex");
        let mut forged = key.sign(&asked).unwrap();
        *forged.last_mut().unwrap() ^= 1;
        let forged = verified(&STANDARD.encode(forged), (acme, 3), &keys).unwrap_err();
        assert!(forged.contains("signature"), "{forged}");
        assert!(verified("", (acme, 3), &keys).is_err(), "a coordinator that does not show it");
    }

    #[test]
    fn a_number_far_above_all_that_is_known_is_signed_only_if_it_is_asked_for() {
        assert_eq!(next_version(None, 0, 0).unwrap(), 1);
        assert_eq!(next_version(None, 7, 3).unwrap(), 8);
        assert_eq!(next_version(None, VERSIONS_AHEAD_MAX, 0).unwrap(), VERSIONS_AHEAD_MAX + 1);
        assert!(next_version(None, VERSIONS_AHEAD_MAX + 1, 0).is_err());
        assert!(next_version(None, u64::MAX, 3).is_err());
        assert!(next_version(None, u64::MAX, u64::MAX).is_err(), "there is none above");
        let above = VERSIONS_AHEAD_MAX * 20;
        assert_eq!(next_version(None, above, above).unwrap(), above + 1, "it was seen here");
        assert_eq!(next_version(Some(u64::MAX), u64::MAX - 1, 3).unwrap(), u64::MAX);
    }
}
