//! What becomes of somebody whose browser comes back from the provider: they are asked whether it is their terminal
//! that waits, or told why they are not let in.
//!
//! All behind the look at what the browser brings runs in a task of its own, because that is good for once: a browser
//! that goes away must not leave a sign-in that nobody can finish. There are no more of these tasks than sign-ins, and
//! each has an end, since waiting for a place at the provider and asking it do.

use std::{borrow::Cow, sync::Arc};

use axum::http::StatusCode;
use shared::{ids::TenantId, time::Timestamp};
use tokio::sync::oneshot;
use tracing::Instrument as _;

use super::{
    CODE_BYTES_MAX, ERROR_LETTERS_MAX, SignInTerms, SignIns, WayBack, draw_bytes, note_refusal,
    page::{Escaped, Page},
    pending::{Begun, SignInId},
    people::{self, Verdict},
    provider::{Proof, Provider, ProviderError, Shown},
    unavailable, unknown_sign_in,
};
use crate::{
    api::{Api, peer::Origin, problem::role_name},
    command::access::Admission,
    counters::SignInEnd,
    limits::PROVIDER_WAIT_MAX,
    rate::site,
    store::values::SignInRefusal,
};

/// Somebody who has come back.
struct Back {
    api: Api,
    sign_ins: Arc<SignIns>,
    id: SignInId,
    begun: Begun,
    /// Where the browser is.
    browser: Origin,
    now: Timestamp,
}

/// Takes somebody who comes back from the provider.
///
/// # Cancel safety
/// Dropped early, what was begun goes on to its end, and the sign-in is over for whoever polls.
pub(super) async fn come_back(
    api: &Api,
    sign_ins: &Arc<SignIns>,
    browser: Origin,
    way_back: WayBack,
) -> Page {
    let now = api.clock.now();
    let state = way_back.state.as_deref().filter(|state| state.len() <= CODE_BYTES_MAX);
    let redeemed = state.and_then(|state| sign_ins.with(api, |it| it.redeem(state, now)));
    let Some((id, proof, begun)) = redeemed else { return unknown_sign_in() };
    let (whose, sign_ins) = (api.clone(), Arc::clone(sign_ins));
    let back = Back { api: whose, sign_ins, id, begun, browser, now };
    let (tell, told) = oneshot::channel();
    let task = async move {
        let page = back.page(way_back, proof).await;
        if tell.send(page).is_err() {
            back.sign_ins.with(&back.api, |pending| pending.abandon(back.id));
        }
    };
    api.tasks.spawn(task.in_current_span());
    told.await.unwrap_or_else(|_gone| {
        Page::new(StatusCode::INTERNAL_SERVER_ERROR, "You are not signed in")
            .say("Something is wrong with the coordinator. Its log says more.")
    })
}

impl Back {
    /// Returns what the person is to see.
    async fn page(&self, way_back: WayBack, proof: Proof) -> Page {
        let code = match self.code(way_back) {
            Ok(code) => code,
            Err(page) => return *page,
        };
        match self.shown(code, proof).await {
            Ok(shown) => self.decide(&shown).await,
            Err(page) => *page,
        }
    }

    fn refuse(&self, why: String) {
        self.sign_ins.with(&self.api, |pending| pending.refuse(self.id, why));
    }

    /// Returns the code that the browser brings, or the page for one that brings none.
    fn code(&self, way_back: WayBack) -> Result<String, Box<Page>> {
        let WayBack { code, error, error_description, iss, state: _ } = way_back;
        let is_ours = iss.is_none_or(|iss| iss == self.sign_ins.provider.issuer());
        let code = code.filter(|code| code.len() <= CODE_BYTES_MAX && error.is_none() && is_ours);
        code.ok_or_else(|| {
            let said = error_description.or(error);
            let said = said.map_or(Cow::Borrowed("it sent no code"), |text| {
                let letters = text.chars().filter(|c| !c.is_control());
                Cow::Owned(letters.take(ERROR_LETTERS_MAX).collect())
            });
            self.api.counters.sign_ins.add_one(SignInEnd::Refused);
            self.refuse(format!("the provider of identities did not sign you in: {said}"));
            let page = Page::new(StatusCode::FORBIDDEN, "You are not signed in")
                .say("The provider of identities did not sign you in. It says:");
            Box::new(page.say(&said))
        })
    }

