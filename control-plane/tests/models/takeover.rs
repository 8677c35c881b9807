//! A session goes from gateway to gateway: one owner, no write of an old epoch, and nothing that is
//! acknowledged is lost.
//!
//! The session is stored, and subscribed since before the world begins. Two gateways may have it; a
//! third one, which is always there, has a publisher, and sends each message to whoever its table
//! names. The client connects here and there; a gateway dies, or only seems to: then it is fenced
//! and goes on, and what it had sent to Redis arrives late. What is mirrored:
//!
//! | here | in the code |
//! |---|---|
//! | [`Action::Ask`], `Release`, `Claim` | `gateway/src/shared/claim.rs`, `cluster/inbound.rs`, `store/redis/scripts/claim.lua` |
//! | `Write` | `store/redis/scripts/write.lua`; what is refused `gateway/src/shared/judge.rs` |
//! | `Announce`, `Known`, `Drop` | `gateway/src/shared/arrival.rs`, `known.rs`, `moved.rs`, `scripts/known.lua` |
//! | `Fence`, `Adopt`, `Forget` | `control-plane/src/dealer.rs`, `gateway/src/shared/adopt.rs`, `scripts/adopt.lua` |
//! | `Route`, `Arrive`, `Follow`, what comes back | `gateway/src/cluster/forward.rs`, `inbound.rs`, `reroute.rs` |
//!
//! What is taken for granted here is the promise of [`crate::suback`]: what the publisher's gateway
//! has applied is what every gateway has, so a route is known everywhere when that one follows it.
//! A message that comes again where it is stored, or on its way there, is not stored twice
//! (`gateway/src/session/recent.rs`). Left out: wills, QoS 2 of the publisher, a restart under the
//! same name (it is a death and another gateway), Redis that loses what it has.

mod actions;
mod gateways;
mod publisher;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use stateright::{Model, Property};

pub(crate) use actions::Action;

/// The gateways that may have the session.
const HOSTS: usize = 2;

/// The clause that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Without {
    Nothing,
    /// Redis refuses what does not come from the owner, in its epoch, or comes from one that is dead.
    Epoch,
    /// A message is confirmed when Redis has it.
    Stored,
    /// What a session finds in Redis is read by the call that claims it.
    State,
    /// Where a session was, what comes for it is given back.
    GivenBack,
    /// Where a session was, its routes stay until every gateway knows of the new ones.
    Known,
    /// A dead gateway is forgotten only when nothing depends on its routes.
    Adopted,
    /// Who has routed a message looks again if the table has changed until it was confirmed.
    Again,
}

#[derive(Clone, Copy, Debug)]
struct Takeover {
    without: Without,
    n_messages: usize,
    /// How many claims, deaths and fences of the living there are together.
    n_troubles: u8,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct State {
    redis: Redis,
    hosts: [Host; HOSTS],
    /// Where the client is connected.
    client: Option<usize>,
    /// What the client has got.
    received: BTreeSet<u8>,
    /// What the control plane has agreed on of routes.
    log: Vec<Change>,
    /// How much of it the publisher's gateway follows.
    followed: u8,
    messages: Vec<Message>,
    /// Troubles that may still come.
    left: u8,
    /// A write was carried out that was not of the owner in its epoch.
    is_stale_written: bool,
}

/// What Redis has.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct Redis {
    owner: usize,
    epoch: u8,
    queue: BTreeMap<u8, u8>,
    /// Whose routes stand in for the session still.
    trail: BTreeSet<usize>,
    dead: BTreeSet<usize>,
}

/// A gateway that may have the session.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct Host {
    is_up: bool,
    /// Fenced by the control plane, whether it knows or not.
    is_fenced: bool,
    /// Whether it does: then it has nothing any more, and gives back whatever arrives.
    knows: bool,
    session: Session,
    /// Writes that are on their way to Redis, in their order; they may arrive after its death.
    writes: VecDeque<(u8, Write)>,
    /// It wants the session for its client: the state that it has read, if it has read it early.
    claiming: Option<u8>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
