//! What a gateway knows of its cluster, of snapshots and of changes.

mod simulation;

use super::*;
use crate::bans::Change;
use crate::proto::cluster::state::{Fence, Member as Known};
use crate::proto::cluster::state::{Forget, Members, RoutePart, Routes, Settings, Unban, Untrace};

fn register(name: &str) -> Register {
    Register {
        name: name.into(),
        peer_address: format!("{name}:1"),
        role: Role::Gateway.into(),
        ..Register::default()
    }
}

fn departed(incarnation: u64, name: &str, why: Why) -> Effect {
    Effect::NodeFenced(Departed {
        incarnation,
        name: name.to_owned(),
        role: Role::Gateway,
        why,
    })
}

fn command(kind: Kind) -> Command {
    Command { kind: Some(kind) }
}

#[test]
fn what_came_neither_before_nor_now_is_foreign() {
    let (mut view, table) = (View::default(), Table::<()>::default());
    let fence = |incarnation| {
        command(Kind::Fence(Fence {
            incarnation,
            ..Fence::default()
        }))
    };
    view.take_change(3, command(Kind::Register(register("a"))), &table);
    view.take_change(5, command(Kind::Register(register("b"))), &table);
    assert!(!view.is_foreign(1), "it is not known how far this is");
    view.reach(5, &table);
    let foreign = |view: &View| (1..8).filter(|it| view.is_foreign(*it)).collect::<Vec<_>>();
    assert_eq!(
        foreign(&view),
        [1, 2, 4],
        "what comes later is not known yet"
    );
    // One that is gone is not, as long as its sessions are not others'.
    view.take_change(6, fence(3), &table);
    view.reach(6, &table);
    assert_eq!(foreign(&view), [1, 2, 4, 6]);
    view.begin();
    assert_eq!(foreign(&view), [0; 0]);
}

fn routes(incarnation: u64, set: &[&str], removed: &[&str]) -> Command {
    let route = |filter: &&str| Route {
        filter: (*filter).into(),
        n_online: u32::from(filter.starts_with("$share")),
        n_offline: 0,
    };
    command(Kind::Routes(Routes {
        incarnation,
        number: 1,
        set: set.iter().map(route).collect(),
        removed: removed.iter().map(|filter| (*filter).into()).collect(),
        ..Routes::default()
    }))
}

/// Filters with their nodes, as `filter:node`.
fn wanted(table: &Table<()>) -> Vec<String> {
    let mut wanted = Vec::new();
    for filter in table.filters() {
        let subscribers = filter.subscribers();
        wanted.extend(
            subscribers
                .nodes
                .iter()
                .map(|n| format!("{}:{n}", filter.text())),
        );
        for group in subscribers.groups.values() {
            let nodes = group.nodes.iter();
            wanted.extend(nodes.map(|n| format!("{}/{}:{}", group.name, filter.text(), n.node)));
        }
    }
    wanted.sort();
    wanted
}

#[test]
fn however_many_members_a_node_says_it_has_they_can_be_added_up() {
    let (mut view, table) = (View::default(), Table::<()>::default());
    view.take_change(7, command(Kind::Register(register("g2"))), &table);
    let route = Route {
        filter: "$share/g/c".into(),
        n_online: u32::MAX,
        n_offline: u32::MAX,
    };
    let routes = Routes {
        incarnation: 7,
        number: 1,
        set: vec![route],
        removed: Vec::new(),
        ..Routes::default()
    };
    view.take_change(8, command(Kind::Routes(routes)), &table);
    let filters = table.filters();
    let group = filters[0].subscribers().groups["g"].nodes.clone();
    let sum = group[0].n_online.checked_add(group[0].n_offline);
    assert!(sum.is_some_and(|n_members| n_members > 0), "{group:?}");
}

#[test]
fn changes_go_into_the_table_but_for_its_own() {
    let (mut view, table) = (
        View {
            own: 5,
            ..View::default()
        },
        Table::default(),
    );
    let up = view.take_change(7, command(Kind::Register(register("g2"))), &table);
    assert_eq!(up, [Effect::NodeUp(7, "g2:1".into())]);
    view.take_change(8, routes(7, &["a/b", "$share/g/c"], &[]), &table);
    view.take_change(9, routes(5, &["mine"], &[]), &table);
    assert_eq!(wanted(&table), ["a/b:7", "g/c:7"]);
    view.take_change(10, routes(7, &[], &["a/b"]), &table);
    assert_eq!(wanted(&table), ["g/c:7"]);
    let fence = Fence {
        incarnation: 7,
        why: 1,
    };
    let fenced = view.take_change(11, command(Kind::Fence(fence)), &table);
    let silent = departed(7, "g2", Why::Lease);
    assert_eq!(fenced, [silent]);
    assert_eq!(
        wanted(&table),
        ["g/c:7"],
        "its sessions have no other owner yet"
    );
    let forget = command(Kind::Forget(Forget { incarnation: 7 }));
    assert_eq!(view.take_change(12, forget, &table), [Effect::NodeGone(7)]);
    assert_eq!(wanted(&table), [] as [&str; 0]);
}

