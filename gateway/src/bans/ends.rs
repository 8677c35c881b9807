//! Ends the connections of those who are banned, a few at a time.

use std::net::IpAddr;
use std::sync::Arc;

use super::{BANNED, Whom};
use crate::broker::Broker;
use crate::proto::mqtt::Reason;
use crate::session::{End, Life, Session};
use crate::will::Will;

/// Sessions that are looked at before others get their turn.
const AT_ONCE: usize = 256;

/// Ends connections whenever bans come, until the gateway stops.
pub(crate) async fn run(broker: Arc<Broker>) {
    let looking = async {
        loop {
            broker.bans.told.notified().await;
            let news = std::mem::take(&mut *broker.bans.news.lock());
            if news.is_everybody {
                for sessions in broker.registry.all().chunks(AT_ONCE) {
                    sessions.iter().for_each(|it| broker.end_if_banned(it));
                    tokio::task::yield_now().await;
                }
            }
            for client_id in news.client_ids {
                let found = broker.registry.lock(&client_id).find(&client_id).cloned();
                found.iter().for_each(|it| broker.end_if_banned(it));
            }
        }
    };
    tokio::select! {
        () = looking => {}
        () = broker.tasks_end.cancelled() => {}
    }
}

impl Broker {
    /// A connection has a session now, and is not seen by others yet: whatever ban came since it was
    /// looked at ends it.
    pub(crate) fn enter_session(
        self: &Arc<Self>,
        session: &Session,
        address: Option<IpAddr>,
        username: Option<&str>,
    ) {
        {
            let mut life = session.life.lock();
            life.address = address;
            life.username = username.map(Into::into);
        }
        self.note_connect(&session.client_id);
        self.end_if_banned(session);
    }

    fn end_if_banned(&self, session: &Session) {
        let is_banned = {
            let life = session.life.lock();
            life.is_claimed && self.is_banned(session, &life)
        };
        if is_banned {
            let (reason, why) = BANNED;
            session.request_end(End::refused(reason, why));
        }
    }

    fn is_banned(&self, session: &Session, life: &Life) -> bool {
        let rights = session.rights.load();
        let known = rights.as_ref().and_then(|rights| rights.username());
        self.bans.has(&Whom {
            client_id: &session.client_id,
            usernames: [life.username.as_deref(), known],
            address: life.address,
        })
    }

    /// Looks once more at a client that is in.
    ///
    /// # Errors
    ///
    /// What the client is told.
    pub(crate) fn check_session(&self, session: &Session) -> Result<(), (Reason, &'static str)> {
        let life = session.life.lock();
        match self.is_banned(session, &life) {
            true => Err(BANNED),
            false => Ok(()),
        }
    }

    /// Whether whoever left a will is banned. Where it came from is known of a session alone.
    pub(crate) fn has_banned_author(&self, session: Option<&Session>, will: &Will) -> bool {
        let named = |by: &str| will.principal.strip_prefix(by);
        let author = Whom {
            client_id: &will.client_id,
            usernames: [named("user "), named("certificate ")],
            address: None,
        };
        self.bans.has(&author)
            || session.is_some_and(|session| self.is_banned(session, &session.life.lock()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bans::{Change, Source};
    use crate::lifecycle::Claim;
    use crate::proto::cluster::state::{Ban, BanKind};
    use crate::proto::mqtt::Version;

    fn ban(broker: &Broker, kind: BanKind, value: &str) {
        let ban = Ban {
            kind: kind.into(),
            value: value.to_owned(),
            ..Ban::default()
        };
        broker.bans.change(Source::Agreed, Change::Ban(ban));
    }

    async fn connect(broker: &Arc<Broker>, client_id: &str, from: &str) -> Arc<Session> {
        let claim = Claim {
            client_id,
            principal: None,
            clean_start: true,
            version: Version::V5,
            expiry: 0,
        };
        let claimed = broker.claim(&claim).await.expect("room");
        let user = format!("user of {client_id}");
        broker.enter_session(&claimed.session, from.parse().ok(), Some(&user));
        claimed.session
    }

    fn is_told(session: &Session) -> bool {
        let life = session.life.lock();
        matches!(
            life.end,
            Some(End::Refused(Reason::AdministrativeAction, _))
        )
    }

    #[tokio::test]
    async fn who_is_in_ends_when_a_ban_comes_and_nobody_else() {
        let broker = Broker::in_memory();
        let running = tokio::spawn(run(broker.clone()));
        let names = ["a", "b", "c", "d-1", "e"];
        let mut sessions = Vec::new();
        for (at, name) in names.iter().enumerate() {
            sessions.push(connect(&broker, name, &format!("10.{at}.0.1")).await);
        }
        ban(&broker, BanKind::ClientId, "a");
        ban(&broker, BanKind::User, "user of b");
        ban(&broker, BanKind::Address, "10.2.0.0/16");
        ban(&broker, BanKind::ClientIdPrefix, "d-");
        let told = tokio::time::timeout(std::time::Duration::from_secs(10), async {
            while !sessions[..4].iter().all(|it| is_told(it)) {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        });
        told.await.expect("all four are told");
        assert!(!is_told(&sessions[4]), "e");
        broker.tasks_end.cancel();
        running.await.expect("it ends");
    }

    #[tokio::test]
    async fn a_ban_that_comes_while_somebody_connects_ends_it() {
        let broker = Broker::in_memory();
        ban(&broker, BanKind::User, "user of a");
        // It was looked at before the ban came.
        let session = connect(&broker, "a", "10.0.0.1").await;
        assert!(is_told(&session));
        let other = connect(&broker, "b", "10.0.0.1").await;
        assert!(!is_told(&other));
    }

    #[tokio::test]
    async fn a_will_of_who_is_banned_is_not_given_leave() {
        use crate::message::MessageRef;
        use crate::proto::mqtt::Qos;
        use crate::will::Leave;
        let broker = Broker::in_memory();
        let message = MessageRef {
            publisher: 1,
            qos: Qos::AtLeastOnce,
            retain: false,
            expires_at: u64::MAX,
            topic: "t",
            properties: &[],
            payload: b"gone",
            trace: None,
        };
        let [will, certified] = ["user ann", "certificate ann"].map(|principal| Will {
            delay: 0,
            expiry: None,
            client_id: "c".into(),
            principal: principal.into(),
            origin: None,
            message: message.to_message(),
        });
        let session = connect(&broker, "c", "10.0.0.1").await;
        let leave = || broker.leave_for(Some(&session), &will);
        assert_eq!(leave(), Leave::Given);
        for (kind, value, is_known_without_a_session) in [
            (BanKind::ClientId, "c", true),
            (BanKind::User, "ann", true),
            (BanKind::User, "user of c", false),
            (BanKind::Address, "10.0.0.1", false),
        ] {
            ban(&broker, kind, value);
            assert_eq!(leave(), Leave::Refused, "{value}");
            for will in [&will, &certified] {
                let is_refused = !broker.wait_for_leave(will, Leave::Unknown).await;
                assert_eq!(is_refused, is_known_without_a_session, "{value}");
            }
            let unban = Change::Unban(kind, value.to_owned());
            broker.bans.change(Source::Agreed, unban);
        }
        assert_eq!(leave(), Leave::Given);
    }
}