enum Session {
    /// Nothing of it is here.
    None,
    /// It is here, in this epoch; the index of its route, once that is agreed on.
    Here {
        epoch: u8,
        next_seq: u8,
        route: Option<u8>,
    },
    /// Another gateway has it.
    Moved,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Write {
    Put(u8, u8),
    Remove(u8),
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Change {
    Add(usize),
    Remove(usize),
}

/// A message as the publisher's gateway has it.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
enum Message {
    New,
    UnderWay {
        legs: [Leg; HOSTS],
        /// How much of the log was followed when it was routed.
        routed_at: u8,
    },
    Acknowledged,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
enum Leg {
    /// It was not sent there.
    None,
    /// On its way.
    Road,
    /// There, and on its way to Redis.
    Storing,
    /// Confirmed.
    Safe,
}

const LOST: &str = "nothing that is acknowledged is lost";
const STALE: &str = "no write of an old epoch is carried out";
const OWNER: &str = "who has the session in its newest epoch is its owner";

impl Takeover {
    fn has(&self, clause: Without) -> bool {
        self.without != clause
    }
}

impl Model for Takeover {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let host = |session| Host {
            is_up: true,
            is_fenced: false,
            knows: false,
            session,
            writes: VecDeque::new(),
            claiming: None,
        };
        let here = Session::Here {
            epoch: 1,
            next_seq: 0,
            route: Some(1),
        };
        vec![State {
            redis: Redis {
                owner: 0,
                epoch: 1,
                queue: BTreeMap::new(),
                trail: BTreeSet::new(),
                dead: BTreeSet::new(),
            },
            hosts: [host(here), host(Session::None)],
            client: Some(0),
            received: BTreeSet::new(),
            log: vec![Change::Add(0)],
            followed: 1,
            messages: vec![Message::New; self.n_messages],
            left: self.n_troubles,
            is_stale_written: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions::possible(state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        actions::act(self, &mut state, action);
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(LOST, |_, state: &State| state.is_nothing_lost()),
            Property::always(STALE, |_, state: &State| !state.is_stale_written),
            Property::always(OWNER, |_, state: &State| {
                let mut hosts = state.hosts.iter().enumerate();
                hosts.all(|(at, host)| match host.session {
                    Session::Here { epoch, .. } => {
                        epoch < state.redis.epoch || at == state.redis.owner
                    }
                    Session::None | Session::Moved => true,
                })
            }),
            // So that they do not hold because nothing happens.
            Property::sometimes(
                "all is acknowledged and received after all that may happen",
                {
                    |model: &Self, state: &State| {
                        let is_done = |message: &Message| *message == Message::Acknowledged;
                        state.left == 0
                            && state.messages.iter().all(is_done)
                            && state.received.len() == model.n_messages
                    }
                },
            ),
            Property::sometimes(
                "nothing depends on a gateway that has died",
                |_, state: &State| {
                    !state.redis.dead.is_empty()
                        && state.redis.trail.is_empty()
                        && state.hosts.iter().any(|it| !it.is_up && it.is_fenced)
                },
            ),
        ]
    }
}

impl State {
    fn is_nothing_lost(&self) -> bool {
        let numbered = (0..).zip(&self.messages);
        let mut acknowledged = numbered.filter(|(_, it)| **it == Message::Acknowledged);
        acknowledged.all(|(number, _)| self.has(number))
    }

    /// Whether a message is in the session's queue, or with its client.
    fn has(&self, number: u8) -> bool {
        self.received.contains(&number) || self.redis.queue.values().any(|it| *it == number)
    }
}

fn world(n_messages: usize, n_troubles: u8, without: Without) -> Takeover {
    Takeover {
        without,
        n_messages,
        n_troubles,
    }
}

#[test]
fn nothing_is_lost_and_no_old_owner_writes() {
    for (n_messages, n_troubles) in [(1, 3), (2, 1)] {
        let n_states = crate::check(world(n_messages, n_troubles, Without::Nothing));
        eprintln!("{n_messages} messages, {n_troubles} troubles: {n_states} states");
    }
}

#[test]
fn each_clause_is_needed() {
    use Without::*;
    for without in [Epoch, Stored, State, GivenBack, Known, Adopted, Again] {
        let is_broken = (1..=2).any(|n| crate::is_broken(world(n, 2, without), LOST));
        assert!(is_broken, "nothing needs {without:?}");
    }
    assert!(crate::is_broken(world(1, 2, Epoch), STALE));
}
