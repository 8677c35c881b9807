//! MQTT over WebSocket: a stream of bytes out of binary messages `[MQTT-6.0.0-1]` to `-4`.
//!
//! A packet may span messages and a message may hold several packets: only the bytes count.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::turned_away::TurnedAway;
use crate::config::Listener;
use crate::connection::stream::Duplex;

/// The answer to what is not a WebSocket upgrade.
const BAD_REQUEST: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\
    Content-Type: text/plain\r\nContent-Length: 37\r\n\r\nMQTT over WebSocket is served here.\r\n";

/// Bytes of one message to the client.
const LARGEST_OUT: usize = 64 * 1024;

/// A WebSocket as a stream of bytes.
pub(crate) struct WebSocket<S> {
    inner: WebSocketStream<S>,
    /// What is left of the message being read.
    rest: Bytes,
    /// Said to the peer before the error is passed on.
    closing: Option<CloseFrame>,
}

/// Answers the upgrade request of a path and origin that the listener takes; a message may be as
/// long as a packet.
pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    listener: &Listener,
    largest_packet: u32,
) -> Result<WebSocket<S>, TurnedAway> {
    let largest = largest_packet as usize + 5;
    let config = WebSocketConfig::default()
        .read_buffer_size(4 * 1024)
        .write_buffer_size(0)
        .max_write_buffer_size(4 * 1024 * 1024)
        .max_message_size(Some(largest))
        .max_frame_size(Some(largest));
    // The error type is the library's.
    #[expect(
        clippy::result_large_err,
        reason = "the library calls it with this type"
    )]
    let check = |request: &Request, mut response: Response| {
        let path = listener.path.as_deref();
        if path.is_some_and(|path| request.uri().path() != path) {
            return Err(refusal(StatusCode::NOT_FOUND, "no MQTT at this path"));
        }
        let header = |name: &str| Some(request.headers().get(name)?.to_str().unwrap_or_default());
        if let Some(origin) = header("Origin")
            && !is_welcome(origin, header("Host"), &listener.origins)
        {
            let text = "web pages of this origin are not allowed here: see ws-origins";
            return Err(refusal(StatusCode::FORBIDDEN, text));
        }
        let offered = request.headers().get_all("Sec-WebSocket-Protocol");
        let offered = offered.iter().filter_map(|value| value.to_str().ok());
        let offered: Vec<&str> = offered
            .flat_map(|list| list.split(',').map(str::trim))
            .collect();
        let protocols = ["mqtt", "mqttv3.1"]; // the first one that is offered
        let chosen = protocols.into_iter().find(|name| offered.contains(name));
        let Some(chosen) = chosen else {
            // [MQTT-6.0.0-3], [MQTT-6.0.0-4]
            return Err(refusal(
                StatusCode::BAD_REQUEST,
                "offer the subprotocol \"mqtt\"",
            ));
        };
        let chosen = HeaderValue::from_static(chosen);
        response
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", chosen);
        Ok(response)
    };
    let mut stream = stream;
    let upgraded =
        tokio_tungstenite::accept_hdr_async_with_config(&mut stream, check, Some(config)).await;
    if let Err(error) = upgraded {
        // A refusal of `check` has been answered; anything else was not an upgrade request.
        if matches!(error, Error::Protocol(_) | Error::HttpFormat(_)) {
            let _ = stream.write_all(BAD_REQUEST).await;
            let _ = stream.shutdown().await;
        }
        return Err(TurnedAway::by_websocket(&error));
    }
    let inner = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
    Ok(WebSocket {
        inner,
        rest: Bytes::new(),
        closing: None,
    })
}

/// Whether a web page of this origin may connect: one of the broker's own host, or one that is
/// listed. A browser sends the origin with each WebSocket and lets no page change it, but lets any
/// page open one, also to a broker that only this machine can reach.
fn is_welcome(origin: &str, host: Option<&str>, allowed: &[String]) -> bool {
    let of_origin = origin.split_once("://").map(|(_, authority)| authority);
    let is_own = match (of_origin, host) {
        (Some(origin), Some(host)) => without_port(origin).eq_ignore_ascii_case(without_port(host)),
        _ => false,
    };
    let is_listed = |listed: &String| listed == "*" || listed.eq_ignore_ascii_case(origin);
    is_own || allowed.iter().any(is_listed)
}

