//! Signing trust bundles, and showing what they say.
//!
//! A signed bundle is a file of one line: its envelope in base64, as the coordinator's API takes it.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use certs::{CertificateInfo, PolicyKey, Store, certificates_of_pem};
use shared::{
    policy::PolicyKeyId,
    time::Timestamp,
    trust::{SpkiDigest, TrustBundle, peek},
};

use super::{CommandError, show_certificate, text_of};

/// Signs a bundle of the roots and the stolen intermediates in the files into another.
pub(super) fn sign(
    key: &PolicyKey,
    (sequence, roots, distrusted): (u64, &[PathBuf], &[PathBuf]),
    file: &Path,
    now: Timestamp,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let (trust_domain, roots) = roots_of(roots)?;
    let distrusted = keys_of(distrusted)?;
    let bundle = TrustBundle { trust_domain, sequence, roots, distrusted };
    let envelope = key.sign_trust(&bundle)?;
    let text = format!("{}\n", STANDARD.encode(envelope));
    Store::write_signed(file, &text)?;
    show(key.public_key().id(), &bundle, now, out)?;
    writeln!(out)?;
    writeln!(out, "It is in {}. Bring it to the coordinator, which tells", file.display())?;
    writeln!(out, "all agents: signalbox authority push {}", file.display())?;
    Ok(())
}

/// Returns the roots, and the trust domain that they all name.
fn roots_of(files: &[PathBuf]) -> Result<(String, Vec<Vec<u8>>), CommandError> {
    let mut domain: Option<String> = None;
    let mut roots: Vec<Vec<u8>> = Vec::new();
    for (path, der, info) in certificates(files)? {
        let refused = |problem: String| CommandError::Trust { path: path.clone(), problem };
        if info.subject != info.issuer || !info.is_authority {
            return Err(refused("it is no root: another has signed it".to_owned()));
        }
        let Some(name) = info.trust_domain() else {
            return Err(refused("it names no trust domain".to_owned()));
        };
        match &domain {
            Some(first) if first != name => {
                return Err(refused(format!("it is of {name}, and the first root of {first}")));
            }
            Some(_) => {}
            None => domain = Some(name.to_owned()),
        }
        // The same file twice is one root.
        if !roots.contains(&der) {
            roots.push(der);
        }
    }
    Ok((domain.unwrap_or_default(), roots))
}

/// Returns the keys of intermediates.
fn keys_of(files: &[PathBuf]) -> Result<Vec<SpkiDigest>, CommandError> {
    let mut keys = Vec::new();
    for (path, _, info) in certificates(files)? {
        let refused = |problem: &str| CommandError::Trust { path, problem: problem.to_owned() };
        if !info.is_authority {
            return Err(refused("it holds a certificate that issues nothing: revoke its agent"));
        }
        if info.subject == info.issuer {
            return Err(refused("it is a root: leave it out of the roots instead"));
        }
        if !keys.contains(&info.spki) {
            keys.push(info.spki);
        }
    }
    Ok(keys)
}

type Read = (PathBuf, Vec<u8>, CertificateInfo);

/// Reads the certificates of files, each with where it is from.
fn certificates(files: &[PathBuf]) -> Result<Vec<Read>, CommandError> {
    let mut read = Vec::new();
    for path in files {
        let refused = |source| CommandError::Show { path: path.clone(), source };
        for der in certificates_of_pem(&text_of(path)?).map_err(refused)? {
            let info = CertificateInfo::from_der(&der).map_err(refused)?;
            read.push((path.clone(), der, info));
        }
    }
    Ok(read)
}

/// Returns the bundle in a file's text, and who says to have signed it, if it is one.
pub(super) fn bundle_of(text: &str) -> Option<(PolicyKeyId, TrustBundle)> {
    peek(&STANDARD.decode(text.trim()).ok()?)
}

