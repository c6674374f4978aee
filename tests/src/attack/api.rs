//! Every operation of the API, asked for another tenant's data by everybody who may not have them.
//!
//! The requests are made from the OpenAPI document that the coordinator serves. Each is sent once by an administrator
//! of all tenants, too, reads first and changes last: if it is well-formed for them, a refusal has the right reason.

mod requests;
mod victim;

use std::{collections::HashMap, io::Read as _, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use coordinator::api::tokens::draw_secret;
use serde_json::{Value, json};
use ureq::{
    http::{self, header},
    tls::{Certificate, RootCerts, TlsConfig},
};

use self::{
    requests::{Operation, Request, operations},
    victim::{ADDRESS, HOST, RECORD, Victim, prepare},
};
use super::{
    Attempt, Suite,
    arena::{Arena, NEIGHBOUR, VICTIM, new_agent},
};

const ROLES: [&str; 5] = ["customer", "auditor", "analyst", "lead", "admin"];
/// Largest answer that is looked at.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// How long an answer that does not end is read.
const STREAM_TIMEOUT: Duration = Duration::from_millis(300);
const TIMEOUT: Duration = Duration::from_secs(30);
/// Pages of one item that are turned over.
const PAGES_MAX: usize = 80;
/// Classes of answers that are refusals.
const REFUSALS: [&str; 2] = [
    "signalbox_api_requests_total{class=\"denied\"}",
    "signalbox_api_requests_total{class=\"refused\"}",
];

/// A client of the API.
pub(super) struct Client {
    agent: ureq::Agent,
    base: String,
}

/// What is answered.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) text: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }
}

impl Client {
    pub(super) fn new(arena: &Arena) -> Result<Self> {
        let authority = arena.cluster.authority();
        let root = Certificate::from_pem(authority.root_pem().as_bytes())?;
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::from(vec![root]))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let agent = ureq::Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .max_redirects(0)
            // A connection over which a request was refused before its body was read is closed.
            .max_idle_connections(0)
            .build()
            .new_agent();
        let port = arena.cluster.coordinator.api.port();
        Ok(Self { agent, base: format!("https://localhost:{port}") })
    }

    /// Asks for something; without a token where that is empty.
    pub(super) fn ask(
        &self,
        method: &str,
        path: &str,
        token: &str,
        body: Option<&Value>,
    ) -> Result<Answer> {
        let request = Request { path: path.to_owned(), headers: Vec::new(), body: body.cloned() };
        self.send(method, &request, token, TIMEOUT)
    }

    /// Sends a request and reads its answer for so long.
    fn send(
        &self,
        method: &str,
        request: &Request,
        token: &str,
        timeout: Duration,
    ) -> Result<Answer> {
        let mut sent = http::Request::builder().method(method);
        sent = sent.uri(format!("{}{}", self.base, request.path));
        for (name, value) in &request.headers {
            sent = sent.header(name, value);
        }
        if !token.is_empty() {
            sent = sent.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let answered = match &request.body {
            Some(body) => {
                sent = sent.header(header::CONTENT_TYPE, "application/json");
                let sent = self.agent.configure_request(sent.body(body.to_string())?);
                let sent = sent.timeout_recv_body(Some(timeout));
                self.agent.run(sent.timeout_recv_response(Some(TIMEOUT)).build())
            }
            None => {
                let sent = self.agent.configure_request(sent.body(())?);
                let sent = sent.timeout_recv_body(Some(timeout));
                self.agent.run(sent.timeout_recv_response(Some(TIMEOUT)).build())
            }
        };
        let mut answered = answered.with_context(|| format!("{method} {}", request.path))?;
        let (status, mut bytes) = (answered.status().as_u16(), Vec::new());
        let mut reader = answered.body_mut().as_reader();
        let mut piece = vec![0; 64 << 10];
        // What does not end is over when its time is.
        while let Ok(len @ 1..) = reader.read(&mut piece) {
            bytes.extend_from_slice(&piece[..len]);
            if bytes.len() > ANSWER_BYTES_MAX {
                break;
            }
        }
        Ok(Answer { status, text: String::from_utf8_lossy(&bytes).into_owned() })
    }
}

/// Somebody with a token, or without a good one.
struct Caller {
    name: String,
    token: String,
    has_token: bool,
}