    /// Returns what the provider says of the person, or the page for when it is of no help.
    async fn shown(&self, code: String, proof: Proof) -> Result<Shown, Box<Page>> {
        let Ok(place) = Provider::place(Arc::clone(&self.sign_ins.provider)).await else {
            // Nothing was asked yet, so what the browser brought is still good.
            self.sign_ins.with(&self.api, |pending| pending.resume(self.id, proof));
            let seconds = u32::try_from(PROVIDER_WAIT_MAX.as_secs()).unwrap_or(1);
            let page = Page::new(StatusCode::BAD_GATEWAY, "Too many sign in just now")
                .say("You are not signed in yet: reload this page in a moment.")
                .retry_after(seconds);
            return Err(Box::new(page));
        };
        let (terms, now) = (self.sign_ins.terms.clone(), self.now);
        let shown = place
            .call(move |call| {
                call.redeem(code, proof, |claims| people::tells_enough(&terms, claims), now)
            })
            .await;
        shown.map_err(|error: ProviderError| {
            let problem = unavailable(&self.api, &error);
            let detail = problem.details().detail.clone();
            self.refuse(detail.clone());
            let page = Page::new(StatusCode::BAD_GATEWAY, "You are not signed in")
                .say(&format!("It could not be found out who you are: {detail}."))
                .say("Try again in a minute. Tokens that are there go on working.");
            Box::new(page)
        })
    }

    /// Returns whether the browser is at another site than the terminal, as far as that can be told.
    fn is_elsewhere(&self) -> bool {
        let sites = self.begun.site.zip(self.browser.0.map(site));
        sites.is_some_and(|(terminal, browser)| terminal != browser)
    }

    /// Decides what the person gets.
    async fn decide(&self, shown: &Shown) -> Page {
        let Self { api, sign_ins, begun, .. } = self;
        let issuer = sign_ins.provider.issuer();
        let addresses = (begun.from.clone(), self.browser.shown());
        match people::decide(&sign_ins.terms, issuer, shown, addresses) {
            Verdict::Admitted(admission) => {
                let confirm = draw_bytes();
                let page = ask(&admission, begun, self.is_elsewhere(), &confirm);
                sign_ins.with(api, |pending| pending.ask(self.id, &confirm, admission));
                page
            }
            Verdict::NoGroup(person, groups) => {
                let whom = person.name.clone().unwrap_or_else(|| person.subject.clone());
                self.refuse(format!("{whom} is in none of the groups that may sign in here"));
                let (reason, from) = (SignInRefusal::NoGroup, begun.from.clone());
                note_refusal(api, sign_ins, person, reason, from).await;
                no_group(&sign_ins.terms, &whom, groups)
            }
            Verdict::Unusable(why) => {
                api.counters.sign_ins.add_one(SignInEnd::Refused);
                let says = "what the provider of identities says of you cannot be used";
                self.refuse(format!("{says}: {why}"));
                Page::new(StatusCode::FORBIDDEN, "You are not signed in").say(why)
            }
        }
    }
}

fn no_group(terms: &SignInTerms, whom: &str, groups: usize) -> Page {
    let told = match groups {
        0 => format!("The provider named no group of yours (claim {:?}).", terms.groups_claim),
        _ => format!("The provider named {groups} groups of yours."),
    };
    Page::new(StatusCode::FORBIDDEN, "You are not let in")
        .say(&format!("{whom}, you are in none of the groups that may sign in here. {told}"))
        .say("Ask whoever runs the provider to put you into one.")
}

/// Asks whether it is the person's own terminal that waits. Where that is elsewhere, a warning comes first, and No.
fn ask(admission: &Admission, begun: &Begun, is_elsewhere: bool, confirm: &str) -> Page {
    let Admission { person, name, role, tenants, browser, .. } = admission;
    let called = person.name.as_deref().unwrap_or(name);
    let over = match tenants.as_slice() {
        [] => "every tenant".to_owned(),
        tenants => tenants.iter().map(TenantId::as_str).collect::<Vec<_>>().join(", "),
    };
    let (role, confirm) = (role_name(*role), Escaped::new(confirm));
    let Begun { from, at, code, .. } = begun;
    let mut page = Page::new(StatusCode::OK, "Is this your terminal?");
    let yes = "<button name=\"answer\" value=\"yes\">Yes, sign me in there</button>";
    let no = "<button name=\"answer\" value=\"no\">No, this is not mine</button>";
    let mut buttons = [yes, no];
    if is_elsewhere {
        buttons.reverse();
        page = page
            .html("<p><strong>The terminal is not where you are.</strong></p>\n")
            .say(&format!("The terminal is at {from}, your browser at {browser}."))
            .say(
                "That is so when you work on a machine elsewhere, and when somebody sent you a \
                 link to be let in in your place. Say yes only if you ran signalbox login \
                 yourself, just now.",
            );
    }
    page.say(&format!("You are {called} ({name}), {role} for {over}."))
        .say(&format!(
            "signalbox login was run at {at}, from {from}. The terminal must show this code:"
        ))
        .html(&format!("<p><code>{}</code></p>\n", Escaped::new(code)))
        .say(
            "If somebody sent you the link, with this code or without, or the code is another, \
             say no: you would let them in.",
        )
        .html(&format!(
            "<form method=\"post\" action=\"/v1/sign-ins/confirm\">\
             <input type=\"hidden\" name=\"confirm\" value=\"{confirm}\">{}</form>\n",
            buttons.concat()
        ))
}
