//! Enhanced authentication again, on a connection that goes on meanwhile `[MQTT-4.12.1]`.
//!
//! Sources are asked in a future that the connection's task polls. The user stays who it is, since
//! the session is its own; what it may do is asked anew.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::Connection;
use super::admission;
use super::authenticate::packet;
use crate::auth::password::scram::Mechanism;
use crate::auth::{Beginning, Challenge, Denied};
use crate::broker::Broker;
use crate::proto::mqtt::{Auth, Reason};
use crate::session::{End, Session};
use crate::turn::Turn;

/// The method by which the client has said who it is, and how far it is with doing so again.
pub(super) struct Authentication {
    mechanism: Mechanism,
    step: Step,
}

#[derive(Default)]
enum Step {
    #[default]
    Done,
    /// It is looked up who it says it is.
    Asked(BoxFuture<'static, Result<(Challenge, String), Denied>>),
    /// It was asked for its proof, which must be there in time.
    Challenged(Box<Challenge>, Instant),
    /// Its proof is here.
    Proving(BoxFuture<'static, Result<String, Denied>>),
}

// === impl Authentication ===

impl Authentication {
    pub(super) fn new(mechanism: Mechanism) -> Box<Self> {
        Box::new(Self {
            mechanism,
            step: Step::Done,
        })
    }
}

impl std::fmt::Debug for Authentication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Authentication")
            .field(&self.mechanism)
            .finish()
    }
}

// === impl Connection ===

impl Connection {
    pub(super) fn handle_auth(&mut self, auth: &Auth<'_>) -> Result<(), End> {
        let violation = |why: &str| Err(End::refused(Reason::ProtocolError, why));
        let Some(authentication) = &mut self.authentication else {
            // [MQTT-4.12.0-6]
            return violation("AUTH without an Authentication Method in CONNECT");
        };
        let mechanism = authentication.mechanism;
        if auth.authentication_method != Some(mechanism.name()) {
            // [MQTT-4.12.0-5], [MQTT-4.12.1-1]
            return violation("AUTH with another Authentication Method than CONNECT had");
        }
        let message = auth.authentication_data.unwrap_or_default().to_vec();
        let (broker, session) = (self.broker.clone(), self.session.clone());
        authentication.step = match (auth.reason, std::mem::take(&mut authentication.step)) {
            (Reason::ReAuthenticate, Step::Done) => {
                Step::Asked(Box::pin(ask(broker, session, mechanism, message)))
            }
            (Reason::ContinueAuthentication, Step::Challenged(challenge, deadline)) => {
                if Instant::now() > deadline {
                    return Err(End::refused(Reason::NotAuthorized, "no proof in time"));
                }
                let proving = prove(broker, session, self.epoch, *challenge, message);
                Step::Proving(Box::pin(proving))
            }
            _ => return violation("AUTH that does not go on with anything"),
        };
        Ok(())
    }

    /// Goes on with what is being looked up, if anything is.
    pub(super) fn poll_authentication(&mut self, context: &mut Context<'_>) -> Result<(), End> {
        let Some(authentication) = &mut self.authentication else {
            return Ok(());
        };
        let mechanism = authentication.mechanism;
        let (reason, said) = match &mut authentication.step {
            Step::Done | Step::Challenged(..) => return Ok(()),
            Step::Asked(asking) => match asking.as_mut().poll(context) {
                Poll::Pending => return Ok(()),
                Poll::Ready(asked) => {
                    let (challenge, question) = asked.map_err(|denied| end(&denied))?;
                    let limit = self.broker.config.limits.connect_timeout;
                    authentication.step =
                        Step::Challenged(Box::new(challenge), Instant::now() + limit);
                    (Reason::ContinueAuthentication, question)
                }
            },
            Step::Proving(proving) => match proving.as_mut().poll(context) {
                Poll::Pending => return Ok(()),
                Poll::Ready(proved) => {
                    let said = proved.map_err(|denied| end(&denied))?;
                    authentication.step = Step::Done;
                    (Reason::Success, said)
                }
            },
        };
        let packet = packet(reason, mechanism, &said);
        if packet.len() > self.maximum_packet_size {
            // [MQTT-3.1.2-24]
            let why = "the client takes no packet as long as its answer";
            return Err(End::refused(Reason::ImplementationSpecificError, why));
        }
        let broker = self.broker.clone();
        let mut turn = Turn::new(&broker);
        turn.replies.extend_from_slice(&packet);
        turn.tally.packets_out += 1;
        self.finish_turn(turn);
        Ok(())
    }
}

