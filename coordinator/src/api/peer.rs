//! From which address a request came, as the connection says. What a client or a proxy writes into headers counts for
//! nothing.

use std::{convert::Infallible, net::IpAddr};

use axum::{extract::FromRequestParts, http::request::Parts};

use super::Api;

/// The other end's address, as an extension of each request that came over a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// Where a request came from; nowhere, where it came over no socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin(pub(super) Option<IpAddr>);

impl Origin {
    pub(super) fn of(parts: &Parts) -> Self {
        Self(parts.extensions.get::<Peer>().map(|Peer(address)| address.to_canonical()))
    }

    /// Returns the address as the journal and pages name it.
    pub(super) fn shown(self) -> String {
        self.0.map_or_else(|| "an unknown address".to_owned(), |address| address.to_string())
    }
}

impl FromRequestParts<Api> for Origin {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Infallible> {
        Ok(Self::of(parts))
    }
}
