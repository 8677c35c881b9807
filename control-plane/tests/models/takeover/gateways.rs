//! The gateways that may have the session, and Redis.

use super::{Change, Leg, Message, Session, State, Takeover, Without, Write};

impl State {
    // --- a connection gets the session ---

    pub(super) fn ask(&mut self, at: usize) {
        self.left -= 1;
        // The client has left whoever it was connected to, or leaves it for this.
        self.hosts[at].claiming = Some(self.next_seq());
    }

    /// The owner ends its connection when all that it has written is written.
    pub(super) fn release(&mut self, at: usize) {
        let owner = self.redis.owner;
        let has_let_go =
            owner != at && self.hosts[owner].is_up && self.hosts[owner].writes.is_empty();
        if has_let_go && self.client == Some(owner) {
            self.client = None;
        }
    }

    /// One call of Redis: `claim.lua`. Whoever has not let go loses it all the same.
    pub(super) fn claim(&mut self, model: &Takeover, at: usize) {
        let Some(read_early) = self.hosts[at].claiming.take() else {
            return;
        };
        if self.redis.dead.contains(&at) || self.redis.owner == at {
            return;
        }
        let next_seq = match model.has(Without::State) {
            true => self.next_seq(),
            false => read_early,
        };
        self.give_to(at, next_seq);
        self.client = Some(at);
    }

    fn give_to(&mut self, at: usize, next_seq: u8) {
        let redis = &mut self.redis;
        redis.trail.insert(redis.owner);
        redis.trail.remove(&at);
        redis.owner = at;
        redis.epoch += 1;
        self.hosts[at].session = Session::Here {
            epoch: redis.epoch,
            next_seq,
            route: None,
        };
    }

    /// Behind all that is in the queue.
    fn next_seq(&self) -> u8 {
        self.redis
            .queue
            .last_key_value()
            .map_or(0, |(seq, _)| seq + 1)
    }

    // --- writes ---

    /// `write.lua`, and what follows in `judge.rs`.
    pub(super) fn write(&mut self, model: &Takeover, at: usize) {
        let Some((epoch, write)) = self.hosts[at].writes.pop_front() else {
            return;
        };
        let redis = &mut self.redis;
        let is_owner = redis.owner == at && redis.epoch == epoch && !redis.dead.contains(&at);
        if is_owner || !model.has(Without::Epoch) {
            self.is_stale_written |= !is_owner;
            match write {
                Write::Put(seq, number) => redis.queue.insert(seq, number),
                Write::Remove(seq) => redis.queue.remove(&seq),
            };
        }
        let is_done = is_owner || !model.has(Without::Epoch);
        if self.hosts[at].is_up && !is_done {
            self.lose(at, epoch);
        }
        if let (true, Write::Put(_, number)) = (self.hosts[at].is_up, write) {
            self.answer(number, at, is_done);
        }
    }

    /// A write was refused: the session is another's by now. Not if it was claimed anew since.
    fn lose(&mut self, at: usize, refused: u8) {
        let host = &mut self.hosts[at];
        if matches!(host.session, Session::Here { epoch, .. } if epoch == refused) {
            host.session = Session::Moved;
        }
    }

    /// The client gets what is first in the queue; what is finished is taken out of Redis.
    pub(super) fn deliver(&mut self, at: usize) {
        let Session::Here { epoch, .. } = self.hosts[at].session else {
            return;
        };
        let is_served = self.client == Some(at) && self.redis.owner == at && self.hosts[at].is_up;
        let new = |number: &u8| !self.received.contains(number);
        let next = self.redis.queue.iter().find(|(_, number)| new(number));
        if let (true, Some((seq, number))) = (is_served, next) {
            let (seq, number) = (*seq, *number);
            self.received.insert(number);
            self.hosts[at].writes.push_back((epoch, Write::Remove(seq)));
        }
    }

    // --- the routes follow ---

    pub(super) fn announce(&mut self, at: usize) {
        let index = self.log.len() as u8 + 1;
        let host = &mut self.hosts[at];
        if let (true, Session::Here { route, .. }) =
            (host.is_up && !host.is_fenced, &mut host.session)
            && route.is_none()
        {
            *route = Some(index);
            self.log.push(Change::Add(at));
        }
    }

