//! Connections: a bounded number of them, and none that is idle for long.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    extract::{ConnectInfo, Request, connect_info::Connected},
    middleware::Next,
    response::Response,
    serve::{IncomingStream, Listener},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep},
};

/// Connections at a time; further ones wait in the operating system.
const MAX_CONNECTIONS: usize = 256;
/// The longest time without a request: from the connection or the last answer until the next request's head is complete.
const MAX_IDLE: Duration = Duration::from_secs(30);

/// A listener whose connections are limited.
pub(super) struct Connections {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

impl Connections {
    pub fn new(listener: TcpListener) -> Self {
        Self { listener, places: Arc::new(Semaphore::new(MAX_CONNECTIONS)) }
    }
}

impl Listener for Connections {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let place = self.places.clone().acquire_owned().await.ok();
            let (stream, address) = Listener::accept(&mut self.listener).await;
            // Pieces of an answer are small, and each should arrive at once.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!("{address}: {error}");
                continue;
            }
            let idle = Box::pin(tokio::time::sleep(MAX_IDLE));
            return (Connection { stream, activity: Activity::default(), idle, _place: place }, address);
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Requests of a connection that are being answered.
#[derive(Debug, Clone, Default)]
pub(super) struct Activity(Arc<AtomicUsize>);

impl Connected<IncomingStream<'_, Connections>> for Activity {
    fn connect_info(stream: IncomingStream<'_, Connections>) -> Self {
        stream.io().activity.clone()
    }
}

/// Keeps a connection from counting as idle while a request is being answered.
pub(super) async fn mark_busy(
    ConnectInfo(activity): ConnectInfo<Activity>,
    request: Request,
    next: Next,
) -> Response {
    struct Busy(Activity);
    impl Drop for Busy {
        fn drop(&mut self) {
            self.0.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
    activity.0.fetch_add(1, Ordering::Relaxed);
    let _busy = Busy(activity);
    next.run(request).await
}

/// A connection that fails once it was idle for too long.
pub(super) struct Connection {
    stream: TcpStream,
    activity: Activity,
    idle: Pin<Box<Sleep>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Connection {
    fn rest(&mut self) {
        self.idle.as_mut().reset(Instant::now() + MAX_IDLE);
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(outcome) = Pin::new(&mut self.stream).poll_read(context, buffer) {
            // Bytes that arrive do not stop the clock: a head could come one by one for ever.
            return Poll::Ready(outcome);
        }
        while self.idle.as_mut().poll(context).is_ready() {
            if self.activity.0.load(Ordering::Relaxed) == 0 {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.rest();
        }
        Poll::Pending
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if written.is_ready() {
            self.rest();
        }
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        if written.is_ready() {
            self.rest();
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
