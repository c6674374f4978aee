//! Signing in of people at a provider of identities (OpenID Connect), for programs without a browser of their own.
//!
//! ```text
//! signalbox ──begin──▶ coordinator            POST /v1/sign-ins: an address to open, a code, a secret to poll with
//! person's browser ──▶ provider ──code──▶ coordinator ──code──▶ provider: ID token, checked
//!                      ◀── "is this your terminal?" ── coordinator;  yes ──▶ coordinator
//! signalbox ──poll───▶ coordinator            POST /v1/sign-ins/{id}/poll: a token, once
//! ```
//! The token is an ordinary one, with an end within [`SIGN_IN_TOKEN_LIFE_MAX`](crate::limits::SIGN_IN_TOKEN_LIFE_MAX):
//! it is made when it is told and not before, so no secret of one waits anywhere, and it is good whether the provider
//! can be reached or not.
//!
//! # Limits
//! Who signs in is held in memory, see `pending`. Whoever polls for what was never begun is counted towards a
//! lockout (`super::lockout`); what comes from a browser is not, because any page can have a browser send it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    body::Bytes,
    extract::{
        Query, State,
        rejection::{BytesRejection, QueryRejection},
    },
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use openidconnect::url::form_urlencoded;
use serde::Deserialize;
use shared::{ids::TenantId, time::Timestamp};
use tokio::sync::oneshot;
use tracing::Instrument as _;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

pub use self::provider::TermsError;
use self::{
    page::Page,
    pending::{Begun, Full, Pending, Polled, Taken},
    provider::{Provider, ProviderError},
};
use super::{
    Api,
    extract::{Named, Told, is_media_type},
    json,
    lockout::{self, Failure},
    peer::Origin,
    problem::{Kind, Problem},
    show,
    tokens::draw_secret,
    types::{SignInBegun, SignInPoll, SignInRequest, SignInState, Time},
};
use crate::{
    command::access,
    counters::SignInEnd,
    limits::{
        SIGN_IN_LIFE, SIGN_IN_POLL_INTERVAL, SIGN_IN_REFUSALS_NOTED_MAX, SIGN_IN_REFUSALS_WINDOW,
    },
    rate::{self, site},
    store::{
        values::{Person, Role, SignInRefusal},
        writer::Priority,
    },
};

mod back;
mod carry;
mod page;
mod pending;
mod people;
mod provider;
#[cfg(test)]
pub(super) mod tests;

/// Where a provider sends people back to, behind the API's own address.
pub const CALLBACK: &str = "/v1/sign-ins/callback";
/// Letters of the code that terminal and browser show: consonants, none of which looks like another (RFC 8628).
const CODE_LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
/// Longest word of a provider's own about an error, in characters.
const ERROR_LETTERS_MAX: usize = 200;
/// Longest code or state that is looked at, in bytes. A code with a person's claims in it has some hundreds.
const CODE_BYTES_MAX: usize = 4096;

/// Which people get what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRule {
    /// The group's name, as the provider writes it.
    pub group: String,
    /// What its people may do.
    pub role: Role,
    /// Over whose cases; empty for every tenant.
    pub tenants: Vec<TenantId>,
}

/// The provider, and what its people get.
#[derive(Clone)]
pub struct SignInTerms {
    /// Its address, exactly as it names itself.
    pub issuer: String,
    /// Our name there.
    pub client_id: String,
    /// Our secret there; none for a public client, of which PKCE is all the proof.
    pub client_secret: Option<String>,
    /// Address of this API, as people's browsers reach it.
    pub public_url: String,
    /// What is asked for besides `openid`.
    pub scopes: Vec<String>,
    /// Which claim says the groups.
    pub groups_claim: String,
    /// Which claim says the name; where none does, e-mail address, user name and subject are tried.
    pub name_claim: Option<String>,
    /// What people get, by group; the first that somebody is in decides.
    pub groups: Vec<GroupRule>,
    /// How long they are signed in.
    pub life: Duration,
    /// Roots' certificates (DER) that the provider's must lead to.
    pub roots: Vec<Vec<u8>>,
}

