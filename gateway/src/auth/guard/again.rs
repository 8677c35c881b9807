//! Asks again about clients that are there: at once where sources were read again, and now and then
//! of sources that tell nobody when they change.
//!
//! What a source has said holds for its [`super::Source::refresh`]: within that each session is judged
//! again, so whoever is deleted is disconnected, and whoever may do less does less. All sessions are
//! gone through twice in that time, in slices, a few questions at once: so a source has as much to
//! answer as clients are there, evenly, and each session is asked about in time whichever place it
//! has in the next round.
//!
//! Of a client of which nobody can say it now, what was said before holds until somebody can, however
//! long that is: clients that are let in are who they are, and a source that is gone is more often a
//! fault than an attack. To end them after a while would make one outage two, with all clients knocking
//! at a source that has just come back. Meanwhile nobody new is let in, and the log says since when; who
//! wants them gone restarts the gateway. In the round after the source answers again, all are judged.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::{Guard, NOBODY_TO_ASK};
use crate::auth::Rights;
use crate::broker::Broker;
use crate::proto::mqtt::Reason;
use crate::session::{End, Session};

/// Sessions that are judged again before others get their turn.
const AT_ONCE: usize = 64;
/// Sessions that are asked about at the same time.
const QUESTIONS: usize = 8;
/// Into how many slices a round is cut, where there are so many sessions.
const SLICES: usize = 100;

impl Broker {
    /// Judges all clients again.
    pub(crate) async fn judge_again(&self, guard: &Guard) {
        for sessions in self.registry.all().chunks(AT_ONCE) {
            self.judge_sessions(guard, sessions).await;
            tokio::task::yield_now().await;
        }
    }

    async fn judge_sessions(&self, guard: &Guard, sessions: &[Arc<Session>]) {
        let mut judging = FuturesUnordered::new();
        for session in sessions {
            if judging.len() == QUESTIONS {
                judging.next().await;
            }
            judging.push(self.judge_session(guard, session));
        }
        while judging.next().await.is_some() {}
    }

    /// Judges a client again. One that is let in no more is disconnected; of one of which nobody can
    /// say it now, what was said before holds.
    pub(crate) async fn judge_session(&self, guard: &Guard, session: &Session) {
        let Some(known) = session.rights.load_full() else {
            return; // nobody has connected to it here
        };
        let (rights, is_let_in) = match guard.judge_again(&known, &session.client_id).await {
            Ok(rights) => (rights, true),
            Err(denied) if denied == NOBODY_TO_ASK => return,
            Err(_) => (
                Arc::new(Rights::none(&session.client_id, &known.identity)),
                false,
            ),
        };
        // A connection that came meanwhile was judged by itself, or looks whether it was judged before
        // the change: what was found out of the one before is not for it.
        let before = session.rights.compare_and_swap(&known, Some(rights));
        let is_same = before.as_ref().is_some_and(|it| Arc::ptr_eq(it, &known));
        if is_same && !is_let_in {
            let why = "the client is let in no more";
            session.request_end(End::refused(Reason::NotAuthorized, why));
        }
    }
}

/// Judges all clients again and again, if there is a source that needs it.
pub(crate) async fn run(broker: Arc<Broker>) {
    let Some(guard) = &broker.guard else { return };
    let Some(period) = guard.refresh() else {
        return;
    };
    let rounds = async {
        guard.probe().await;
        loop {
            round(&broker, guard, period / 2).await;
        }
    };
    tokio::select! {
        () = rounds => {}
        () = broker.tasks_end.cancelled() => {}
    }
}

async fn round(broker: &Broker, guard: &Guard, length: Duration) {
    let sessions = broker.registry.all();
    let (slice, pause) = pace(sessions.len(), length);
    for sessions in sessions.chunks(slice) {
        tokio::time::sleep(pause).await;
        broker.judge_sessions(guard, sessions).await;
    }
    if sessions.is_empty() {
        tokio::time::sleep(length).await;
    }
}

/// How many sessions a slice has, and the time between two slices.
fn pace(n_sessions: usize, length: Duration) -> (usize, Duration) {
    let slice = n_sessions.div_ceil(SLICES).max(1);
    let n_slices = n_sessions.div_ceil(slice).max(1);
    (slice, length / u32::try_from(n_slices).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_has_its_length_however_many_are_there() {
        let length = Duration::from_secs(30);
        for n_sessions in [0, 1, 2, 99, 100, 101, 199, 1_000, 12_345, 1_000_000] {
            let (slice, pause) = pace(n_sessions, length);
            let n_slices = u32::try_from(n_sessions.div_ceil(slice)).unwrap();
            assert!(n_slices <= 100, "{n_sessions}");
            assert!(pause * n_slices <= length, "{n_sessions}");
            let rest = length - pause * n_slices.max(1);
            assert!(rest < Duration::from_millis(1), "{n_sessions}: {rest:?}");
        }
    }
}
