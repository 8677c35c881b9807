//! Whether a will may still be published when its time has come: its client may have lost the right,
//! or its place among those who are known, since it connected, or be banned.
//!
//! The rights of a session whose client was connected to this gateway are at hand, and current. Of
//! one that came from the store, or whose gateway is gone, the sources are asked by whose session it
//! was. While they do not answer the will waits, within a bound: then it is not published.

use std::time::Duration;

use crate::auth::rules::Action;
use crate::broker::Broker;
use crate::session::Session;
use crate::will::Will;

/// How often, and how many times, sources are asked that do not answer.
const PAUSE: Duration = Duration::from_secs(1);
const TRIES: usize = 60;

/// What is known at once of whether a will may be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    Given,
    Refused,
    /// The sources have to be asked.
    Unknown,
}

impl Broker {
    /// Whether a will may be published, as far as it is known here.
    pub(crate) fn leave_for(&self, session: Option<&Session>, will: &Will) -> Leave {
        if self.has_banned_author(session, will) {
            tell_refused(will);
            return Leave::Refused;
        }
        if self.guard.is_none() {
            return Leave::Given;
        }
        let Some(rights) = session.and_then(|session| session.rights.load_full()) else {
            return Leave::Unknown;
        };
        match rights.allow(Action::Publish, will.message.as_ref().topic) {
            true => Leave::Given,
            false => {
                tell_refused(will);
                Leave::Refused
            }
        }
    }

    /// Asks the sources whether a will may be published.
    pub(crate) async fn ask_leave(&self, will: &Will) -> bool {
        let is_given = self.ask_guard(will).await;
        if is_given && self.has_banned_author(None, will) {
            tell_refused(will); // since it was asked about
            return false;
        }
        is_given
    }

    async fn ask_guard(&self, will: &Will) -> bool {
        let Some(guard) = &self.guard else {
            return true;
        };
        for _ in 0..TRIES {
            if let Ok(answer) = guard.rights_of(&will.principal, &will.client_id).await {
                let topic = will.message.as_ref().topic;
                let is_given = answer.is_some_and(|rights| rights.allow(Action::Publish, topic));
                if !is_given {
                    tell_refused(will);
                }
                return is_given;
            }
            tokio::time::sleep(PAUSE).await;
        }
        tracing::warn!(
            client.id = &*will.client_id,
            topic = will.message.as_ref().topic,
            "will not published: nobody can say whether its client may publish it"
        );
        false
    }
}

fn tell_refused(will: &Will) {
    tracing::warn!(
        client.id = &*will.client_id,
        topic = will.message.as_ref().topic,
        "will not published: its client may not publish there any more"
    );
}
