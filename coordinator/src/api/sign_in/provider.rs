//! The provider that people sign in at, as the `openidconnect` crate sees it: authorisation-code flow with PKCE, state
//! and nonce. That crate checks what an ID token says (issuer, audience, signature, nonce, end); nothing here does.
//!
//! What a provider says of itself and its keys are asked for when somebody signs in, believed for
//! [`PROVIDER_FACTS_LIFE`], and asked for anew at once where an ID token's key is not among them: so keys may rotate.
//!
//! # Limits
//! At most [`PROVIDER_CALLS_MAX`] calls at once, each on a thread that may block, within [`PROVIDER_CALL_MAX`] with all
//! its requests, each of which has [`PROVIDER_TIMEOUT`](crate::limits::PROVIDER_TIMEOUT) at most. Signatures with a
//! shared secret are not taken: whoever can read our configuration could make them.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use openidconnect::{
    AdditionalClaims, AuthType, AuthorizationCode, ClaimsVerificationError, Client, ClientId,
    ClientSecret, CsrfToken, DiscoveryError, EmptyExtraTokenFields, EndpointMaybeSet,
    EndpointNotSet, EndpointSet, HttpRequest, HttpResponse, IdToken, IdTokenFields, IssuerUrl,
    JwsSigningAlgorithm as _, Nonce, OAuth2TokenResponse as _, PkceCodeChallenge, PkceCodeVerifier,
    RedirectUrl, RequestTokenError, Scope, SignatureVerificationError, StandardErrorResponse,
    StandardTokenResponse, TokenResponse as _, UserInfoClaims, UserInfoError,
    core::{
        CoreAuthDisplay, CoreAuthPrompt, CoreAuthenticationFlow, CoreClientAuthMethod,
        CoreErrorResponseType, CoreGenderClaim, CoreJsonWebKey, CoreJweContentEncryptionAlgorithm,
        CoreJwsSigningAlgorithm, CoreProviderMetadata, CoreRevocableToken,
        CoreRevocationErrorResponse, CoreTokenIntrospectionResponse, CoreTokenType,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use shared::time::Timestamp;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    SignInTerms,
    carry::{Carry, CarryError, Wire, is_loopback},
};
use crate::limits::{
    PROVIDER_CALL_MAX, PROVIDER_CALLS_MAX, PROVIDER_CLOCK_SKEW, PROVIDER_FACTS_LIFE,
    PROVIDER_WAIT_MAX,
};

/// Claims that the standard does not name: groups are among them.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
struct Extra(Map<String, Value>);

impl AdditionalClaims for Extra {}

type Token =
    IdToken<Extra, CoreGenderClaim, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm>;
type Fields = IdTokenFields<
    Extra,
    EmptyExtraTokenFields,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
>;
type RelyingParty = Client<
    Extra,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    StandardTokenResponse<Fields, CoreTokenType>,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// Why a provider is of no help.
#[derive(Debug, Error)]
pub(super) enum ProviderError {
    /// As many talk to it as may.
    #[error("too many talk to the provider just now")]
    Busy,
    /// It does not answer, or says that it cannot.
    #[error("the provider does not answer: {0}")]
    Unreachable(String),
    /// What it answers is not what a provider answers.
    #[error("the provider's answer is not understood: {0}")]
    Odd(String),
    /// It does not know what it was shown.
    #[error("the provider refused: {0}")]
    Refused(String),
    /// What it says of the person does not hold.
    #[error("the provider's ID token does not hold: {0}")]
    Untrusted(String),
}

/// Settings that cannot be used, although each looks well by itself.
#[derive(Debug, Error)]
#[error("{what} {text:?} is no address: {error}")]
pub struct TermsError {
    what: &'static str,
    text: String,
    error: String,
}

/// What proves that an answer belongs to a question of ours.
#[derive(Debug)]
pub(super) struct Proof {
    nonce: Nonce,
    verifier: PkceCodeVerifier,
}

/// Where somebody is to be sent, and what will be known of their way back.
#[derive(Debug)]
pub(super) struct Question {
    /// What to open in a browser.
    pub(super) url: String,
    /// What the way back carries.
    pub(super) state: String,
    /// What stays here.
    pub(super) proof: Proof,
}

