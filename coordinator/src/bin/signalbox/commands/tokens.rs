//! Making, listing and revoking tokens.

use std::io::Write as _;

use coordinator::api::types::{NewToken, Token};

use super::Desk;
use crate::{
    args::{Paging, RoleArg, TokenCreateArgs},
    client::{
        Ask,
        path::{Query, escape},
    },
    failure::{About, Failure},
    files,
    render::admin,
    text::{instant, safe},
};

/// How many tokens are listed where nothing was said.
const TOKENS_LISTED: usize = 500;

/// Makes a token and writes its secret to a new file.
pub(super) fn create(args: &TokenCreateArgs, desk: &mut Desk<'_>) -> Result<(), Failure> {
    // First the file: a secret that is shown once needs its place before it is made.
    let mut file = files::create_private(&args.out)
        .map_err(|error| files::failure("cannot make", &args.out, &error))?;
    let done = request(args, &mut file, desk);
    if done.is_err() {
        drop(file);
        // It holds nothing, or not all of a secret.
        let _removed = std::fs::remove_file(&args.out).is_ok();
    }
    done
}

fn request(
    args: &TokenCreateArgs,
    file: &mut std::fs::File,
    desk: &mut Desk<'_>,
) -> Result<(), Failure> {
    let ask = Ask::post("/v1/tokens", &body(args)).about(About::Token);
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
    let out = args.out.display();
    desk.output.text(&format!("token {id} of {holder}, good until {until}, is in {out}"))
}

fn body(args: &TokenCreateArgs) -> serde_json::Value {
    let role = match args.role {
        RoleArg::Customer => "customer",
        RoleArg::Auditor => "auditor",
        RoleArg::Analyst => "analyst",
        RoleArg::Lead => "lead",
        RoleArg::Admin => "admin",
    };
    let mut body = serde_json::json!({ "holder": args.holder, "role": role });
    if !args.tenant.is_empty() {
        body["tenants"] = args.tenant.clone().into();
    }
    if let Some(days) = args.days {
        body["expires_in_days"] = days.into();
    }
    body
}

/// Lists tokens.
pub(super) fn list(paging: &Paging, desk: &mut Desk<'_>) -> Result<(), Failure> {
    let query = Query::default();
    let list = desk.client.list("/v1/tokens", &query, paging, TOKENS_LISTED, &About::Token)?;
    desk.print_list(&list, "There is no token.", |items: &[Token], columns| {
        admin::tokens(items, columns)
    })
}

/// Makes a token worthless.
pub(super) fn revoke(token: &str, desk: &mut Desk<'_>) -> Result<(), Failure> {
    let ask = Ask::delete(format!("/v1/tokens/{}", escape(token))).about(About::Token);
    let (answer, token) = desk.client.read::<Token>(&ask)?;
    desk.print(&answer, |_, _| admin::revoked(&token))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use coordinator::api::types::TokenRequest;

    use super::*;

    #[test]
    fn what_is_asked_for_is_what_the_coordinator_understands() {
        for role in
            [RoleArg::Customer, RoleArg::Auditor, RoleArg::Analyst, RoleArg::Lead, RoleArg::Admin]
        {
            let (holder, out) = ("ana".to_owned(), PathBuf::new());
            let tenant = vec!["acme".to_owned()];
            let args = TokenCreateArgs { holder, role, tenant, days: Some(30), out };
            let asked: TokenRequest = serde_json::from_value(body(&args)).unwrap();
            assert_eq!(asked.expires_in_days, Some(30));
            let everywhere = TokenCreateArgs { tenant: Vec::new(), days: None, ..args };
            let asked: TokenRequest = serde_json::from_value(body(&everywhere)).unwrap();
            assert_eq!((asked.tenants, asked.expires_in_days), (None, None));
        }
    }
}
