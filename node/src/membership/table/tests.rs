//! The rules, without any network.

use super::*;
use crate::membership::meta::ClusterId;

const A: ClusterId = ClusterId([0xaa; 16]);
const B: ClusterId = ClusterId([0xbb; 16]);

fn at(port: u16) -> SocketAddr {
    ([10, 0, 0, 1], port).into()
}

fn meta(token: u64, cluster_id: Option<ClusterId>) -> Meta {
    Meta {
        token,
        cluster_id,
        ..Meta::default()
    }
}

fn bytes(token: u64, cluster_id: Option<ClusterId>) -> Vec<u8> {
    meta(token, cluster_id).encode().unwrap()
}

fn peer<'a>(name: &'a str, port: u16, meta: &'a [u8]) -> Peer<'a> {
    Peer {
        name,
        address: at(port),
        meta,
    }
}

/// The node `own` at port 1 with token 1.
fn table(cluster_id: Option<ClusterId>) -> Table {
    let mut table = Table::new("own", at(1), meta(1, cluster_id));
    table.take_outcome();
    table
}

fn names(members: Option<Arc<[Member]>>) -> Vec<String> {
    let members = members.unwrap_or_default();
    members.iter().map(|member| member.name.clone()).collect()
}

fn member(name: &str, port: u16, meta: Meta) -> Member {
    Member {
        name: name.to_owned(),
        address: at(port),
        meta: Some(Arc::new(meta)),
        is_self: false,
    }
}

#[test]
fn a_node_joins_updates_and_goes() {
    let mut table = table(None);
    table.on_present(peer("b", 2, &bytes(2, None)));
    let outcome = table.take_outcome();
    assert_eq!(names(outcome.members), ["b", "own"]);
    let joined = Event::Joined {
        member: member("b", 2, meta(2, None)),
        before: None,
    };
    assert_eq!(outcome.events, [joined]);

    table.on_present(peer("b", 2, &bytes(2, None)));
    let outcome = table.take_outcome();
    assert!(outcome.events.is_empty() && outcome.members.is_none());

    table.on_present(peer("b", 2, &bytes(2, Some(A))));
    let updated = Event::Updated(member("b", 2, meta(2, Some(A))));
    assert_eq!(table.take_outcome().events, [updated]);

    table.on_gone("b");
    let outcome = table.take_outcome();
    assert_eq!(names(outcome.members), ["own"]);
    let failed = Event::Left {
        member: member("b", 2, meta(2, Some(A))),
        how: Departure::Failed,
    };
    assert_eq!(outcome.events, [failed]);
    table.on_gone("b");
    assert!(table.take_outcome().events.is_empty());
}

#[test]
fn a_node_that_said_so_has_left() {
    let mut table = table(None);
    let leaving = Meta {
        is_leaving: true,
        ..meta(2, None)
    };
    table.on_present(peer("b", 2, &leaving.encode().unwrap()));
    table.on_gone("b");
    let events = table.take_outcome().events;
    let left = |event: &Event| {
        matches!(
            event,
            Event::Left {
                how: Departure::Left,
                ..
            }
        )
    };
    assert!(left(&events[1]), "{events:?}");
}

#[test]
fn a_restart_is_said_with_what_was_before() {
    let mut table = table(None);
    table.on_present(peer("b", 2, &bytes(2, None)));
    table.on_gone("b");
    table.take_outcome();
    table.on_present(peer("b", 3, &bytes(3, None)));
    let joined = Event::Joined {
        member: member("b", 3, meta(3, None)),
        before: Some(Before {
            address: at(2),
            token: Some(2),
        }),
    };
    assert_eq!(table.take_outcome().events, [joined]);
    table.on_present(peer("b", 3, &bytes(4, None)));
    let restarted = Event::Restarted {
        member: member("b", 3, meta(4, None)),
        before: Before {
            address: at(3),
            token: Some(3),
        },
    };
    assert_eq!(table.take_outcome().events, [restarted]);
}

#[test]
fn processes_that_take_turns_under_one_name_are_two() {
    let mut table = table(None);
    for token in [2, 3, 2, 3] {
        table.on_present(peer("b", 2, &bytes(token, None)));
    }
    let contested = |event: &&Event| matches!(event, Event::NameContested { .. });
    let outcome = table.take_outcome();
    assert_eq!(outcome.events.iter().filter(contested).count(), 1);
    assert_eq!(outcome.contested, None);
}

#[test]
fn a_meta_that_cannot_be_read_is_said_once_and_the_node_shown_without() {
    let mut table = table(Some(A));
    for port in [2, 3] {
        table.on_present(peer("b", port, &[9, 9]));
    }
    let outcome = table.take_outcome();
    assert!(
        outcome.members.unwrap()[0].meta.is_none(),
        "{:?}",
        outcome.events
    );
    let unreadable = |event: &&Event| matches!(event, Event::Unreadable { .. });
    assert_eq!(outcome.events.iter().filter(unreadable).count(), 1);
}

#[test]
fn a_node_of_another_cluster_is_said_once_and_never_shown() {
    let mut table = table(Some(A));
    let stranger = OtherCluster {
        name: "b".to_owned(),
        address: at(2),
        theirs: B,
        ours: A,
    };
    let refused = Err(Refusal::OtherCluster(stranger.clone()));
    assert_eq!(table.admit(peer("b", 2, &bytes(2, Some(B)))), refused);
    assert_eq!(table.admit(peer("b", 2, &bytes(2, Some(B)))), refused);
    table.on_present(peer("b", 2, &bytes(2, Some(B))));
    let outcome = table.take_outcome();
    assert!(outcome.members.is_none());
    assert_eq!(outcome.events, [Event::OtherCluster(stranger)]);
    let told = outcome.events[0].clone();
    let Event::OtherCluster(told) = told else {
        panic!("{told:?}")
    };
    for part in [&"a".repeat(32), &"b".repeat(32), "10.0.0.1:2"] {
        assert!(told.to_string().contains(part), "{told}");
    }
}

