//! Where the coordinator is, whom to trust, and with which token to speak.
//!
//! ```text
//! coordinator: --coordinator, SIGNALBOX_COORDINATOR, file
//! root:        --root, SIGNALBOX_ROOT, file
//! token:       --token-file, SIGNALBOX_TOKEN, SIGNALBOX_TOKEN_FILE, file
//! file:        $XDG_CONFIG_HOME/signalbox/config.toml, or ~/.config/signalbox/config.toml (0600)
//! ```
//!
//! A token that stands in the file goes only to the coordinator that stands beside it: naming another coordinator
//! needs a token named as well.

use std::{
    ffi::OsString,
    fmt, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{args::Global, failure::Failure, files};

/// A bearer token. It is shown to nobody, not in debug output either.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret(String);

impl Secret {
    /// Takes a token from text: surrounding white space is no part of it.
    ///
    /// # Errors
    /// It cannot be a token. The text is not repeated.
    pub(crate) fn parse(text: &str, from: &str) -> Result<Self, Failure> {
        let token = text.trim();
        let is_plain = token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if token.starts_with("sb_") && is_plain && token.len() <= 128 {
            Ok(Self(token.to_owned()))
        } else {
            Err(Failure::usage(
                format!("there is no token in {from}"),
                "a token is one word that begins with sb_",
            ))
        }
    }

    /// Returns the value of the `Authorization` header.
    pub(crate) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What `login` stores.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Stored {
    /// Address of the coordinator's API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) coordinator: Option<String>,
    /// File with the root certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) root: Option<PathBuf>,
    /// The token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<Secret>,
}

impl Stored {
    /// Loads the file; where there is none, nothing is stored.
    ///
    /// # Errors
    /// It cannot be read or understood.
    pub(crate) fn load(path: &Path) -> Result<Self, Failure> {
        let bytes = match files::load(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(files::failure("cannot read", path, &error)),
        };
        let text = String::from_utf8_lossy(&bytes);
        // Its own message would quote the line, and the line may hold the token.
        toml::from_str(&text).map_err(|error: toml::de::Error| {
            Failure::usage(
                format!("{} cannot be used: {}", path.display(), error.message()),
                "write it anew with signalbox login",
            )
        })
    }

    /// Stores the file, readable for its owner only.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn store(&self, path: &Path) -> Result<(), Failure> {
        let text = toml::to_string(self).map_err(|error| Failure::File {
            what: "cannot write the settings".to_owned(),
            cause: error.to_string(),
        })?;
        files::replace_private(path, text.as_bytes())
            .map_err(|error| files::failure("cannot write", path, &error))
    }
}

/// The environment, as far as it is asked.
pub(crate) trait Environment {
    /// Returns a variable that is set and not empty.
    fn var(&self, name: &str) -> Option<OsString>;
}

/// The process's own.
pub(crate) struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn var(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name).filter(|value| !value.is_empty())
    }
}

/// Returns where settings are stored.
///
/// # Errors
/// Neither `XDG_CONFIG_HOME` nor `HOME` is set.
pub(crate) fn path(environment: &impl Environment) -> Result<PathBuf, Failure> {
    home(environment, "XDG_CONFIG_HOME", ".config").map(|home| home.join("config.toml"))
}

/// Returns where claims are remembered.
///
/// # Errors
/// Neither `XDG_STATE_HOME` nor `HOME` is set.
pub(crate) fn claims_path(environment: &impl Environment) -> Result<PathBuf, Failure> {
    home(environment, "XDG_STATE_HOME", ".local/state").map(|home| home.join("claims.json"))
}

fn home(environment: &impl Environment, name: &str, otherwise: &str) -> Result<PathBuf, Failure> {
    // The base directory specification has relative paths ignored.
    let named = environment.var(name).map(PathBuf::from).filter(|path| path.is_absolute());
    named
        .or_else(|| Some(PathBuf::from(environment.var("HOME")?).join(otherwise)))
        .map(|base| base.join("signalbox"))
        .ok_or_else(|| Failure::usage(format!("neither {name} nor HOME is set"), "set one of them"))
}