impl std::fmt::Debug for SignInTerms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("SignInTerms");
        shown.field("issuer", &self.issuer).field("client_id", &self.client_id);
        shown.finish_non_exhaustive() // the secret least of all
    }
}

/// The provider, and who signs in just now.
#[derive(Debug)]
pub struct SignIns {
    terms: SignInTerms,
    provider: Arc<Provider>,
    pending: Mutex<Pending>,
    noted: Mutex<Noted>,
}

/// Counts for as long as a refusal does.
type Window = rate::Window<{ SIGN_IN_REFUSALS_WINDOW.as_secs() }>;

/// How many refusals were told to the journal lately, each kind by itself: who is in no group must not be able to have
/// it not say that a link of theirs was disowned.
#[derive(Debug, Default)]
struct Noted {
    no_group: Window,
    disowned: Window,
}

impl SignIns {
    /// Returns that nobody signs in yet. The provider is not asked for anything.
    ///
    /// # Errors
    /// An address is none.
    pub fn new(terms: SignInTerms) -> Result<Self, TermsError> {
        let provider = Provider::new(&terms, format!("{}{CALLBACK}", terms.public_url))?;
        Ok(Self::at(terms, provider))
    }

    /// As [`Self::new`], with a provider that is reached by `carrier`.
    #[cfg(test)]
    fn over(terms: SignInTerms, carrier: Box<dyn carry::Carry>) -> Self {
        let redirect = format!("{}{CALLBACK}", terms.public_url);
        let provider = Provider::over(&terms, redirect, carrier).expect("a test's are addresses");
        Self::at(terms, provider)
    }

    fn at(terms: SignInTerms, provider: Provider) -> Self {
        let (pending, noted) = (Mutex::default(), Mutex::default());
        Self { terms, provider: Arc::new(provider), pending, noted }
    }

    /// Returns whether the journal is to be told of one more refusal.
    fn may_note(&self, reason: SignInRefusal, now: Timestamp) -> bool {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let window = match reason {
            SignInRefusal::NoGroup => &mut noted.no_group,
            SignInRefusal::Disowned => &mut noted.disowned,
        };
        let is_noted = window.value(now) < SIGN_IN_REFUSALS_NOTED_MAX;
        if is_noted {
            window.count(now);
        }
        is_noted
    }

    /// Asks the provider what it says of itself, as a sign-in would; returns where it has people sign in. May block.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn probe(&self, now: Timestamp) -> Result<String, String> {
        self.provider.probe(now).map_err(|error| error.to_string())
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        // A panic elsewhere leaves the map whole: each change of it is one call.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with who signs in, and counts them.
    fn with<T>(&self, api: &Api, change: impl FnOnce(&mut Pending) -> T) -> T {
        let mut pending = self.lock();
        let done = change(&mut pending);
        api.counters.sign_ins_open.set(show::count(pending.len()));
        done
    }
}

/// Returns the routes of this module.
pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(begin))
        .routes(routes!(poll))
        .routes(routes!(callback))
        .routes(routes!(confirm))
}

fn configured(api: &Api) -> Result<&Arc<SignIns>, Problem> {
    api.sign_ins.as_ref().ok_or_else(|| {
        Problem::new(Kind::Conflict, "this coordinator knows no provider that people sign in at")
            .hint("use a token that an admin made for you; [api.oidc] sets a provider up")
    })
}

fn draw_bytes() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

fn draw_code() -> String {
    let letter = || {
        let place = rand::random_range(0..CODE_LETTERS.len());
        char::from(CODE_LETTERS[place])
    };
    let half = || -> String { (0..4).map(|_| letter()).collect() };
    format!("{}-{}", half(), half())
}

