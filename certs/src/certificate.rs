//! Reading certificates: who the holder is, how long it is good for, and how it is named in a
//! revocation list.
//!
//! Nothing here verifies a signature. Bytes come from a peer only after TLS has verified the chain.

use std::{fmt, net::IpAddr};

use sha2::{Digest, Sha256};
use shared::{
    identity::{Identity, IdentityError},
    time::Timestamp,
    trust::SpkiDigest,
};
use thiserror::Error;
use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, parse_x509_certificate, pem::Pem,
    time::ASN1Time,
};

/// A certificate's serial number: 1-20 bytes, big-endian, without leading zeros. Shown in
/// lower-case hex.
///
/// It is unique within its issuer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(Vec<u8>);

impl Serial {
    /// Longest serial number in bytes (RFC 5280, section 4.1.2.2).
    pub const LEN_MAX: usize = 20;

    /// Returns the number whose big-endian bytes are `bytes`, or `None` if they are more than 20 or
    /// all zero.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let first = bytes.iter().position(|byte| *byte != 0)?;
        let bytes = &bytes[first..];
        (bytes.len() <= Self::LEN_MAX).then(|| Self(bytes.to_vec()))
    }

    /// Returns the number's bytes, big-endian, without leading zeros.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateInfo {
    /// Distinguished name of the holder, for people.
    pub subject: String,
    /// Distinguished name of the issuer, for people.
    pub issuer: String,
    /// Its number with that issuer.
    pub serial: Serial,
    /// First instant at which it is valid.
    pub not_before: Timestamp,
    /// Last instant at which it is valid.
    pub not_after: Timestamp,
    /// URIs among its alternative names.
    pub uris: Vec<String>,
    /// DNS names among its alternative names.
    pub dns_names: Vec<String>,
    /// Addresses among its alternative names.
    pub ip_addresses: Vec<IpAddr>,
    /// Whether it may sign certificates.
    pub is_authority: bool,
    /// Digest of its public key.
    pub spki: SpkiDigest,
}

impl CertificateInfo {
    /// Reads exactly one certificate in DER.
    ///
    /// # Errors
    /// [`CertificateError::Malformed`]. Never panics, whatever the bytes.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let certificate = parse(der)?;
        let mut info = Self {
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            serial: Serial::from_bytes(certificate.raw_serial())
                .ok_or(CertificateError::Malformed("its serial number"))?,
            not_before: timestamp(certificate.validity().not_before),
            not_after: timestamp(certificate.validity().not_after),
            uris: Vec::new(),
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
            is_authority: certificate.is_ca(),
            spki: spki_digest(&certificate),
        };
        let names = certificate
            .subject_alternative_name()
            .map_err(|_| CertificateError::Malformed("its alternative names"))?;
        for name in names.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::URI(uri) => info.uris.push((*uri).to_owned()),
                GeneralName::DNSName(name) => info.dns_names.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => info.ip_addresses.push(ip_address(bytes)?),
                GeneralName::Invalid(..) => {
                    return Err(CertificateError::Malformed("an alternative name"));
                }
                _ => {}
            }
        }
        Ok(info)
    }

    /// Returns whom the certificate names.
    ///
    /// # Errors
    /// [`CertificateError::UriCount`] or [`CertificateError::Identity`]: a certificate of ours
    /// names exactly one holder.
    pub fn identity(&self) -> Result<Identity, CertificateError> {
        match self.uris.as_slice() {
            [uri] => Ok(uri.parse()?),
            uris => Err(CertificateError::UriCount(uris.len())),
        }
    }

    /// Returns the trust domain that an authority's certificate names, or `None` if it names none.
    #[must_use]
    pub fn trust_domain(&self) -> Option<&str> {
        let [uri] = self.uris.as_slice() else { return None };
        uri.strip_prefix("spiffe://").filter(|name| crate::is_trust_domain(name))
    }
}

/// Returns whom a certificate names (L5). The caller has verified its chain, validity and purpose.
///
/// # Errors
/// Each [`CertificateError`]: the bytes are no certificate, or it does not carry exactly one URI
/// that is an identity.
pub fn identity_of_der(der: &[u8]) -> Result<Identity, CertificateError> {
    CertificateInfo::from_der(der)?.identity()
}

/// Returns the last instant at which a certificate is valid.
///
/// # Errors
/// [`CertificateError::Malformed`] where the bytes are no certificate.
pub fn not_after_of_der(der: &[u8]) -> Result<Timestamp, CertificateError> {
    Ok(timestamp(parse(der)?.validity().not_after))
}