/// What a client is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Address of the coordinator's API, without a slash at its end.
    pub(crate) coordinator: String,
    /// File with the root certificates.
    pub(crate) root: PathBuf,
    /// The token; none for who is about to sign in.
    pub(crate) token: Option<Secret>,
}

impl Settings {
    /// Puts together what the options, the environment and the file say.
    ///
    /// # Errors
    /// Something is missing or cannot be used.
    pub(crate) fn load(
        global: &Global,
        environment: &impl Environment,
        stored: Stored,
    ) -> Result<Self, Failure> {
        let token = named_token(global, environment)?;
        Self::with_token(global, stored, token)
    }

    /// As [`Self::load`], with the token that was named, if one was.
    ///
    /// # Errors
    /// Something is missing or cannot be used.
    pub(crate) fn with_token(
        global: &Global,
        stored: Stored,
        token: Option<Secret>,
    ) -> Result<Self, Failure> {
        let (coordinator, is_other) = coordinator(global, &stored)?;
        let known = stored.token.clone();
        let root = root(global, stored)?;
        let token = match (token, known) {
            (Some(token), _) => token,
            (None, Some(token)) if !is_other => token,
            (None, Some(_)) => {
                return Err(Failure::usage(
                    format!("the stored token is not for {coordinator}"),
                    "give --token-file FILE, or signalbox login --coordinator",
                ));
            }
            (None, None) => return Err(missing("token", "--token-file FILE")),
        };
        Ok(Self { coordinator, root, token: Some(token) })
    }

    /// As [`Self::load`], for who has no token yet.
    ///
    /// # Errors
    /// Something is missing or cannot be used.
    pub(crate) fn without_token(global: &Global, stored: Stored) -> Result<Self, Failure> {
        let (coordinator, _) = coordinator(global, &stored)?;
        Ok(Self { coordinator, root: root(global, stored)?, token: None })
    }
}

fn missing(what: &str, option: &str) -> Failure {
    Failure::usage(format!("no {what} is known"), format!("give {option}, or signalbox login"))
}

/// Returns the coordinator's address, and whether it is another than the stored one.
fn coordinator(global: &Global, stored: &Stored) -> Result<(String, bool), Failure> {
    let known = stored.coordinator.as_deref().map(address).transpose()?;
    // A variable that is set to nothing is not set.
    let named = global.coordinator.as_deref().filter(|text| !text.is_empty());
    let named = named.map(address).transpose()?;
    let is_other = named.is_some() && known.is_some() && named != known;
    let coordinator = named.or(known).ok_or_else(|| missing("coordinator", "--coordinator URL"))?;
    Ok((coordinator, is_other))
}

fn root(global: &Global, stored: Stored) -> Result<PathBuf, Failure> {
    let root = global.root.clone().filter(|path| !path.as_os_str().is_empty()).or(stored.root);
    root.ok_or_else(|| missing("root certificate", "--root FILE"))
}

/// Returns the token that the options or the environment name.
///
/// # Errors
/// What they name holds no token.
pub(crate) fn named_token(
    global: &Global,
    environment: &impl Environment,
) -> Result<Option<Secret>, Failure> {
    if let Some(path) = &global.token_file {
        return token_file(path).map(Some);
    }
    if let Some(text) = environment.var("SIGNALBOX_TOKEN") {
        return Secret::parse(&text.to_string_lossy(), "SIGNALBOX_TOKEN").map(Some);
    }
    environment.var("SIGNALBOX_TOKEN_FILE").map(|path| token_file(Path::new(&path))).transpose()
}

fn token_file(path: &Path) -> Result<Secret, Failure> {
    let bytes = if path == Path::new("-") {
        files::read_bounded(io::stdin().lock())
    } else {
        files::load(path)
    };
    let bytes = bytes.map_err(|error| files::failure("cannot read", path, &error))?;
    Secret::parse(&String::from_utf8_lossy(&bytes), &path.display().to_string())
}

