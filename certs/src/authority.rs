//! The root and the issuing authority: what they may sign, for whom and for how long.
//!
//! Every certificate starts [`SKEW`] before `now`, for hosts whose clock is behind, and ends with
//! its issuer at the latest. An authority issues only names of its own trust domain.

use std::{fmt, net::IpAddr, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm,
    SigningKey, SubjectPublicKeyInfo,
};
use shared::{
    identity::{Identity, Role, is_coordinator_name},
    ids::{AgentId, TenantId},
    time::Timestamp,
};
use thiserror::Error;
use time::OffsetDateTime;

use crate::{
    certificate::{CertificateError, CertificateInfo, Serial, certificates_of_pem, parse},
    external::{ExternalSigner, SignerError},
    key::{KeyError, PrivateKey, SigningRequest, encrypted_pem},
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a root is valid: ten years, because replacing it touches every host.
pub const ROOT_VALIDITY: Duration = DAY.saturating_mul(3652);
/// How long an intermediate is valid where nothing else is asked: two years.
pub const INTERMEDIATE_VALIDITY: Duration = DAY.saturating_mul(730);
/// How long a coordinator's certificate is valid where nothing else is asked.
pub const COORDINATOR_VALIDITY: Duration = DAY.saturating_mul(90);
/// How long an agent's certificate is valid where nothing else is asked.
pub const AGENT_VALIDITY: Duration = DAY.saturating_mul(30);
/// How far before `now` a certificate starts: NTP keeps hosts far closer, an unset clock is further
/// off anyway.
pub const SKEW: Duration = Duration::from_secs(5 * 60);
/// An issuer with less left than this issues nothing: the leaf would be dead before anyone noticed.
pub const ISSUER_REMAINING_MIN: Duration = DAY;
/// Most DNS names and addresses in one certificate, so that a chain stays far below a handshake's
/// limits.
pub const NAMES_MAX: usize = 64;

/// Longest text in a distinguished name (RFC 5280, appendix A.1: `ub-common-name`).
const SUBJECT_CHARS_MAX: usize = 64;

/// The offline root: signs intermediates and nothing else. Its `Debug` shows nothing of the key.
#[derive(Debug)]
pub struct Root(Signer);

/// The issuing authority: signs coordinators and agents of one trust domain. Its `Debug` shows
/// nothing of the key.
#[derive(Debug)]
pub struct Authority {
    root_pem: String,
    signer: Signer,
}

/// A certificate with those that lead to the root, as TLS sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The leaf followed by the intermediate, in PEM.
    pub pem: String,
    /// The leaf's number.
    pub serial: Serial,
    /// Last instant at which the leaf is valid. Earlier than asked for where the issuer ends
    /// earlier.
    pub not_after: Timestamp,
}

/// A certificate and its key. Its `Debug` shows nothing of the key.
#[derive(Clone, PartialEq, Eq)]
pub struct Leaf {
    /// The leaf followed by the intermediate, in PEM.
    pub chain_pem: String,
    /// The private key, PKCS #8 in PEM. A secret.
    pub key_pem: String,
    /// The leaf's number.
    pub serial: Serial,
    /// Last instant at which the leaf is valid. Earlier than asked for where the issuer ends
    /// earlier.
    pub not_after: Timestamp,
}

/// Further names under which a coordinator is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlternativeNames {
    /// Host names.
    pub dns_names: Vec<String>,
    /// Addresses.
    pub ip_addresses: Vec<IpAddr>,
}

impl Root {
    /// Makes a root for `trust_domain`, valid for [`ROOT_VALIDITY`].
    ///
    /// # Errors
    /// [`CreateError::TrustDomain`] on a bad name; the others where `now` or the machine does not
    /// allow it.
    pub fn create(trust_domain: &str, now: Timestamp) -> Result<Self, CreateError> {
        let subject = AuthoritySubject { name: "Signalbox root", path_len: 1, trust_domain };
        let params = subject.params(now, now.saturating_add(ROOT_VALIDITY))?;
        let pair = PrivateKey::generate()?.into_pair();
        let certificate = params.self_signed(&pair).map_err(CreateError::Sign)?;
        Ok(Self(Signer::new(&certificate.pem(), pair, Part::Root)?))
    }

    /// Reads a root from its certificate and key, both in PEM.
    ///
    /// # Errors
    /// Each [`LoadError`] but those about the intermediate.
    pub fn from_pem(root_pem: &str, key_pem: &str) -> Result<Self, LoadError> {
        let signer = Signer::new(root_pem, PrivateKey::from_pem(key_pem)?.into_pair(), Part::Root)?;
        Ok(Self(signer))
    }