async fn ask(
    broker: Arc<Broker>,
    session: Arc<Session>,
    mechanism: Mechanism,
    message: Vec<u8>,
) -> Result<(Challenge, String), Denied> {
    let guard = broker.guard.as_ref().ok_or(NOBODY)?;
    let rights = session.rights.load_full().ok_or(NOBODY)?;
    let beginning = Beginning {
        mechanism,
        message: &message,
        client_id: &session.client_id,
        address: session.life.lock().address,
        has_to_be: Some(rights.username().ok_or(NOBODY)?),
    };
    not_banned(&broker, &session, &beginning)?;
    guard.challenge(&beginning, &broker.clock).await
}

async fn prove(
    broker: Arc<Broker>,
    session: Arc<Session>,
    epoch: u64,
    challenge: Challenge,
    message: Vec<u8>,
) -> Result<String, Denied> {
    let guard = broker.guard.as_ref().ok_or(NOBODY)?;
    let generation = challenge.generation;
    let concluding = guard.conclude(challenge, &message, &broker.clock);
    let (rights, said) = concluding.await?;
    check_session(&broker, &session)?;
    {
        let outbound = session.outbound.lock();
        let link = outbound.link.as_ref();
        if link.is_none_or(|link| link.epoch != epoch) {
            return Err(NOBODY); // another connection has the session
        }
        session.rights.store(Some(rights));
    }
    if generation != guard.generation() {
        // What was said of it may not hold any more, and nobody else has looked at it since.
        broker.judge_session(guard, &session).await;
    }
    Ok(said)
}

/// Whoever is banned is not asked anything, whoever it says it is now.
fn not_banned(broker: &Broker, session: &Session, beginning: &Beginning<'_>) -> Result<(), Denied> {
    check_session(broker, session)?;
    let claimed = beginning.username();
    admission::not_banned(broker, beginning.client_id, claimed.as_deref())
}

fn check_session(broker: &Broker, session: &Session) -> Result<(), Denied> {
    let checked = broker.check_session(session);
    checked.map_err(|(reason, why)| Denied { reason, why })
}

const NOBODY: Denied = Denied {
    reason: Reason::NotAuthorized,
    why: "the session is nobody's that could say so again",
};

fn end(denied: &Denied) -> End {
    End::refused(denied.reason, denied.why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Guard;
    use crate::bans::{Change, Source};
    use crate::config;
    use crate::lifecycle::Claim;
    use crate::proto::cluster::state::{Ban, BanKind};
    use crate::proto::mqtt::Version;

    /// A broker with users, and a session of one of them.
    async fn scene() -> (Arc<Broker>, Arc<Session>) {
        let name = format!("gatemq-again-{}.yml", std::process::id());
        let path = std::env::temp_dir().join(name);
        let rules = "rules: [{allow: all, topics: ['#']}]";
        std::fs::write(&path, rules).expect("it is writable");
        let auth = config::Auth {
            sources: vec![config::AuthSource::File(path.clone())],
            ..config::Auth::default()
        };
        let mut broker = Broker::in_memory();
        let own = Arc::get_mut(&mut broker).expect("nobody else's");
        own.guard = Guard::open(&auth).expect("users");
        std::fs::remove_file(path).expect("it is there");
        let claim = Claim {
            client_id: "c",
            principal: Some("certificate ann"),
            clean_start: true,
            version: Version::V5,
            expiry: 0,
        };
        let session = broker.claim(&claim).await.expect("room").session;
        let guard = broker.guard.as_ref().expect("there are users");
        let rights = guard.certify("c", "ann", None).await.expect("let in");
        session.rights.store(Some(rights));
        broker.enter_session(&session, "10.0.0.1".parse().ok(), Some("ann"));
        (broker, session)
    }

    #[tokio::test]
    async fn whoever_is_banned_by_now_is_not_asked_again_who_it_is() {
        let (broker, session) = scene().await;
        let ask = |username: &str| {
            let message = format!("n,,n={username},r=abc").into_bytes();
            ask(broker.clone(), session.clone(), Mechanism::Sha256, message)
        };
        let is_banned = |asked: Result<_, Denied>| {
            let denied = asked.err();
            denied.is_some_and(|denied| denied.reason == Reason::Banned)
        };
        assert!(!is_banned(ask("ann").await));
        for (kind, value, claims) in [
            (BanKind::ClientId, "c", "ann"),
            (BanKind::User, "ann", "ann"),
            (BanKind::User, "eve", "eve"),
            (BanKind::Address, "10.0.0.0/8", "ann"),
        ] {
            let ban = Ban {
                kind: kind.into(),
                value: value.to_owned(),
                ..Ban::default()
            };
            broker.bans.change(Source::Agreed, Change::Ban(ban));
            assert!(is_banned(ask(claims).await), "{kind:?}");
            let unban = Change::Unban(kind, value.to_owned());
            broker.bans.change(Source::Agreed, unban);
            assert!(!is_banned(ask("ann").await), "{kind:?}");
        }
    }
}
