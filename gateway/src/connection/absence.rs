//! A client that has left while nothing is read from it.
//!
//! Whoever is read from is known to have left when its stream ends. Nobody sees that end while a
//! publish waits for a lease, for the store or for other nodes, and that may be minutes: whoever
//! gives up and connects again under another name would leave a connection and a session behind each
//! time. So it is looked, now and then, whether the socket has been closed. That is not seen of who
//! has sent more than the sockets hold: its end is behind that.
//!
//! A pause that is short does not end anybody: who says something, closes and goes is the usual
//! publisher of QoS 0, and is heard when the pause is over. After a longer one what it sent and was
//! not read is lost with QoS 0, but for its DISCONNECT (see [`super::parting`]); nothing else of it
//! was acknowledged.

use std::task::Context;
use std::time::Duration;

use tokio::time::Instant;

use super::Connection;
use crate::session::End;

/// How long nothing is read before it is looked whether the client is there, and how often then.
const LOOK: Duration = Duration::from_secs(5);

impl Connection {
    /// Ends a connection that is not read from when its client has left. A pause of which the end is
    /// known is waited for.
    pub(super) fn poll_absence(&mut self, context: &mut Context<'_>) -> Result<(), End> {
        if self.pause.as_ref().is_some_and(|pause| pause.is_timed) {
            return Ok(());
        }
        let timer = self
            .absence
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(LOOK)));
        while timer.as_mut().poll(context).is_ready() {
            if self.stream.has_left() {
                return Err(End::Lost);
            }
            timer.as_mut().reset(Instant::now() + LOOK);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::JoinHandle;
    use tokio::time::timeout;

    use super::*;
    use crate::broker::Broker;
    use crate::config::Rates;
    use crate::connection::handshake::{Accepted, Peer};
    use crate::connection::stream::Stream;

    /// Longer than anything takes.
    const LIMIT: Duration = Duration::from_secs(30);
    /// CONNECT of MQTT 5.0, with clean start; its client identifier is the last byte.
    const CONNECT: &[u8] = b"\x10\x0E\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01";
    /// PUBLISH of QoS 1 to "t", and of QoS 0.
    const FIRST: &[u8] = b"\x32\x07\x00\x01t\x00\x01\x00x";
    const OTHER: &[u8] = b"\x30\x05\x00\x01t\x00x";

    /// A client that has sent a publish for which there is no lease, and its connection.
    async fn scene(broker: &Arc<Broker>, name: u8, is_owned: bool) -> (TcpStream, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let mut client = TcpStream::connect(address).await.expect("it listens");
        let (stream, _) = listener.accept().await.expect("the client");
        let (stream, socket) = match is_owned {
            true => Stream::owned(stream),
            false => Stream::tcp(stream),
        };
        let accepted = Accepted {
            stream,
            socket,
            peer: Peer {
                address: None,
                port: None,
                listener: "test".into(),
                allow_anonymous: true,
                named: None,
            },
            listener: None,
            client_publish: Rates::default(),
            deadline: Instant::now() + LIMIT,
        };
        let words = [CONNECT, &[name], FIRST, OTHER].concat();
        client.write_all(&words).await.expect("it has room");
        let connection = Connection::open(broker.clone(), accepted).await;
        let connection = connection.expect("it is let in");
        let running = tokio::spawn(connection.run());
        let connack = timeout(LIMIT, connack(&mut client)).await;
        let connack = connack.expect("in time").expect("an answer");
        assert_eq!((connack[0], connack[3]), (0x20, 0), "it is let in");
        (client, running)
    }

    /// The answer, whole: what is not read would make of a close a reset.
    async fn connack(client: &mut TcpStream) -> std::io::Result<Vec<u8>> {
        let mut packet = vec![0; 2];
        client.read_exact(&mut packet).await?;
        packet.resize(2 + usize::from(packet[1]), 0);
        client.read_exact(&mut packet[2..]).await?;
        Ok(packet)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_leaves_while_there_is_no_lease_is_noticed() {
        let broker = Broker::in_cluster();
        let (_stays, is_there) = scene(&broker, b's', false).await;
        let (shared, one) = scene(&broker, b'a', false).await;
        let (owned, two) = scene(&broker, b'b', true).await;
        // Nobody gets to the end of what waits.
        let more = OTHER.repeat(2_000);
        for client in [&shared, &owned] {
            let _ = client.try_write(&more);
        }
        drop((shared, owned));
        for running in [one, two] {
            let ended = timeout(LIMIT, running).await;
            ended.expect("it is noticed").expect("no panic");
        }
        assert!(!is_there.is_finished(), "who is there stays");
        is_there.abort();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_leaves_is_heard_all_the_same_if_there_is_a_lease_soon() {
        let broker = Broker::in_cluster();
        let (client, running) = scene(&broker, b'a', false).await;
        drop(client);
        tokio::time::sleep(LOOK / 10).await;
        assert_eq!(broker.metrics.messages_received.get(), 0);
        let cluster = broker.cluster.as_ref().expect("it is in one");
        cluster.begin_lease(broker.clock.now());
        let ended = timeout(LIMIT, running).await;
        ended.expect("it ends").expect("no panic");
        assert_eq!(broker.metrics.messages_received.get(), 2);
    }
}