/// Says what a bundle holds. Its signature is looked at by whoever takes it.
pub(super) fn show(
    key: PolicyKeyId,
    bundle: &TrustBundle,
    now: Timestamp,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    writeln!(out, "trust bundle {} of {}", bundle.sequence, bundle.trust_domain)?;
    writeln!(out, "signed by    {key}")?;
    for digest in &bundle.distrusted {
        writeln!(out, "distrusted   {digest}")?;
    }
    for root in &bundle.roots {
        writeln!(out)?;
        show_certificate(&CertificateInfo::from_der(root)?, now, out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;
    use shared::trust::accept;

    use super::*;
    use crate::{args::Args, commands::run};

    const NOW: Timestamp = Timestamp::from_ms(1_790_000_000_000);

    /// A folder with two authorities of one domain, one of another, and a key of policies.
    struct Desk(tempfile::TempDir);

    impl Desk {
        fn new() -> Self {
            let desk = Self(tempfile::tempdir().unwrap());
            let ours = "mssp.example";
            for (dir, domain) in [("old", ours), ("new", ours), ("x", "x.example")] {
                desk.run(&format!("--dir {dir} init --trust-domain {domain}")).unwrap();
            }
            desk.run("--dir keys policy-key").unwrap();
            desk
        }

        /// Runs a line whose words with a slash, and directories, are taken from the folder.
        fn run(&self, line: &str) -> Result<String, CommandError> {
            let mut is_dir = false;
            let words = line.split(' ').map(|word| {
                let is_path = std::mem::replace(&mut is_dir, word == "--dir") || word.contains('/');
                if is_path { self.path(word).display().to_string() } else { word.to_owned() }
            });
            let args: Vec<String> = std::iter::once("certs".to_owned()).chain(words).collect();
            let mut out = Vec::new();
            run(&Args::try_parse_from(args).unwrap(), NOW, &mut out)?;
            Ok(String::from_utf8(out).unwrap())
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }
    }

    const SIGN: &str = "trust-bundle --policy-key keys/policy.key --sequence 3";

    #[test]
    fn a_bundle_is_signed_into_a_file_that_an_agent_takes_and_show_reads() {
        let desk = Desk::new();
        let line = format!(
            "{SIGN} --root old/root.pem --root new/root.pem --root old/root.pem \
             --distrust old/intermediate.pem --out keys/3.trust"
        );
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        let told = desk.run(&line).unwrap();
        assert!(told.contains("signalbox authority push"), "{told}");
        let text = fs::read_to_string(desk.path("keys/3.trust")).unwrap();
        let envelope = STANDARD.decode(text.trim()).unwrap();
        let key = fs::read_to_string(desk.path("keys/policy.pub")).unwrap();
        let keys = [key.trim().parse().unwrap()];
        let bundle = accept(&envelope, &keys, "mssp.example", 2).unwrap();
        assert_eq!((bundle.roots.len(), bundle.distrusted.len()), (2, 1), "each once");
        let shown = desk.run("show keys/3.trust").unwrap();
        let stolen = desk.run("show old/intermediate.pem").unwrap();
        let digest = bundle.distrusted[0].to_string();
        assert!(shown.contains(&digest) && stolen.contains(&digest), "{shown}{stolen}");
        assert!(shown.starts_with("trust bundle 3 of mssp.example\n"), "{shown}");
        assert!(desk.run(&line).is_err(), "never overwritten");
    }

    #[test]
    fn what_is_no_root_or_no_intermediate_is_refused_by_file() {
        let desk = Desk::new();
        let refused = |rest: &str| {
            let told = desk.run(&format!("{SIGN} {rest} --out keys/3.trust")).unwrap_err();
            told.to_string()
        };
        let told = refused("--root old/intermediate.pem");
        assert!(told.ends_with("it is no root: another has signed it"), "{told}");
        let told = refused("--root old/root.pem --root x/root.pem");
        assert!(told.ends_with("it is of x.example, and the first root of mssp.example"), "{told}");
        let told = refused("--root old/root.pem --distrust new/root.pem");
        assert!(told.ends_with("it is a root: leave it out of the roots instead"), "{told}");
        let told = refused("--root old/none.pem");
        assert!(told.contains("none.pem"), "{told}");
        assert!(!desk.path("keys/3.trust").exists(), "nothing is left");
    }
}