/// What is tried, and by whom.
struct Attack<'a> {
    client: Client,
    admin: String,
    document: Value,
    operations: Vec<Operation>,
    /// Of each operation.
    requests: Vec<Vec<Request>>,
    callers: Vec<Caller>,
    victim: Victim,
    arena: &'a Arena,
}

/// What somebody was answered to each request of an operation.
struct Tried {
    operation: usize,
    caller: String,
    has_token: bool,
    answers: Vec<(Request, Answer)>,
    /// How many refusals the coordinator counted.
    counted: u64,
}

pub(super) fn run(suite: &mut Suite<'_>) -> Result<()> {
    let attack = Attack::new(suite.arena)?;
    let before = attack.untouched()?;
    let mut controls = HashMap::new();
    attack.control(|operation| operation.is_read(), &mut controls)?;
    let mut tried = attack.attempts(|operation| !operation.ends_token())?;
    let mut others = attack.revocations()?;
    let after = attack.untouched()?;
    others.extend(attack.pages()?);
    others.push(attack.replay()?);
    others.push(attack.markers(&controls));
    others.push(held("all of it, as the victim sees it", "nothing of it has changed", {
        if before == after { Ok(()) } else { Err(format!("{before} became {after}")) }
    }));
    tried.extend(attack.attempts(Operation::ends_token)?);
    attack.control(|operation| !operation.is_read() && !operation.ends_token(), &mut controls)?;
    attack.control(Operation::ends_token, &mut controls)?;
    for tried in &tried {
        suite.note(attack.judge(tried, &controls));
    }
    others.into_iter().for_each(|attempt| suite.note(attempt));
    Ok(())
}

/// Returns an attempt that is no refusal.
fn held(name: &str, must: &str, held: Result<(), String>) -> Attempt {
    Attempt {
        name: name.to_owned(),
        must: must.to_owned(),
        is_wrong: held.is_err(),
        happened: held.map_or_else(|error| error, |()| "so it is".to_owned()),
        counted: Vec::new(),
        is_refusal: false,
    }
}

impl<'a> Attack<'a> {
    fn new(arena: &'a Arena) -> Result<Self> {
        let (client, admin) = (Client::new(arena)?, arena.cluster.coordinator.admin_token()?);
        let document = client.ask("GET", "/v1/openapi.json", "", None)?.json();
        let operations = operations(&document)?;
        let victim = prepare(arena, &client, &admin)?;
        let make = |holder: &str, body: Value| {
            let made = client.ask("POST", "/v1/tokens", &admin, Some(&body))?;
            let secret = made.json()["secret"].as_str().map(str::to_owned);
            let caller = |token| Caller { name: holder.to_owned(), token, has_token: true };
            Ok::<_, anyhow::Error>((caller(secret.context("a secret")?), made.json()))
        };
        let mut callers = Vec::new();
        for role in ROLES {
            let holder = format!("{role}-of-acme");
            let body = json!({ "holder": holder, "role": role, "tenants": [NEIGHBOUR] });
            callers.push(make(&format!("{role} of acme"), body)?.0);
        }
        let body = json!({ "holder": "gone", "role": "admin" });
        let (revoked, made) = make("a revoked admin's token", body)?;
        let id = made["token"]["id"].as_str().or_else(|| made["id"].as_str()).context("an id")?;
        client.ask("DELETE", &format!("/v1/tokens/{id}"), &admin, None)?;
        let without = [
            ("nobody", String::new()),
            ("garbage for a token", "hello".to_owned()),
            ("a token that was never made", draw_secret()),
            ("an expired admin's token", arena.expired.api.clone()),
            ("a revoked admin's token", revoked.token),
        ];
        let caller = |(name, token): (&str, String)| Caller {
            name: name.to_owned(),
            token,
            has_token: false,
        };
        callers.extend(without.into_iter().map(caller));
        let requests = Vec::new();
        let mut attack =
            Self { client, admin, document, operations, requests, callers, victim, arena };
        let requests = attack.operations.iter().map(|operation| attack.requests(operation));
        attack.requests = requests.collect::<Result<_>>()?;
        Ok(attack)
    }

    fn send(&self, operation: &Operation, request: &Request, token: &str) -> Result<Answer> {
        let timeout = if operation.is_stream { STREAM_TIMEOUT } else { TIMEOUT };
        self.client.send(&operation.method, request, token, timeout)
    }

