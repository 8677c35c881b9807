//! A client that gets no connection: it is counted, the log says who it was and why, and it is told
//! by a CONNACK where there is one for it. A storm of them does not fill the log.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use gatemq_node::log::lines::{Lines, Verdict};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::authenticate::write;
use super::captured;
use super::handshake::{Accepted, Peer};
use super::stream::Stream;
use crate::auth::Beginning;
use crate::bans::Whom;
use crate::broker::Broker;
use crate::metrics::Stage;
use crate::proto::mqtt::{self, ConnAck, Connect, Packet, Reason, Version};

/// How long a client may take to take the CONNACK that refuses it.
const LINGER: Duration = Duration::from_millis(800);
/// The most that a line says of a name, in bytes: a client may give one of 65,535.
const LONGEST_NAME: usize = 128;

/// The lines that the log has of them.
pub(crate) const fn lines() -> Lines {
    Lines::new(10, Duration::from_secs(1))
}

/// Why there will be no connection.
#[derive(Debug)]
pub(super) struct Refusal {
    /// Without it the connection is closed without a word: what came was not MQTT, or nothing came
    /// in time.
    told: Option<Told>,
    why: String,
    /// Whether another line of the log tells of all of them together.
    is_summed_up: bool,
}

/// What a CONNACK says, as far as the client takes it.
#[derive(Debug)]
struct Told {
    version: Version,
    reason: Reason,
    limit: usize,
}

// === impl Refusal ===

impl Refusal {
    pub(super) fn silent(why: impl Into<String>) -> Self {
        Self {
            told: None,
            why: why.into(),
            is_summed_up: false,
        }
    }

    pub(super) fn told(
        version: Version,
        reason: Reason,
        why: impl Into<String>,
        limit: usize,
    ) -> Self {
        Self {
            told: Some(Told {
                version,
                reason,
                limit,
            }),
            ..Self::silent(why)
        }
    }

    pub(super) fn summed_up_if(self, is_summed_up: bool) -> Self {
        Self {
            is_summed_up,
            ..self
        }
    }

    /// Carries it out; `connect` is the packet that is refused, empty where none has come.
    pub(super) async fn carry_out(self, broker: &Arc<Broker>, accepted: Accepted, connect: &[u8]) {
        let reason = self.told.as_ref().map(|told| told.reason);
        broker.metrics.connections_refused.inc(reason);
        self.log(broker, &accepted.peer, connect);
        self.capture(broker, &accepted.peer, connect);
        if let Some(told) = self.told {
            // A client that does not take its CONNACK does not get it.
            let telling = tell(accepted, &told, &self.why);
            let _ = tokio::time::timeout(LINGER, telling).await;
        }
    }

    fn capture(&self, broker: &Broker, peer: &Peer, connect: &[u8]) {
        if !broker.captures.is_any() {
            return;
        }
        let limits = &broker.config.limits;
        let connect = match mqtt::decode(Version::V5, connect, &limits.decoding()) {
            Ok(Packet::Connect(connect)) => Some(connect),
            Ok(_) | Err(_) => None,
        };
        let client_id = connect.as_ref().map_or("", |connect| connect.client_id);
        captured::tell(broker, peer, client_id, "refused", |event| {
            let user = connect.as_ref().and_then(|connect| user(connect, peer));
            let event = event.with_some("username", user);
            let reason = self.told.as_ref().map(|told| told.reason.name());
            event.with_some("reason", reason).with("why", &*self.why)
        });
    }

    /// At the level of info if it was a CONNECT that was refused, as far as there is room for it:
    /// whatever only tries whether the port is open has nothing to say.
    fn log(&self, broker: &Arc<Broker>, peer: &Peer, connect: &[u8]) {
        let has_asked = self.told.is_some() || !connect.is_empty();
        let is_said = has_asked && !self.is_summed_up && is_said(broker);
        if !is_said && !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        let limits = &broker.config.limits;
        let connect = match mqtt::decode(Version::V5, connect, &limits.decoding()) {
            Ok(Packet::Connect(connect)) => Some(connect),
            Ok(_) | Err(_) => None,
        };
        let client_id = connect.as_ref().map(|connect| shown(connect.client_id));
        let user = connect.as_ref().and_then(|connect| user(connect, peer));
        let reason = self.told.as_ref().map(|told| told.reason);
        let ban = match reason {
            Some(Reason::Banned) => ban(broker, peer, connect.as_deref(), user.as_deref()),
            _ => None,
        };
        let why = match &ban {
            Some(ban) => Cow::from(format!("{}: {ban}", self.why)),
            None => shown(&self.why),
        };
        let user = user.as_deref().map(shown);
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    client.id = client_id.as_deref(),
                    user = user.as_deref(),
                    peer = peer.address.map(tracing::field::display),
                    listener = &*peer.listener,
                    reason = reason.map(Reason::name),
                    code = reason.map(code).as_deref(),
                    why = &*why,
                    "connection refused"
                )
            };
        }
        match is_said {
            true => line!(info),
            false => line!(debug),
        }
    }
}

