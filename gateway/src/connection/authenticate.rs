//! Enhanced authentication at CONNECT `[MQTT-4.12]`: AUTH packets that are exchanged with a client
//! before there is a session.

use std::future::poll_fn;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use super::admission::{self, admit, may_be_here, refused};
use super::handshake::Peer;
use super::stream::Stream;
use crate::auth::password::scram::Mechanism;
use crate::auth::{Beginning, Denied, Rights};
use crate::broker::Broker;
use crate::proto::mqtt::{self, Auth, Connect, Frame, Packet, Reason, UserProperties, Version};
use crate::session::link::Socket;
use crate::session::outbox::Outbox;

/// Bytes that may come behind a CONNECT before it is answered.
const MOST_AHEAD: usize = 16 * 1024;

/// The way to and from a client that has no connection yet.
pub(super) struct Caller<'a> {
    pub(super) stream: &'a mut Stream,
    pub(super) socket: Option<&'a Socket>,
    /// What has come behind the CONNECT.
    pub(super) ahead: Vec<u8>,
    /// When everything must have been said.
    pub(super) deadline: Instant,
    /// The largest packet that it takes, in bytes.
    pub(super) maximum_packet_size: usize,
}

/// Why an exchange has come to nothing.
pub(super) enum Failure {
    Denied(Denied),
    /// What came is not what has to come now.
    Violation(Reason, String),
    /// The client is gone, or takes nothing.
    Gone(&'static str),
}

/// Finds out who the client is, by what its CONNECT has or by what it is asked then. Returns what it
/// may do, and what it is told in CONNACK.
pub(super) async fn identify(
    broker: &Broker,
    connect: &Connect<'_>,
    client_id: &str,
    peer: &Peer,
    caller: &mut Caller<'_>,
) -> Result<(Option<Arc<Rights>>, Option<String>), Failure> {
    let mechanism = connect.authentication_method.and_then(Mechanism::named);
    let (Some(guard), Some(mechanism)) = (&broker.guard, mechanism) else {
        let admitting = admit(broker, connect, client_id, peer);
        return Ok((caller.meanwhile(admitting).await?, None));
    };
    let named = match &peer.named {
        Some(Err(no_name)) => return Err(Failure::Denied(refused(no_name.why()))),
        Some(Ok(named)) => Some(&*named.username),
        None => connect.login.username,
    };
    let beginning = Beginning {
        mechanism,
        message: connect.authentication_data.unwrap_or_default(),
        client_id,
        address: peer.address,
        has_to_be: named,
    };
    not_banned(broker, &beginning).map_err(Failure::Denied)?;
    let challenging = guard.challenge(&beginning, &broker.clock);
    let (challenge, question) = caller.meanwhile(challenging).await?;
    let question = packet(Reason::ContinueAuthentication, mechanism, &question);
    caller.say(&question).await?;
    let limits = &broker.config.limits;
    let maximum = limits.maximum_connect_size.min(limits.maximum_packet_size);
    let answer = caller.next(maximum).await?;
    let answer = mqtt::decode(Version::V5, &answer, &limits.decoding())
        .map_err(|error| malformed(&error))?;
    let message = message(&answer, mechanism)?;
    if !caller.ahead.is_empty() {
        return Err(out_of_order()); // [MQTT-3.1.2-30]
    }
    let concluding = guard.conclude(challenge, message, &broker.clock);
    let (rights, data) = caller.meanwhile(concluding).await?;
    may_be_here(broker, &rights, client_id, connect).map_err(Failure::Denied)?;
    Ok((Some(rights), Some(data)))
}

/// Whoever is banned is not asked anything, whether it is the one that it says it is or not.
fn not_banned(broker: &Broker, beginning: &Beginning<'_>) -> Result<(), Denied> {
    let claimed = beginning.username();
    let [claimed, has_to_be] = [claimed.as_deref(), beginning.has_to_be];
    admission::not_banned(broker, beginning.client_id, claimed)?;
    admission::not_banned(broker, beginning.client_id, has_to_be)
}

/// An AUTH packet of the broker.
pub(super) fn packet(reason: Reason, mechanism: Mechanism, data: &str) -> Vec<u8> {
    let auth = Auth {
        reason,
        authentication_method: Some(mechanism.name()), // [MQTT-4.12.0-5]
        authentication_data: Some(data.as_bytes()),
        reason_string: None,
        user_properties: UserProperties::default(),
    };
    let mut packet = Vec::with_capacity(256);
    mqtt::encode(&Packet::Auth(auth), Version::V5, &mut packet);
    packet
}

/// What the client says in answer to a question `[MQTT-4.12.0-3]`.
fn message<'a>(packet: &Packet<'a>, mechanism: Mechanism) -> Result<&'a [u8], Failure> {
    match packet {
        Packet::Auth(auth)
            if auth.reason == Reason::ContinueAuthentication
                && auth.authentication_method == Some(mechanism.name()) =>
        {
            Ok(auth.authentication_data.unwrap_or_default())
        }
        Packet::Disconnect(_) => Err(Failure::Gone("it left instead of proving who it is")),
        _ => Err(out_of_order()),
    }
}

