//! Whether a will may still be published when its time has come: its client may have lost the right,
//! or its place among those who are known, since it connected, or be banned.
//!
//! The rights of a session whose client was connected to this gateway are at hand, and current. Of
//! one that came from the store, or whose gateway is gone, the sources are asked by whose session it
//! was. While they do not answer the will waits, within a bound: then it is not published. It waits
//! as well while there is no memory for messages, within another bound: then it is published all the
//! same, since it takes memory as long as it waits.

use std::time::Duration;

use crate::auth::rules::Action;
use crate::broker::Broker;
use crate::memory::Level;
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
    /// Given, but there is no memory for it now, or it is not known whether its client is back.
    Later,
}

impl Broker {
    /// Whether a will may be published, as far as it is known here.
    pub(crate) fn leave_for(&self, session: Option<&Session>, will: &Will) -> Leave {
        if self.has_banned_author(session, will) {
            tell_refused(will);
            return Leave::Refused;
        }
        let given = match self.memory.level() {
            Level::Short => Leave::Later,
            Level::Enough | Level::Tight => Leave::Given,
        };
        if self.guard.is_none() {
            return given;
        }
        let Some(rights) = session.and_then(|session| session.rights.load_full()) else {
            return Leave::Unknown;
        };
        match rights.allow(Action::Publish, will.message.as_ref().topic) {
            true => given,
            false => {
                tell_refused(will);
                Leave::Refused
            }
        }
    }

    /// Waits until there is memory for a will, within `limits.stuck-timeout`, and asks the sources
    /// whether it may be published if that is not known.
    pub(crate) async fn wait_for_leave(&self, will: &Will, leave: Leave) -> bool {
        let longest = self.config.limits.stuck_timeout;
        self.memory.room_for_messages(longest).await;
        let is_given = leave == Leave::Later || self.ask_guard(will).await;
        if is_given && self.has_banned_author(None, will) {
            tell_refused(will); // since that was found out
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
