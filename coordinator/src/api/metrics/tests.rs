use std::collections::{BTreeMap, BTreeSet};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::super::fixture::Fixture;
use super::*;
use crate::store::values::Role;

/// Reads Prometheus' text strictly: every sample follows its help and type, is named after it, and stands there once.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let (mut samples, mut families) = (BTreeMap::new(), BTreeSet::new());
    let (mut helped, mut family, mut kind) = ("", "", "");
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(!help.is_empty());
            helped = name;
            continue;
        }
        if let Some(typed) = line.strip_prefix("# TYPE ") {
            (family, kind) = typed.split_once(' ').unwrap();
            assert_eq!(family, helped);
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(families.insert(family), "{family} stands there once");
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        assert!(labels.ends_with('}'), "{line}");
        let suffix = name.strip_prefix(family).unwrap_or_else(|| panic!("{line} in {family}"));
        match kind {
            "histogram" => assert!(["_bucket", "_sum", "_count"].contains(&suffix), "{line}"),
            "counter" => assert!(suffix.is_empty() && name.ends_with("_total"), "{line}"),
            _ => assert!(suffix.is_empty() && !name.ends_with("_total"), "{line}"),
        }
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{line}");
        let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
        assert!(samples.insert(series.to_owned(), value).is_none(), "{line} stands there once");
    }
    samples
}

#[tokio::test]
async fn metrics_are_prometheus_text_with_what_was_counted_and_what_the_store_knows() {
    let fixture = Fixture::new();
    fixture.block("acme", 1, 1, &[("srv1", "10.0.0.1")]).await;
    fixture.api.counters.blocks_stored.add_one();
    let token = fixture.token(Role::Analyst, &[]).await;
    assert_eq!(fixture.get("/v1/me", &token).await.status, 200);
    let answer = fixture.metrics("/metrics").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers[header::CONTENT_TYPE], TEXT);
    let samples = parse(&answer.text);
    let value = |name: &str| samples[&format!("signalbox_{name}")];
    assert!((value("blocks_stored_total") - 1.0).abs() < f64::EPSILON);
    assert!((value("api_requests_total{class=\"good\"}") - 1.0).abs() < f64::EPSILON);
    assert!((value("journal_entries") - 1.0).abs() < f64::EPSILON);
    assert!((value("view_lag_entries") - 1.0).abs() < f64::EPSILON);
    assert!(value("store_bytes{space=\"blocks\"}") > 0.0);
    assert!(value("cases{state=\"waiting\"}").abs() < f64::EPSILON, "the view is behind");
}

#[tokio::test]
async fn the_process_lives_from_the_start_and_is_ready_once_its_view_has_caught_up() {
    let fixture = Fixture::new();
    assert_eq!(fixture.metrics("/readyz").await.status, StatusCode::OK, "nothing to catch up with");
    fixture.block("acme", 1, 1, &[("srv1", "10.0.0.1")]).await;
    let behind = fixture.metrics("/readyz").await;
    assert_eq!(behind.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(behind.text.contains("stands at entry 0"), "{}", behind.text);
    fixture.api.view.apply(&[], 1);
    assert_eq!(fixture.metrics("/readyz").await.text, "ready\n");
    assert_eq!(fixture.metrics("/healthz").await.text, "ok\n");

    fixture.engine.set_unreadable(true);
    let unreadable = fixture.metrics("/readyz").await;
    assert_eq!(unreadable.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(unreadable.text.contains("cannot be read"), "{}", unreadable.text);
    assert_eq!(fixture.metrics("/healthz").await.status, StatusCode::OK);
    fixture.engine.set_unreadable(false);

    fixture.api.stopping.cancel();
    assert_eq!(fixture.metrics("/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn the_listener_serves_plain_http_and_ends_when_told() {
    let fixture = Fixture::new();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (cancel, tasks) = (CancellationToken::new(), TaskTracker::new());
    let router = metrics_router(fixture.api.clone());
    let serving = tasks.spawn(serve_metrics(listener, router, cancel.clone(), tasks.clone()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("ok\n"), "{answer}");
    cancel.cancel();
    serving.await.unwrap();
    tasks.close();
    tasks.wait().await;
}