    /// `known.lua`: for the owner only, and in its epoch.
    pub(super) fn known(&mut self, model: &Takeover, at: usize) {
        let host = &self.hosts[at];
        let Session::Here { epoch, route, .. } = host.session else {
            return;
        };
        let is_known = route.is_some_and(|route| route <= self.followed);
        let is_owner = self.redis.owner == at && self.redis.epoch == epoch;
        if host.is_up && is_owner && (is_known || !model.has(Without::Known)) {
            self.redis.trail.clear();
        }
    }

    /// Nothing depends on the routes here any more.
    pub(super) fn drop_moved(&mut self, at: usize) {
        let redis = &self.redis;
        if redis.owner == at || redis.trail.contains(&at) {
            return;
        }
        self.hosts[at].session = Session::None;
        if !self.hosts[at].is_fenced {
            self.log.push(Change::Remove(at)); // what a fenced one says is refused
        }
    }

    // --- a gateway is gone ---

    pub(super) fn die(&mut self, at: usize) {
        self.left -= 1;
        let host = &mut self.hosts[at];
        host.is_up = false;
        host.claiming = None;
        host.session = Session::None;
        if self.client == Some(at) {
            self.client = None;
        }
    }

    pub(super) fn fence(&mut self, at: usize) {
        if self.hosts[at].is_up {
            self.left -= 1;
        }
        self.hosts[at].is_fenced = true;
    }

    /// It ends its connections, and has nothing any more.
    pub(super) fn learn(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        if !host.is_up {
            return;
        }
        host.knows = true;
        host.session = Session::None;
        host.claiming = None;
        if self.client == Some(at) {
            self.client = None;
        }
    }

    /// `adopt.lua`; first the dead one is marked.
    pub(super) fn adopt(&mut self, by: usize, fenced: usize) {
        let host = &self.hosts[by];
        if !host.is_up || host.is_fenced {
            return;
        }
        self.redis.dead.insert(fenced);
        if self.redis.owner == fenced {
            let next_seq = self.next_seq();
            self.give_to(by, next_seq);
            if self.client == Some(fenced) {
                self.client = None;
            }
        }
    }

    /// The dealer forgets it when its slices are adopted: then its routes go.
    pub(super) fn forget(&mut self, model: &Takeover, at: usize) {
        let redis = &self.redis;
        let is_marked = redis.dead.contains(&at);
        let is_adopted = redis.owner != at && !redis.trail.contains(&at);
        let is_forgotten = self.log.contains(&Change::Remove(at));
        if is_marked && !is_forgotten && (is_adopted || !model.has(Without::Adopted)) {
            self.log.push(Change::Remove(at));
        }
    }

    /// Something is to arrive for the session.
    pub(super) fn arrive(&mut self, model: &Takeover, number: usize, at: usize) {
        if !self.hosts[at].is_up {
            return;
        }
        let message = number as u8;
        let is_stored = self.has(message);
        let host = &mut self.hosts[at];
        let put = |write: &(u8, Write)| matches!(write.1, Write::Put(_, it) if it == message);
        let is_pending = host.writes.iter().any(put);
        let leg = match &mut host.session {
            _ if host.knows => return self.answer(message, at, false),
            Session::None => Leg::Safe, // nobody here wants it
            Session::Moved if !model.has(Without::GivenBack) => Leg::Safe,
            Session::Moved => return self.answer(message, at, false),
            Session::Here { .. } if is_pending => Leg::Storing,
            Session::Here { .. } if is_stored => Leg::Safe,
            Session::Here {
                epoch, next_seq, ..
            } => {
                host.writes
                    .push_back((*epoch, Write::Put(*next_seq, message)));
                *next_seq += 1;
                match model.has(Without::Stored) {
                    true => Leg::Storing,
                    false => Leg::Safe,
                }
            }
        };
        if let Message::UnderWay { legs, .. } = &mut self.messages[number] {
            legs[at] = leg;
        }
    }
}