#[test]
fn a_name_that_comes_again_fences_who_had_it() {
    let (mut view, table) = (
        View {
            own: 7,
            ..View::default()
        },
        Table::<()>::default(),
    );
    view.take_change(7, command(Kind::Register(register("g2"))), &table);
    let again = view.take_change(9, command(Kind::Register(register("g2"))), &table);
    assert_eq!(again, [Effect::Fenced, Effect::NodeUp(9, "g2:1".into())]);
    let once_more = view.take_change(11, command(Kind::Register(register("g2"))), &table);
    let replaced = departed(9, "g2", Why::Replaced);
    assert_eq!(once_more, [replaced, Effect::NodeUp(11, "g2:1".into())]);
}

#[test]
fn after_a_snapshot_only_what_it_has_is_left() {
    let (mut view, table) = (
        View {
            own: 5,
            ..View::default()
        },
        Table::default(),
    );
    for (revision, name) in [(5, "g1"), (7, "g2"), (8, "g3")] {
        view.take_change(revision, command(Kind::Register(register(name))), &table);
    }
    view.take_change(9, routes(7, &["a", "b", "$share/g/a"], &[]), &table);
    view.take_change(10, routes(8, &["a"], &[]), &table);
    view.begin();
    let members = [(5, "g1"), (7, "g2")].map(|(incarnation, name)| Known {
        incarnation,
        registered: Some(register(name)),
        ..Known::default()
    });
    let members = Members {
        members: members.into(),
        ..Members::default()
    };
    let part = |kind| Part { kind: Some(kind) };
    view.take_part(part(PartKind::Members(members)), &table);
    let b = RoutePart {
        incarnation: 7,
        routes: vec![Route {
            filter: "b".into(),
            ..Route::default()
        }],
    };
    view.take_part(part(PartKind::Routes(b)), &table);
    view.take_change(20, routes(7, &["c"], &[]), &table);
    assert_eq!(reach(&mut view, 20, &table), [Effect::NodeGone(8)]);
    assert_eq!(wanted(&table), ["b:7", "c:7"]);
    assert_eq!(view.revision, 20);
}

/// What follows from the end of a snapshot, but for traces, of which it always tells.
fn reach(view: &mut View, revision: u64, table: &Table<()>) -> Vec<Effect> {
    let effects = view.reach(revision, table).into_iter();
    let others = effects.filter(|effect| !matches!(effect, Effect::Traces(_)));
    others.collect()
}

fn set(key: &str, value: Option<&str>) -> Configure {
    Configure {
        key: key.into(),
        value: value.map(Into::into),
        ..Configure::default()
    }
}

#[test]
fn settings_are_told_whole_after_each_change_and_each_snapshot() {
    let (mut view, table) = (View::default(), Table::<()>::default());
    let told = |pairs: &[(&str, &str)]| {
        let pairs = pairs
            .iter()
            .map(|(key, value)| ((*key).into(), (*value).into()));
        vec![Effect::Settings(pairs.collect())]
    };
    let change = |change| command(Kind::Configure(change));
    let a = view.take_change(3, change(set("a", Some("1"))), &table);
    assert_eq!(a, told(&[("a", "1")]));
    let b = view.take_change(4, change(set("b", Some("2"))), &table);
    assert_eq!(b, told(&[("a", "1"), ("b", "2")]));
    let a = view.take_change(5, change(set("a", None)), &table);
    assert_eq!(a, told(&[("b", "2")]));
    view.begin();
    let settings = Settings {
        history: vec![set("a", Some("1")), set("c", Some("3")), set("a", None)],
        ..Settings::default()
    };
    let part = Part {
        kind: Some(PartKind::Settings(settings)),
    };
    assert_eq!(view.take_part(part, &table), []);
    assert_eq!(view.take_change(9, change(set("d", Some("4"))), &table), []);
    let whole = told(&[("c", "3"), ("d", "4")]);
    assert_eq!(reach(&mut view, 9, &table), whole);
}

fn ban(value: &str) -> Ban {
    Ban {
        kind: BanKind::User.into(),
        value: value.into(),
        ..Ban::default()
    }
}

fn unban(value: &str) -> Command {
    command(Kind::Unban(Unban {
        kind: BanKind::User.into(),
        value: value.into(),
        until: 0,
    }))
}

#[test]
fn bans_are_told_one_by_one_and_whole_after_a_snapshot() {
    let (mut view, table) = (View::default(), Table::<()>::default());
    let change = |value| command(Kind::Ban(ban(value)));
    let told = |change| vec![Effect::Bans(change)];
    let a = view.take_change(3, change("a"), &table);
    assert_eq!(a, told(Change::Ban(ban("a"))));
    let gone = view.take_change(4, unban("a"), &table);
    assert_eq!(gone, told(Change::Unban(BanKind::User, "a".to_owned())));
    view.begin();
    let settings = Settings {
        bans: vec![ban("b"), ban("c")],
        ..Settings::default()
    };
    let part = Part {
        kind: Some(PartKind::Settings(settings)),
    };
    assert_eq!(view.take_part(part, &table), []);
    assert_eq!(view.take_change(8, unban("b"), &table), []);
    assert_eq!(view.take_change(9, change("d"), &table), []);
    let whole = told(Change::All(vec![ban("c"), ban("d")]));
    let told_whole = reach(&mut view, 9, &table);
    assert_eq!(told_whole, whole, "as they were until then");
    view.begin();
    let none = told(Change::All(Vec::new()));
    assert_eq!(reach(&mut view, 10, &table), none);
    view.begin();
    assert_eq!(reach(&mut view, 11, &table), []);
}