#[test]
fn nodes_without_a_cluster_are_welcome_and_welcome_all() {
    let mut ours = table(Some(A));
    assert_eq!(ours.admit(peer("b", 2, &bytes(2, None))), Ok(()));
    assert_eq!(ours.judge(&[peer("b", 2, &bytes(2, None))]), Ok(()));
    let mut none = table(None);
    assert_eq!(none.judge(&[peer("b", 2, &bytes(2, Some(B)))]), Ok(()));
}

#[test]
fn a_member_that_turns_out_to_be_of_another_cluster_is_one_no_longer() {
    let mut table = table(Some(A));
    table.on_present(peer("b", 2, &bytes(2, None)));
    table.take_outcome();
    assert!(table.admit(peer("b", 2, &bytes(2, Some(B)))).is_err());
    let outcome = table.take_outcome();
    assert_eq!(names(outcome.members), ["own"]);
    let how = outcome.events.last();
    assert!(
        matches!(
            how,
            Some(Event::Left {
                how: Departure::OtherCluster,
                ..
            })
        ),
        "{how:?}"
    );
}

#[test]
fn a_node_of_another_cluster_does_not_put_out_a_member_of_its_name() {
    let mut table = table(Some(A));
    table.on_present(peer("g1", 2, &bytes(2, Some(A))));
    table.take_outcome();
    let refused = table.admit(peer("g1", 3, &bytes(3, Some(B))));
    assert!(
        matches!(refused, Err(Refusal::OtherCluster(_))),
        "{refused:?}"
    );
    let outcome = table.take_outcome();
    assert!(
        matches!(*outcome.events, [Event::OtherCluster(_)]),
        "{:?}",
        outcome.events
    );
    assert!(outcome.members.is_none(), "nobody has gone");
}

#[test]
fn learning_its_cluster_a_node_parts_from_others() {
    let mut table = table(None);
    table.on_present(peer("a", 2, &bytes(2, Some(A))));
    table.on_present(peer("b", 3, &bytes(3, Some(B))));
    table.take_outcome();
    table.set_own_meta(meta(1, Some(A)));
    assert_eq!(names(table.take_outcome().members), ["a", "own"]);
}

#[test]
fn another_cluster_is_not_joined_but_one_with_a_stranger_is() {
    let mut table = table(Some(A));
    let (ours, theirs) = (bytes(2, Some(A)), bytes(3, Some(B)));
    let alone = table.judge(&[peer("b", 3, &theirs)]);
    assert!(matches!(alone, Err(Refusal::OtherCluster(_))), "{alone:?}");
    let both = table.judge(&[peer("b", 3, &theirs), peer("a", 2, &ours)]);
    assert_eq!(both, Ok(()));
    let same_name = table.judge(&[peer("own", 3, &theirs)]);
    assert!(
        matches!(same_name, Err(Refusal::OtherCluster(_))),
        "{same_name:?}"
    );
}

#[test]
fn a_node_that_calls_itself_notices() {
    let mut table = table(Some(A));
    let own = bytes(1, Some(A));
    assert_eq!(table.judge(&[peer("own", 1, &own)]), Err(Refusal::Myself));
    let other = bytes(2, Some(A));
    let known = table.judge(&[peer("own", 1, &own), peer("b", 2, &other)]);
    assert_eq!(known, Ok(()));
}

#[test]
fn a_name_that_another_address_holds_is_asked_for_again() {
    let mut table = table(None);
    let old = bytes(9, None);
    let list = [peer("own", 7, &old), peer("b", 2, &old)];
    for _ in 0..2 {
        assert_eq!(table.judge(&list), Err(Refusal::NameHeld(at(7))));
    }
    let outcome = table.take_outcome();
    assert_eq!((outcome.contested, outcome.met), (Some(at(7)), None));
    assert_eq!(outcome.events.len(), 1, "{:?}", outcome.events);
    // The same address: this node, started again.
    let list = [peer("own", 1, &old), peer("b", 2, &old)];
    assert_eq!(table.judge(&list), Ok(()));
    assert!(table.take_outcome().met.is_some());
}

#[test]
fn conflicts_of_others_are_said_once_and_our_own_are_looked_into() {
    let mut table = table(None);
    table.on_conflict("b", at(2), at(3));
    table.on_conflict("b", at(2), at(3));
    let outcome = table.take_outcome();
    let contested = Event::NameContested {
        name: "b".to_owned(),
        holder: at(2),
        asking: at(3),
    };
    assert_eq!((outcome.events, outcome.contested), (vec![contested], None));
    table.on_conflict("own", at(1), at(3));
    assert_eq!(table.take_outcome().contested, Some(at(3)));
    for _ in 0..2 {
        let taken = table.on_name_taken(at(3));
        assert_eq!((taken.ours, taken.theirs), (at(1), at(3)));
    }
    assert_eq!(table.take_outcome().events.len(), 1);
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut table = table(Some(A));
    let theirs = bytes(2, Some(B));
    for number in 0..MAX_REMEMBERED + 10 {
        let name = format!("stranger-{number}");
        assert!(table.admit(peer(&name, 2, &theirs)).is_err());
    }
    assert_eq!(table.said.len(), MAX_REMEMBERED);
}
