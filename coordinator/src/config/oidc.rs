//! Where people sign in: from raw values to checked ones.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use shared::ids::TenantId;
use toml::Spanned;

use super::{
    ConfigError,
    check::Check,
    raw::{RawGroup, RawOidc},
};
use crate::{
    limits::{SIGN_IN_GROUPS_MAX, SIGN_IN_TOKEN_LIFE_DEFAULT, SIGN_IN_TOKEN_LIFE_MAX},
    store::values::Role,
};

/// Under an hour nobody gets a case done.
const HOURS: RangeInclusive<i64> = 1..=(SIGN_IN_TOKEN_LIFE_MAX.as_secs() / 3600) as i64;
/// What is asked for besides `openid` where nothing is said: a name to call people by.
const SCOPES: [&str; 2] = ["profile", "email"];
/// Where most providers say groups.
const GROUPS_CLAIM: &str = "groups";
/// Longest text of these settings, in bytes.
const TEXT_BYTES_MAX: usize = 512;
/// Most scopes.
const SCOPES_MAX: usize = 16;
/// Most tenants of a group.
const TENANTS_MAX: usize = 1_000;
/// Who is this machine by name alone: nothing of a plain HTTP request to it is seen by others.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Variable of the environment that holds the client's secret.
pub const SECRET_VARIABLE: &str = "SIGNALBOX_OIDC_CLIENT_SECRET";

/// Returns what the environment says is the client's secret.
#[must_use]
pub fn oidc_client_secret() -> Option<String> {
    std::env::var(SECRET_VARIABLE).ok().filter(|text| !text.is_empty())
}

/// A provider of identities (OpenID Connect), and what its people get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OidcConfig {
    /// The provider's address, exactly as it names itself; https, or http on this machine.
    pub issuer: String,
    /// Our name there.
    pub client_id: String,
    /// The file whose first line is our secret there; without one, [`oidc_client_secret`] is, if there is one.
    pub client_secret_file: Option<PathBuf>,
    /// Address of the API as people's browsers reach it: `https://host[:port]`.
    pub public_url: String,
    /// The roots' certificates (PEM) that the provider's must lead to; the system's where absent.
    pub roots: Option<PathBuf>,
    /// What is asked for besides `openid`.
    pub scopes: Vec<String>,
    /// Which claim says the groups; dots lead deeper.
    pub groups_claim: String,
    /// Which claim says the name.
    pub name_claim: Option<String>,
    /// How long people are signed in; whole hours.
    pub life: Duration,
    /// What people get; the first group that somebody is in decides. At least one.
    pub groups: Vec<GroupConfig>,
}

/// What the people of a group get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// The group's name, as the provider writes it.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// Over whose cases; empty for every tenant.
    pub tenants: Vec<TenantId>,
}