    /// Returns an operation's requests, those with cursors of an administrator's pages included.
    fn requests(&self, operation: &Operation) -> Result<Vec<Request>> {
        let known = &self.victim.known;
        let mut requests = operation.requests(&self.document, known);
        if operation.is_list() {
            for page in operation.first_pages(&self.document, known) {
                let answer = self.send(operation, &page, &self.admin)?.json();
                if let Some(cursor) = answer["next"].as_str() {
                    requests.push(page.with("cursor", cursor));
                }
            }
        }
        Ok(requests)
    }

    /// Sends the requests of some operations as an administrator of all tenants.
    fn control(
        &self,
        is_wanted: impl Fn(&Operation) -> bool,
        controls: &mut HashMap<String, Answer>,
    ) -> Result<()> {
        let all = self.operations.iter().zip(&self.requests);
        for (operation, requests) in all.filter(|(operation, _)| is_wanted(operation)) {
            for request in requests {
                let answer = self.send(operation, request, &self.admin)?;
                controls.insert(key(operation, request), answer);
            }
        }
        Ok(())
    }

    fn refusals(&self) -> Result<u64> {
        let numbers = self.arena.numbers()?;
        Ok(REFUSALS.iter().map(|name| numbers.of(name)).sum())
    }

    /// Has everybody try some operations.
    fn attempts(&self, is_wanted: impl Fn(&Operation) -> bool) -> Result<Vec<Tried>> {
        let mut tried = Vec::new();
        for (number, operation) in self.operations.iter().enumerate() {
            let is_tried = !operation.is_open && is_wanted(operation);
            for caller in self.callers.iter().filter(|_| is_tried) {
                tried.push(self.attempt(number, operation, caller)?);
            }
        }
        Ok(tried)
    }

    fn attempt(&self, number: usize, operation: &Operation, caller: &Caller) -> Result<Tried> {
        let before = self.refusals()?;
        let mut answers = Vec::new();
        for request in &self.requests[number] {
            let answer = self.send(operation, request, &caller.token)?;
            answers.push((request.clone(), answer));
        }
        let counted = self.refusals()? - before;
        let (caller, has_token) = (caller.name.clone(), caller.has_token);
        Ok(Tried { operation: number, caller, has_token, answers, counted })
    }

    /// Says whether nothing of the victim's came to light, for the right reason, and was counted where it was refused.
    fn judge(&self, tried: &Tried, controls: &HashMap<String, Answer>) -> Attempt {
        let operation = &self.operations[tried.operation];
        let mut problems = Vec::new();
        let (mut refused, mut well_formed) = (0, 0);
        for (request, answer) in &tried.answers {
            let control = controls.get(&key(operation, request)).map_or(0, |it| it.status);
            let is_well_formed = !matches!(control, 0 | 400 | 401 | 403 | 404 | 422);
            well_formed += usize::from(is_well_formed);
            refused += u64::from(answer.status >= 400);
            if let Err(problem) = self.look(request, answer, control, tried.has_token) {
                problems.push(format!("{} {:?}: {problem}", request.path, request.body));
            }
        }
        if well_formed == 0 {
            problems.push("no request is well-formed for an administrator of all".to_owned());
        }
        if tried.counted != refused {
            problems.push(format!("{refused} were refused, {} counted", tried.counted));
        }
        let statuses: Vec<u16> = tried.answers.iter().map(|(_, answer)| answer.status).collect();
        let happened = format!("{} requests: {statuses:?}", statuses.len());
        Attempt {
            name: format!("{} as {}", operation.name(), tried.caller),
            must: if tried.has_token {
                "it is refused, or answered without a trace of globex".to_owned()
            } else {
                "it is refused: 401".to_owned()
            },
            happened: if problems.is_empty() { happened } else { problems.join("; ") },
            counted: vec![format!("{} refusals", tried.counted)],
            is_refusal: refused > 0,
            is_wrong: !problems.is_empty(),
        }
    }