/// What the provider says of a person; its signature, or its own answer to us, stands for it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shown {
    /// Its name for the person.
    pub(super) subject: String,
    /// What stands in the ID token.
    pub(super) claims: Value,
    /// What it says besides, where that was asked for.
    pub(super) user_info: Option<Value>,
}

/// The provider.
#[derive(Debug)]
pub(super) struct Provider {
    issuer: IssuerUrl,
    client_id: ClientId,
    client_secret: Option<ClientSecret>,
    redirect: RedirectUrl,
    scopes: Vec<Scope>,
    carrier: Box<dyn Carry>,
    facts: Mutex<Option<(Timestamp, CoreProviderMetadata)>>,
    places: Arc<Semaphore>,
    /// How long a call waits for a place.
    wait_max: Duration,
}

impl Provider {
    /// Returns the provider of these terms, reached over the network.
    ///
    /// # Errors
    /// An address is none.
    pub(super) fn new(terms: &SignInTerms, redirect: String) -> Result<Self, TermsError> {
        let host = terms.issuer.strip_prefix("http://").map(|rest| {
            let authority = rest.split('/').next().unwrap_or_default();
            authority
                .rsplit_once(':')
                .filter(|(_, port)| !port.ends_with(']'))
                .map_or(authority, |(host, _)| host)
        });
        let is_local = host.is_some_and(is_loopback);
        Self::over(terms, redirect, Box::new(Wire::new(&terms.roots, is_local)))
    }

    /// As [`Self::new`], reached by `carrier`.
    pub(super) fn over(
        terms: &SignInTerms,
        redirect: String,
        carrier: Box<dyn Carry>,
    ) -> Result<Self, TermsError> {
        let bad = |what, text: &str, error: &dyn ToString| TermsError {
            what,
            text: text.to_owned(),
            error: error.to_string(),
        };
        let issuer = IssuerUrl::new(terms.issuer.clone());
        let shown = redirect.clone();
        let redirect = RedirectUrl::new(redirect);
        Ok(Self {
            issuer: issuer.map_err(|error| bad("issuer", &terms.issuer, &error))?,
            redirect: redirect.map_err(|error| bad("public_url", &shown, &error))?,
            client_id: ClientId::new(terms.client_id.clone()),
            client_secret: terms.client_secret.clone().map(ClientSecret::new),
            scopes: terms.scopes.iter().cloned().map(Scope::new).collect(),
            carrier,
            facts: Mutex::default(),
            places: Arc::new(Semaphore::new(PROVIDER_CALLS_MAX)),
            wait_max: PROVIDER_WAIT_MAX,
        })
    }

    /// Returns the issuer as it is configured.
    pub(super) fn issuer(&self) -> &str {
        self.issuer.as_str()
    }

    /// Waits for a place among those that talk to the provider.
    ///
    /// # Cancel safety
    /// Dropped early, no place is taken.
    pub(super) async fn place(provider: Arc<Self>) -> Result<Place, ProviderError> {
        let permit = Arc::clone(&provider.places).acquire_owned();
        match tokio::time::timeout(provider.wait_max, permit).await {
            Ok(Ok(permit)) => Ok(Place { provider, permit }),
            Ok(Err(_)) | Err(_) => Err(ProviderError::Busy),
        }
    }

    /// Begins what has until [`PROVIDER_CALL_MAX`] from now, and may block.
    fn call(&self) -> Call<'_> {
        Call { provider: self, until: instant().checked_add(PROVIDER_CALL_MAX) }
    }

    /// Asks the provider what it says of itself, as a sign-in would; returns where it has people sign in. May block.
    pub(super) fn probe(&self, now: Timestamp) -> Result<String, ProviderError> {
        Ok(self.call().ask_facts(now)?.authorization_endpoint().to_string())
    }

    fn party(&self, facts: CoreProviderMetadata) -> RelyingParty {
        let methods = facts.token_endpoint_auth_methods_supported();
        let is_known =
            |method: &CoreClientAuthMethod| methods.is_some_and(|methods| methods.contains(method));
        // Where nothing is said, it is the header (OpenID Connect Discovery, section 3).
        let is_body = is_known(&CoreClientAuthMethod::ClientSecretPost)
            && !is_known(&CoreClientAuthMethod::ClientSecretBasic);
        let how = if is_body { AuthType::RequestBody } else { AuthType::BasicAuth };
        let (id, secret) = (self.client_id.clone(), self.client_secret.clone());
        RelyingParty::from_provider_metadata(facts, id, secret)
            .set_redirect_uri(self.redirect.clone())
            .set_auth_type(how)
    }
}