impl Check<'_> {
    pub(super) fn oidc(&self, raw: &Spanned<RawOidc>) -> Result<OidcConfig, ConfigError> {
        let (span, raw) = (raw.span(), raw.get_ref());
        let text =
            |key: &str, raw: &Spanned<String>| self.plain_text(&format!("api.oidc.{key}"), raw);
        let optional = |key: &str, raw: &Option<Spanned<String>>| {
            raw.as_ref().map(|raw| text(key, raw)).transpose()
        };
        let hours = self.number("api.oidc.hours", raw.hours.as_ref(), &HOURS)?;
        let life = hours.map(|hours| Duration::from_secs(hours * 60 * 60));
        if !(1..=SIGN_IN_GROUPS_MAX).contains(&raw.group.len()) {
            let message = format!(
                "{} groups, 1 to {SIGN_IN_GROUPS_MAX} are allowed: each [[api.oidc.group]] says \
                 what its people may do",
                raw.group.len()
            );
            return Err(self.error("api.oidc.group", span, message));
        }
        let groups = raw.group.iter().map(|group| self.group(group));
        Ok(OidcConfig {
            issuer: self.web_address("api.oidc.issuer", &raw.issuer, true)?,
            client_id: text("client_id", &raw.client_id)?,
            client_secret_file: raw.client_secret_file.as_ref().map(|path| self.base.join(path)),
            public_url: self.web_address("api.oidc.public_url", &raw.public_url, false)?,
            roots: raw.roots.as_ref().map(|path| self.base.join(path)),
            scopes: self.scopes(raw.scopes.as_ref())?,
            groups_claim: optional("groups_claim", &raw.groups_claim)?
                .unwrap_or_else(|| GROUPS_CLAIM.to_owned()),
            name_claim: optional("name_claim", &raw.name_claim)?,
            life: life.unwrap_or(SIGN_IN_TOKEN_LIFE_DEFAULT),
            groups: groups.collect::<Result<_, _>>()?,
        })
    }

    fn group(&self, raw: &Spanned<RawGroup>) -> Result<GroupConfig, ConfigError> {
        let roles = [
            ("customer", Role::Customer),
            ("auditor", Role::Auditor),
            ("analyst", Role::Analyst),
            ("lead", Role::Lead),
            ("admin", Role::Admin),
        ];
        let (span, raw) = (raw.span(), raw.get_ref());
        let role = self.choice("api.oidc.group.role", &raw.role, &roles)?;
        let key = "api.oidc.group.tenants";
        let tenants = match &raw.tenants {
            None => Vec::new(),
            Some(list) if !(1..=TENANTS_MAX).contains(&list.get_ref().len()) => {
                let message = format!("name 1 to {TENANTS_MAX}; leave it out for every tenant");
                return Err(self.error(key, list.span(), message));
            }
            Some(list) => {
                let parse = |name: &Spanned<String>| {
                    name.get_ref()
                        .parse::<TenantId>()
                        .map_err(|error| self.error(key, name.span(), error.to_string()))
                };
                list.get_ref().iter().map(parse).collect::<Result<_, _>>()?
            }
        };
        if role == Role::Customer && tenants.len() != 1 {
            let message = "a customer's people see exactly one tenant: name it".to_owned();
            return Err(self.error(key, span, message));
        }
        Ok(GroupConfig { name: self.plain_text("api.oidc.group.name", &raw.name)?, role, tenants })
    }

    fn scopes(
        &self,
        raw: Option<&Spanned<Vec<Spanned<String>>>>,
    ) -> Result<Vec<String>, ConfigError> {
        let key = "api.oidc.scopes";
        let Some(list) = raw else { return Ok(SCOPES.map(str::to_owned).to_vec()) };
        if list.get_ref().len() > SCOPES_MAX {
            return Err(self.error(key, list.span(), format!("at most {SCOPES_MAX} are allowed")));
        }
        let scopes = list.get_ref().iter().map(|scope| match scope.get_ref().as_str() {
            "openid" => Err(self.error(key, scope.span(), "openid is asked for anyway".to_owned())),
            // RFC 6749, section 3.3.
            text if text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\') => {
                self.plain_text(key, scope)
            }
            text => Err(self.error(key, scope.span(), format!("{text:?} is no scope"))),
        });
        scopes.collect()
    }

    fn plain_text(&self, key: &str, raw: &Spanned<String>) -> Result<String, ConfigError> {
        let text = raw.get_ref();
        if (1..=TEXT_BYTES_MAX).contains(&text.len()) && !text.contains(char::is_control) {
            return Ok(text.clone());
        }
        let message = format!("must be 1 to {TEXT_BYTES_MAX} bytes on one line");
        Err(self.error(key, raw.span(), message))
    }

    /// Checks an address: an issuer's may have a path and be http on this machine, another's is https and a host.
    fn web_address(
        &self,
        key: &str,
        raw: &Spanned<String>,
        is_issuer: bool,
    ) -> Result<String, ConfigError> {
        let text = raw.get_ref().as_str();
        let bad = |problem: &str| self.error(key, raw.span(), format!("{text:?} {problem}"));
        self.plain_text(key, raw)?;
        if text.contains(|c: char| c.is_whitespace() || !c.is_ascii()) || text.contains(['?', '#'])
        {
            return Err(bad("has more in it than an address"));
        }
        let (is_plain, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (false, rest),
            (None, Some(rest)) => (true, rest),
            (None, None) => return Err(bad("must begin with https://")),
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                port.parse::<u16>().map_err(|_| bad("has no port behind its colon"))?;
                host
            }
            Some(_) | None => authority,
        };
        if host.is_empty() || host.contains('@') {
            return Err(bad("names no host"));
        }
        if is_plain && !(is_issuer && LOOPBACK.contains(&host)) {
            return Err(bad(match is_issuer {
                true => "must begin with https://; http is for a provider on this machine alone",
                false => "must begin with https://",
            }));
        }
        if !is_issuer && !path.is_empty() {
            return Err(bad("is more than a scheme, a host and a port"));
        }
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    const BEFORE: &str = "trust_domain = \"box\"\n[store]\npath = \"s\"\n[ingest]\n\
        certificate = \"c\"\nkey = \"k\"\nroots = \"r\"\n[api.oidc]\n";
    const NEEDED: &str = "issuer = \"https://id.example/realms/soc\"\nclient_id = \"signalbox\"\n\
        public_url = \"https://box.example:8443\"\n";
    const GROUP: &str = "[[api.oidc.group]]\nname = \"soc\"\nrole = \"analyst\"\n";

    fn parse(text: &str) -> Result<OidcConfig, ConfigError> {
        let config = Config::parse(&format!("{BEFORE}{text}"), Path::new("/base"))?;
        Ok(config.api.oidc.expect("it is there"))
    }

    #[test]
    fn what_is_not_said_has_a_default_and_a_group_without_tenants_sees_all() {
        let oidc = parse(&format!("{NEEDED}{GROUP}")).unwrap();
        assert_eq!((oidc.groups_claim.as_str(), oidc.name_claim), ("groups", None));
        assert_eq!(
            (oidc.scopes.as_slice(), oidc.life.as_secs()),
            (&["profile".to_owned(), "email".to_owned()][..], 10 * 60 * 60)
        );
        assert_eq!((oidc.client_secret_file, oidc.roots), (None, None));
        let soc = GroupConfig { name: "soc".into(), role: Role::Analyst, tenants: Vec::new() };
        assert_eq!(oidc.groups, [soc]);
    }

    #[test]
    fn groups_stay_in_their_order_and_paths_are_taken_from_the_files_folder() {
        let text = format!(
            "{NEEDED}client_secret_file = \"oidc.secret\"\nroots = \"/ca.pem\"\nhours = 8\n\
             scopes = [\"groups\"]\ngroups_claim = \"realm_access.roles\"\nname_claim = \"upn\"\n\
             [[api.oidc.group]]\nname = \"x\"\nrole = \"customer\"\ntenants = [\"acme\"]\n{GROUP}"
        );
        let oidc = parse(&text).unwrap();
        assert_eq!(oidc.client_secret_file.as_deref(), Some(Path::new("/base/oidc.secret")));
        assert_eq!(oidc.roots.as_deref(), Some(Path::new("/ca.pem")));
        assert_eq!(oidc.life, Duration::from_secs(8 * 60 * 60));
        let names: Vec<&str> = oidc.groups.iter().map(|group| group.name.as_str()).collect();
        assert_eq!(names, ["x", "soc"]);
        assert_eq!(oidc.groups[0].tenants, ["acme".parse().unwrap()]);
    }

    #[test]
    fn an_issuer_is_https_but_for_one_on_this_machine() {
        let with = |issuer: &str| {
            parse(&format!("{}{GROUP}", NEEDED.replace("https://id.example/realms/soc", issuer)))
        };
        for good in [
            "https://id.example",
            "https://id.example:8443/",
            "http://127.0.0.1:3000",
            "http://localhost/oidc",
            "http://[::1]:3000",
            "https://[2001:db8::1]:8443/x",
        ] {
            assert_eq!(with(good).unwrap().issuer, good);
        }
        for (bad, said) in [
            ("http://id.example", "http is for a provider on this machine"),
            ("http://127.0.0.1.id.example", "http is for a provider on this machine"),
            ("http://localhost@id.example", "names no host"),
            ("ftp://id.example", "must begin with https://"),
            ("https://", "names no host"),
            ("https://id.example:x", "no port"),
            ("https://id.example/?a=b", "more in it than an address"),
        ] {
            let error = with(bad).unwrap_err().to_string();
            assert!(
                error.starts_with("9:10: api.oidc.issuer: ") && error.contains(said),
                "{error}"
            );
        }
    }

    #[test]
    fn values_that_cannot_be_right_are_refused_with_line_and_key() {
        let more = |line: &str| format!("{NEEDED}{line}\n{GROUP}");
        let group = |lines: &str| format!("{NEEDED}[[api.oidc.group]]\n{lines}\n");
        for (text, said) in [
            (NEEDED.to_owned(), "api.oidc.group: 0 groups, 1 to"),
            (more("hours = 13"), "12:9: api.oidc.hours: 13 is not between 1 and 12"),
            (more("hours = 0"), "api.oidc.hours: 0 is not"),
            (more("scopes = [\"openid\"]"), "12:11: api.oidc.scopes: openid is asked for"),
            (more("scopes = [\"a b\"]"), "api.oidc.scopes: \"a b\" is no scope"),
            (more("groups_claim = \"\""), "api.oidc.groups_claim: must be 1 to"),
            (more("secret = \"x\""), "unknown field \"secret\""),
            (group("name = \"a\"\nrole = \"king\""), "14:8: api.oidc.group.role: \"king\" is not"),
            (group("name = \"a\"\nrole = \"lead\"\ntenants = []"), "leave it out for every tenant"),
            (group("name = \"a\"\nrole = \"lead\"\ntenants = [\"A B\"]"), "15:12: api.oidc.group"),
            (group("name = \"a\"\nrole = \"customer\""), "see exactly one tenant"),
            (group("role = \"lead\""), "missing field \"name\""),
            (more("").replace(":8443\"", ":8443/api\""), "is more than a scheme, a host and"),
            (more("").replace("https://box", "http://box"), "must begin with https://"),
        ] {
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.contains(said), "{error}\nshould contain {said}");
        }
    }
}