    /// Makes a new intermediate: valid for `validity`, but no longer than the root.
    ///
    /// # Errors
    /// [`CreateError::RootExpired`] where less than [`ISSUER_REMAINING_MIN`] is left of the root.
    pub fn issue_intermediate(
        &self,
        now: Timestamp,
        validity: Duration,
    ) -> Result<Authority, CreateError> {
        let root = &self.0;
        if now < root.info.not_before || root.info.not_after.since(now) < ISSUER_REMAINING_MIN {
            let (not_before, not_after) = (root.info.not_before, root.info.not_after);
            return Err(CreateError::RootExpired { not_before, not_after });
        }
        let name = "Signalbox intermediate";
        let subject = AuthoritySubject { name, path_len: 0, trust_domain: &root.trust_domain };
        let params = subject.params(now, now.saturating_add(validity).min(root.info.not_after))?;
        let pair = PrivateKey::generate()?.into_pair();
        let certificate = params.signed_by(&pair, &root.issuer).map_err(CreateError::Sign)?;
        let signer = Signer::new(&certificate.pem(), pair, Part::Intermediate)?;
        Ok(Authority { root_pem: root.pem.clone(), signer })
    }

    /// Returns the root's certificate in PEM: what every host trusts.
    #[must_use]
    pub fn root_pem(&self) -> &str {
        &self.0.pem
    }

    /// Returns what the root's certificate says.
    #[must_use]
    pub const fn info(&self) -> &CertificateInfo {
        &self.0.info
    }

    pub(crate) fn key_pem(&self) -> String {
        self.0.key_pem(None).expect("a root's key is here, and nothing is encrypted")
    }
}

impl Authority {
    /// Makes a root and an intermediate, and forgets the root's key: for an authority that lives as
    /// long as its process.
    ///
    /// Use [`Root::create`] and [`Root::issue_intermediate`] where the root is kept.
    ///
    /// # Errors
    /// Those of the two.
    pub fn create(trust_domain: &str, now: Timestamp) -> Result<Self, CreateError> {
        Root::create(trust_domain, now)?.issue_intermediate(now, INTERMEDIATE_VALIDITY)
    }

    /// Reads an authority from the root's certificate, the intermediate's and the intermediate's
    /// key, all in PEM.
    ///
    /// Of each text the first certificate counts. Whether they are still valid is checked when
    /// issuing.
    ///
    /// # Errors
    /// Each [`LoadError`]: the three must belong together.
    pub fn from_pem(
        root_pem: &str,
        intermediate_pem: &str,
        key_pem: &str,
    ) -> Result<Self, LoadError> {
        Self::from_key(root_pem, intermediate_pem, PrivateKey::from_pem(key_pem)?)
    }

    /// Returns the authority of these certificates, as [`Self::from_pem`] does, which signs with
    /// `key`.
    ///
    /// # Errors
    /// Each [`LoadError`]: the three must belong together.
    pub fn from_key(
        root_pem: &str,
        intermediate_pem: &str,
        key: PrivateKey,
    ) -> Result<Self, LoadError> {
        let signer = Signer::new(intermediate_pem, key.into_pair(), Part::Intermediate)?;
        Self::under(root_pem, signer)
    }

    /// Returns the authority of these certificates, which signs by running `command`: see
    /// [`ExternalSigner`].
    ///
    /// # Errors
    /// Each [`LoadError`]: the two must belong together. The command is run when something is
    /// issued.
    pub fn from_command(
        root_pem: &str,
        intermediate_pem: &str,
        command: &[String],
    ) -> Result<Self, LoadError> {
        let part = Part::Intermediate;
        let refused = |source| LoadError::Certificate { part, source };
        let der = certificates_of_pem(intermediate_pem).map_err(refused)?.swap_remove(0);
        let public_key = parse(&der).map_err(refused)?.public_key().raw.to_vec();
        let public_key = SubjectPublicKeyInfo::from_der(&public_key)
            .map_err(|_| LoadError::NotAnAuthority(part))?;
        let signer = SigningPair::Elsewhere(ExternalSigner::new(command, public_key)?);
        Self::under(root_pem, Signer::new(intermediate_pem, signer, part)?)
    }

