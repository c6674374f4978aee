//! Private keys, and the requests that let a key be certified without leaving its host.

use std::{borrow::Cow, fmt};

use pkcs8::{EncryptedPrivateKeyInfoRef, LineEnding, PrivateKeyInfoRef, SecretDocument};
use rcgen::{
    CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData,
    SubjectPublicKeyInfo,
};
use thiserror::Error;
use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer};

/// Longest signing request that is looked at, in bytes: ours take about 200.
pub const SIGNING_REQUEST_BYTES_MAX: usize = 4096;

/// How the PEM of an encrypted key is named (RFC 7468, section 11).
const ENCRYPTED_LABEL: &str = "ENCRYPTED PRIVATE KEY";

/// A private key: ECDSA on P-256. Its `Debug` shows nothing of the secret.
pub struct PrivateKey(KeyPair);

impl PrivateKey {
    /// Returns a new random key.
    ///
    /// # Errors
    /// [`KeyError::Generate`] where the operating system has no randomness to give.
    pub fn generate() -> Result<Self, KeyError> {
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map(Self).map_err(KeyError::Generate)
    }

    /// Returns the key in `pem`, which must be an unencrypted PKCS #8 `PRIVATE KEY` on P-256.
    ///
    /// # Errors
    /// [`KeyError::Invalid`] on anything else.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        KeyPair::from_pkcs8_pem_and_sign_algo(pem, &PKCS_ECDSA_P256_SHA256)
            .map(Self)
            .map_err(KeyError::Invalid)
    }

    /// Returns the key in `pem`, which may be encrypted with `passphrase` (RFC 5958, PBES2); the
    /// passphrase counts for nothing where it is not.
    ///
    /// # Errors
    /// [`KeyError::Encrypted`] without a passphrase where one is needed, [`KeyError::Passphrase`]
    /// with another, [`KeyError::Invalid`] on what is no key of ours.
    pub fn from_pem_with(pem: &str, passphrase: Option<&str>) -> Result<Self, KeyError> {
        Self::from_pem(&decrypted(pem, passphrase)?)
    }

    /// Returns the key as PKCS #8 in PEM, encrypted with `passphrase` (scrypt and AES-256).
    ///
    /// # Errors
    /// [`KeyError::Encrypt`].
    pub fn to_encrypted_pem(&self, passphrase: &str) -> Result<String, KeyError> {
        encrypted_pem(&self.0, passphrase)
    }

    /// Returns the key as PKCS #8 in PEM. The text is a secret.
    #[must_use]
    pub fn to_pem(&self) -> String {
        self.0.serialize_pem()
    }

    /// Returns a signing request for this key (PKCS #10, DER), to be sent to an authority.
    ///
    /// It proves that the sender has the key and asks for no name: the authority decides whom it
    /// certifies.
    ///
    /// # Errors
    /// [`KeyError::Sign`] where the signature cannot be made.
    pub fn signing_request(&self) -> Result<Vec<u8>, KeyError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&self.0).map_err(KeyError::Sign)?;
        Ok(request.der().to_vec())
    }

    pub(crate) const fn pair(&self) -> &KeyPair {
        &self.0
    }

    pub(crate) fn into_pair(self) -> KeyPair {
        self.0
    }
}

/// Returns a key's PEM as it is when it is not encrypted.
pub(crate) fn decrypted<'p>(
    pem: &'p str,
    passphrase: Option<&str>,
) -> Result<Cow<'p, str>, KeyError> {
    if !pem.contains(ENCRYPTED_LABEL) {
        return Ok(Cow::Borrowed(pem));
    }
    let passphrase = passphrase.ok_or(KeyError::Encrypted)?;
    let (_, encrypted) = SecretDocument::from_pem(pem).map_err(|_| KeyError::Passphrase)?;
    let info = EncryptedPrivateKeyInfoRef::try_from(encrypted.as_bytes())
        .map_err(|_| KeyError::Passphrase)?;
    let plain = info.decrypt(passphrase).map_err(|_| KeyError::Passphrase)?;
    let pem = plain.to_pem("PRIVATE KEY", LineEnding::LF).map_err(|_| KeyError::Passphrase)?;
    Ok(Cow::Owned(pem.to_string()))
}