    /// Looks at one answer.
    fn look(
        &self,
        request: &Request,
        answer: &Answer,
        control: u16,
        has_token: bool,
    ) -> Result<(), String> {
        let Answer { status, text } = answer;
        let is_refused = match status {
            401 => true,
            403 | 404 => has_token,
            400 | 409 | 422 => has_token && control == *status,
            _ => false,
        };
        let is_answered = has_token && matches!(status, 200..300);
        if !is_refused && !is_answered {
            return Err(format!("{status}, where an administrator of all gets {control}: {text}"));
        }
        let said = [HOST, ADDRESS, RECORD];
        let said = said.into_iter().filter(|mark| is_answered || !request.says(mark));
        let known = self.victim.known.values.iter();
        let ids = known.filter(|(name, _)| ["agent", "case", "recall", "process"].contains(*name));
        let ids = ids.map(|(_, id)| id).chain(self.victim.known.ids.values());
        let ids = ids.map(String::as_str).filter(|id| !request.says(id));
        let name = is_answered.then_some(VICTIM);
        // A lead may revoke an agent in their own tenant's name, whatever its id: then they have said it themselves.
        let own = format!("\"agent_revoked\",\"agent\":\"{}\"", self.victim.known.values["agent"]);
        let text = text.replace(&own, "");
        match said.chain(ids).chain(name).find(|mark| text.contains(mark)) {
            Some(mark) => Err(format!("{status} with {mark}: {text}")),
            None => Ok(()),
        }
    }

    /// Returns what the victim's things look like.
    fn untouched(&self) -> Result<Value> {
        let read = |path: &str| {
            let answer = self.client.ask("GET", path, &self.admin, None)?;
            Ok::<Value, anyhow::Error>(answer.json())
        };
        let of = |list: &str, name: &str| {
            read(&format!("/v1/{list}/{}", self.victim.known.values[name]))
        };
        let agent = of("agents", "agent")?;
        let agent = agent.get("agent").unwrap_or(&agent);
        let (mut case, recall) = (of("cases", "case")?, of("recalls", "recall")?);
        case["seconds_left"] = Value::Null;
        let tenant = of("tenants", "tenant")?;
        let rollout = read(&format!("/v1/tenants/{VICTIM}/rollout"))?;
        let (tokens, joins) = (read("/v1/tokens?limit=500")?, read("/v1/join-tokens?limit=500")?);
        let good = |list: &Value, beginning: &str| {
            let id = &self.victim.known.ids[beginning];
            let items = list["items"].as_array()?;
            items.iter().find(|it| it["id"] == *id).map(|it| it["is_good"].clone())
        };
        Ok(json!({
            "revoked": agent["revoked"], "decision": agent["conflict"]["decision"],
            "case": case, "recall": recall, "tenant": tenant,
            "rollout": [rollout["version"], rollout["stage"], rollout["state"]],
            "token": good(&tokens, "/v1/tokens"), "join": good(&joins, "/v1/join-tokens"),
        }))
    }

    /// Turns the pages of every list, one item each, as somebody of another tenant: neither a page nor the mark of the
    /// next one may say anything of the victim.
    fn pages(&self) -> Result<Vec<Attempt>> {
        let known = &self.victim.known;
        let mut attempts = Vec::new();
        for operation in self.operations.iter().filter(|it| it.is_list()) {
            for caller in self.callers.iter().filter(|it| it.has_token) {
                let name = format!("the pages of {} as {}", operation.name(), caller.name);
                let mut found = Ok(());
                for first in operation.first_pages(&self.document, known) {
                    found = found.and(self.turn(operation, &first, caller)?);
                }
                attempts.push(held(&name, "no page and no cursor says anything of globex", found));
            }
        }
        Ok(attempts)
    }

    fn turn(
        &self,
        operation: &Operation,
        first: &Request,
        caller: &Caller,
    ) -> Result<Result<(), String>> {
        let mut page = first.clone();
        for _ in 0..PAGES_MAX {
            let answer = self.send(operation, &page, &caller.token)?;
            if let Err(problem) = self.look(&page, &answer, answer.status, true) {
                return Ok(Err(problem));
            }
            let next = answer.json()["next"].as_str().map(str::to_owned);
            let Some(next) = next else { break };
            if let Some(what) = self.named_by(&next, first) {
                return Ok(Err(format!("the cursor {next} of {} names {what}", page.path)));
            }
            page = first.with("cursor", &next);
        }
        Ok(Ok(()))
    }