fn trace(name: &str) -> Trace {
    Trace {
        name: name.to_owned(),
        ..Trace::default()
    }
}

fn untrace(name: &str, stays_readable: bool) -> Command {
    command(Kind::Untrace(Untrace {
        name: name.to_owned(),
        until: 0,
        stays_readable,
    }))
}

#[test]
fn traces_are_told_one_by_one_and_whole_after_a_snapshot_even_if_there_are_none() {
    use capture::Change::{All, Begin, End, Stop};
    let (mut view, table) = (View::default(), Table::<()>::default());
    let change = |name| command(Kind::Trace(trace(name)));
    let told = |change| vec![Effect::Traces(change)];
    assert_eq!(
        view.take_change(3, change("a"), &table),
        told(Begin(trace("a")))
    );
    let over = view.take_change(4, untrace("a", true), &table);
    assert_eq!(over, told(Stop("a".to_owned())));
    let gone = view.take_change(5, untrace("a", false), &table);
    assert_eq!(gone, told(End("a".to_owned())));
    view.begin();
    let settings = Settings {
        traces: vec![trace("b"), trace("c"), trace("d")],
        ..Settings::default()
    };
    let part = Part {
        kind: Some(PartKind::Settings(settings)),
    };
    assert_eq!(view.take_part(part, &table), []);
    assert_eq!(view.take_change(8, untrace("b", false), &table), []);
    assert_eq!(view.take_change(9, untrace("c", true), &table), []);
    assert_eq!(view.take_change(10, change("e"), &table), []);
    let mut c = trace("c");
    c.is_over = true;
    let all = vec![c, trace("d"), trace("e")];
    assert_eq!(view.reach(10, &table), told(All(all)));
    view.begin();
    assert_eq!(view.reach(11, &table), told(All(Vec::new())));
}

#[test]
fn the_filters_of_a_bridge_that_is_gone_stay_and_nothing_is_sent_there() {
    let table = Table::<()>::default();
    let there = |node: u64| {
        let filters = table.filters().into_iter();
        let counts = filters.map(|filter| {
            let subscribers = filter.subscribers();
            let groups = subscribers.groups.values();
            let nodes = groups.flat_map(|group| group.nodes.clone());
            nodes
                .filter(|it| it.node == node)
                .map(|it| it.n_online)
                .sum::<u32>()
        });
        counts.collect::<Vec<_>>()
    };
    let bridge = |name: &str| {
        let role = Role::Bridge.into();
        let name = name.to_owned();
        Register {
            name,
            role,
            ..Register::default()
        }
    };
    let fence = command(Kind::Fence(Fence {
        incarnation: 8,
        why: Why::Lease.into(),
    }));
    let (mut view, set) = (View::default(), ["$share/$bridge/a/#", "$share/$bridge/b"]);
    view.take_change(7, command(Kind::Register(register("n"))), &table);
    view.take_change(8, command(Kind::Register(bridge("n"))), &table);
    assert!(!view.members[&7].is_fenced, "a node may be several things");
    view.take_change(9, routes(8, &set, &[]), &table);
    assert_eq!(there(8), [1, 1]);
    view.take_change(10, fence, &table);
    assert_eq!(there(8), [0, 0]);
    view.take_change(11, command(Kind::Register(bridge("n"))), &table);
    view.take_change(12, routes(11, &set, &[]), &table);
    assert_eq!((there(8), there(11)), (vec![0, 0], vec![1, 1]));
    view.take_change(13, command(Kind::Forget(Forget { incarnation: 8 })), &table);
    assert_eq!((there(8), there(11)), (vec![0, 0], vec![1, 1]));
    assert!(wanted(&table).iter().all(|it| it.ends_with(":11")));
    // In a snapshot members come first.
    let (mut view, table) = (View::default(), Table::<()>::default());
    view.begin();
    let known = Known {
        incarnation: 8,
        registered: Some(bridge("n")),
        fenced: Why::Lease.into(),
        ..Known::default()
    };
    let members = Members {
        members: vec![known],
        ..Members::default()
    };
    let part = |kind| Part { kind: Some(kind) };
    view.take_part(part(PartKind::Members(members)), &table);
    let route = Route {
        filter: set[0].to_owned(),
        n_online: 1,
        n_offline: 0,
    };
    let routes = RoutePart {
        incarnation: 8,
        routes: vec![route],
    };
    view.take_part(part(PartKind::Routes(routes)), &table);
    let filters = table.filters();
    let subscribers = filters[0].subscribers();
    assert!(
        subscribers
            .groups
            .values()
            .all(|group| group.nodes[0].n_online == 0)
    );
}