/// Begins to sign somebody in. They open `url` in a browser, and compare what it shows with `code`.
#[utoipa::path(
    post, path = "/v1/sign-ins", operation_id = "begin_sign_in", tag = "sign-in", security(),
    request_body = SignInRequest,
    responses((status = 201, description = "What to do next", body = SignInBegun))
)]
async fn begin(
    State(api): State<Api>,
    origin: Origin,
    Told(SignInRequest {}): Told<SignInRequest>,
) -> Result<Response, Problem> {
    let sign_ins = configured(&api)?;
    let now = api.clock.now();
    lockout::check(&api, origin, now)?;
    let at_site = origin.0.map(site);
    sign_ins.with(&api, |pending| pending.room(at_site, now)).map_err(full)?;
    let asked = async {
        let place = Provider::place(Arc::clone(&sign_ins.provider)).await?;
        place.call(move |call| call.question(now)).await
    };
    let question = asked.await.map_err(|error| unavailable(&api, &error))?;
    let (id, secret, code) = (rand::random(), draw_bytes(), draw_code());
    let begun = Begun { site: at_site, from: origin.shown(), at: now, code: code.clone() };
    let place = (begun, question.proof);
    sign_ins
        .with(&api, |pending| pending.begin(id, place, (&secret, &question.state)))
        .map_err(full)?;
    let begun = SignInBegun {
        id: format!("{id:032x}"),
        url: question.url,
        code,
        secret,
        expires_at: Time(now.saturating_add(SIGN_IN_LIFE)),
        expires_in_seconds: u32::try_from(SIGN_IN_LIFE.as_secs()).unwrap_or(u32::MAX),
        poll_seconds: u32::try_from(SIGN_IN_POLL_INTERVAL.as_secs()).unwrap_or(1),
    };
    let mut response = json(&begun)?;
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

fn full(full: Full) -> Problem {
    let detail = match full {
        Full::All => "as many sign in just now as may at once",
        Full::Site => "as many sign in from your address just now as may at once",
    };
    let minutes = SIGN_IN_LIFE.as_secs() / 60;
    Problem::new(Kind::TooManyClients, detail)
        .retry_after(60)
        .hint(format!("try again; whoever does not finish is given up after {minutes} minutes"))
}

/// Logs why the provider is of no help, and returns what the caller is told.
fn unavailable(api: &Api, error: &ProviderError) -> Problem {
    tracing::warn!(%error, "the provider of identities is of no help");
    api.counters.sign_ins.add_one(SignInEnd::Provider);
    let detail = match error {
        ProviderError::Busy => "too many ask the provider of identities just now",
        ProviderError::Unreachable(_) => "the provider of identities does not answer",
        ProviderError::Odd(_) => "the provider of identities answers what is not understood",
        ProviderError::Refused(_) => "the provider of identities refuses what it had given",
        ProviderError::Untrusted(_) => "what the provider of identities says does not hold",
    };
    Problem::new(Kind::ProviderUnavailable, detail).retry_after(30).hint(
        "tokens that are there go on working; try again in a minute, and if it stays so, tell \
         whoever runs the coordinator: its log says why, and `signalbox-coordinator check` asks \
         the provider",
    )
}

/// Says whether somebody has signed in. Their token is told once.
#[utoipa::path(
    post, path = "/v1/sign-ins/{id}/poll", operation_id = "poll_sign_in", tag = "sign-in",
    params(("id" = String, Path, description = "Its public name: 32 hex digits")),
    security(), request_body = SignInPoll,
    responses((status = 200, description = "Where it stands", body = SignInState))
)]
async fn poll(
    State(api): State<Api>,
    origin: Origin,
    Named(id): Named,
    Told(body): Told<SignInPoll>,
) -> Result<Response, Problem> {
    let sign_ins = configured(&api)?;
    let now = api.clock.now();
    lockout::check(&api, origin, now)?;
    let known = u128::from_str_radix(&id, 16).ok().filter(|_| id.len() == 32);
    let polled = known.map(|id| sign_ins.with(&api, |it| it.poll(id, &body.secret, now)));
    let taken = match polled {
        Some(Polled::Admitted(taken)) => taken,
        Some(Polled::Waiting) => return json(&SignInState::Waiting),
        Some(Polled::Refused(why)) => {
            return Err(Problem::new(Kind::SignInRefused, why)
                .hint("ask whoever runs the provider which groups you are in, and your lead"));
        }
        Some(Polled::Unknown) | None => {
            let guess = Failure::new(format!("{id} {}", body.secret).as_bytes());
            lockout::fail(&api, origin, guess, now).await;
            return Err(Problem::new(Kind::NotFound, "there is no such sign-in any more")
                .hint("begin again: it has run out, or its token was told before"));
        }
    };
    let (tell, told) = oneshot::channel();
    let admitting = admit(api.clone(), Arc::clone(sign_ins), *taken, now, tell);
    api.tasks.spawn(admitting.in_current_span());
    told.await.unwrap_or_else(|error| Err(Problem::internal(&error)))
}

