//! What may happen next, and who does it.

use super::{HOSTS, Leg, Message, Session, State, Takeover};

/// An event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// The client connects: its gateway asks who has the session; that one lets go; the session is
    /// claimed, whether it has let go or not.
    Ask(usize),
    Release(usize),
    Claim(usize),
    /// The first of a gateway's writes reaches Redis, and the answer the gateway if it is there.
    Write(usize),
    /// The client is sent the first message of the queue, and acknowledges it.
    Deliver(usize),
    /// The route of a session that has arrived is agreed on; Redis is told that all know of it; who
    /// had the session before forgets it.
    Announce(usize),
    Known(usize),
    Drop(usize),
    /// A gateway dies, is fenced, hears that it is.
    Die(usize),
    Fence(usize),
    Learn(usize),
    /// Another one adopts the session of a fenced one, which then is forgotten.
    Adopt {
        by: usize,
        fenced: usize,
    },
    Forget(usize),
    /// The publisher's gateway takes in the next change; routes a message.
    Follow,
    Route(usize),
    /// A message arrives at a gateway; the publisher is told that all is done.
    Arrive(usize, usize),
    Acknowledge(usize),
}

pub(super) fn possible(state: &State, actions: &mut Vec<Action>) {
    for (at, host) in state.hosts.iter().enumerate() {
        let may_ask = host.is_up && !host.knows && host.claiming.is_none();
        if may_ask && state.left > 0 && state.redis.owner != at {
            actions.push(Action::Ask(at));
        }
        if host.claiming.is_some() {
            actions.extend([Action::Release(at), Action::Claim(at)]);
        }
        if !host.writes.is_empty() {
            actions.push(Action::Write(at));
        }
        if matches!(host.session, Session::Here { .. }) {
            actions.extend([Action::Deliver(at), Action::Announce(at), Action::Known(at)]);
        }
        if host.session != Session::None && host.is_up {
            actions.push(Action::Drop(at));
        }
        if host.is_up && state.left > 0 {
            actions.push(Action::Die(at));
        }
        if !host.is_fenced && (state.left > 0 || !host.is_up) {
            actions.push(Action::Fence(at));
        }
        if host.is_fenced {
            actions.extend([Action::Learn(at), Action::Forget(at)]);
            let others = (0..HOSTS).filter(|by| *by != at);
            actions.extend(others.map(|by| Action::Adopt { by, fenced: at }));
        }
    }
    if usize::from(state.followed) < state.log.len() {
        actions.push(Action::Follow);
    }
    for (number, message) in state.messages.iter().enumerate() {
        match message {
            // They are alike: the first one goes first.
            Message::New if number == 0 || state.messages[number - 1] != Message::New => {
                actions.push(Action::Route(number));
            }
            Message::UnderWay { legs, .. } => {
                let arrivals = (0..HOSTS).filter(|at| legs[*at] == Leg::Road);
                actions.extend(arrivals.map(|at| Action::Arrive(number, at)));
                if legs.iter().all(|leg| matches!(leg, Leg::None | Leg::Safe)) {
                    actions.push(Action::Acknowledge(number));
                }
            }
            Message::New | Message::Acknowledged => {}
        }
    }
}

/// What cannot happen changes nothing.
pub(super) fn act(model: &Takeover, state: &mut State, action: Action) {
    match action {
        Action::Ask(at) => state.ask(at),
        Action::Release(at) => state.release(at),
        Action::Claim(at) => state.claim(model, at),
        Action::Write(at) => state.write(model, at),
        Action::Deliver(at) => state.deliver(at),
        Action::Announce(at) => state.announce(at),
        Action::Known(at) => state.known(model, at),
        Action::Drop(at) => state.drop_moved(at),
        Action::Die(at) => state.die(at),
        Action::Fence(at) => state.fence(at),
        Action::Learn(at) => state.learn(at),
        Action::Adopt { by, fenced } => state.adopt(by, fenced),
        Action::Forget(at) => state.forget(model, at),
        Action::Follow => state.follow(),
        Action::Route(number) => state.route(number),
        Action::Arrive(number, at) => state.arrive(model, number, at),
        Action::Acknowledge(number) => state.acknowledge(model, number),
    }
}