/// The host of `host`, `host:port` or `[address]:port`.
fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

fn refusal(status: StatusCode, text: &str) -> ErrorResponse {
    let mut response = ErrorResponse::new(Some(text.to_owned()));
    *response.status_mut() = status;
    response
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// Says why, then fails.
    fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        if let Some(frame) = self.closing.clone() {
            let mut inner = Pin::new(&mut self.inner);
            if ready!(inner.as_mut().poll_ready(context)).is_ok() {
                let _ = inner.as_mut().start_send(Message::Close(Some(frame)));
                self.closing = None;
                let _ = inner.as_mut().poll_flush(context);
            }
        }
        Poll::Ready(io::Error::new(
            io::ErrorKind::InvalidData,
            "bad WebSocket message",
        ))
    }

    fn close(&mut self, code: CloseCode, reason: &'static str) {
        self.closing = Some(CloseFrame {
            code,
            reason: reason.into(),
        });
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.closing.is_some() {
                return this.poll_close(context).map(Err);
            }
            if this.rest.has_remaining() {
                let n_bytes = this.rest.len().min(buffer.remaining());
                buffer.put_slice(&this.rest.split_to(n_bytes));
                return Poll::Ready(Ok(()));
            }
            match ready!(Pin::new(&mut this.inner).poll_next(context)) {
                Some(Ok(Message::Binary(bytes))) => this.rest = bytes,
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(_))) => {
                    // The library has the answer ready; it leaves with a flush.
                    let _ = Pin::new(&mut this.inner).poll_flush(context);
                    return Poll::Ready(Ok(()));
                }
                None => return Poll::Ready(Ok(())),
                Some(Ok(Message::Text(_))) => {
                    this.close(CloseCode::Unsupported, "MQTT needs binary messages"); // [MQTT-6.0.0-1]
                }
                Some(Err(Error::Capacity(_))) => {
                    this.close(CloseCode::Size, "larger than the Maximum Packet Size");
                }
                Some(Err(Error::Protocol(_) | Error::Utf8(_))) => {
                    this.close(CloseCode::Protocol, "not a WebSocket frame");
                }
                Some(Err(Error::ConnectionClosed | Error::AlreadyClosed)) => {
                    return Poll::Ready(Ok(()));
                }
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut inner = Pin::new(&mut self.get_mut().inner);
        ready!(inner.as_mut().poll_ready(context)).map_err(io::Error::other)?;
        let message = &bytes[..bytes.len().min(LARGEST_OUT)];
        let message = Message::Binary(Bytes::copy_from_slice(message));
        inner
            .as_mut()
            .start_send(message)
            .map_err(io::Error::other)?;
        Poll::Ready(Ok(bytes.len().min(LARGEST_OUT)))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner)
            .poll_flush(context)
            .map_err(io::Error::other)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner)
            .poll_close(context)
            .map_err(io::Error::other)
    }
}

impl<S: Duplex> Duplex for WebSocket<S> {
    fn has_left(&self) -> bool {
        self.inner.get_ref().has_left()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_the_own_host_and_of_listed_origins_are_welcome() {
        let check = |origin: &str, host: &str, allowed: &[&str], expected: bool| {
            let allowed: Vec<_> = allowed.iter().map(|origin| (*origin).to_owned()).collect();
            let is_welcome = is_welcome(origin, Some(host), &allowed);
            assert_eq!(is_welcome, expected, "{origin} at {host}, {allowed:?}");
        };
        check("http://localhost:3000", "localhost:1882", &[], true);
        check("https://Broker.example", "broker.example", &[], true);
        check("http://[::1]:3000", "[::1]:1882", &[], true);
        check("http://evil.example", "localhost:1882", &[], false);
        check(
            "http://localhost.evil.example",
            "localhost:1882",
            &[],
            false,
        );
        check("http://[::2]", "[::1]", &[], false);
        check("null", "localhost:1882", &[], false);
        check("null", "localhost:1882", &["*"], true);
        let listed = ["https://dash.example"];
        check("https://dash.example", "broker.example", &listed, true);
        check("http://dash.example", "broker.example", &listed, false);
        check("https://dash.example:1", "broker.example", &listed, false);
        assert!(!is_welcome("http://localhost", None, &[]));
    }
}