/// Returns a certificate's serial number.
///
/// # Errors
/// [`CertificateError::Malformed`] where the bytes are no certificate.
pub fn serial_of_der(der: &[u8]) -> Result<Serial, CertificateError> {
    Serial::from_bytes(parse(der)?.raw_serial())
        .ok_or(CertificateError::Malformed("its serial number"))
}

/// Returns the digest of a certificate's public key, by which a stolen intermediate is named.
///
/// # Errors
/// [`CertificateError::Malformed`] where the bytes are no certificate.
pub fn spki_digest_of_der(der: &[u8]) -> Result<SpkiDigest, CertificateError> {
    Ok(spki_digest(&parse(der)?))
}

fn spki_digest(certificate: &X509Certificate<'_>) -> SpkiDigest {
    SpkiDigest::from_bytes(Sha256::digest(certificate.public_key().raw).into())
}

/// Returns the certificates of a PEM text in DER, in their order; other blocks are passed over.
///
/// # Errors
/// [`CertificateError::NotPem`] where a block is damaged or there is no certificate. What is inside
/// is not checked.
pub fn certificates_of_pem(pem: &str) -> Result<Vec<Vec<u8>>, CertificateError> {
    let mut certificates = Vec::new();
    for block in Pem::iter_from_buffer(pem.as_bytes()) {
        let block = block.map_err(|_| CertificateError::NotPem)?;
        if block.label == "CERTIFICATE" {
            certificates.push(block.contents);
        }
    }
    if certificates.is_empty() { Err(CertificateError::NotPem) } else { Ok(certificates) }
}

/// Why a certificate does not say what it should.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CertificateError {
    /// The text holds no certificate, or one that is damaged.
    #[error("no certificate in PEM, or one that is damaged")]
    NotPem,
    /// The bytes are not exactly one certificate.
    #[error("malformed certificate: {0}")]
    Malformed(&'static str),
    /// It names nobody, or several.
    #[error("certificate carries {0} URIs, but exactly one names its holder")]
    UriCount(usize),
    /// Its URI is not an identity of ours.
    #[error("certificate's URI is no identity: {0}")]
    Identity(#[from] IdentityError),
}

/// Returns certificates as PEM, one after the other.
///
/// # Errors
/// [`CertificateError::NotPem`]: one is longer than PEM can say.
pub fn certificates_to_pem<T: AsRef<[u8]>>(ders: &[T]) -> Result<String, CertificateError> {
    let encode = |der: &T| {
        pkcs8::der::pem::encode_string("CERTIFICATE", pkcs8::LineEnding::LF, der.as_ref())
            .map_err(|_| CertificateError::NotPem)
    };
    ders.iter().map(encode).collect()
}

pub(crate) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, CertificateError> {
    match parse_x509_certificate(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(CertificateError::Malformed("bytes after its end")),
        Err(_) => Err(CertificateError::Malformed("not X.509 in DER")),
    }
}

fn timestamp(time: ASN1Time) -> Timestamp {
    // Before 1970 is as expired as 1970.
    Timestamp::from_ms(u64::try_from(time.timestamp()).unwrap_or(0).saturating_mul(1000))
}

fn ip_address(bytes: &[u8]) -> Result<IpAddr, CertificateError> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let v6 = || <[u8; 16]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| v6()).map_err(|_| CertificateError::Malformed("an address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_numbers_have_one_form_and_twenty_bytes_at_most() {
        let serial = Serial::from_bytes(&[0, 0, 0x0a, 0xff]).unwrap();
        assert_eq!(serial.to_string(), "0aff");
        assert_eq!(Serial::from_bytes(serial.as_bytes()), Some(serial));
        assert_eq!(Serial::from_bytes(&[]), None);
        assert_eq!(Serial::from_bytes(&[0; 4]), None);
        assert_eq!(Serial::from_bytes(&[1; 21]), None);
    }

    #[test]
    fn bytes_that_are_no_certificate_are_refused() {
        for bytes in [&[][..], &[0x30], &[0x30, 0x82, 0xff, 0xff], b"-----BEGIN CERTIFICATE-----"] {
            let malformed = CertificateError::Malformed("not X.509 in DER");
            assert_eq!(identity_of_der(bytes), Err(malformed.clone()));
            assert_eq!(not_after_of_der(bytes), Err(malformed));
            assert!(serial_of_der(bytes).is_err());
            assert!(spki_digest_of_der(bytes).is_err());
        }
    }

    #[test]
    fn a_text_without_a_whole_certificate_is_refused() {
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let damaged = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
        let cut = "-----BEGIN CERTIFICATE-----\nAAAA\n";
        for text in ["", key, damaged, cut] {
            assert_eq!(certificates_of_pem(text), Err(CertificateError::NotPem), "{text}");
        }
    }
}