/// A place among those that talk to the provider.
#[derive(Debug)]
pub(super) struct Place {
    provider: Arc<Provider>,
    permit: OwnedSemaphorePermit,
}

impl Place {
    /// Runs `call` where it may block, and gives the place up.
    ///
    /// # Cancel safety
    /// Dropped early, the call still runs to its end.
    pub(super) async fn call<T: Send + 'static>(
        self,
        call: impl FnOnce(&Call<'_>) -> Result<T, ProviderError> + Send + 'static,
    ) -> Result<T, ProviderError> {
        let Self { provider, permit } = self;
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            call(&provider.call())
        });
        task.await.unwrap_or_else(|error| Err(ProviderError::Odd(error.to_string())))
    }
}

/// What is asked of the provider for one step of a sign-in, which has an end.
#[derive(Debug)]
pub(super) struct Call<'a> {
    provider: &'a Provider,
    /// Until when; nothing stands for a clock at its end.
    until: Option<Instant>,
}

impl Call<'_> {
    fn carry(&self, request: HttpRequest) -> Result<HttpResponse, CarryError> {
        let left = self.until.map(|until| until.saturating_duration_since(instant()));
        match left.filter(|left| !left.is_zero()) {
            Some(left) => self.provider.carrier.carry(request, left),
            None => Err(CarryError::Late),
        }
    }

    /// Returns where to send somebody.
    pub(super) fn question(&self, now: Timestamp) -> Result<Question, ProviderError> {
        let party = self.provider.party(self.facts(now)?);
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let (url, state, nonce) = party
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                || CsrfToken::new_random_len(32),
                || Nonce::new_random_len(32),
            )
            .add_scopes(self.provider.scopes.iter().cloned())
            .set_pkce_challenge(challenge)
            .url();
        let (url, state) = (url.to_string(), state.into_secret());
        Ok(Question { url, state, proof: Proof { nonce, verifier } })
    }

    /// Redeems what somebody came back with, and returns what the provider says of them; more than stands in the ID
    /// token only if that does not satisfy `is_enough`.
    pub(super) fn redeem(
        &self,
        code: String,
        proof: Proof,
        is_enough: impl Fn(&Value) -> bool,
        now: Timestamp,
    ) -> Result<Shown, ProviderError> {
        let Proof { nonce, verifier } = proof;
        let party = self.provider.party(self.facts(now)?);
        let answer = party
            .exchange_code(AuthorizationCode::new(code))
            .map_err(|error| ProviderError::Odd(error.to_string()))?
            .set_pkce_verifier(verifier)
            .request(&|request: HttpRequest| self.carry(request))
            .map_err(token_error)?;
        let no_token = || ProviderError::Odd("it holds no id_token".to_owned());
        let token = answer.id_token().ok_or_else(no_token)?;
        let verified = match verify(&party, token, &nonce, now) {
            Err(error) if is_key_missing(&error) => {
                tracing::info!(%error, "the provider's keys are asked for anew");
                verify(&self.provider.party(self.ask_facts(now)?), token, &nonce, now)
            }
            verified => verified,
        };
        let verified = verified.map_err(|error| ProviderError::Untrusted(error.to_string()))?;
        let (subject, claims) = (verified.subject().clone(), to_value(verified)?);
        let user_info = match party.user_info_url() {
            Some(_) if !is_enough(&claims) => {
                let asked = party
                    .user_info(answer.access_token().clone(), Some(subject.clone()))
                    .map_err(|error| ProviderError::Odd(error.to_string()))?;
                let told: UserInfoClaims<Extra, CoreGenderClaim> = asked
                    .request(&|request: HttpRequest| self.carry(request))
                    .map_err(user_info_error)?;
                Some(to_value(&told)?)
            }
            Some(_) | None => None,
        };
        Ok(Shown { subject: subject.to_string(), claims, user_info })
    }

    /// Returns what the provider says of itself, with its keys.
    fn facts(&self, now: Timestamp) -> Result<CoreProviderMetadata, ProviderError> {
        let facts = &self.provider.facts;
        let known = facts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match known {
            Some((at, facts)) if at <= now && now.since(at) < PROVIDER_FACTS_LIFE => Ok(facts),
            Some(_) | None => self.ask_facts(now),
        }
    }

    fn ask_facts(&self, now: Timestamp) -> Result<CoreProviderMetadata, ProviderError> {
        let carry = |request: HttpRequest| self.carry(request);
        let issuer = &self.provider.issuer;
        let facts =
            CoreProviderMetadata::discover(issuer, &carry).map_err(|error| match error {
                DiscoveryError::Request(error) => ProviderError::Unreachable(error.to_string()),
                DiscoveryError::Response(status, _, _) if status.is_server_error() => {
                    ProviderError::Unreachable(format!("status {status}"))
                }
                DiscoveryError::Response(_, _, error) | DiscoveryError::Validation(error) => {
                    ProviderError::Odd(error)
                }
                DiscoveryError::Parse(error) => ProviderError::Odd(error.to_string()),
                other => ProviderError::Odd(other.to_string()),
            })?;
        let mut known = self.provider.facts.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some((now, facts.clone()));
        Ok(facts)
    }
}

