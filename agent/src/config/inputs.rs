//! From the raw keys of a source to where its records come from.

use std::{
    net::SocketAddr,
    ops::Range,
    path::{Path, PathBuf},
};

use toml::Spanned;

use super::{
    ConfigError, Input, ListenerIdentity, MATCHES_MAX, StartFrom, check::Check, raw::RawSource,
};
use crate::{normalise::Kind, source::Pattern};

/// What the names of Windows event log files end with.
const EVENT_LOG: &str = "evtx";

/// Keys that only some inputs have, each with which.
const ONLY_OF: [(&str, &str); 7] = [
    ("from", "only a file and the journal have a place to start from"),
    ("match", "only entries of the journal are chosen so"),
    ("token_file", "only senders by http:// have a token"),
    ("allow_remote", "only http:// is for this host alone otherwise"),
    ("certificate", "only a source at tls:// has one"),
    ("key", "only a source at tls:// has one"),
    ("senders_root", "only senders by tls:// are known by their certificates"),
];

impl Input {
    /// Returns whether two sources would get the same records, or keep one another from them.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.claim() == other.claim()
    }

    fn claim(&self) -> Claim<'_> {
        match self {
            Self::File { path, .. } => Claim::File(path),
            Self::Files { pattern, .. } | Self::Evtx { pattern, .. } => Claim::Files(pattern),
            Self::Udp(address) => Claim::Udp(*address),
            Self::Tcp(address) | Self::Tls { address, .. } | Self::Http { address, .. } => {
                Claim::Tcp(*address)
            }
            Self::Stdin => Claim::Stdin,
            Self::Journal { matches, .. } => Claim::Journal(matches),
        }
    }
}

impl RawSource {
    /// Returns the key that says where the records come from, and its place.
    pub(super) fn input_key(&self) -> Option<(&'static str, Range<usize>)> {
        let path = self.path.as_ref().map(|path| ("source.path", path.span()));
        let listen = self.listen.as_ref().map(|listen| ("source.listen", listen.span()));
        let input = self.input.as_ref().map(|input| ("source.input", input.span()));
        path.or(listen).or(input)
    }

    /// Returns where a key stands of those that only some inputs have.
    fn only_of(&self, key: &str) -> Option<Range<usize>> {
        match key {
            "from" => self.from.as_ref().map(Spanned::span),
            "match" => self.matches.as_ref().map(Spanned::span),
            "token_file" => self.token_file.as_ref().map(Spanned::span),
            "allow_remote" => self.allow_remote.as_ref().map(Spanned::span),
            "certificate" => self.certificate.as_ref().map(Spanned::span),
            "key" => self.key.as_ref().map(Spanned::span),
            "senders_root" => self.senders_root.as_ref().map(Spanned::span),
            _ => None,
        }
    }
}