    /// Checks that the intermediate comes from the root.
    fn under(root_pem: &str, signer: Signer) -> Result<Self, LoadError> {
        let root = AuthorityCertificate::from_pem(root_pem, Part::Root)?;
        if root.trust_domain != signer.trust_domain {
            let (root, intermediate) = (root.trust_domain, signer.trust_domain);
            return Err(LoadError::TrustDomainMismatch { root, intermediate });
        }
        let refused = |source| LoadError::Certificate { part: Part::Intermediate, source };
        let intermediate = parse(&signer.der).map_err(refused)?;
        let root_certificate = parse(&root.der)
            .map_err(|source| LoadError::Certificate { part: Part::Root, source })?;
        intermediate
            .verify_signature(Some(root_certificate.public_key()))
            .map_err(|_| LoadError::NotIssuedByRoot)?;
        Ok(Self { root_pem: root.pem, signer })
    }

    /// Issues an agent's certificate for `key`: valid for `validity`, but no longer than the
    /// intermediate.
    ///
    /// # Errors
    /// [`IssueError`]: the intermediate is expired or about to, or `validity` is under a second.
    pub fn issue_agent(
        &self,
        tenant: TenantId,
        agent: AgentId,
        now: Timestamp,
        validity: Duration,
        key: &PrivateKey,
    ) -> Result<Leaf, IssueError> {
        let params = self.agent_params(tenant, agent, now, validity)?;
        Ok(self.sign(params, key.pair())?.with_key(key))
    }

    /// Certifies the key of an agent's signing request as [`Self::issue_agent`] does: the key stays
    /// on its host.
    ///
    /// # Errors
    /// As [`Self::issue_agent`].
    pub fn sign_agent(
        &self,
        tenant: TenantId,
        agent: AgentId,
        now: Timestamp,
        validity: Duration,
        request: &SigningRequest,
    ) -> Result<Chain, IssueError> {
        self.sign(self.agent_params(tenant, agent, now, validity)?, request.public_key())
    }

    /// Issues a coordinator's certificate for `key`, good for QUIC and HTTPS: valid for `validity`,
    /// but no longer than the intermediate. `name` is also its first DNS name.
    ///
    /// # Errors
    /// [`IssueError`]: a bad name, too many names, or as [`Self::issue_agent`].
    pub fn issue_coordinator(
        &self,
        name: &str,
        names: &AlternativeNames,
        now: Timestamp,
        validity: Duration,
        key: &PrivateKey,
    ) -> Result<Leaf, IssueError> {
        if !is_coordinator_name(name) {
            return Err(IssueError::CoordinatorName(name.chars().take(256).collect()));
        }
        let count = 1 + names.dns_names.len() + names.ip_addresses.len();
        if count > NAMES_MAX {
            return Err(IssueError::TooManyNames { count });
        }
        let role = Role::Coordinator { name: name.to_owned() };
        let mut params = self.leaf_params(role, now, validity)?;
        params.distinguished_name.push(DnType::CommonName, name);
        let mut dns_names = vec![name];
        for dns_name in &names.dns_names {
            if !dns_names.contains(&dns_name.as_str()) {
                dns_names.push(dns_name);
            }
        }
        for dns_name in dns_names {
            params.subject_alt_names.push(dns_san(dns_name)?);
        }
        let addresses = names.ip_addresses.iter().copied().map(SanType::IpAddress);
        params.subject_alt_names.extend(addresses);
        params.insert_extended_key_usage(ExtendedKeyUsagePurpose::ServerAuth);
        params.insert_extended_key_usage(ExtendedKeyUsagePurpose::ClientAuth);
        Ok(self.sign(params, key.pair())?.with_key(key))
    }

