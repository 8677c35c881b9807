//! The end of a connection: what the client is told, and what becomes of its session.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Connection;
use super::stream::Stream;
use crate::proto::mqtt::{self, Disconnect, Packet, Reason, UserProperties, Version};
use crate::session::link::{Link, Socket};
use crate::session::outbox::Outbox;
use crate::session::{End, Session};

/// How long the last packets may take to leave, and the client to close.
const LINGER: Duration = Duration::from_millis(800);

impl Connection {
    /// Tells the client why, frees the session, and closes the socket.
    pub(super) async fn say_goodbye(mut self: Box<Self>, end: End) {
        self.place = None;
        drop(self.promise.take());
        if let Some(unwritten) = self.unwritten.take() {
            self.broker.see_to("links", unwritten.write());
        }
        let end = self.unread_goodbye().await.unwrap_or(end);
        let client_id = &*self.session.client_id;
        match &end {
            End::Refused(reason, text) => {
                let is_routine = matches!(
                    reason,
                    Reason::SessionTakenOver
                        | Reason::KeepAliveTimeout
                        | Reason::ServerShuttingDown
                        | Reason::ServerBusy
                        | Reason::AdministrativeAction
                );
                if !is_routine {
                    self.broker.metrics.violations.inc();
                }
                tracing::debug!(client.id = client_id, %reason, why = text, "connection ended");
            }
            end => tracing::debug!(client.id = client_id, ?end, "connection ended"),
        }
        self.capture_end(&end);
        let mut farewell = Outbox::default();
        if let (End::Refused(reason, text), Version::V5) = (&end, self.version) {
            let text = Some(text.as_str()).filter(|text| self.has_room(text));
            farewell.append(0, |buffer| write_disconnect(buffer, *reason, text));
        }
        let _ = tokio::time::timeout(LINGER, stop_writers(self.session.clone())).await;
        self.tell_of_end(&end);
        let link = self.broker.detach(&self.session, &end);
        self.is_detached = true;
        self.broker.registry.count_disconnected();
        let broker = self.broker.clone();
        self.unread = Default::default();
        let closing = close(&mut self.stream, link, farewell, end != End::Lost);
        // A client that does not take its last packets does not get them.
        let _ = tokio::time::timeout(LINGER, closing).await;
        drop(self);
        drop(broker);
    }
}

/// Keeps everybody else from writing, and waits for who is in the middle of it.
async fn stop_writers(session: Arc<Session>) {
    loop {
        {
            let mut outbound = session.outbound.lock();
            let Some(link) = &mut outbound.link else {
                return;
            };
            link.is_closing = true;
            if !link.is_writing {
                return;
            }
        }
        tokio::task::yield_now().await;
    }
}

/// Appends a DISCONNECT, with the text as far as it fits.
pub(crate) fn write_disconnect(out: &mut Vec<u8>, reason: Reason, text: Option<&str>) {
    let packet = Packet::Disconnect(Disconnect {
        reason,
        session_expiry: None,
        reason_string: text,
        user_properties: UserProperties::default(),
        server_reference: None,
    });
    mqtt::encode(&packet, Version::V5, out);
}

/// Writes what is left, then the farewell; then reads until the client closes too, so that
/// closing does not throw away what it has not read yet.
async fn close(
    stream: &mut Stream,
    link: Option<Box<Link>>,
    farewell: Outbox,
    has_peer: bool,
) -> std::io::Result<()> {
    let Some(link) = link else { return Ok(()) };
    let Link {
        mut outbox,
        socket,
        is_writing,
        ..
    } = *link;
    if !has_peer {
        return Ok(());
    }
    if is_writing {
        return Ok(()); // somebody is in the middle of a packet
    }
    let mut farewell_bytes = farewell;
    match (stream, socket) {
        (Stream::Owned(stream), _) => {
            for outbox in [&mut outbox, &mut farewell_bytes] {
                while !outbox.is_empty() {
                    let mut slices = [std::io::IoSlice::new(&[]); 1];
                    outbox.slices(&mut slices);
                    let n_bytes = stream.write(&slices[0]).await?;
                    outbox.advance(n_bytes);
                }
            }
            stream.shutdown().await?;
            discard(stream).await
        }
        (stream, Some(socket)) => {
            write_all(&socket, &mut outbox).await?;
            write_all(&socket, &mut farewell_bytes).await?;
            drop(socket); // the last holder: the writing half is shut down
            discard(stream).await
        }
        (_, None) => Ok(()),
    }
}

async fn write_all(socket: &Arc<Socket>, outbox: &mut Outbox) -> std::io::Result<()> {
    while !socket.write(outbox)? {
        poll_fn(|context| socket.poll_writable(context)).await?;
    }
    Ok(())
}

/// Reads and forgets, up to a bound.
pub(super) async fn discard<S: tokio::io::AsyncRead + Unpin + ?Sized>(
    stream: &mut S,
) -> std::io::Result<()> {
    let mut n_left = 16 * 1024 * 1024_usize;
    let mut bytes = [0; 512];
    while n_left > 0 {
        let n_bytes = Pin::new(&mut *stream).read(&mut bytes).await?;
        if n_bytes == 0 {
            break;
        }
        n_left = n_left.saturating_sub(n_bytes);
    }
    Ok(())
}
