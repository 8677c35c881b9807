//! What may happen next, and what comes of it.

use super::{Age, Beat, Entry, Gateway, Publish, State, Suback, Subscriber, Without};

/// An event; numbers are gateways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// The route is proposed; it is in the log; the SUBACK goes out.
    Subscribe,
    Commit,
    Suback,
    /// A gateway takes in the next entry.
    Apply(usize),
    /// A beat is sent; the leader has it; its confirmation arrives.
    Beat(usize),
    Hear(usize),
    Confirm(usize),
    /// What was sent until now gives no lease any more.
    Expire(usize),
    /// The book does not count an incarnation any more.
    Discount(u8),
    /// The leader fences a gateway.
    Fence(usize),
    /// A gateway dies and comes back, or joins anew once it knows that it is fenced.
    Restart(usize),
    /// A gateway whose line was cut in a snapshot gets one from a node that is behind.
    Lag(usize, u8),
    /// Another leader.
    Elect,
    /// A publish is read; routed; it is looked whether that counts.
    Read(usize),
    Route,
    Look,
}

pub(super) fn possible(model: &Suback, state: &State, actions: &mut Vec<Action>) {
    actions.push(match state.subscriber {
        Subscriber::Absent => Action::Subscribe,
        Subscriber::Proposed => Action::Commit,
        Subscriber::Committed(_) | Subscriber::Confirmed(_) => Action::Suback,
    });
    for (number, gateway) in state.gateways.iter().enumerate() {
        let is_member = gateway.incarnation > 0;
        if is_member && gateway.applied < state.revision() {
            actions.push(Action::Apply(number));
        }
        if is_member {
            actions.extend([Action::Beat(number), Action::Expire(number)]);
        }
        if gateway.beat.is_some() {
            actions.push(Action::Hear(number));
        }
        if gateway.confirmed.is_some() {
            actions.push(Action::Confirm(number));
        }
        if is_member && state.left > 0 {
            actions.push(Action::Fence(number));
        }
        if !is_member || state.left > 0 {
            actions.push(Action::Restart(number));
        }
        if is_member && state.left > 0 {
            let behind = gateway.incarnation..gateway.applied;
            actions.extend(behind.map(|applied| Action::Lag(number, applied)));
        }
        let may_read = gateway.has_lease || !model.has(Without::Lease);
        let is_owed = matches!(state.subscriber, Subscriber::Confirmed(_));
        if is_member && is_owed && may_read && state.publish == Publish::None {
            actions.push(Action::Read(number));
        }
    }
    actions.extend(state.office.counted.keys().copied().map(Action::Discount));
    if state.left > 0 {
        actions.push(Action::Elect);
    }
    match state.publish {
        Publish::Read(_) => actions.push(Action::Route),
        Publish::Nowhere(_) => actions.push(Action::Look),
        Publish::None | Publish::Missed => {}
    }
}

/// What cannot happen changes nothing.
pub(super) fn act(model: &Suback, state: &mut State, action: Action) {
    match action {
        Action::Subscribe => state.subscriber = Subscriber::Proposed,
        Action::Commit => {
            let index = state.commit(Entry::Route);
            state.subscriber = Subscriber::Committed(index);
        }
        Action::Suback => {
            if let Subscriber::Committed(index) = state.subscriber
                && (state.told >= index || !model.has(Without::Watermark))
            {
                state.subscriber = Subscriber::Confirmed(index);
            }
        }
        Action::Apply(number) => apply(state, number),
        Action::Beat(number) => {
            let gateway = &mut state.gateways[number];
            gateway.beat = Some(Beat {
                applied: gateway.applied,
                age: Age::Fresh,
            });
        }
        Action::Hear(number) => state.hear(model, number),
        Action::Confirm(number) => {
            let gateway = &mut state.gateways[number];
            let is_fresh = gateway.confirmed.take() == Some(Age::Fresh);
            if is_fresh && !std::mem::replace(&mut gateway.has_lease, true) {
                gain_anew(model, state, number);
            }
        }
        Action::Expire(number) => expire(state, number),
        Action::Discount(incarnation) => state.discount(model, incarnation),
        Action::Fence(number) => {
            state.left -= 1;
            let incarnation = state.gateways[number].incarnation;
            state.commit(Entry::Fence(incarnation));
            if !model.has(Without::FencedCount) {
                state.office.counted.remove(&incarnation);
            }
        }
        Action::Restart(number) => restart(state, number),
        Action::Lag(number, applied) => {
            state.left -= 1;
            if model.has(Without::GivingUp) {
                expire(state, number);
            }
            state.gateways[number].applied = applied;
        }
        Action::Elect => state.elect(model),
        Action::Read(number) => state.publish = Publish::Read(number),
        Action::Route => route(state),
        Action::Look => look(model, state),
    }
    state.raise();
}

fn apply(state: &mut State, number: usize) {
    let gateway = &mut state.gateways[number];
    let entry = state.log[usize::from(gateway.applied)];
    gateway.applied += 1;
    if entry == Entry::Fence(gateway.incarnation) {
        end_connections(state, number);
        // The book counts it until its lease has run out, which is now.
        expire(state, number);
        state.gateways[number] = Gateway {
            incarnation: 0,
            applied: 0,
            has_lease: false,
            beat: None,
            confirmed: None,
        };
    }
}

/// The time of all that a gateway has sent is over.
fn expire(state: &mut State, number: usize) {
    let gateway = &mut state.gateways[number];
    gateway.has_lease = false;
    if let Some(beat) = &mut gateway.beat {
        beat.age = Age::Over;
    }
    if let Some(age) = &mut gateway.confirmed {
        *age = Age::Over;
    }
    if let Some(counted) = state.office.counted.get_mut(&gateway.incarnation) {
        counted.age = Age::Over;
    }
}

fn restart(state: &mut State, number: usize) {
    if state.gateways[number].incarnation > 0 {
        state.left -= 1;
        end_connections(state, number);
        expire(state, number);
    }
    let incarnation = state.commit(Entry::Register(number));
    // Its first snapshot has its own registration.
    state.gateways[number] = Gateway {
        incarnation,
        applied: incarnation,
        has_lease: false,
        beat: None,
        confirmed: None,
    };
}

/// Its lease has another generation from now on: what it had read before is routed again, whatever
/// it finds.
fn gain_anew(model: &Suback, state: &mut State, number: usize) {
    let is_looked_at = model.has(Without::Lease) && model.has(Without::Doubt);
    if is_looked_at && model.has(Without::Generation) {
        end_publish(state, number);
    }
}

/// Its publishers are not told anything more.
fn end_connections(state: &mut State, number: usize) {
    end_publish(state, number);
}

/// What it has read is not acknowledged as it is.
fn end_publish(state: &mut State, number: usize) {
    if matches!(state.publish, Publish::Read(at) | Publish::Nowhere(at) if at == number) {
        state.publish = Publish::None;
    }
}

fn route(state: &mut State) {
    let (Publish::Read(number), Subscriber::Confirmed(index)) = (state.publish, state.subscriber)
    else {
        return;
    };
    state.publish = match state.gateways[number].applied >= index {
        true => Publish::None, // it is on its way to the subscriber
        false => Publish::Nowhere(number),
    };
}

/// Without the lease of before it is not known whether everybody was found: it is routed again when
/// there is one.
fn look(model: &Suback, state: &mut State) {
    let Publish::Nowhere(number) = state.publish else {
        return;
    };
    let is_looked_at = model.has(Without::Lease) && model.has(Without::Doubt);
    state.publish = match state.gateways[number].has_lease || !is_looked_at {
        true => Publish::Missed,
        false => Publish::None,
    };
}
