//! Making, listing and revoking tokens.

use std::{io::Write as _, path::Path};

use coordinator::api::types::{JoinToken, NewJoinToken, NewToken, Token};

use super::Desk;
use crate::{
    args::{RoleArg, TokenCreateArgs, TokenListArgs},
    client::{
        Ask,
        path::{Query, escape},
    },
    failure::{About, Failure},
    files,
    render::admin,
    text::{instant, safe},
};

/// HTTP status of what is not there.
const NOT_FOUND: u16 = 404;
/// How many tokens are listed where nothing was said.
const TOKENS_LISTED: usize = 500;

/// Makes a token and writes its secret to a new file, or makes a join token and prints it.
pub(super) fn create(args: &TokenCreateArgs, desk: &mut Desk<'_>) -> Result<(), Failure> {
    let (Some(holder), Some(role), Some(out)) = (&args.holder, args.role, &args.out) else {
        return invite(args, desk);
    };
    // First the file: a secret that is shown once needs its place before it is made.
    let mut file =
        files::create_private(out).map_err(|error| files::failure("cannot make", out, &error))?;
    let done = request(&body(holder, role, args), out, &mut file, desk);
    if done.is_err() {
        drop(file);
        // It holds nothing, or not all of a secret.
        let _removed = std::fs::remove_file(out).is_ok();
    }
    done
}

/// Makes a join token and prints it: a customer is given it, by mail or otherwise.
fn invite(args: &TokenCreateArgs, desk: &mut Desk<'_>) -> Result<(), Failure> {
    let [tenant] = args.tenant.as_slice() else {
        return Err(Failure::Usage {
            what: format!("a join token is for one tenant, and {} were named", args.tenant.len()),
            hint: "make one for each".to_owned(),
        });
    };
    let ask = Ask::post("/v1/join-tokens", &invitation(tenant, args))
        .about(About::Tenant(tenant.clone()));
    let (answer, made) = desk.client.read::<NewJoinToken>(&ask)?;
    let Some(text) = made.text else {
        let id = safe(&made.token.id);
        return Err(Failure::File {
            what: format!("join token {id} was made, but the connection broke before it came"),
            cause: format!("signalbox token revoke {id}, and make another"),
        });
    };
    desk.print(&answer, |_, _| admin::invited(&made.token, &text))
}

fn invitation(tenant: &str, args: &TokenCreateArgs) -> serde_json::Value {
    let mut body = serde_json::json!({ "tenant": tenant });
    if let Some(uses) = args.uses {
        body["uses"] = uses.into();
    }
    if let Some(hours) = args.expires {
        body["expires_in_hours"] = hours.into();
    }
    body
}

fn request(
    body: &serde_json::Value,
    out: &Path,
    file: &mut std::fs::File,
    desk: &mut Desk<'_>,
) -> Result<(), Failure> {
    let ask = Ask::post("/v1/tokens", body).about(About::Token);
    let (_, made) = desk.client.read::<NewToken>(&ask)?;
    let id = safe(&made.token.id);
    let lost = |cause: String| Failure::File {
        what: format!("token {id} was made, but its secret is lost: {cause}"),
        cause: format!("signalbox token revoke {id}, and make another"),
    };
    let secret =
        made.secret.ok_or_else(|| lost("the connection broke before it came".to_owned()))?;
    file.write_all(format!("{secret}\n").as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|error| lost(error.to_string()))?;
    if desk.output.is_json() {
        // The secret stays in the file: what is printed ends up in logs.
        let token = serde_json::json!({ "token": made.token });
        return desk.output.json(&token.to_string());
    }
    let (holder, until) = (safe(&made.token.holder), instant(made.token.expires_at));
    let out = out.display();
    desk.output.text(&format!("token {id} of {holder}, good until {until}, is in {out}"))
}