/// Makes the token of somebody who was let in, and tells it. Where it was not stored, or nobody waits for it any more,
/// the sign-in is put back: the next poll makes another, and of this one nobody has the secret.
async fn admit(
    api: Api,
    sign_ins: Arc<SignIns>,
    taken: Taken,
    now: Timestamp,
    tell: oneshot::Sender<Result<Response, Problem>>,
) {
    let (secret, admission) = (draw_secret(), taken.admission.clone());
    let kept = secret.clone();
    let write = api
        .store
        .submit(Priority::Urgent, move |staged| access::sign_in(staged, &kept, admission, now));
    let stored = match write.await {
        Ok(submitted) => submitted.await,
        Err(error) => Err(error),
    };
    match stored {
        Ok(token) => {
            api.counters.sign_ins.add_one(SignInEnd::Admitted);
            let token = Box::new(show::token(&token, now));
            let done = SignInState::Done { token, secret };
            if tell.send(json(&done)).is_err() {
                sign_ins.with(&api, |pending| pending.put_back(taken));
            }
        }
        Err(error) => {
            sign_ins.with(&api, |pending| pending.put_back(taken));
            let _is_heard = tell.send(Err(error.into())).is_ok();
        }
    }
}

/// What a provider sends people back with; what else it sends is none of ours.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
struct WayBack {
    /// What the provider tells the person's identity for.
    code: Option<String>,
    /// Which sign-in it belongs to.
    state: Option<String>,
    /// Why there is no code.
    error: Option<String>,
    /// The same for people.
    error_description: Option<String>,
    /// Who sends them (RFC 9207).
    iss: Option<String>,
}

/// Where the provider sends people back to. A page asks them whether it is their terminal that waits.
#[utoipa::path(
    get, path = "/v1/sign-ins/callback", operation_id = "sign_in_callback", tag = "sign-in",
    security(), params(WayBack),
    responses(
        (
            status = 200, description = "A page that asks",
            body = String, content_type = "text/html"
        ),
        (
            status = 400, description = "A page",
            body = String, content_type = "text/html"
        ),
        (
            status = 403, description = "A page: not let in",
            body = String, content_type = "text/html"
        ),
        (
            status = 409, description = "A page: no provider is known here",
            body = String, content_type = "text/html"
        ),
        (
            status = 502, description = "A page: the provider is of no help",
            body = String, content_type = "text/html"
        ),
    )
)]
async fn callback(
    State(api): State<Api>,
    origin: Origin,
    way_back: Result<Query<WayBack>, QueryRejection>,
) -> Response {
    let page = match (&api.sign_ins, way_back) {
        (None, _) => nobody_signs_in(),
        (Some(_), Err(_)) => odd_way_back(),
        (Some(sign_ins), Ok(Query(way_back))) => {
            back::come_back(&api, sign_ins, origin, way_back).await
        }
    };
    page.into_response()
}