/// Checks an address and brings it into the form that is compared.
fn address(text: &str) -> Result<String, Failure> {
    let bad = |problem: &str| {
        Failure::usage(
            format!("{text:?} is no address of a coordinator: {problem}"),
            "it looks like https://signalbox.example:8443",
        )
    };
    let lower = text.trim().trim_end_matches('/').to_ascii_lowercase();
    let rest = lower.strip_prefix("https://").ok_or_else(|| bad("it must begin with https://"))?;
    if rest.is_empty() || rest.starts_with(':') {
        return Err(bad("it names no host"));
    }
    if rest.contains(['/', '?', '#', '@'])
        || rest.chars().any(|c| c.is_whitespace() || c.is_control())
    {
        return Err(bad("it names more than a host and a port"));
    }
    Ok(lower)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::EXIT_USAGE;

    struct Fake(&'static [(&'static str, &'static str)]);

    impl Environment for Fake {
        fn var(&self, name: &str) -> Option<OsString> {
            self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        }
    }

    const SECRET: &str = "sb_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn stored() -> Stored {
        Stored {
            coordinator: Some("https://box.example".to_owned()),
            root: Some(PathBuf::from("/root.pem")),
            token: Some(Secret(SECRET.to_owned())),
        }
    }

    #[test]
    fn an_option_wins_over_the_file() {
        let global = Global {
            root: Some(PathBuf::from("/other.pem")),
            coordinator: Some(String::new()),
            ..Global::default()
        };
        let settings = Settings::load(&global, &Fake(&[]), stored()).unwrap();
        assert_eq!(settings.root, PathBuf::from("/other.pem"));
        assert_eq!(settings.coordinator, "https://box.example");
    }

    #[test]
    fn the_stored_token_goes_to_no_other_coordinator() {
        let global =
            Global { coordinator: Some("https://evil.example".to_owned()), ..Global::default() };
        let refused = Settings::load(&global, &Fake(&[]), stored()).unwrap_err();
        assert_eq!(refused.exit_code(), EXIT_USAGE);
        let named = Fake(&[("SIGNALBOX_TOKEN", "sb_other")]);
        let settings = Settings::load(&global, &named, stored()).unwrap();
        assert_eq!(settings.token, Some(Secret("sb_other".to_owned())));
        let same =
            Global { coordinator: Some("HTTPS://Box.Example/".to_owned()), ..Global::default() };
        assert!(Settings::load(&same, &Fake(&[]), stored()).is_ok());
    }

    #[test]
    fn who_signs_in_needs_to_know_where_and_whom_to_trust_and_shows_no_token() {
        let settings = Settings::without_token(&Global::default(), stored()).unwrap();
        assert_eq!((settings.coordinator.as_str(), settings.token), ("https://box.example", None));
        assert!(Settings::without_token(&Global::default(), Stored::default()).is_err());
    }

    #[test]
    fn a_token_is_neither_printed_nor_quoted_in_a_complaint() {
        assert!(!format!("{:?}", stored()).contains("AAAA"));
        let complaint = Secret::parse("AAAA secret", "the file").unwrap_err().render();
        assert!(!complaint.contains("AAAA"), "{complaint}");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("token = \"{SECRET}\" x")).unwrap();
        let complaint = Stored::load(file.path()).unwrap_err().render();
        assert!(!complaint.contains("AAAA"), "{complaint}");
    }

    #[test]
    fn an_address_is_https_and_nothing_but_a_host() {
        for bad in
            ["http://box", "box.example", "https://", "https://a/b", "https://u@h", "https://a b"]
        {
            assert!(address(bad).is_err(), "{bad}");
        }
        assert_eq!(address("https://Box:8443/").unwrap(), "https://box:8443");
    }

    #[test]
    fn what_is_stored_is_loaded_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        assert_eq!(Stored::load(&path).unwrap(), Stored::default());
        stored().store(&path).unwrap();
        assert_eq!(Stored::load(&path).unwrap(), stored());
    }

    #[test]
    fn files_stand_where_the_base_directories_say() {
        let named =
            Fake(&[("XDG_CONFIG_HOME", "/c"), ("XDG_STATE_HOME", "relative"), ("HOME", "/h")]);
        assert_eq!(path(&named).unwrap(), PathBuf::from("/c/signalbox/config.toml"));
        let state = PathBuf::from("/h/.local/state/signalbox/claims.json");
        assert_eq!(claims_path(&named).unwrap(), state);
        assert!(path(&Fake(&[])).is_err());
    }
}
