//! How nodes are connected: HTTP/2 windows, frames, keepalive and TCP_NODELAY, for both ends.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Error, Server};

/// Makes connections to other nodes, and knows whom it has there.
pub trait Dial: fmt::Debug + Send + Sync {
    /// A channel that is connected.
    fn connect<'a>(&'a self, endpoint: &'a Endpoint) -> Dialing<'a>;

    /// A channel that connects when it is used.
    fn connect_lazy(&self, endpoint: &Endpoint) -> Channel;
}

/// A connection that is being made.
pub type Dialing<'a> = Pin<Box<dyn Future<Output = Result<Channel, Error>> + Send + 'a>>;

/// Connections over which anybody may answer.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl Dial for Plain {
    fn connect<'a>(&'a self, endpoint: &'a Endpoint) -> Dialing<'a> {
        Box::pin(endpoint.connect())
    }

    fn connect_lazy(&self, endpoint: &Endpoint) -> Channel {
        endpoint.connect_lazy()
    }
}

/// What a stream may have on its way that the destination has not read, in bytes. HTTP/2's own
/// default of 64 KiB would stop a stream at each round trip.
const STREAM_WINDOW: u32 = 1 << 20;
const MAX_HTTP2_FRAME: u32 = 256 << 10;
/// Calls of one connection at the same time: its lanes, and sessions that are asked for; more wait
/// at the caller. Without a number whoever connects could open as many as it likes, and each costs
/// memory.
const MAX_STREAMS: u32 = 256;

/// How a node is connected to.
pub(super) fn endpoint(address: &str, silence: Duration) -> Result<Endpoint, Error> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    Ok(endpoint
        .connect_timeout(silence)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(silence / 2)
        .keep_alive_timeout(silence)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(2 * STREAM_WINDOW)
        .max_frame_size(MAX_HTTP2_FRAME))
}

/// Sets a server up for streams of other nodes. One that says nothing for one and a half times
/// `silence`, not even to a ping, is gone.
#[must_use]
pub fn tune<L>(server: Server<L>, silence: Duration) -> Server<L> {
    server
        .http2_keepalive_interval(Some(silence / 2))
        .http2_keepalive_timeout(Some(silence))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(2 * STREAM_WINDOW)
        .max_frame_size(MAX_HTTP2_FRAME)
        .max_concurrent_streams(MAX_STREAMS)
}

/// The connections of a listener for such a server: with TCP_NODELAY, which tonic sets only on
/// sockets that it has bound itself. Without it replies wait for the source's delayed
/// acknowledgements, 40 ms each.
#[must_use]
pub fn incoming(listener: TcpListener) -> TcpIncoming {
    TcpIncoming::from(listener).with_nodelay(Some(true))
}