fn body(holder: &str, role: RoleArg, args: &TokenCreateArgs) -> serde_json::Value {
    let role = match role {
        RoleArg::Customer => "customer",
        RoleArg::Auditor => "auditor",
        RoleArg::Analyst => "analyst",
        RoleArg::Lead => "lead",
        RoleArg::Admin => "admin",
    };
    let mut body = serde_json::json!({ "holder": holder, "role": role });
    if !args.tenant.is_empty() {
        body["tenants"] = args.tenant.clone().into();
    }
    if let Some(days) = args.days {
        body["expires_in_days"] = days.into();
    }
    body
}

/// Lists tokens, or join tokens.
pub(super) fn list(args: &TokenListArgs, desk: &mut Desk<'_>) -> Result<(), Failure> {
    let TokenListArgs { join, paging } = args;
    let query = Query::default();
    if *join {
        let path = "/v1/join-tokens";
        let list = desk.client.list(path, &query, paging, TOKENS_LISTED, &About::Token)?;
        return desk.print_list(
            &list,
            "There is no join token.",
            |items: &[JoinToken], columns| admin::join_tokens(items, columns),
        );
    }
    let list = desk.client.list("/v1/tokens", &query, paging, TOKENS_LISTED, &About::Token)?;
    desk.print_list(&list, "There is no token.", |items: &[Token], columns| {
        admin::tokens(items, columns)
    })
}

/// Makes a token worthless.
pub(super) fn revoke(token: &str, desk: &mut Desk<'_>) -> Result<(), Failure> {
    let ask = Ask::delete(format!("/v1/tokens/{}", escape(token))).about(About::Token);
    let (answer, token) = match desk.client.read::<Token>(&ask) {
        Err(Failure::Problem { problem, .. }) if problem.status == NOT_FOUND => {
            return revoke_join(token, desk);
        }
        read => read?,
    };
    desk.print(&answer, |_, _| admin::revoked(&token))
}

fn revoke_join(token: &str, desk: &mut Desk<'_>) -> Result<(), Failure> {
    let ask = Ask::delete(format!("/v1/join-tokens/{}", escape(token))).about(About::Token);
    let (answer, token) = desk.client.read::<JoinToken>(&ask)?;
    desk.print(&answer, |_, _| admin::join_revoked(&token))
}

#[cfg(test)]
mod tests {
    use coordinator::api::types::{JoinTokenRequest, TokenRequest};

    use super::*;

    #[test]
    fn what_is_asked_for_is_what_the_coordinator_understands() {
        for role in
            [RoleArg::Customer, RoleArg::Auditor, RoleArg::Analyst, RoleArg::Lead, RoleArg::Admin]
        {
            let args = TokenCreateArgs { days: Some(30), ..args("acme") };
            let asked: TokenRequest = serde_json::from_value(body("ana", role, &args)).unwrap();
            assert_eq!(asked.expires_in_days, Some(30));
            let everywhere = TokenCreateArgs { tenant: Vec::new(), days: None, ..args };
            let body = body("ana", role, &everywhere);
            let asked: TokenRequest = serde_json::from_value(body).unwrap();
            assert_eq!((asked.tenants, asked.expires_in_days), (None, None));
        }
    }

    fn args(tenant: &str) -> TokenCreateArgs {
        TokenCreateArgs {
            holder: None,
            role: None,
            tenant: vec![tenant.to_owned()],
            days: None,
            out: None,
            uses: None,
            expires: None,
        }
    }

    #[test]
    fn an_invitation_is_what_the_coordinator_understands() {
        let asked: JoinTokenRequest =
            serde_json::from_value(invitation("acme", &args("acme"))).unwrap();
        assert_eq!((asked.uses, asked.expires_in_hours), (None, None));
        let many = TokenCreateArgs { uses: Some(200), expires: Some(720), ..args("acme") };
        let asked: JoinTokenRequest = serde_json::from_value(invitation("acme", &many)).unwrap();
        assert_eq!((asked.uses, asked.expires_in_hours), (Some(200), Some(720)));
    }
}