#[expect(clippy::disallowed_methods, reason = "the API is a driver: it may look at the clock")]
fn instant() -> Instant {
    Instant::now()
}

type Claims = openidconnect::IdTokenClaims<Extra, CoreGenderClaim>;

/// Checks an ID token, and returns what it says.
fn verify<'a>(
    party: &RelyingParty,
    token: &'a Token,
    nonce: &Nonce,
    now: Timestamp,
) -> Result<&'a Claims, ClaimsVerificationError> {
    use CoreJwsSigningAlgorithm as A;
    let signed = [
        A::RsaSsaPkcs1V15Sha256,
        A::RsaSsaPkcs1V15Sha384,
        A::RsaSsaPkcs1V15Sha512,
        A::EcdsaP256Sha256,
        A::EcdsaP384Sha384,
        A::RsaSsaPssSha256,
        A::RsaSsaPssSha384,
        A::RsaSsaPssSha512,
        A::EdDsa,
    ];
    debug_assert!(signed.iter().all(|algorithm| !algorithm.uses_shared_secret()));
    let instant = SystemTime::UNIX_EPOCH + Duration::from_millis(now.as_ms());
    let latest = now.saturating_add(PROVIDER_CLOCK_SKEW).as_ms() / 1_000;
    let verifier = party
        .id_token_verifier()
        .set_allowed_algs(signed)
        .set_time_fn(move || (instant - PROVIDER_CLOCK_SKEW).into())
        .set_issue_time_verifier_fn(move |issued_at| match u64::try_from(issued_at.timestamp()) {
            Ok(seconds) if seconds > latest => Err("it was issued in the future".to_owned()),
            Ok(_) | Err(_) => Ok(()),
        });
    token.claims(&verifier, nonce)
}

/// Returns whether other keys may help.
fn is_key_missing(error: &ClaimsVerificationError) -> bool {
    use SignatureVerificationError as S;
    matches!(
        error,
        ClaimsVerificationError::SignatureVerification(S::NoMatchingKey | S::CryptoError(_))
    )
}

fn to_value(claims: &impl Serialize) -> Result<Value, ProviderError> {
    serde_json::to_value(claims).map_err(|error| ProviderError::Odd(error.to_string()))
}

fn token_error(
    error: RequestTokenError<CarryError, StandardErrorResponse<CoreErrorResponseType>>,
) -> ProviderError {
    match error {
        RequestTokenError::Request(error) => ProviderError::Unreachable(error.to_string()),
        RequestTokenError::ServerResponse(answer) => ProviderError::Refused(answer.to_string()),
        // The rest of the answer may hold tokens.
        RequestTokenError::Parse(error, _) => ProviderError::Odd(error.to_string()),
        RequestTokenError::Other(error) => ProviderError::Odd(error),
    }
}

fn user_info_error(error: UserInfoError<CarryError>) -> ProviderError {
    match error {
        UserInfoError::Request(error) => ProviderError::Unreachable(error.to_string()),
        UserInfoError::ClaimsVerification(error) => ProviderError::Untrusted(error.to_string()),
        UserInfoError::Response(status, _, error) => {
            ProviderError::Odd(format!("status {status}: {error}"))
        }
        other => ProviderError::Odd(other.to_string()),
    }
}

#[cfg(test)]
pub(super) mod tests;
