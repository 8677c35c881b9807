//! A session that Redis has given to a connection is put into memory, or goes on where it is there.

use std::sync::Arc;

use super::arrival::Title;
use super::known::Before;
use super::reserved::Reserved;
use crate::broker::Broker;
use crate::lifecycle::{Claim, Claimed, NoSession, taken_over};
use crate::registry::places::Place;
use crate::session::outbound::Outbound;
use crate::session::{Awaiting, End, Life, Session};
use crate::store::redis::Taken;
use crate::will::Will;

impl Broker {
    /// Brings a session that was claimed into memory. `here` is what there was of the client
    /// identifier, `known` the same if it is reserved: it goes on where Redis says that it is
    /// still good. A session that is new here has this place.
    ///
    /// # Errors
    ///
    /// It was to end while Redis was asked: it has, and whoever asks again begins another one.
    pub(super) fn take_over(
        self: &Arc<Self>,
        claim: &Claim<'_>,
        owner: u64,
        taken: Taken,
        here: Option<&Arc<Session>>,
        known: Option<Reserved<'_>>,
        place: Option<Place>,
    ) -> Result<Claimed, NoSession> {
        let title = Title {
            owner,
            number: taken.number,
            epoch: taken.epoch,
        };
        let before = Before::of(&taken);
        let is_present = taken.resumed.is_some();
        let known = known.map(Reserved::keep);
        let session = match (taken.resumed, known) {
            (Some(resumed), Some(session)) if resumed.stored.is_none() => {
                self.resume(&session, &mut session.life.lock(), claim);
                self.publish_overdue(&session);
                self.registry
                    .count(&session, claim.principal.unwrap_or_default());
                self.attach(&session, title);
                if session.outbound.lock().is_moved() {
                    // Another gateway has claimed it since, and has said so already.
                    session.request_end(taken_over());
                }
                session
            }
            (Some(resumed), _) => {
                let (record, now) = (resumed.record, self.clock.now());
                let mut stored = resumed.stored.unwrap_or_default();
                let is_due = |will: &mut Will| will.is_due(record.detached_at, record.expiry, now);
                let due = stored.will.take_if(is_due);
                let will = stored.will.take().map(Arc::new);
                let mut life = self.life_of(claim, record.created_at);
                life.awaiting = Some(Awaiting::stored(&record, will, now));
                let session = self.bring_in(title, &record, stored, life, here, place);
                if let Some(will) = due {
                    let leave = self.leave_for(Some(&session), &will);
                    self.publish_stored_will(session.number, &will, leave);
                }
                session
            }
            (None, _) => {
                here.inspect(|old| self.make_room(old));
                let life = self.life_of(claim, self.clock.now());
                let outbound = Outbound::new(claim.expiry > 0);
                let session = Session::new(taken.number, claim.client_id, outbound, life);
                *session.place.lock() = place;
                let session = Arc::new(session);
                self.attach(&session, title);
                self.registry.lock(claim.client_id).insert(session.clone());
                session
            }
        };
        if let Some(ended) = taken.ended {
            self.settle_ended(claim.client_id, owner, ended);
        }
        self.make_known(&session, title, before);
        let (epoch, is_over) = {
            let life = session.life.lock();
            (life.epoch, life.is_over)
        };
        if is_over {
            self.detach(&session, &End::Lost);
            return Err(NoSession::Busy);
        }
        Ok(Claimed {
            session,
            epoch,
            is_present,
            replaced: None,
        })
    }

    fn life_of(&self, claim: &Claim<'_>, created_at: u64) -> Life {
        Life {
            is_claimed: true,
            epoch: 1,
            version: Some(claim.version),
            expiry: claim.expiry,
            principal: claim.principal.unwrap_or_default().into(),
            created_at,
            ..Life::default()
        }
    }
}