fn out_of_order() -> Failure {
    let why = "what comes before CONNACK has to go on with the authentication";
    Failure::Violation(Reason::ProtocolError, why.to_owned())
}

fn malformed(error: &mqtt::Error) -> Failure {
    Failure::Violation(error.reason(), error.to_string())
}

// === impl Caller ===

impl Caller<'_> {
    /// Reads what comes behind the CONNECT, as far as it is kept before that is answered. Returns
    /// when the client has left.
    pub(super) async fn left(&mut self) {
        while self.ahead.len() < MOST_AHEAD {
            match self.stream.read_buf(&mut self.ahead).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        std::future::pending().await
    }

    /// Whether the client has left, as far as is known by now, and without a word behind its
    /// CONNECT: what somebody says who does not wait for CONNACK is done all the same.
    pub(super) async fn has_left(&mut self) -> bool {
        if !self.ahead.is_empty() {
            return false;
        }
        tokio::select! {
            biased;
            read = self.stream.read_buf(&mut self.ahead) => matches!(read, Ok(0) | Err(_)),
            () = std::future::ready(()) => false,
        }
    }

    /// Waits for something, as long as the client is there.
    async fn meanwhile<T>(
        &mut self,
        what: impl Future<Output = Result<T, Denied>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            biased;
            done = what => done.map_err(Failure::Denied),
            () = self.left() => Err(Failure::Gone("it left before it was known who it is")),
        }
    }

    /// Sends a packet.
    async fn say(&mut self, packet: &[u8]) -> Result<(), Failure> {
        if packet.len() > self.maximum_packet_size {
            return Err(Failure::Gone("it takes no packet as long as the question")); // [MQTT-3.1.2-24]
        }
        match timeout_at(self.deadline, write(self.stream, self.socket, packet)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Failure::Gone("it takes nothing")),
        }
    }

    /// The next packet of the client, no larger than this.
    async fn next(&mut self, maximum: u32) -> Result<Vec<u8>, Failure> {
        loop {
            if !self.ahead.is_empty() {
                match mqtt::frame(Version::V5, &self.ahead, maximum)
                    .map_err(|error| malformed(&error))?
                {
                    Frame::Complete { total, .. } => {
                        let rest = self.ahead.split_off(total);
                        return Ok(std::mem::replace(&mut self.ahead, rest));
                    }
                    Frame::Incomplete { .. } => {}
                }
            }
            // The buffer grows with what has arrived, never with what a length announces.
            self.ahead.reserve(self.ahead.len().clamp(512, MOST_AHEAD));
            let reading = self.stream.read_buf(&mut self.ahead);
            match timeout_at(self.deadline, reading).await {
                Ok(Ok(0) | Err(_)) => return Err(Failure::Gone("it left before its proof came")),
                Ok(Ok(_)) => {}
                Err(_) => return Err(Failure::Gone("no proof in time")),
            }
        }
    }
}

/// Writes bytes to a client that has no session.
pub(super) async fn write(
    stream: &mut Stream,
    socket: Option<&Socket>,
    bytes: &[u8],
) -> std::io::Result<()> {
    match (stream, socket) {
        (Stream::Owned(stream), _) => {
            stream.write_all(bytes).await?;
            stream.flush().await
        }
        (_, Some(socket)) => {
            let mut outbox = Outbox::default();
            outbox.append_slice(bytes);
            while !socket.write(&mut outbox)? {
                poll_fn(|context| socket.poll_writable(context)).await?;
            }
            Ok(())
        }
        (_, None) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bans::{Change, Source};
    use crate::proto::cluster::state::{Ban, BanKind};

    #[test]
    fn who_is_banned_by_any_of_its_names_is_not_asked_for_a_proof() {
        let broker = Broker::in_memory();
        let ban = Ban {
            kind: BanKind::User.into(),
            value: "eve".to_owned(),
            ..Ban::default()
        };
        broker.bans.change(Source::Agreed, Change::Ban(ban));
        let reason = |message: &str, has_to_be| {
            let beginning = Beginning {
                mechanism: Mechanism::Sha256,
                message: message.as_bytes(),
                client_id: "c",
                address: None,
                has_to_be,
            };
            not_banned(&broker, &beginning)
                .err()
                .map(|denied| denied.reason)
        };
        let banned = Some(Reason::Banned);
        assert_eq!(reason("n,,n=eve,r=abc", None), banned);
        assert_eq!(reason("n,,n=eve,r=abc", Some("ann")), banned);
        assert_eq!(reason("n,,n=ann,r=abc", Some("eve")), banned);
        assert_eq!(reason("n,,n=ann,r=abc", Some("ann")), None);
        assert_eq!(reason("none of SCRAM", None), None);
    }
}