    /// Returns what of the victim's a cursor names that the caller has not said.
    fn named_by(&self, cursor: &str, request: &Request) -> Option<String> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let known = &self.victim.known;
        let ids = known.values.values().chain(known.ids.values());
        let is_named = |id: &&String| {
            let digits = id.replace('-', "");
            let is_hex = digits.len() >= 16 && digits.bytes().all(|it| it.is_ascii_hexdigit());
            is_hex && hex.contains(&digits) && !request.says(id)
        };
        let named = ids.into_iter().find(is_named).cloned();
        named.or_else(|| text.contains(VICTIM).then(|| VICTIM.to_owned()))
    }

    /// An answer that is kept for who sent a request once is not for others who send the same.
    fn replay(&self) -> Result<Attempt> {
        let body = json!({ "tenant": VICTIM, "rule": "replayed" });
        let headers = vec![("Idempotency-Key".to_owned(), "the-same".to_owned())];
        let request = Request { path: "/v1/recalls".to_owned(), headers, body: Some(body) };
        let first = self.client.send("POST", &request, &self.admin, TIMEOUT)?;
        let before = self.refusals()?;
        let mut found = if first.status == 201 { Ok(()) } else { Err(first.text) };
        for caller in &self.callers {
            let answer = self.client.send("POST", &request, &caller.token, TIMEOUT)?;
            if !matches!(answer.status, 401 | 403 | 404) {
                let Answer { status, text } = answer;
                found = found.and(Err(format!("{status} as {}: {text}", caller.name)));
            }
        }
        let counted = self.refusals()? - before;
        if counted != self.callers.len() as u64 {
            found = found.and(Err(format!("{counted} refusals are counted")));
        }
        let name = "an administrator's Idempotency-Key and request, sent by others";
        let counted = vec![format!("{counted} refusals")];
        Ok(Attempt { is_refusal: true, counted, ..held(name, "it is refused for each", found) })
    }

    /// Who revokes another tenant's agent is answered as for one that nobody has, and revokes it in their own tenant at
    /// most, where anybody may be revoked before they come.
    fn revocations(&self) -> Result<Vec<Attempt>> {
        let ids = [self.victim.known.values["agent"].clone(), new_agent().to_string()];
        let may_revoke = |it: &&Caller| ["lead of acme", "admin of acme"].contains(&&*it.name);
        let mut attempts = Vec::new();
        for caller in self.callers.iter().filter(may_revoke) {
            for (in_whose, tenant, status) in [
                ("nobody's name", None, 404),
                ("globex's name", Some(VICTIM), 404),
                ("their own tenant's name", Some(NEIGHBOUR), 200),
            ] {
                let before = self.refusals()?;
                let mut body = json!({ "reason": "because" });
                body["tenant"] = tenant.into();
                let mut said = Vec::new();
                for id in &ids {
                    let path = format!("/v1/agents/{id}/revoke");
                    let answer = self.client.ask("POST", &path, &caller.token, Some(&body))?;
                    said.push((answer.status, without_moment(answer.json(), id)));
                }
                let is_same = said[0] == said[1] && said[0].0 == status;
                let counted = self.refusals()? - before;
                let is_counted = counted == if status == 200 { 0 } else { ids.len() as u64 };
                let found = if is_same && is_counted {
                    Ok(())
                } else {
                    Err(format!("{counted}: {said:?}"))
                };
                let name = format!("an agent of globex revoked in {in_whose} as {}", caller.name);
                let must = "it is answered as for an agent that nobody has, and is not revoked";
                let counted = vec![format!("{counted} refusals")];
                let is_refusal = status != 200;
                attempts.push(Attempt { is_refusal, counted, ..held(&name, must, found) });
            }
        }
        Ok(attempts)
    }

    /// An administrator of all sees what nobody else may: otherwise nothing would be proved by not seeing it.
    fn markers(&self, controls: &HashMap<String, Answer>) -> Attempt {
        let is_seen = |mark: &&str| controls.values().any(|it| it.text.contains(*mark));
        let unseen: Vec<&str> =
            [HOST, ADDRESS, RECORD, VICTIM].into_iter().filter(|mark| !is_seen(mark)).collect();
        let found = if unseen.is_empty() { Ok(()) } else { Err(format!("unseen: {unseen:?}")) };
        held("what only globex has", "an administrator of all tenants is shown it", found)
    }
}

/// Returns an answer without an agent's id, and without when it was.
fn without_moment(mut answer: Value, id: &str) -> String {
    if let Some(revoked) = answer.get_mut("revoked") {
        revoked["at"] = Value::Null;
    }
    answer.to_string().replace(id, "it")
}

fn key(operation: &Operation, request: &Request) -> String {
    let body = request.body.as_ref().map(Value::to_string).unwrap_or_default();
    format!("{} {} {:?} {body}", operation.method, request.path, request.headers)
}
