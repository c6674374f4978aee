//! Signalbox's certificate authority.
//!
//! An offline [`Root`] signs an [`Authority`] (the issuing intermediate), which signs the leaf
//! certificates of coordinators and agents. A leaf names its holder by one SPIFFE URI
//! ([`shared::identity`]), and that URI is the only source of a peer's identity (L5):
//! [`identity_of_der`] reads it from a certificate that TLS has verified.
//!
//! ```text
//! root              10 years  CA, path length 1        spiffe://<trust-domain>
//! └ intermediate     2 years  CA, path length 0        spiffe://<trust-domain>
//!   ├ coordinator    90 days  serverAuth, clientAuth   .../coordinator/<name>, DNS, IP
//!   └ agent          30 days  clientAuth               .../tenant/<tenant>/agent/<agent>
//! ```
//!
//! Policies and trust bundles are signed by a key of their own, which no certificate names ([`PolicyKey`]).
//!
//! The authority's own URI carries the trust domain, so an authority that is loaded again knows
//! what it may issue. All keys are ECDSA P-256, written as PKCS #8; all files are PEM. Serial
//! numbers are random.
//!
//! The library reads no clock: `now` is an argument. It draws randomness for keys and serial
//! numbers. Files are touched only by [`Store`].
//!
//! Not here: verifying a chain (rustls does it, against [`Authority::root_pem`]) and revocation
//! (the coordinator keeps the list, by [`Serial`]).

mod authority;
mod certificate;
mod external;
mod key;
mod policy;
mod store;
pub mod testing;
#[cfg(test)]
mod tests;

pub use crate::{
    authority::{
        AGENT_VALIDITY, AlternativeNames, Authority, COORDINATOR_VALIDITY, Chain, CreateError,
        INTERMEDIATE_VALIDITY, ISSUER_REMAINING_MIN, IssueError, Leaf, LoadError, NAMES_MAX, Part,
        ROOT_VALIDITY, Root, SKEW, is_dns_name, is_trust_domain,
    },
    certificate::{
        CertificateError, CertificateInfo, Serial, certificates_of_pem, certificates_to_pem,
        identity_of_der, not_after_of_der, serial_of_der, spki_digest_of_der,
    },
    external::{ExternalSigner, SIGNER_TIMEOUT, SignerError},
    key::{KeyError, PrivateKey, RequestError, SIGNING_REQUEST_BYTES_MAX, SigningRequest},
    policy::{PolicyKey, SignError},
    store::{LeafPaths, OpenError, Store, WriteError},
};