/// Returns a key as PKCS #8 in PEM, encrypted with `passphrase`.
pub(crate) fn encrypted_pem(pair: &KeyPair, passphrase: &str) -> Result<String, KeyError> {
    let plain = pair.serialize_der();
    let info = PrivateKeyInfoRef::try_from(&*plain).map_err(|_| KeyError::Encrypt)?;
    let encrypted = info.encrypt(passphrase).map_err(|_| KeyError::Encrypt)?;
    let pem = encrypted.to_pem(ENCRYPTED_LABEL, LineEnding::LF).map_err(|_| KeyError::Encrypt)?;
    Ok(pem.to_string())
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

/// A signing request whose signature has been checked: its sender has the private key to the public
/// key inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningRequest(SubjectPublicKeyInfo);

impl SigningRequest {
    /// Reads and checks a request (PKCS #10, DER). Names and extensions in it are ignored.
    ///
    /// # Errors
    /// Each [`RequestError`]. Never panics, whatever the bytes.
    pub fn from_der(der: &[u8]) -> Result<Self, RequestError> {
        if der.len() > SIGNING_REQUEST_BYTES_MAX {
            return Err(RequestError::TooLong { bytes: der.len() });
        }
        let (rest, request) =
            X509CertificationRequest::from_der(der).map_err(|_| RequestError::Malformed)?;
        if !rest.is_empty() {
            return Err(RequestError::Malformed);
        }
        request.verify_signature().map_err(|_| RequestError::Signature)?;
        let key = request.certification_request_info.subject_pki.raw;
        let key = SubjectPublicKeyInfo::from_der(key).map_err(|_| RequestError::Algorithm)?;
        if key.algorithm() == &PKCS_ECDSA_P256_SHA256 {
            Ok(Self(key))
        } else {
            Err(RequestError::Algorithm)
        }
    }

    /// Returns the public key (`SubjectPublicKeyInfo`, DER): what tells one host's key from another's.
    #[must_use]
    pub fn public_key_der(&self) -> Vec<u8> {
        self.0.subject_public_key_info()
    }

    pub(crate) const fn public_key(&self) -> &SubjectPublicKeyInfo {
        &self.0
    }
}

/// Why there is no usable key.
#[derive(Debug, Error)]
pub enum KeyError {
    /// No key could be made.
    #[error("cannot make a key")]
    Generate(#[source] rcgen::Error),
    /// The text is no key of ours.
    #[error("not an unencrypted PKCS #8 private key on P-256 in PEM")]
    Invalid(#[source] rcgen::Error),
    /// The text is no key that signs policies.
    #[error("not a PKCS #8 private key on Ed25519 in PEM, as `certs policy-key` makes it")]
    NoPolicyKey(#[source] rcgen::Error),
    /// The key is encrypted, and there is no passphrase.
    #[error("the key is encrypted: give its passphrase")]
    Encrypted,
    /// The key is encrypted with another passphrase, or damaged.
    #[error("the key cannot be decrypted: the passphrase is another one, or the file is damaged")]
    Passphrase,
    /// The key is not here but behind a command.
    #[error("the key is kept elsewhere and cannot be written")]
    Elsewhere,
    /// The key cannot be encrypted.
    #[error("cannot encrypt the key")]
    Encrypt,
    /// The key did not sign.
    #[error("cannot sign with the key")]
    Sign(#[source] rcgen::Error),
}

/// Why a signing request is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    /// More bytes than any request of ours has.
    #[error("signing request of {bytes} bytes is longer than {SIGNING_REQUEST_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The bytes are not exactly one request.
    #[error("signing request is not PKCS #10 in DER")]
    Malformed,
    /// The sender does not have the key, or the request was changed.
    #[error("signing request is not signed by its own key")]
    Signature,
    /// A key that is not ECDSA on P-256.
    #[error("signing request has a key that is not ECDSA on P-256")]
    Algorithm,
}

#[cfg(test)]
mod tests {
    use rcgen::{PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

    use super::*;

    #[test]
    fn an_encrypted_key_opens_with_its_passphrase_only() {
        let key = PrivateKey::generate().unwrap();
        let pem = key.to_encrypted_pem("correct horse").unwrap();
        assert!(pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"), "{pem}");
        let opened = PrivateKey::from_pem_with(&pem, Some("correct horse")).unwrap();
        assert_eq!(opened.to_pem(), key.to_pem());
        let refused = |passphrase| PrivateKey::from_pem_with(&pem, passphrase).unwrap_err();
        assert!(matches!(refused(Some("battery")), KeyError::Passphrase));
        assert!(matches!(refused(None), KeyError::Encrypted));
        let damaged = pem.replacen("MI", "MJ", 1);
        let refused = PrivateKey::from_pem_with(&damaged, Some("correct horse"));
        assert!(matches!(refused, Err(KeyError::Passphrase)));
        let plain = PrivateKey::from_pem_with(&key.to_pem(), Some("not asked for")).unwrap();
        assert_eq!(plain.to_pem(), key.to_pem());
    }

    #[test]
    fn a_key_that_openssl_encrypted_opens() {
        let script = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 \
             | openssl pkcs8 -topk8 -v2 aes-256-cbc -passout pass:signalbox";
        let made = std::process::Command::new("sh").args(["-c", script]).output();
        let pem = made.map(|made| String::from_utf8(made.stdout).unwrap()).unwrap_or_default();
        if pem.is_empty() {
            println!("skipped: there is no openssl here");
            return;
        }
        PrivateKey::from_pem_with(&pem, Some("signalbox")).unwrap();
    }

    #[test]
    fn a_key_reads_back_as_it_was_written() {
        let key = PrivateKey::generate().unwrap();
        let pem = key.to_pem();
        assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----"));
        let again = PrivateKey::from_pem(&pem).unwrap();
        assert_eq!(again.pair().der_bytes(), key.pair().der_bytes());
    }

    #[test]
    fn a_text_that_is_no_key_on_p256_is_refused() {
        let other = KeyPair::generate_for(&PKCS_ED25519).unwrap().serialize_pem();
        for text in
            ["", "key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", &other]
        {
            assert!(matches!(PrivateKey::from_pem(text), Err(KeyError::Invalid(_))), "{text}");
        }
    }

    #[test]
    fn debug_shows_nothing_of_a_key() {
        let key = PrivateKey::generate().unwrap();
        assert_eq!(format!("{key:?}"), "PrivateKey(..)");
    }

    #[test]
    fn a_request_carries_the_public_key_and_proves_possession() {
        let key = PrivateKey::generate().unwrap();
        let der = key.signing_request().unwrap();
        assert!(der.len() < SIGNING_REQUEST_BYTES_MAX / 4, "{}", der.len());
        let request = SigningRequest::from_der(&der).unwrap();
        assert_eq!(request.public_key().der_bytes(), key.pair().der_bytes());
    }

    #[test]
    fn a_flipped_bit_is_refused_where_it_is_signed_and_never_changes_the_key() {
        let der = PrivateKey::generate().unwrap().signing_request().unwrap();
        let request = SigningRequest::from_der(&der).unwrap();
        let (_, parsed) = X509CertificationRequest::from_der(&der).unwrap();
        // The outer header takes three bytes at this length; what is signed follows it.
        let signed = 3..3 + parsed.certification_request_info.raw.len();
        for position in 0..der.len() {
            for bit in 0..8 {
                let mut flipped = der.clone();
                flipped[position] ^= 1 << bit;
                // Around the signed part some tags are read loosely; nothing is taken from them.
                if let Ok(other) = SigningRequest::from_der(&flipped) {
                    assert!(!signed.contains(&position), "byte {position}, bit {bit}");
                    assert_eq!(other, request, "byte {position}, bit {bit}");
                }
            }
        }
    }

    #[test]
    fn a_request_that_is_cut_too_long_or_followed_by_more_is_refused() {
        let der = PrivateKey::generate().unwrap().signing_request().unwrap();
        assert_eq!(SigningRequest::from_der(&der[..der.len() - 1]), Err(RequestError::Malformed));
        assert_eq!(SigningRequest::from_der(&[]), Err(RequestError::Malformed));
        let followed = [der.as_slice(), &[0]].concat();
        assert_eq!(SigningRequest::from_der(&followed), Err(RequestError::Malformed));
        let long = vec![0x30; SIGNING_REQUEST_BYTES_MAX + 1];
        assert_eq!(SigningRequest::from_der(&long), Err(RequestError::TooLong { bytes: 4097 }));
    }

    #[test]
    fn a_request_for_another_kind_of_key_is_refused() {
        for algorithm in [&PKCS_ED25519, &PKCS_ECDSA_P384_SHA384] {
            let pair = KeyPair::generate_for(algorithm).unwrap();
            let der = CertificateParams::default().serialize_request(&pair).unwrap().der().to_vec();
            assert_eq!(SigningRequest::from_der(&der), Err(RequestError::Algorithm));
        }
    }

    #[test]
    fn a_request_signed_by_another_key_is_refused() {
        let [mine, theirs] =
            [0; 2].map(|_| PrivateKey::generate().unwrap().signing_request().unwrap());
        // The public key stands in the request's first half and the signature at its end; both have
        // fixed shapes.
        let at = |der: &[u8]| der.windows(2).position(|pair| pair == [0x00, 0x04]).unwrap() + 2;
        let mut forged = mine.clone();
        let (to, from) = (at(&mine), at(&theirs));
        forged[to..to + 64].copy_from_slice(&theirs[from..from + 64]);
        assert_eq!(SigningRequest::from_der(&forged), Err(RequestError::Signature));
    }
}
