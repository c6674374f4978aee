//! How requests get to the provider: by the HTTP client that the command line uses, too, with bounds.
//!
//! Redirects are not followed, and no plain HTTP leaves this machine: what a provider says of itself must not send a
//! client's secret elsewhere.

use std::{fmt, sync::Arc, time::Duration};

use openidconnect::{
    HttpRequest, HttpResponse,
    http::{Method, Request, Uri, uri::Scheme},
};
use thiserror::Error;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::limits::{PROVIDER_BYTES_MAX, PROVIDER_TIMEOUT};

/// What carries requests to the provider, and may block.
pub(super) trait Carry: fmt::Debug + Send + Sync {
    /// Carries one request. It may take as long as `left`, and no longer than any may.
    ///
    /// # Errors
    /// There is no answer in time, or none that can be used.
    fn carry(&self, request: HttpRequest, left: Duration) -> Result<HttpResponse, CarryError>;
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub(super) enum CarryError {
    /// It would go where nothing may go.
    #[error("{0} is neither https nor on this machine")]
    Exposed(String),
    /// Nothing is left of the time that all requests have together.
    #[error("it has not answered all in time")]
    Late,
    /// Nobody answered, or not in time, or too much.
    #[error("{uri}: {error}")]
    Failed {
        /// Where to.
        uri: String,
        /// Why.
        error: String,
    },
}

/// HTTPS over the network; plain HTTP on this machine, for a provider that runs here.
#[derive(Debug)]
pub(super) struct Wire {
    agent: ureq::Agent,
    is_local: bool,
}

impl Wire {
    /// Returns what carries to providers under these roots (DER). `is_local` says that the issuer itself is on this
    /// machine without TLS; then nothing leaves it.
    pub(super) fn new(roots: &[Vec<u8>], is_local: bool) -> Self {
        let roots = roots.iter().map(|der| Certificate::from_der(der).to_owned());
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::from(roots.collect::<Vec<_>>()))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .https_only(!is_local)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("signalbox-coordinator/", env!("CARGO_PKG_VERSION")));
        let config = if is_local { config.proxy(None) } else { config };
        Self { agent: config.build().new_agent(), is_local }
    }

    fn check(&self, uri: &Uri) -> Result<(), CarryError> {
        let is_https = uri.scheme() == Some(&Scheme::HTTPS);
        let may = match self.is_local {
            true => uri.host().is_some_and(is_loopback),
            false => is_https,
        };
        if may { Ok(()) } else { Err(CarryError::Exposed(without_query(uri))) }
    }
}

/// Returns whether a host is this machine by its name alone.
pub(super) fn is_loopback(host: &str) -> bool {
    matches!(host, "localhost" | "127.0.0.1" | "[::1]")
}

impl Carry for Wire {
    fn carry(&self, request: HttpRequest, left: Duration) -> Result<HttpResponse, CarryError> {
        self.check(request.uri())?;
        let timeout = Some(left.min(PROVIDER_TIMEOUT));
        let uri = without_query(request.uri());
        let failed =
            |error: ureq::Error| CarryError::Failed { uri: uri.clone(), error: error.to_string() };
        let sent = if request.method() == Method::GET {
            let (head, _) = request.into_parts();
            let request = self.agent.configure_request(Request::from_parts(head, ()));
            self.agent.run(request.timeout_global(timeout).build())
        } else {
            let request = self.agent.configure_request(request);
            self.agent.run(request.timeout_global(timeout).build())
        };
        let mut response = sent.map_err(failed)?;
        let body = response.body_mut().with_config().limit(PROVIDER_BYTES_MAX).read_to_vec();
        let body = body.map_err(failed)?;
        let (head, _) = response.into_parts();
        Ok(HttpResponse::from_parts(head, body))
    }
}

/// A query may hold a secret.
fn without_query(uri: &Uri) -> String {
    let text = uri.to_string();
    text.split('?').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
    };

    use super::*;

    fn get(uri: &str) -> HttpRequest {
        Request::get(uri).body(Vec::new()).unwrap()
    }

    #[test]
    fn nothing_leaves_the_machine_without_tls_and_nothing_leaves_it_for_a_local_issuer() {
        let (remote, local) = (Wire::new(&[], false), Wire::new(&[], true));
        for uri in ["http://id.example/token?code=x", "http://127.0.0.1/token"] {
            let refused = remote.carry(get(uri), PROVIDER_TIMEOUT).unwrap_err();
            assert!(matches!(refused, CarryError::Exposed(_)), "{uri}: {refused}");
            assert!(!refused.to_string().contains("code"), "{refused}");
        }
        for uri in ["https://id.example/token", "http://id.example/token"] {
            let refused = local.carry(get(uri), PROVIDER_TIMEOUT).unwrap_err();
            assert!(matches!(refused, CarryError::Exposed(_)), "{uri}: {refused}");
        }
    }

    #[test]
    fn an_answer_comes_as_it_is_and_a_redirect_is_not_followed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut request = vec![0; 4096];
            let count = socket.read(&mut request).unwrap();
            let answer = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\n\
                          Content-Length: 4\r\nConnection: close\r\n\r\nbody";
            socket.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&request[..count]).into_owned()
        });
        let wire = Wire::new(&[], true);
        let asked = get(&format!("http://127.0.0.1:{port}/jwks"));
        let answer = wire.carry(asked, PROVIDER_TIMEOUT).unwrap();
        assert_eq!((answer.status().as_u16(), answer.body().as_slice()), (302, &b"body"[..]));
        assert!(server.join().unwrap().starts_with("GET /jwks HTTP/1.1\r\n"));
        let asked = get(&format!("http://127.0.0.1:{port}/jwks?x=y"));
        let failed = wire.carry(asked, PROVIDER_TIMEOUT).unwrap_err();
        assert!(matches!(&failed, CarryError::Failed { uri, .. } if uri.ends_with("/jwks")));
    }

    #[test]
    fn a_request_takes_no_longer_than_is_left() {
        // It is accepted by the system alone, and never answered.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = silent.local_addr().unwrap().port();
        let asked = get(&format!("http://127.0.0.1:{port}/jwks"));
        let late = Wire::new(&[], true).carry(asked, Duration::from_millis(20)).unwrap_err();
        assert!(matches!(&late, CarryError::Failed { error, .. } if error.contains("timeout")));
    }
}