impl Check<'_> {
    pub(super) fn input(
        &self,
        raw: &RawSource,
        kind: &Kind,
        section: Range<usize>,
    ) -> Result<Input, ConfigError> {
        let (input, keys): (Input, &[&str]) = match (&raw.path, &raw.listen, &raw.input) {
            (Some(_), None, None) => (self.file(raw)?, &["from"]),
            (None, Some(listen), None) => self.listener(raw, listen, section.clone())?,
            (None, None, Some(input)) => match self.choice("source.input", input, &INPUTS)? {
                Other::Stdin => (Input::Stdin, &[]),
                Other::Journal => (self.journal(raw)?, &["from", "match"]),
            },
            _ => {
                let message = "needs one of path, listen and input".to_owned();
                return Err(self.error("source", section, message));
            }
        };
        for (key, message) in ONLY_OF.iter().filter(|(key, _)| !keys.contains(key)) {
            if let Some(span) = raw.only_of(key) {
                return Err(self.error(&format!("source.{key}"), span, (*message).to_owned()));
            }
        }
        let is_file = matches!(input, Input::File { .. } | Input::Files { .. });
        if matches!(input, Input::Evtx { .. }) && !kind.is_windows_event() {
            let message = "is a Windows event log: its kind is windows_event".to_owned();
            let (key, span) = raw.input_key().unwrap_or(("source", section));
            return Err(self.error(key, span, message));
        }
        if kind.is_file_only() && !is_file {
            let (key, span) = raw.input_key().unwrap_or(("source", section));
            let message = "records of this kind are read from a file only".to_owned();
            return Err(self.error(key, span, message));
        }
        Ok(input)
    }

    fn from(&self, raw: &RawSource) -> Result<StartFrom, ConfigError> {
        let starts = [("start", StartFrom::Start), ("end", StartFrom::End)];
        let from = raw.from.as_ref().map(|raw| self.choice("source.from", raw, &starts));
        from.unwrap_or(Ok(StartFrom::End))
    }

    fn file(&self, raw: &RawSource) -> Result<Input, ConfigError> {
        let from = self.from(raw)?;
        let Some(path) = &raw.path else { unreachable!("a file has a path") };
        let full = self.base.join(path.get_ref());
        let is_event_log = full.extension().is_some_and(|it| it.eq_ignore_ascii_case(EVENT_LOG));
        let pattern = match Pattern::is_pattern(path.get_ref()) {
            false if is_event_log => Pattern::of_path(&full),
            false => return Ok(Input::File { path: full, from }),
            true => Pattern::parse(&full)
                .map_err(|error| self.error("source.path", path.span(), error.to_string()))?,
        };
        Ok(if is_event_log {
            Input::Evtx { pattern, from }
        } else {
            Input::Files { pattern, from }
        })
    }

    fn listener(
        &self,
        raw: &RawSource,
        listen: &Spanned<String>,
        section: Range<usize>,
    ) -> Result<(Input, &'static [&'static str]), ConfigError> {
        let parts = listen.get_ref().split_once("://");
        let parts = parts.and_then(|(scheme, address)| Some((scheme, address.parse().ok()?)));
        match parts.filter(|(_, address): &(&str, SocketAddr)| address.port() > 0) {
            Some(("udp", address)) => Ok((Input::Udp(address), &[])),
            Some(("tcp", address)) => Ok((Input::Tcp(address), &[])),
            Some(("tls", address)) => {
                let identity = ListenerIdentity {
                    certificate: self.needed(raw.certificate.as_ref(), "certificate", &section)?,
                    key: self.needed(raw.key.as_ref(), "key", &section)?,
                    senders_root: raw.senders_root.as_ref().map(|it| self.base.join(it.get_ref())),
                };
                let keys = &["certificate", "key", "senders_root"];
                Ok((Input::Tls { address, identity }, keys))
            }
            Some(("http", address)) => {
                let token_file = self.needed(raw.token_file.as_ref(), "token_file", &section)?;
                let may_be_remote = raw.allow_remote.as_ref().is_some_and(|it| *it.get_ref());
                if !address.ip().is_loopback() && !may_be_remote {
                    let message = "is no address of this host alone: what is sent there, and the \
                                   token, can be read on the way; if it may be, say allow_remote = \
                                   true";
                    return Err(self.error("source.listen", listen.span(), message.to_owned()));
                }
                Ok((Input::Http { address, token_file }, &["token_file", "allow_remote"]))
            }
            _ => {
                let message = format!(
                    "{:?} is not udp://, tcp://, tls:// or http:// with an address and a port, \
                     such as udp://192.0.2.7:514 or, at every address of this host, tcp://[::]:514",
                    listen.get_ref()
                );
                Err(self.error("source.listen", listen.span(), message))
            }
        }
    }

    /// Returns the path that a key must have, from the file's folder.
    fn needed(
        &self,
        path: Option<&Spanned<PathBuf>>,
        key: &str,
        section: &Range<usize>,
    ) -> Result<PathBuf, ConfigError> {
        let path = path.map(|path| path.get_ref().as_path()).filter(|path| *path != Path::new(""));
        path.map(|path| self.base.join(path)).ok_or_else(|| {
            let message = format!("is missing: such an address needs {key}");
            self.error(&format!("source.{key}"), section.clone(), message)
        })
    }

    fn journal(&self, raw: &RawSource) -> Result<Input, ConfigError> {
        let from = self.from(raw)?;
        let Some(matches) = &raw.matches else {
            return Ok(Input::Journal { matches: Vec::new(), from });
        };
        // Fields are named in capitals; + stands between two groups of conditions.
        let is_field = |name: &str| {
            let mut bytes = name.bytes();
            !name.is_empty()
                && bytes.all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
        };
        let is_match = |text: &str| {
            text == "+" || text.split_once('=').is_some_and(|(name, _)| is_field(name))
        };
        let list = matches.get_ref();
        let wrong = list.iter().find(|text| !is_match(text));
        let message = match wrong {
            Some(text) => format!("{text:?} is no condition such as _SYSTEMD_UNIT=gw.service"),
            None if list.len() > MATCHES_MAX => {
                format!("{} conditions, at most {MATCHES_MAX} are allowed", list.len())
            }
            None => return Ok(Input::Journal { matches: list.clone(), from }),
        };
        Err(self.error("source.match", matches.span(), message))
    }
}

/// What one source alone can have.
#[derive(PartialEq)]
enum Claim<'i> {
    File(&'i Path),
    Files(&'i Pattern),
    Udp(SocketAddr),
    Tcp(SocketAddr),
    Stdin,
    Journal(&'i [String]),
}

/// Inputs that are neither files nor addresses.
#[derive(Clone, Copy)]
enum Other {
    Stdin,
    Journal,
}

const INPUTS: [(&str, Other); 2] = [("stdin", Other::Stdin), ("journald", Other::Journal)];
