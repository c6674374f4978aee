//! The metrics listener: health, readiness and numbers over plain HTTP, on an address of its own.
//!
//! | path | answers |
//! | --- | --- |
//! | `/healthz` | 200 while the process serves |
//! | `/readyz` | 200 if the store can be read and the queue view has caught up with it, else 503 and why |
//! | `/metrics` | counters and gauges in Prometheus' text format, version 0.0.4 |
//!
//! There is no token: the numbers name no tenant, and the address belongs on a network that only operators reach.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Api, problem::Problem, read, show};
use crate::{
    counters::write_gauge,
    limits::{API_HEAD_TIMEOUT, METRICS_CONNECTIONS_MAX, METRICS_TIMEOUT},
    store::{
        engine::{Engine, Space},
        schema::MetaKey,
        tables::{LoadError, Source},
    },
    triage::queue::TenantScope,
};

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
/// How long the accept loop rests when the system gives no connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Returns the router of the metrics listener.
pub fn metrics_router(api: Api) -> Router {
    Router::new()
        .route("/healthz", get(async || text(StatusCode::OK, "ok\n".to_owned())))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(api)
}

/// Serves `router` over plain HTTP until `cancel`. Each connection is one task of `tasks`.
///
/// # Cancel safety
/// Dropped early, it accepts no more; connections go on until their tasks end.
pub async fn serve_metrics(
    listener: TcpListener,
    router: Router,
    cancel: CancellationToken,
    tasks: TaskTracker,
) {
    let places = Arc::new(Semaphore::new(METRICS_CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = cancel.cancelled() => break,
            next = next => next,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "accepting a connection to the metrics listener failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let mut builder = Builder::new(TokioExecutor::new()).http1_only();
        builder.http1().timer(TokioTimer::new()).header_read_timeout(API_HEAD_TIMEOUT);
        let service = TowerToHyperService::new(router.clone());
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        tasks.spawn(async move {
            let _place = place;
            if let Err(error) = connection.await {
                tracing::debug!(error, "connection to the metrics listener ended early");
            }
        });
    }
    graceful.shutdown().await;
}

fn text(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, TEXT)], body).into_response()
}

/// Says whether the coordinator can do its work now.
async fn readyz(State(api): State<Api>) -> Response {
    let why = match timeout(METRICS_TIMEOUT, ready(&api)).await {
        Ok(Ok(())) => return text(StatusCode::OK, "ready\n".to_owned()),
        Ok(Err(why)) => why,
        Err(_) => {
            let applied = *api.view.applied().borrow();
            format!("the store does not answer, or the queue view stands at entry {applied}")
        }
    };
    text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n"))
}

/// Waits until the queue view has applied all that is stored now. Under load it is always a moment behind the newest,
/// which is as it should be.
async fn ready(api: &Api) -> Result<(), String> {
    if api.stopping.is_cancelled() {
        return Err("the coordinator stops".to_owned());
    }
    let head = read::blocking(&api.store, head).await;
    let head = head.map_err(|problem| problem.details().detail.clone())?;
    api.view.reached(head).await;
    Ok(())
}

fn head(engine: &dyn Engine) -> Result<u64, LoadError> {
    Ok(engine.load(&MetaKey::JOURNAL)?.map_or(0, |head| head.number))
}

async fn metrics(State(api): State<Api>) -> Response {
    let reader = api.clone();
    let body = read::blocking(&api.store, move |engine| Ok::<_, Problem>(render(&reader, engine)));
    match timeout(METRICS_TIMEOUT, body).await {
        Ok(Ok(body)) => text(StatusCode::OK, body),
        Ok(Err(problem)) => problem.into_response(),
        Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n".to_owned()),
    }
}

/// Returns all numbers as text.
fn render(api: &Api, engine: &dyn Engine) -> String {
    let mut out = String::with_capacity(16 << 10);
    let version = format!("{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    write_gauge(&mut out, "build_info", "Version of the coordinator.", &[(&version, 1)]);
    api.counters.write(&mut out);

    let (head, applied) = (*api.store.journal_head().borrow(), *api.view.applied().borrow());
    let help = "Number of the newest durable journal entry.";
    write_gauge(&mut out, "journal_entries", help, &[("", head)]);
    let help = "Durable journal entries that the queue view has not applied yet.";
    write_gauge(&mut out, "view_lag_entries", help, &[("", head.saturating_sub(applied))]);
    let (waiting, max) = api.store.backlog();
    let help = "Changes that wait for the writer.";
    write_gauge(&mut out, "writer_waiting", help, &[("", show::count(waiting))]);
    let help = "Most changes that can wait for the writer.";
    write_gauge(&mut out, "writer_waiting_max", help, &[("", show::count(max))]);

    let labels = Space::ALL.map(|space| format!("{{space=\"{}\"}}", space.name()));
    let sizes = Space::ALL.map(|space| engine.approximate_bytes(space));
    let sizes: Vec<(&str, u64)> = labels.iter().map(String::as_str).zip(sizes).collect();
    let help = "About how many bytes the store's live data take, by key space.";
    write_gauge(&mut out, "store_bytes", help, &sizes);

    let now = api.clock.now();
    let (counts, late) = api.view.with(|view| (view.counts(&TenantScope::All), view.late(now)));
    let states = [
        ("{state=\"waiting\"}", show::count(counts.waiting)),
        ("{state=\"claimed\"}", show::count(counts.claimed)),
    ];
    write_gauge(&mut out, "cases", "Cases that are not closed, by state.", &states);
    let help = "Waiting cases whose deadline has passed.";
    write_gauge(&mut out, "cases_late", help, &[("", show::count(late))]);
    out
}

#[cfg(test)]
mod tests;