    /// Returns the name space of all that this authority issues.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        &self.signer.trust_domain
    }

    /// Returns the root's certificate in PEM: what every host trusts.
    #[must_use]
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// Returns the intermediate's certificate in PEM.
    #[must_use]
    pub fn intermediate_pem(&self) -> &str {
        &self.signer.pem
    }

    /// Returns what the intermediate's certificate says; its `not_after` bounds all that is issued.
    #[must_use]
    pub const fn info(&self) -> &CertificateInfo {
        &self.signer.info
    }

    /// Returns the key in PEM, encrypted if there is a passphrase.
    pub(crate) fn key_pem(&self, passphrase: Option<&str>) -> Result<String, KeyError> {
        self.signer.key_pem(passphrase)
    }

    pub(crate) fn sign(
        &self,
        params: CertificateParams,
        key: &impl PublicKeyData,
    ) -> Result<Chain, IssueError> {
        let leaf = params.signed_by(key, &self.signer.issuer).map_err(|error| {
            match self.signer.issuer.key() {
                SigningPair::Elsewhere(_) => ExternalSigner::take_failure()
                    .map_or(IssueError::Sign(error), IssueError::Signer),
                SigningPair::Here(_) => IssueError::Sign(error),
            }
        })?;
        let info = CertificateInfo::from_der(leaf.der())?;
        // A signer elsewhere may sign with another key, and nobody would believe the certificate.
        let issuer = parse(&self.signer.der)?;
        let is_good = parse(leaf.der())?.verify_signature(Some(issuer.public_key())).is_ok();
        if !is_good {
            return Err(IssueError::Signature);
        }
        let pem = leaf.pem() + self.intermediate_pem();
        Ok(Chain { pem, serial: info.serial, not_after: info.not_after })
    }

    fn agent_params(
        &self,
        tenant: TenantId,
        agent: AgentId,
        now: Timestamp,
        validity: Duration,
    ) -> Result<CertificateParams, IssueError> {
        let mut params = self.leaf_params(Role::Agent { tenant, agent }, now, validity)?;
        params.distinguished_name.push(DnType::OrganizationName, tenant.as_str());
        params.distinguished_name.push(DnType::CommonName, agent.to_string());
        params.insert_extended_key_usage(ExtendedKeyUsagePurpose::ClientAuth);
        Ok(params)
    }

    fn leaf_params(
        &self,
        role: Role,
        now: Timestamp,
        validity: Duration,
    ) -> Result<CertificateParams, IssueError> {
        let CertificateInfo { not_before, not_after, .. } = self.signer.info;
        if now < not_before {
            return Err(IssueError::IssuerNotYetValid { not_before, now });
        }
        if not_after.since(now) < ISSUER_REMAINING_MIN {
            return Err(IssueError::IssuerExpired { not_after });
        }
        if validity < Duration::from_secs(1) {
            return Err(IssueError::ValidityTooShort(validity));
        }
        let identity = Identity { trust_domain: self.trust_domain().to_owned(), role };
        let ends_at = now.saturating_add(validity).min(not_after);
        // Never before its issuer: some verifiers want the validities nested.
        let mut params = params(now.saturating_sub(SKEW).max(not_before), ends_at)
            .ok_or(IssueError::Time(ends_at))?;
        let uri = identity.to_string().try_into().map_err(IssueError::Sign)?;
        params.subject_alt_names.push(SanType::URI(uri));
        Ok(params)
    }
}

impl Chain {
    pub(crate) fn with_key(self, key: &PrivateKey) -> Leaf {
        let Self { pem: chain_pem, serial, not_after } = self;
        Leaf { chain_pem, key_pem: key.to_pem(), serial, not_after }
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf")
            .field("serial", &self.serial)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// Returns whether `name` can be a trust domain: 1-255 of `a-z`, `0-9`, `.`, `-` and `_`.
#[must_use]
pub fn is_trust_domain(name: &str) -> bool {
    // One rule, kept where identities are parsed: a domain is good if an identity of it reads back.
    let identity = format!("spiffe://{name}/coordinator/x").parse::<Identity>();
    identity.is_ok_and(|identity| identity.trust_domain == name)
}

/// Returns whether `name` can be a DNS name in a certificate: labels of 1-63 letters, digits and
/// inner `-`, 253 bytes in all; the first label may be `*`.
#[must_use]
pub fn is_dns_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let rest = name.strip_prefix("*.").unwrap_or(name);
    name.len() <= 253 && rest.split('.').all(is_label)
}

/// A certificate of an authority, checked by itself.
struct AuthorityCertificate {
    pem: String,
    der: Vec<u8>,
    info: CertificateInfo,
    trust_domain: String,
}

impl AuthorityCertificate {
    fn from_pem(pem: &str, part: Part) -> Result<Self, LoadError> {
        let refused = |source| LoadError::Certificate { part, source };
        let der = certificates_of_pem(pem).map_err(refused)?.swap_remove(0);
        let info = CertificateInfo::from_der(&der).map_err(refused)?;
        let trust_domain = info.trust_domain().filter(|_| info.is_authority);
        let trust_domain = trust_domain.ok_or(LoadError::NotAnAuthority(part))?.to_owned();
        Ok(Self { pem: pem.to_owned(), der, info, trust_domain })
    }
}

/// A certificate of an authority and the key to it.
struct Signer {
    pem: String,
    der: Vec<u8>,
    info: CertificateInfo,
    trust_domain: String,
    issuer: Issuer<'static, SigningPair>,
}

/// A key that signs: here, or behind a command.
enum SigningPair {
    Here(Box<KeyPair>),
    Elsewhere(ExternalSigner),
}

impl PublicKeyData for SigningPair {
    fn der_bytes(&self) -> &[u8] {
        match self {
            Self::Here(pair) => pair.der_bytes(),
            Self::Elsewhere(signer) => signer.public_key().der_bytes(),
        }
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match self {
            Self::Here(pair) => PublicKeyData::algorithm(&**pair),
            Self::Elsewhere(signer) => signer.public_key().algorithm(),
        }
    }
}

impl SigningKey for SigningPair {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        match self {
            Self::Here(pair) => pair.sign(message),
            Self::Elsewhere(signer) => signer.sign(message),
        }
    }
}

