//! Deals out the sessions of gateways that are gone to those that are left. Pure.
//!
//! The sessions of a cluster are in slices, by client identifier. Each slice of a fenced gateway
//! goes to one that takes part; when all of them have been adopted, nothing is left of the fenced
//! one, and it is forgotten, with its routes. A gateway that is fenced before it has adopted what it
//! was to adopt gets nothing: its part is dealt out anew.
//!
//! A bridge has no sessions. Its routes stay until its next run has announced all that it wants, other
//! bridges have all of them, or somebody says that it does not come back: else messages that are to be
//! bridged would find nobody, and be acknowledged all the same.

use std::collections::BTreeMap;

use gatemq_proto::cluster::state::command::Kind;
use gatemq_proto::cluster::state::fence::Why;
use gatemq_proto::cluster::state::{Adopt, Command, Forget, Role};

use crate::state::{Member, State};

/// Slices of the sessions of one gateway.
pub const SLICES: u32 = 1024;

/// What has to be proposed next, if anything. `is_leased` says which gateways are known to be there.
pub fn deal(state: &State, is_leased: impl Fn(u64) -> bool) -> Vec<Command> {
    let gateways: Vec<u64> = state
        .members()
        .filter(|(_, member)| !member.is_fenced() && member.role() == Role::Gateway)
        .map(|(incarnation, _)| incarnation)
        .filter(|incarnation| is_leased(*incarnation))
        .collect();
    let mut commands = Vec::new();
    for (fenced, member) in state.members().filter(|(_, member)| member.is_fenced()) {
        if is_leased(fenced) {
            continue; // it may not know yet
        }
        let is_left = |slice: &u32| !member.is_adopted(*slice);
        let left: Vec<u32> = match member.role() {
            Role::Gateway => (0..SLICES).filter(is_left).collect(),
            Role::Bridge if !is_dispensable(member, state, &is_leased) => continue,
            _ => Vec::new(), // it has no sessions
        };
        if left.is_empty() {
            commands.push(Kind::Forget(Forget {
                incarnation: fenced,
            }));
            continue;
        }
        let is_homeless = |slice: &u32| {
            let by = member.adopter(*slice).and_then(|by| state.member(by));
            by.is_none_or(Member::is_fenced)
        };
        let homeless = left.into_iter().filter(is_homeless);
        let mut dealt: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        for (at, slice) in homeless.enumerate() {
            if gateways.is_empty() {
                break; // until one comes
            }
            let by = gateways[at % gateways.len()];
            dealt.entry(by).or_default().push(slice);
        }
        commands.extend(
            dealt
                .into_iter()
                .map(|(by, slices)| Kind::Adopt(Adopt { fenced, by, slices })),
        );
    }
    let commands = commands.into_iter();
    commands.map(|kind| Command { kind: Some(kind) }).collect()
}

