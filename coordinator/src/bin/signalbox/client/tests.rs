//! The client against a server that says what it is told to, over real TLS on this host.

use std::{io::Write as _, net::TcpListener, path::PathBuf, thread::JoinHandle};

use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use serde_json::json;

use super::*;
use crate::{
    client::list::List,
    failure::{EXIT_CONFLICT, EXIT_FAILED, EXIT_UNREACHABLE},
    settings::Secret,
};

/// What the server does with one request.
enum Step {
    /// Reads it and closes the connection.
    Break,
    /// Answers with a status, a type and a body.
    Answer(u16, &'static str, String),
}

fn json_step(status: u16, body: &serde_json::Value) -> Step {
    Step::Answer(status, "application/json", body.to_string())
}

fn problem_step(status: u16, name: &str) -> Step {
    let kind = format!("urn:signalbox:problem:{name}");
    let problem = json!({"type": kind, "title": name, "status": status, "detail": "so it is"});
    json_step(status, &problem)
}

/// A server, and a client that trusts it.
struct Fixture {
    client: Client,
    server: JoinHandle<Vec<String>>,
    _root: tempfile::NamedTempFile,
}

impl Fixture {
    /// Starts a server that takes one connection a step.
    fn start(steps: Vec<Step>) -> Self {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let mut root = tempfile::NamedTempFile::new().unwrap();
        root.write_all(pair.cert.pem().as_bytes()).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(pair.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![pair.cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind(("localhost", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || serve(&listener, &Arc::new(config), steps));
        let coordinator = format!("https://localhost:{port}");
        let client = Client::new(settings(coordinator, root.path().to_owned())).unwrap();
        Self { client, server, _root: root }
    }

    /// Returns the requests as they came.
    fn requests(self) -> Vec<String> {
        drop(self.client);
        self.server.join().unwrap()
    }
}

fn settings(coordinator: String, root: PathBuf) -> Settings {
    Settings { coordinator, root, token: Some(Secret::parse("sb_secret", "a test").unwrap()) }
}

fn serve(listener: &TcpListener, config: &Arc<ServerConfig>, steps: Vec<Step>) -> Vec<String> {
    let mut requests = Vec::new();
    for step in steps {
        let (socket, _) = listener.accept().unwrap();
        let connection = ServerConnection::new(Arc::clone(config)).unwrap();
        let mut stream = StreamOwned::new(connection, socket);
        let Some(request) = read_request(&mut stream) else { continue };
        requests.push(request);
        if let Step::Answer(status, kind, body) = step {
            let head = format!(
                "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nConnection: close\r\n\
                 Content-Length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
            stream.conn.send_close_notify();
            stream.flush().unwrap();
        }
    }
    requests
}

fn read_request(stream: &mut impl io::Read) -> Option<String> {
    let mut text = String::new();
    loop {
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).ok().filter(|count| *count > 0)?;
        text.push_str(&String::from_utf8_lossy(&bytes[..count]));
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        if body.len() >= header_of(head, "content-length").map_or(0, |value| value.parse().unwrap())
        {
            return Some(text);
        }
    }
}

fn header_of(request: &str, name: &str) -> Option<String> {
    let lines = request.lines().take_while(|line| !line.is_empty());
    let mut headers = lines.filter_map(|line| line.split_once(": "));
    headers.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
}

#[test]
fn a_write_whose_connection_broke_is_sent_again_with_the_same_key() {
    let fixture = Fixture::start(vec![
        Step::Break,
        problem_step(503, "store-unavailable"),
        json_step(200, &json!({"done": true})),
    ]);
    let ask = Ask::post("/v1/cases/7k3m/verdict", &json!({"fence": 7}));
    let answer = fixture.client.ask(&ask).unwrap();
    assert_eq!((answer.status, answer.text.as_str()), (200, r#"{"done":true}"#));
    let requests = fixture.requests();
    let keys: Vec<_> = requests.iter().map(|text| header_of(text, "idempotency-key")).collect();
    assert_eq!(keys.len(), 3);
    assert!(keys[0].is_some() && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    assert_eq!(header_of(&requests[0], "authorization").as_deref(), Some("Bearer sb_secret"));
    assert!(requests.iter().all(|text| text.ends_with(r#"{"fence":7}"#)));
}

#[test]
fn two_writes_have_two_keys_and_a_read_has_none() {
    let answer = || json_step(200, &json!({}));
    let fixture = Fixture::start(vec![answer(), answer(), answer()]);
    for _ in 0..2 {
        fixture.client.ask(&Ask::put("/v1/tenants/a", &json!({})).if_revision(Some(4))).unwrap();
    }
    fixture.client.ask(&Ask::read("/v1/me")).unwrap();
    let requests = fixture.requests();
    let key = |at: usize| header_of(&requests[at], "idempotency-key");
    assert!(key(0).is_some() && key(0) != key(1) && key(2).is_none());
    assert_eq!(header_of(&requests[0], "if-match").as_deref(), Some("\"4\""));
}

#[test]
fn a_refusal_is_told_at_once_and_not_asked_for_again() {
    let fixture = Fixture::start(vec![problem_step(409, "fenced")]);
    let failure = fixture.client.ask(&Ask::post("/v1/x", &json!({}))).unwrap_err();
    assert_eq!(failure.exit_code(), EXIT_CONFLICT);
    assert_eq!(fixture.requests().len(), 1);
}

#[test]
fn a_coordinator_that_stays_busy_is_given_up_after_some_tries() {
    let busy = || problem_step(503, "store-unavailable");
    let fixture = Fixture::start((0..TRIES_MAX).map(|_| busy()).collect());
    let failure = fixture.client.ask(&Ask::read("/v1/me")).unwrap_err();
    assert_eq!(failure.exit_code(), EXIT_UNREACHABLE);
    assert_eq!(fixture.requests().len(), 3);
}

#[test]
fn what_is_no_coordinator_is_called_so() {
    let html = Step::Answer(404, "text/html", "<html>".to_owned());
    let fixture = Fixture::start(vec![html]);
    let failure = fixture.client.ask(&Ask::read("/v1/me")).unwrap_err();
    assert!(matches!(failure, Failure::Odd { .. }) && failure.exit_code() == EXIT_FAILED);
    fixture.requests();
}

#[test]
fn the_token_does_not_follow_a_redirect() {
    let moved = Step::Answer(307, "text/plain", String::new());
    let fixture = Fixture::start(vec![moved]);
    assert!(fixture.client.ask(&Ask::read("/v1/me")).is_err());
    assert_eq!(fixture.requests().len(), 1);
}

#[test]
fn a_certificate_of_another_root_is_refused_before_the_token_is_sent() {
    let fixture = Fixture::start(vec![Step::Break]);
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mut root = tempfile::NamedTempFile::new().unwrap();
    root.write_all(other.cert.pem().as_bytes()).unwrap();
    let settings = settings(fixture.client.coordinator().to_owned(), root.path().to_owned());
    let failure = Client::new(settings).unwrap().ask(&Ask::read("/v1/me")).unwrap_err();
    assert_eq!(failure.exit_code(), EXIT_UNREACHABLE);
    assert!(failure.render().contains(TLS_HINT), "{}", failure.render());
    assert_eq!(fixture.requests(), Vec::<String>::new());
}

#[test]
fn a_list_follows_its_pages_up_to_what_was_asked_for() {
    let page = |items: serde_json::Value, next| json!({"items": items, "next": next});
    let fixture = Fixture::start(vec![
        json_step(200, &page(json!([1, 2]), Some("a"))),
        // A search's page may be empty and still not the last.
        json_step(200, &page(json!([]), Some("b"))),
        json_step(200, &page(json!([3]), Some("c"))),
    ]);
    let paging = crate::args::Paging { limit: Some(3), all: false, cursor: None };
    let query = path::Query::default().with("tenant", Some("acme"));
    let list = fixture.client.list("/v1/alerts", &query, &paging, 50, &About::General).unwrap();
    let items: Vec<u32> = list.items(&fixture.client).unwrap();
    assert_eq!((items, list.next.as_deref()), (vec![1, 2, 3], Some("c")));
    let lines: Vec<_> =
        fixture.requests().iter().map(|text| text.lines().next().unwrap().to_owned()).collect();
    let wanted = ["limit=3", "limit=1&cursor=a", "limit=1&cursor=b"]
        .map(|page| format!("GET /v1/alerts?tenant=acme&{page} HTTP/1.1"));
    assert_eq!(lines, wanted);
}

#[test]
fn the_feed_goes_on_behind_the_last_event_that_came_whole() {
    let feed = |text: &str| Step::Answer(200, "text/event-stream", text.to_owned());
    let fixture = Fixture::start(vec![
        feed("id: 7\ndata: {\"number\":7}\n\nid: 8\ndata: {\"num"),
        Step::Break,
        problem_step(503, "too-many-clients"),
        feed(": keep-alive\n\nid: 8\ndata: {\"number\":8}\n\nid: 9\ndata: {\"number\":9}\n\n"),
    ]);
    let (mut seen, mut breaks) = (Vec::new(), 0);
    let take = |event: &feed::Event| {
        seen.push(event.data.clone());
        Ok(seen.len() < 2)
    };
    fixture.client.follow(Some(6), take, |_, _| breaks += 1).unwrap();
    assert_eq!(seen, ["{\"number\":7}", "{\"number\":8}"]);
    assert_eq!(breaks, 3);
    let resumed: Vec<_> =
        fixture.requests().iter().map(|text| header_of(text, "last-event-id").unwrap()).collect();
    assert_eq!(resumed, ["6", "7", "7", "7"]);
}

#[test]
fn a_feed_that_is_refused_ends() {
    let fixture = Fixture::start(vec![problem_step(401, "unauthorized")]);
    let failure = fixture.client.follow(None, |_| Ok(true), |_, _| {}).unwrap_err();
    assert_eq!(failure.problem_name(), Some("unauthorized"));
    let requests = fixture.requests();
    assert_eq!(header_of(&requests[0], "last-event-id"), None);
}

#[test]
fn a_list_is_json_of_one_page_for_programs() {
    let page = json!({"items": [{"a": 1}], "next": null});
    let fixture = Fixture::start(vec![json_step(200, &page)]);
    let (_, list) = fixture.client.read::<List>(&Ask::read("/v1/cases")).unwrap();
    assert_eq!(list.json().unwrap(), page.to_string());
    fixture.requests();
}