impl From<KeyPair> for SigningPair {
    fn from(pair: KeyPair) -> Self {
        Self::Here(Box::new(pair))
    }
}

impl Signer {
    fn new(pem: &str, pair: impl Into<SigningPair>, part: Part) -> Result<Self, LoadError> {
        let pair = pair.into();
        let AuthorityCertificate { pem, der, info, trust_domain } =
            AuthorityCertificate::from_pem(pem, part)?;
        let refused = |source| LoadError::Certificate { part, source };
        if parse(&der).map_err(refused)?.public_key().raw != pair.subject_public_key_info() {
            return Err(LoadError::KeyMismatch(part));
        }
        let issuer = Issuer::from_ca_cert_der(&der.as_slice().into(), pair)
            .map_err(|_| LoadError::NotAnAuthority(part))?;
        Ok(Self { pem, der, info, trust_domain, issuer })
    }

    /// Returns the key in PEM, encrypted if there is a passphrase.
    fn key_pem(&self, passphrase: Option<&str>) -> Result<String, KeyError> {
        match (self.issuer.key(), passphrase) {
            (SigningPair::Here(pair), None) => Ok(pair.serialize_pem()),
            (SigningPair::Here(pair), Some(passphrase)) => encrypted_pem(pair, passphrase),
            (SigningPair::Elsewhere(_), _) => Err(KeyError::Elsewhere),
        }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("info", &self.info).finish_non_exhaustive()
    }
}

/// What makes one authority's certificate differ from another's.
struct AuthoritySubject<'a> {
    name: &'a str,
    path_len: u8,
    trust_domain: &'a str,
}

impl AuthoritySubject<'_> {
    fn params(&self, now: Timestamp, ends_at: Timestamp) -> Result<CertificateParams, CreateError> {
        if !is_trust_domain(self.trust_domain) {
            return Err(CreateError::TrustDomain(self.trust_domain.chars().take(256).collect()));
        }
        let mut params =
            params(now.saturating_sub(SKEW), ends_at).ok_or(CreateError::Time(ends_at))?;
        let organization: String = self.trust_domain.chars().take(SUBJECT_CHARS_MAX).collect();
        params.distinguished_name.push(DnType::OrganizationName, organization);
        params.distinguished_name.push(DnType::CommonName, self.name);
        let uri = format!("spiffe://{}", self.trust_domain);
        params.subject_alt_names = vec![SanType::URI(uri.try_into().map_err(CreateError::Sign)?)];
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(self.path_len));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(params)
    }
}

/// Returns what all certificates have in common, or `None` where an instant cannot stand in one.
pub(crate) fn params(not_before: Timestamp, not_after: Timestamp) -> Option<CertificateParams> {
    let mut params = CertificateParams::default();
    params.not_before = calendar(not_before)?;
    params.not_after = calendar(not_after)?;
    params.serial_number = Some(random_serial());
    params.distinguished_name = DistinguishedName::new();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    Some(params)
}

/// Returns a DNS name as an alternative name.
pub(crate) fn dns_san(name: &str) -> Result<SanType, IssueError> {
    if !is_dns_name(name) {
        return Err(IssueError::DnsName(name.chars().take(256).collect()));
    }
    Ok(SanType::DnsName(name.try_into().map_err(IssueError::Sign)?))
}

/// Returns 16 bytes of which 126 bits are random: positive, and of one length.
fn random_serial() -> SerialNumber {
    let mut bytes: [u8; 16] = rand::random();
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&bytes)
}

