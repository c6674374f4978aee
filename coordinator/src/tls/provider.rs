//! Whom to trust as a provider of identities, and our secret there.

use std::path::{Path, PathBuf};

use super::{AuthorityError, TlsError, authority, load_certificates};

/// Where systems keep the roots that they trust: Debian, Red Hat, Alpine and BSD, SUSE.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];

/// Returns the roots' certificates (DER) in a file, or those that the system trusts.
///
/// # Errors
/// The file cannot be read, or the system has none where they are kept.
pub fn provider_roots(path: Option<&Path>) -> Result<Vec<Vec<u8>>, TlsError> {
    let system = || SYSTEM_ROOTS.iter().map(Path::new).find(|path| path.is_file());
    let Some(path) = path.or_else(system) else {
        return Err(TlsError::NoSystemRoots(PathBuf::from(SYSTEM_ROOTS[0])));
    };
    Ok(load_certificates(path)?.into_iter().map(|der| der.to_vec()).collect())
}

/// Reads a secret: the first line of a file that only its owner may read.
///
/// # Errors
/// It cannot be read, may be read by others, or is empty.
pub fn secret(path: &Path) -> Result<String, AuthorityError> {
    authority::check_secret(path)?;
    authority::first_line(path)
}
