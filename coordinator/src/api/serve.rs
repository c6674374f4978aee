//! Carries connections to the router: accepts, shakes hands, serves HTTP/1.1 and HTTP/2, and drains.

use std::{net::IpAddr, sync::Arc};

use axum::{Extension, Router};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Layer as _;

use super::peer::Peer;
use crate::{
    counters::Counters,
    limits::{
        ACCEPT_PAUSE, API_CONNECTIONS_MAX, API_HEAD_TIMEOUT, API_STREAMS_MAX, HANDSHAKE_TIMEOUT,
    },
};

/// Most bytes of a request's head.
const HEAD_BYTES_MAX: u32 = 16 << 10;

/// Serves `router` until `cancel`, then lets requests that were begun end. Each connection is one task of `tasks`.
///
/// # Cancel safety
/// Dropped early, it accepts no more; connections go on until their tasks end.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    router: Router,
    counters: Arc<Counters>,
    cancel: CancellationToken,
    tasks: TaskTracker,
) {
    let acceptor = TlsAcceptor::from(tls);
    let places = Arc::new(Semaphore::new(API_CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    loop {
        // A place first: what is beyond the bound waits in the system's backlog, which is bounded itself.
        let place = tokio::select! {
            () = cancel.cancelled() => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let Ok(place) = place else { break };
        let accepted = tokio::select! {
            () = cancel.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let connection = Connection {
                    stream,
                    from: address.ip(),
                    acceptor: acceptor.clone(),
                    router: router.clone(),
                    counters: Arc::clone(&counters),
                    _place: place,
                };
                tasks.spawn(connection.run(graceful.watcher()));
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a connection to the API failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    graceful.shutdown().await;
}

struct Connection {
    stream: TcpStream,
    from: IpAddr,
    acceptor: TlsAcceptor,
    router: Router,
    counters: Arc<Counters>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    async fn run(self, watcher: hyper_util::server::graceful::Watcher) {
        let _held = self.counters.api_connections_open.hold();
        if let Err(error) = self.stream.set_nodelay(true) {
            tracing::debug!(%error, "connection to the API without TCP_NODELAY");
        }
        let handshake = self.acceptor.accept(self.stream);
        let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%error, "handshake with a client failed"),
            Err(_) => return tracing::debug!("handshake with a client took too long"),
        };
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(API_HEAD_TIMEOUT);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(API_STREAMS_MAX)
            .max_header_list_size(HEAD_BYTES_MAX)
            .keep_alive_interval(API_HEAD_TIMEOUT)
            .keep_alive_timeout(HANDSHAKE_TIMEOUT);
        let service = TowerToHyperService::new(Extension(Peer(self.from)).layer(self.router));
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(error, "connection to the API ended early");
        }
    }
}