/// Returns an instant by the calendar, cut to seconds. Certificates can say years up to 9999.
fn calendar(at: Timestamp) -> Option<OffsetDateTime> {
    let seconds = i64::try_from(at.as_ms() / 1000).ok()?;
    OffsetDateTime::from_unix_timestamp(seconds).ok().filter(|at| at.year() <= 9999)
}

/// Which of an authority's two certificates is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The offline root.
    Root,
    /// The issuing intermediate.
    Intermediate,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Root => "root",
            Self::Intermediate => "intermediate",
        })
    }
}

/// Why no authority could be made.
#[derive(Debug, Error)]
pub enum CreateError {
    /// The name cannot be a trust domain.
    #[error("trust domain {0:?} is not 1-255 of a-z, 0-9, '.', '-' and '_'")]
    TrustDomain(String),
    /// The root signs nothing now.
    #[error(
        "the root is valid from {not_before} to {not_after}, and signs until a day before its end; \
         check the clock, or make a new root"
    )]
    RootExpired {
        /// First instant of the root.
        not_before: Timestamp,
        /// Last instant of the root.
        not_after: Timestamp,
    },
    /// An instant after the year 9999.
    #[error("no certificate can end at {0}; check the clock and the validity")]
    Time(Timestamp),
    /// No key could be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The certificate was not signed.
    #[error("cannot sign the authority's certificate")]
    Sign(#[source] rcgen::Error),
    /// The certificate that was just made does not read back.
    #[error("the authority just made is not usable")]
    ReadBack(#[from] LoadError),
}

/// Why texts do not make an authority.
#[derive(Debug, Error)]
pub enum LoadError {
    /// A certificate cannot be read.
    #[error("{part} certificate cannot be read")]
    Certificate {
        /// Which one.
        part: Part,
        /// What is wrong with it.
        source: CertificateError,
    },
    /// The key cannot be read.
    #[error("the authority's key cannot be read")]
    Key(#[from] KeyError),
    /// The certificate may not sign, or does not name a trust domain.
    #[error(
        "{0} certificate is no authority that names a trust domain (URI spiffe://<trust-domain>)"
    )]
    NotAnAuthority(Part),
    /// The key belongs to another certificate.
    #[error("{0} certificate and key do not belong together")]
    KeyMismatch(Part),
    /// The two certificates name different trust domains.
    #[error("root is of trust domain {root:?}, but intermediate of {intermediate:?}")]
    TrustDomainMismatch {
        /// What the root names.
        root: String,
        /// What the intermediate names.
        intermediate: String,
    },
    /// The intermediate comes from another root.
    #[error("intermediate certificate is not signed by the root")]
    NotIssuedByRoot,
    /// The signer cannot be used.
    #[error(transparent)]
    Signer(#[from] SignerError),
}

/// Why a leaf is not issued.
#[derive(Debug, Error)]
pub enum IssueError {
    /// The intermediate is at its end.
    #[error(
        "the intermediate ends at {not_after}, and issues until a day before; \
         make a new one (`certs intermediate`)"
    )]
    IssuerExpired {
        /// Its last instant.
        not_after: Timestamp,
    },
    /// The clock stands before the intermediate's first instant.
    #[error("the intermediate is valid from {not_before}, but it is {now}; check the clock")]
    IssuerNotYetValid {
        /// Its first instant.
        not_before: Timestamp,
        /// What was taken for now.
        now: Timestamp,
    },
    /// Certificates count in seconds.
    #[error("validity of {0:?} is under a second")]
    ValidityTooShort(Duration),
    /// The name cannot be a coordinator's.
    #[error("coordinator name {0:?} is not 1-63 of a-z, 0-9, '.' and '-'")]
    CoordinatorName(String),
    /// The name cannot stand in DNS.
    #[error("{0:?} is not a DNS name")]
    DnsName(String),
    /// More names than a certificate should carry.
    #[error("{count} names are more than {NAMES_MAX} in one certificate")]
    TooManyNames {
        /// How many were asked for.
        count: usize,
    },
    /// An instant after the year 9999.
    #[error("no certificate can end at {0}; check the clock and the validity")]
    Time(Timestamp),
    /// No key could be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The certificate was not signed.
    #[error("cannot sign the certificate")]
    Sign(#[source] rcgen::Error),
    /// The signer elsewhere gave no signature.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The signer elsewhere signed with another key, or something else.
    #[error("the signer's signature is not one of the intermediate's key")]
    Signature,
    /// The certificate that was just made does not read back.
    #[error("the certificate just issued is not readable")]
    ReadBack(#[from] CertificateError),
}
