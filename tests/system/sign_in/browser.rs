//! As much of a browser as signing in takes: cookies, redirects and forms.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use ureq::{
    http::{Request, header},
    tls::{PemItem, RootCerts, TlsConfig, parse_pem},
};

/// Redirects that are followed before it is given up.
const REDIRECTS_MAX: usize = 20;

/// A browser that trusts one root, and sends every cookie to everybody.
pub(super) struct Browser {
    agent: ureq::Agent,
    cookies: BTreeMap<String, String>,
}

/// A page, and where it was found.
pub(super) struct Page {
    pub(super) status: u16,
    pub(super) url: String,
    pub(super) html: String,
}

impl Browser {
    pub(super) fn new(root: &Path) -> Result<Self> {
        let pem = std::fs::read(root)?;
        let roots = parse_pem(&pem).filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            Ok(_) | Err(_) => None,
        });
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::from(roots.collect::<Vec<_>>()))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let agent = ureq::Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .build()
            .new_agent();
        Ok(Self { agent, cookies: BTreeMap::new() })
    }

    /// Opens an address, and follows redirects to a page.
    pub(super) fn open(&mut self, url: &str) -> Result<Page> {
        self.go(url.to_owned(), None)
    }

    /// Sends the form of a page with these fields, and what is hidden in it.
    pub(super) fn send(&mut self, page: &Page, fields: &[(&str, &str)]) -> Result<Page> {
        let action = attribute(&page.html, "<form", "action").context("a form")?;
        let mut all: Vec<(String, String)> = Vec::new();
        for input in page.html.split("<input").skip(1).filter(|it| it.contains("\"hidden\"")) {
            let name = attribute(input, "", "name").context("a field's name")?;
            all.push((name, attribute(input, "", "value").unwrap_or_default()));
        }
        all.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let form: Vec<String> = all.iter().map(|(name, value)| format!("{name}={value}")).collect();
        self.go(absolute(&page.url, &action), Some(form.join("&")))
    }

    /// Signs in at the provider as somebody, consents, and returns the page behind it.
    pub(super) fn sign_in(&mut self, url: &str, login: &str) -> Result<Page> {
        let mut page = self.open(url)?;
        for _ in 0..REDIRECTS_MAX {
            let fields: &[(&str, &str)] = if page.html.contains("name=\"login\"") {
                &[("login", login), ("password", "any")]
            } else if page.html.contains("value=\"consent\"") {
                &[]
            } else {
                return Ok(page);
            };
            ensure!(page.status == 200, "{} answers {}", page.url, page.status);
            page = self.send(&page, fields)?;
        }
        anyhow::bail!("the provider asks on and on at {}", page.url)
    }

    fn go(&mut self, mut url: String, mut form: Option<String>) -> Result<Page> {
        for _ in 0..REDIRECTS_MAX {
            let cookies: Vec<String> =
                self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let request = Request::builder().uri(&url).header(header::COOKIE, cookies.join("; "));
            let mut response = match form.take() {
                None => self.agent.run(request.body(())?)?,
                Some(form) => {
                    let kind = "application/x-www-form-urlencoded";
                    let request = request.method("POST").header(header::CONTENT_TYPE, kind);
                    self.agent.run(request.body(form)?)?
                }
            };
            for cookie in response.headers().get_all(header::SET_COOKIE) {
                let cookie = cookie.to_str()?.split(';').next().unwrap_or_default();
                let (name, value) = cookie.split_once('=').context("a cookie")?;
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
            let status = response.status().as_u16();
            let location = response.headers().get(header::LOCATION);
            let location = location.map(|it| it.to_str().map(str::to_owned)).transpose()?;
            match location.filter(|_| (300..400).contains(&status)) {
                Some(location) => url = absolute(&url, &location),
                None => {
                    let html = response.body_mut().read_to_string()?;
                    return Ok(Page { status, url, html });
                }
            }
        }
        anyhow::bail!("redirected on and on, at last to {url}")
    }
}

/// Returns an attribute's value of the first element that begins with `element`.
fn attribute(html: &str, element: &str, name: &str) -> Option<String> {
    let (_, rest) = html.split_once(element)?;
    let element = rest.split_once('>').map_or(rest, |(element, _)| element);
    let (_, value) = element.split_once(&format!("{name}=\""))?;
    Some(value.split_once('"')?.0.replace("&amp;", "&"))
}

/// Returns where a link of a page leads.
fn absolute(from: &str, to: &str) -> String {
    if to.contains("://") {
        return to.to_owned();
    }
    let host_at = from.find("://").map_or(0, |at| at + 3);
    let end = from[host_at..].find('/').map_or(from.len(), |at| host_at + at);
    format!("{}{to}", &from[..end])
}