/// Whether a bridge that is gone is missed by nobody.
fn is_dispensable(gone: &Member, state: &State, is_leased: impl Fn(u64) -> bool) -> bool {
    let others = state.members().filter(|(incarnation, member)| {
        !member.is_fenced() && member.role() == Role::Bridge && is_leased(*incarnation)
    });
    let others: Vec<&Member> = others.map(|(_, member)| member).collect();
    // What its own successor has not is not wanted any more.
    let mut others_of_name = others.iter().filter(|it| it.name() == gone.name());
    if others_of_name.any(|it| it.is_announced()) {
        return true;
    }
    let is_theirs = |filter| others.iter().any(|it| it.routes().find(filter).is_some());
    gone.fenced() == Some(Why::Removed) || gone.routes().iter().all(|(filter, _)| is_theirs(filter))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatemq_proto::cluster::state::{
        Adopted, ControlNode, Fence, Found, Register, Route, Routes,
    };

    fn apply(state: &mut State, kind: Kind) -> u64 {
        let index = state.revision() + 1;
        let outcome = state.apply(index, &Command { kind: Some(kind) });
        assert_eq!(outcome.refused, "");
        outcome.index
    }

    fn register(state: &mut State, name: &str) -> u64 {
        register_as(state, name, Role::Gateway)
    }

    fn register_as(state: &mut State, name: &str, role: Role) -> u64 {
        let register = Register {
            name: name.into(),
            role: role.into(),
            token: state.revision(),
            ..Register::default()
        };
        apply(state, Kind::Register(register))
    }

    fn fence(state: &mut State, incarnation: u64) {
        let fence = Fence {
            incarnation,
            why: 1,
        };
        apply(state, Kind::Fence(fence));
    }

    fn founded() -> State {
        let mut state = State::default();
        let found = Found {
            cluster_id: vec![1; 16].into(),
            node: Some(ControlNode {
                name: "c1".into(),
                ..ControlNode::default()
            }),
            control_size: 1,
        };
        apply(&mut state, Kind::Found(found));
        state
    }

    fn living(state: &State) -> Vec<u64> {
        let living = state.members().filter(|(_, member)| !member.is_fenced());
        living.map(|(incarnation, _)| incarnation).collect()
    }

    /// Applies what is dealt; says who got how many slices.
    fn dealt(state: &mut State) -> Vec<(u64, usize)> {
        let mut dealt = Vec::new();
        let living = living(state);
        for command in deal(state, |incarnation| living.contains(&incarnation)) {
            match command.kind.expect("a kind") {
                Kind::Adopt(adopt) => {
                    dealt.push((adopt.by, adopt.slices.len()));
                    apply(state, Kind::Adopt(adopt));
                }
                Kind::Forget(forget) => {
                    dealt.push((forget.incarnation, 0));
                    apply(state, Kind::Forget(forget));
                }
                kind => panic!("{kind:?}"),
            }
        }
        dealt
    }

    fn adopted(state: &mut State, fenced: u64, by: u64) {
        let member = state.member(fenced).expect("not forgotten");
        let own = member.adopted().filter(|(_, adopter)| *adopter == by);
        let slices = own.map(|(slice, _)| slice).collect();
        apply(state, Kind::Adopted(Adopted { fenced, by, slices }));
    }

    #[test]
    fn a_fenced_gateway_is_forgotten_when_others_have_its_sessions() {
        let mut state = founded();
        let [a, b, c] = ["a", "b", "c"].map(|name| register(&mut state, name));
        assert_eq!(dealt(&mut state), []);
        fence(&mut state, a);
        assert_eq!(dealt(&mut state), [(b, 512), (c, 512)]);
        assert_eq!(dealt(&mut state), [], "once is enough");
        adopted(&mut state, a, b);
        assert_eq!(dealt(&mut state), []);
        adopted(&mut state, a, c);
        assert_eq!(dealt(&mut state), [(a, 0)]);
        assert!(state.member(a).is_none());
    }

    #[test]
    fn what_an_adopter_did_not_get_to_is_dealt_out_anew() {
        let mut state = founded();
        let [a, b, c] = ["a", "b", "c"].map(|name| register(&mut state, name));
        fence(&mut state, a);
        dealt(&mut state);
        adopted(&mut state, a, b);
        fence(&mut state, c);
        assert_eq!(dealt(&mut state), [(b, 512), (b, 1024)]);
    }

    #[test]
    fn a_gateway_that_comes_again_gets_what_it_had() {
        let mut state = founded();
        let a = register(&mut state, "a");
        let again = register(&mut state, "a");
        assert_ne!(a, again);
        assert_eq!(dealt(&mut state), [(again, 1024)]);
    }

    #[test]
    fn one_that_may_not_know_that_it_is_fenced_keeps_what_it_has() {
        let mut state = founded();
        let [a, _] = ["a", "b"].map(|name| register(&mut state, name));
        fence(&mut state, a);
        assert!(deal(&state, |_| true).is_empty());
    }

    #[test]
    fn nobody_gets_what_nobody_is_there_for() {
        let mut state = founded();
        let a = register(&mut state, "a");
        fence(&mut state, a);
        assert_eq!(dealt(&mut state), []);
        let b = register(&mut state, "b");
        assert!(
            deal(&state, |_| false).is_empty(),
            "not before it has a lease"
        );
        assert_eq!(dealt(&mut state), [(b, 1024)]);
    }

    fn announce(state: &mut State, incarnation: u64, filters: &[&str]) {
        announce_part(state, incarnation, 1, filters, false);
    }

    fn announce_part(
        state: &mut State,
        incarnation: u64,
        number: u64,
        filters: &[&str],
        is_part: bool,
    ) {
        let set = filters.iter().map(|filter| Route {
            filter: (*filter).to_owned(),
            ..Route::default()
        });
        let routes = Routes {
            incarnation,
            number,
            set: set.collect(),
            is_part,
            ..Routes::default()
        };
        apply(state, Kind::Routes(routes));
    }

    #[test]
    fn a_bridge_that_is_gone_is_forgotten_when_others_have_all_that_it_had() {
        let mut state = founded();
        let gateway = register(&mut state, "b"); // of the same name, and another thing
        let [a, b] = ["a", "b"].map(|name| register_as(&mut state, name, Role::Bridge));
        assert!(state.member(gateway).is_some_and(|it| !it.is_fenced()));
        announce(&mut state, a, &["x", "y"]);
        fence(&mut state, a);
        assert_eq!(dealt(&mut state), []);
        announce(&mut state, b, &["w", "x"]);
        announce(&mut state, gateway, &["y"]);
        assert_eq!(dealt(&mut state), [], "a gateway is no bridge");
        let c = register_as(&mut state, "c", Role::Bridge);
        announce(&mut state, c, &["y", "z"]);
        let living = [b, c];
        assert_eq!(deal(&state, |it| it == b), [], "the other has no lease");
        assert_eq!(deal(&state, |it| living.contains(&it)).len(), 1);
        assert_eq!(dealt(&mut state), [(a, 0)]);
    }

    #[test]
    fn what_a_bridge_does_not_want_any_more_goes_with_its_last_run() {
        let mut state = founded();
        let a = register_as(&mut state, "a", Role::Bridge);
        announce(&mut state, a, &["x", "y"]);
        let again = register_as(&mut state, "a", Role::Bridge);
        assert_eq!(dealt(&mut state), [], "it has not said yet what it wants");
        announce(&mut state, again, &["x"]);
        assert_eq!(dealt(&mut state), [(a, 0)]);
    }

    #[test]
    fn half_of_what_a_bridge_wants_frees_nothing_of_its_last_run() {
        let mut state = founded();
        let a = register_as(&mut state, "a", Role::Bridge);
        announce(&mut state, a, &["x", "y", "z"]);
        let again = register_as(&mut state, "a", Role::Bridge);
        announce_part(&mut state, again, 1, &["x"], true);
        let mut restoring = crate::state::Restoring::default();
        for part in state.parts() {
            restoring.add(part).expect("it is as it was");
        }
        let mut state = restoring.finish(state.revision());
        assert_eq!(dealt(&mut state), [], "y may be wanted, too");
        announce_part(&mut state, again, 2, &["y"], false);
        assert_eq!(dealt(&mut state), [(a, 0)]);
    }

    #[test]
    fn a_bridge_that_somebody_has_given_up_is_forgotten_with_its_routes() {
        let mut state = founded();
        let a = register_as(&mut state, "a", Role::Bridge);
        announce(&mut state, a, &["x"]);
        for why in [Why::Lease, Why::Left] {
            let incarnation = a;
            let why = why.into();
            apply(&mut state, Kind::Fence(Fence { incarnation, why }));
            assert_eq!(dealt(&mut state), []);
        }
        let (incarnation, why) = (a, Why::Removed.into());
        apply(&mut state, Kind::Fence(Fence { incarnation, why }));
        assert_eq!(dealt(&mut state), [(a, 0)]);
    }
}