/// Says that a connection was refused before it said anything of MQTT: where it did not get through
/// something, at the level of info, as far as there is room for it.
pub(crate) fn tell_early(broker: &Arc<Broker>, peer: &Peer, stage: Option<Stage>, why: &str) {
    let (address, listener) = (peer.address.map(tracing::field::display), &*peer.listener);
    let is_banned = stage == Some(Stage::Ban);
    let ban = is_banned.then(|| ban(broker, peer, None, None)).flatten();
    let why = &*match ban {
        Some(ban) => Cow::from(format!("{why}: {ban}")),
        None => shown(why),
    };
    let reason = stage.map(Stage::name);
    captured::tell(broker, peer, "", "refused", |event| {
        event.with_some("reason", reason).with("why", why)
    });
    match stage.is_some() && is_said(broker) {
        true => tracing::info!(peer = address, listener, reason, why, "connection refused"),
        false => tracing::debug!(peer = address, listener, reason, why, "connection refused"),
    }
}

/// What there is to say of the ban that a client was refused for.
fn ban(
    broker: &Broker,
    peer: &Peer,
    connect: Option<&Connect<'_>>,
    user: Option<&str>,
) -> Option<String> {
    let whom = Whom {
        client_id: connect.map_or("", |connect| connect.client_id),
        usernames: [connect.and_then(|it| it.login.username), user],
        address: peer.address,
    };
    broker.bans.told_of(&whom, |text| shown(text).into_owned())
}

/// Whether the log has room for one more; who is the first that it has none for sees to it that
/// they are told of.
fn is_said(broker: &Arc<Broker>) -> bool {
    match broker.refused_lines.lock().note(Instant::now().into_std()) {
        Verdict::Said => return true,
        Verdict::LeftOut => {}
        Verdict::LeftOutUntil(then) => {
            let telling = broker.clone();
            broker.tasks.spawn(async move {
                tokio::select! {
                    () = tokio::time::sleep_until(then.into()) => {}
                    () = telling.tasks_end.cancelled() => {}
                }
                let n_refused = telling.refused_lines.lock().take_left_out();
                tracing::info!(
                    n_refused,
                    "more connections were refused, without a line each"
                );
            });
        }
    }
    false
}

/// Who a client says it is: by its certificate, by CONNECT, or by its first message of SCRAM.
fn user<'a>(connect: &Connect<'a>, peer: &'a Peer) -> Option<Cow<'a, str>> {
    if let Some(Ok(named)) = &peer.named {
        return Some((&*named.username).into());
    }
    let by_proof = || {
        let message = connect.authentication_data?;
        Beginning::username_in(message).map(Cow::from)
    };
    let by_name = connect.login.username.map(|name| match is_token(name) {
        true => Cow::from("(a token)"), // whoever reads the log could log in with it
        false => Cow::from(name),
    });
    by_name.or_else(by_proof)
}

/// Whether a user name is a token (JWT), which some sources take from there: three parts in base64url,
/// of which the first is a JSON object.
fn is_token(name: &str) -> bool {
    name.starts_with("eyJ") && name.matches('.').count() == 2
}

/// What a line says of a text that a client may have made up. What is no letter is escaped by the
/// log itself.
fn shown(text: &str) -> Cow<'_, str> {
    match text.len() <= LONGEST_NAME {
        true => text.into(),
        false => {
            let end = text.floor_char_boundary(LONGEST_NAME);
            format!("{}…", &text[..end]).into()
        }
    }
}

fn code(reason: Reason) -> String {
    format!("0x{:02X}", reason as u8)
}

/// Sends the CONNACK that refuses, and closes `[MQTT-3.2.2-7]`.
async fn tell(accepted: Accepted, told: &Told, why: &str) -> std::io::Result<()> {
    let mut packet = Vec::new();
    for text in [Some(why), None] {
        let mut connack = ConnAck::new(told.reason);
        connack.reason_string = text;
        packet.clear();
        mqtt::encode(
            &Packet::ConnAck(Box::new(connack)),
            told.version,
            &mut packet,
        );
        if packet.len() <= told.limit {
            break; // [MQTT-3.2.2-19]
        }
    }
    if packet.len() > told.limit {
        packet.clear();
    }
    let Accepted {
        mut stream, socket, ..
    } = accepted;
    write(&mut stream, socket.as_deref(), &packet).await?;
    drop(socket); // which says that nothing more comes
    if let Stream::Owned(stream) = &mut stream {
        stream.shutdown().await?;
    }
    // Closing with unread bytes would reset the connection before the CONNACK is read.
    super::goodbye::discard(&mut stream).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_beginning_of_a_long_name_and_all_of_a_short_one() {
        let long = "é".repeat(40_000);
        let cut = shown(&long);
        assert!(cut.len() <= LONGEST_NAME + '…'.len_utf8(), "{}", cut.len());
        assert!(cut.starts_with("éé") && cut.ends_with("é…"));
        assert_eq!(shown("pump-7\n"), "pump-7\n");
    }
}
