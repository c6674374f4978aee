//! From the configuration to where people sign in.

use anyhow::{Context as _, Result};

use crate::{
    api::{GroupRule, SignInTerms, SignIns},
    config::{ApiConfig, GroupConfig, oidc_client_secret},
    tls,
};

/// Returns where people sign in; nothing where that is not configured. The provider is not asked for anything: that it
/// is away must not keep the coordinator from starting.
///
/// # Errors
/// The secret or the roots cannot be read.
pub(super) fn sign_ins(config: &ApiConfig) -> Result<Option<SignIns>> {
    let Some(oidc) = &config.oidc else { return Ok(None) };
    let client_secret = match &oidc.client_secret_file {
        Some(path) => Some(tls::secret(path).context("client_secret_file")?),
        None => oidc_client_secret(),
    };
    // Plain HTTP is for a provider on this machine, and needs no roots.
    let roots = match oidc.issuer.starts_with("https://") {
        true => tls::provider_roots(oidc.roots.as_deref())?,
        false => Vec::new(),
    };
    let rule = |group: &GroupConfig| GroupRule {
        group: group.name.clone(),
        role: group.role,
        tenants: group.tenants.clone(),
    };
    let terms = SignInTerms {
        issuer: oidc.issuer.clone(),
        client_id: oidc.client_id.clone(),
        client_secret,
        public_url: oidc.public_url.clone(),
        scopes: oidc.scopes.clone(),
        groups_claim: oidc.groups_claim.clone(),
        name_claim: oidc.name_claim.clone(),
        groups: oidc.groups.iter().map(rule).collect(),
        life: oidc.life,
        roots,
    };
    Ok(Some(SignIns::new(terms)?))
}