fn nobody_signs_in() -> Page {
    Page::new(StatusCode::CONFLICT, "Nobody signs in here")
        .say("This coordinator knows no provider that people sign in at.")
}

fn odd_way_back() -> Page {
    Page::new(StatusCode::BAD_REQUEST, "Something is missing")
        .say("Your browser did not bring what the provider of identities should have given it.")
        .say("Run signalbox login again, and open the address that it shows.")
}

fn unknown_sign_in() -> Page {
    let minutes = SIGN_IN_LIFE.as_secs() / 60;
    Page::new(StatusCode::BAD_REQUEST, "This sign-in is over")
        .say(&format!("It was used before, or was begun more than {minutes} minutes ago."))
        .say("Run signalbox login again, and open the address that it shows.")
}

/// A person's answer to the page that asks.
#[utoipa::path(
    post, path = "/v1/sign-ins/confirm", operation_id = "confirm_sign_in", tag = "sign-in",
    security(),
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses(
        (
            status = 200, description = "A page: done",
            body = String, content_type = "text/html"
        ),
        (
            status = 400, description = "A page",
            body = String, content_type = "text/html"
        ),
        (
            status = 409, description = "A page: no provider is known here",
            body = String, content_type = "text/html"
        ),
        (
            status = 413, description = "A page: too large",
            body = String, content_type = "text/html"
        ),
        (
            status = 415, description = "A page: no form",
            body = String, content_type = "text/html"
        ),
    )
)]
async fn confirm(
    State(api): State<Api>,
    headers: HeaderMap,
    form: Result<Bytes, BytesRejection>,
) -> Response {
    let form = match form {
        Ok(form) => form,
        Err(rejection) => {
            return Page::new(rejection.status(), "This is no answer of yours").into_response();
        }
    };
    let Some(sign_ins) = &api.sign_ins else { return nobody_signs_in().into_response() };
    if !is_media_type(&headers, "application/x-www-form-urlencoded") {
        return Page::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "This is no form").into_response();
    }
    let now = api.clock.now();
    let field = |wanted: &str| {
        let mut fields = form_urlencoded::parse(&form);
        fields.find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned())
    };
    let is_theirs = field("answer").as_deref() == Some("yes");
    let confirm = field("confirm").unwrap_or_default();
    let answered = sign_ins.with(&api, |pending| pending.answer(&confirm, is_theirs, now));
    let page = match answered {
        None => unknown_sign_in(),
        Some((admission, _)) if is_theirs => {
            let name = admission.name;
            Page::new(StatusCode::OK, "Done")
                .say(&format!("{name}, go back to the terminal: it has you signed in by now."))
        }
        Some((admission, begun)) => {
            let from = begun.from.clone();
            let (whom, reason) = (admission.person, SignInRefusal::Disowned);
            note_refusal(&api, sign_ins, whom, reason, begun.from).await;
            Page::new(StatusCode::OK, "Nobody was let in")
                .say(&format!("Whoever asked for it, from {from}, got nothing."))
                .say("Tell your lead who sent you the link.")
        }
    };
    page.into_response()
}

/// Tells the journal that somebody has shown who they are and gets no token, unless it was told of many.
async fn note_refusal(
    api: &Api,
    sign_ins: &SignIns,
    person: Person,
    reason: SignInRefusal,
    from: String,
) {
    api.counters.sign_ins.add_one(SignInEnd::Refused);
    let now = api.clock.now();
    if !sign_ins.may_note(reason, now) {
        return;
    }
    tracing::warn!(subject = person.subject, reason = reason.as_str(), "a sign-in was refused");
    let note = api
        .store
        .submit(Priority::Normal, move |staged| access::refuse(staged, person, reason, from, now));
    let noted = match note.await {
        Ok(submitted) => submitted.await,
        Err(error) => Err(error),
    };
    if let Err(error) = noted {
        tracing::warn!(%error, "the journal does not have a refused sign-in");
    }
}
