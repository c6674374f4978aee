//! The key that signs policies and trust bundles. It belongs to no certificate: whoever has the authority's keys, or a
//! coordinator's, cannot sign either with them, and this one opens no connection.

use std::fmt;

use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData as _, SigningKey as _};
use shared::{
    policy::{Policy, PolicyError, PolicyPublicKey, SIGNATURE_BYTES, seal, signed_bytes},
    trust::{self, TrustBundle, TrustBundleError},
};
use thiserror::Error;

use crate::key::{KeyError, decrypted, encrypted_pem};

/// A private key that signs policies: Ed25519. Its `Debug` shows nothing of the secret.
pub struct PolicyKey(KeyPair);

/// Why a policy was not signed.
#[derive(Debug, Error)]
pub enum SignError {
    /// An agent would refuse it.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// An agent would refuse the trust bundle.
    #[error(transparent)]
    Trust(#[from] TrustBundleError),
    /// The key did not sign.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl PolicyKey {
    /// Returns a new random key.
    ///
    /// # Errors
    /// [`KeyError::Generate`] where the operating system has no randomness to give.
    pub fn generate() -> Result<Self, KeyError> {
        KeyPair::generate_for(&PKCS_ED25519).map(Self).map_err(KeyError::Generate)
    }

    /// Returns the key in `pem`, a PKCS #8 key on Ed25519, which may be encrypted with `passphrase` (RFC 5958, PBES2);
    /// the passphrase counts for nothing where it is not.
    ///
    /// # Errors
    /// [`KeyError::Encrypted`] without a passphrase where one is needed, [`KeyError::Passphrase`] with another,
    /// [`KeyError::NoPolicyKey`] on what is none.
    pub fn parse(pem: &str, passphrase: Option<&str>) -> Result<Self, KeyError> {
        let pem = decrypted(pem, passphrase)?;
        KeyPair::from_pkcs8_pem_and_sign_algo(&pem, &PKCS_ED25519)
            .map(Self)
            .map_err(KeyError::NoPolicyKey)
    }

    /// Returns the key as PKCS #8 in PEM, encrypted with `passphrase` if there is one. The text is a secret.
    ///
    /// # Errors
    /// [`KeyError::Encrypt`].
    pub fn to_pem(&self, passphrase: Option<&str>) -> Result<String, KeyError> {
        match passphrase {
            Some(passphrase) => encrypted_pem(&self.0, passphrase),
            None => Ok(self.0.serialize_pem()),
        }
    }

    /// Returns the public half, which agents and coordinators are told.
    ///
    /// # Panics
    /// Never: a public key of Ed25519 has 32 bytes.
    #[must_use]
    pub fn public_key(&self) -> PolicyPublicKey {
        let bytes = self.0.der_bytes().try_into().expect("a key of Ed25519 has 32 bytes");
        PolicyPublicKey::from_bytes(bytes)
    }

    /// Signs a policy; returns its envelope.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn sign(&self, policy: &Policy) -> Result<Vec<u8>, SignError> {
        let content = policy.encode()?;
        let signature = self.signature(&signed_bytes(policy.tenant, &content))?;
        Ok(seal(self.public_key().id(), &signature, &content))
    }

    /// Signs a trust bundle; returns its envelope.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn sign_trust(&self, bundle: &TrustBundle) -> Result<Vec<u8>, SignError> {
        let content = bundle.encode()?;
        let signature = self.signature(&trust::signed_bytes(&content))?;
        Ok(trust::seal(self.public_key().id(), &signature, &content))
    }

    fn signature(&self, message: &[u8]) -> Result<[u8; SIGNATURE_BYTES], KeyError> {
        let signature = self.0.sign(message).map_err(KeyError::Sign)?;
        let signature = signature.as_slice().try_into();
        signature.map_err(|_| KeyError::Sign(rcgen::Error::RemoteKeyError))
    }
}

impl fmt::Debug for PolicyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PolicyKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::{
        policy::{PolicyLimits, PolicyRefusal, accept},
        time::Timestamp,
    };

    use super::*;
    use crate::PrivateKey;

    const NOW: Timestamp = Timestamp::from_ms(1_790_000_000_000);

    fn policy() -> Policy {
        Policy {
            tenant: "acme".parse().unwrap(),
            version: 3,
            not_before: NOW,
            expires_at: NOW.saturating_add(Duration::from_secs(3_600)),
            text: "policy: acme\n".to_owned(),
            limits: PolicyLimits::default(),
            coordinators: Vec::new(),
        }
    }

    #[test]
    fn what_the_key_signs_an_agent_that_trusts_it_takes() {
        let (key, other) = (PolicyKey::generate().unwrap(), PolicyKey::generate().unwrap());
        let envelope = key.sign(&policy()).unwrap();
        let taken = |keys: &[PolicyPublicKey]| accept(&envelope, keys, policy().tenant, 2, NOW);
        assert_eq!(taken(&[other.public_key(), key.public_key()]), Ok(policy()));
        assert_eq!(taken(&[other.public_key()]), Err(PolicyRefusal::UnknownKey));
        let none = Policy { version: 0, ..policy() };
        assert!(matches!(key.sign(&none), Err(SignError::Policy(_))));
    }

    #[test]
    fn what_the_key_signs_of_trust_an_agent_of_that_domain_takes() {
        let key = PolicyKey::generate().unwrap();
        let bundle = TrustBundle {
            trust_domain: "mssp.example".into(),
            sequence: 3,
            roots: vec![vec![0x30, 0]],
            distrusted: Vec::new(),
        };
        let envelope = key.sign_trust(&bundle).unwrap();
        let keys = [key.public_key()];
        assert_eq!(trust::accept(&envelope, &keys, "mssp.example", 2), Ok(bundle.clone()));
        let none = TrustBundle { roots: Vec::new(), ..bundle };
        assert!(matches!(key.sign_trust(&none), Err(SignError::Trust(_))));
    }

    #[test]
    fn a_key_reads_back_as_it_was_written_encrypted_or_not() {
        let key = PolicyKey::generate().unwrap();
        for passphrase in [None, Some("correct horse")] {
            let pem = key.to_pem(passphrase).unwrap();
            let again = PolicyKey::parse(&pem, passphrase).unwrap();
            assert_eq!(again.public_key(), key.public_key());
            assert_eq!(pem.contains("ENCRYPTED"), passphrase.is_some());
        }
        let pem = key.to_pem(Some("correct horse")).unwrap();
        assert!(matches!(PolicyKey::parse(&pem, Some("battery")), Err(KeyError::Passphrase)));
        assert!(matches!(PolicyKey::parse(&pem, None), Err(KeyError::Encrypted)));
        assert_eq!(format!("{key:?}"), "PolicyKey(..)");
    }

    #[test]
    fn a_key_of_a_certificate_signs_no_policy() {
        let pem = PrivateKey::generate().unwrap().to_pem();
        assert!(matches!(PolicyKey::parse(&pem, None), Err(KeyError::NoPolicyKey(_))));
    }
}
