//! What each command does, and what the state looks like in parts.

use gatemq_proto::cluster::prost::Message;
use gatemq_proto::cluster::state::command::Kind;
use gatemq_proto::cluster::state::{
    Admit, Adopt, Adopted, Ban, BanKind, Configure, Dismiss, Fence, Forget, Found, Register, Role,
    Route, Routes as RoutesCommand, Unban, fence,
};

use super::*;

mod simulation;
mod traces;

/// A state, and the index of the next command.
struct Bench {
    state: State,
    next: u64,
}

impl Bench {
    fn new() -> Self {
        let state = State::default();
        Self { state, next: 2 }
    }

    fn founded() -> Self {
        let mut bench = Self::new();
        assert_eq!(bench.apply(found()), Ok(2));
        bench
    }

    /// What the proposer is told: an index or a refusal. A refused command must change nothing.
    fn apply(&mut self, kind: Kind) -> Result<u64, String> {
        let before = self.state.clone();
        let index = self.next;
        self.next += 1;
        let command = Command { kind: Some(kind) };
        let applied = self.state.apply_noting(index, &command);
        assert_eq!(self.state.revision(), index);
        let mut same = before;
        same.pass(index);
        let is_same = same.hash() == self.state.hash();
        assert_eq!(is_same, !applied.has_changed, "{command:?}");
        let outcome = applied.outcome;
        if outcome.refused.is_empty() {
            return Ok(outcome.index);
        }
        assert!(!applied.has_changed);
        Err(outcome.refused)
    }

    fn register(&mut self, name: &str, token: u64) -> u64 {
        self.apply(register(name, token)).unwrap()
    }
}

fn node(name: &str) -> Option<ControlNode> {
    Some(ControlNode {
        name: name.to_owned(),
        address: format!("{name}:1"),
        version: "1".to_owned(),
    })
}

fn found() -> Kind {
    Kind::Found(Found {
        cluster_id: vec![7; 16].into(),
        node: node("c01"),
        control_size: 3,
    })
}

fn admit(name: &str) -> Kind {
    Kind::Admit(Admit { node: node(name) })
}

fn register(name: &str, token: u64) -> Kind {
    Kind::Register(Register {
        name: name.to_owned(),
        role: Role::Gateway.into(),
        peer_address: format!("{name}:2"),
        http_address: String::new(),
        version: "1".to_owned(),
        token,
        store: String::new(),
    })
}

fn register_with(name: &str, token: u64, store: &str) -> Kind {
    let Kind::Register(register) = register(name, token) else {
        unreachable!("it makes a registration");
    };
    Kind::Register(Register {
        store: store.to_owned(),
        ..register
    })
}

fn fence(incarnation: u64) -> Kind {
    Kind::Fence(Fence {
        incarnation,
        why: fence::Why::Lease.into(),
    })
}

fn forget(incarnation: u64) -> Kind {
    Kind::Forget(Forget { incarnation })
}

fn routes(incarnation: u64, number: u64, set: &[&str], removed: &[&str]) -> Kind {
    Kind::Routes(RoutesCommand {
        incarnation,
        number,
        set: set.iter().map(|filter| route(filter)).collect(),
        removed: removed.iter().map(|&filter| filter.to_owned()).collect(),
        ..RoutesCommand::default()
    })
}

fn route(filter: &str) -> Route {
    Route {
        filter: filter.to_owned(),
        n_online: 0,
        n_offline: 0,
    }
}

fn configure(key: &str, value: Option<&str>, at: u64) -> Kind {
    Kind::Configure(Configure {
        key: key.to_owned(),
        value: value.map(str::to_owned),
        by: "admin".to_owned(),
        at,
    })
}

fn ban(value: &str) -> Kind {
    Kind::Ban(Ban {
        kind: BanKind::User.into(),
        value: value.to_owned(),
        ..Ban::default()
    })
}

fn unban(value: &str) -> Kind {
    Kind::Unban(Unban {
        kind: BanKind::User.into(),
        value: value.to_owned(),
        until: 0,
    })
}

fn filters(state: &State, incarnation: u64) -> Vec<&str> {
    let member = state.member(incarnation).unwrap();
    member.routes().iter().map(|(filter, _)| filter).collect()
}

#[test]
fn found_is_the_first_command_and_the_only_one_of_its_kind() {
    let mut bench = Bench::new();
    let refused = bench.apply(register("g1", 1)).unwrap_err();
    assert_eq!(refused, "there is no cluster yet");
    bench.apply(found()).unwrap();
    let refused = bench.apply(found()).unwrap_err();
    assert_eq!(refused, "the cluster has been founded already");
    assert_eq!(bench.state.cluster_id().unwrap(), &vec![7; 16]);
    assert_eq!(bench.state.control_size(), 3);
    assert_eq!(bench.state.control_node(1).unwrap().name, "c01");
}

#[test]
fn a_command_without_a_kind_is_refused() {
    let mut bench = Bench::founded();
    let outcome = bench.state.apply(3, &Command { kind: None });
    assert_eq!(outcome.refused, "a command without a kind");
}

#[test]
fn a_name_is_admitted_once_until_it_is_dismissed() {
    let mut bench = Bench::founded();
    let number = bench.apply(admit("c02")).unwrap();
    assert_eq!(
        bench.apply(admit("c02")).unwrap_err(),
        format!(
            "c02 is a member already (number {number}): if it has lost its data, remove it \
             first, or give this node another name"
        )
    );
    let dismiss = |number| Kind::Dismiss(Dismiss { number });
    bench.apply(dismiss(number)).unwrap();
    bench.apply(dismiss(number)).unwrap();
    assert!(bench.apply(admit("c02")).unwrap() > number);
    bench.apply(dismiss(1)).unwrap();
    let (last, _) = bench.state.control_node_named("c02").unwrap();
    assert!(bench.apply(dismiss(last)).is_err());
}

#[test]
fn a_repeated_register_gives_the_same_incarnation() {
    let mut bench = Bench::founded();
    let first = bench.register("g1", 5);
    assert_eq!(bench.register("g1", 5), first);
    assert_eq!(bench.state.members().count(), 1);
}

#[test]
fn a_fenced_process_may_register_anew() {
    let mut bench = Bench::founded();
    let first = bench.register("g1", 5);
    bench.apply(fence(first)).unwrap();
    let second = bench.register("g1", 5);
    assert_ne!(first, second);
    assert_eq!(bench.state.living("g1", Role::Gateway).unwrap().0, second);
}

#[test]
fn the_next_incarnation_of_a_name_fences_the_last() {
    let mut bench = Bench::founded();
    let first = bench.register("g1", 5);
    bench.apply(routes(first, 1, &["a/#"], &[])).unwrap();
    let second = bench.register("g1", 6);
    let replaced = bench.state.member(first).unwrap();
    assert_eq!(replaced.fenced(), Some(fence::Why::Replaced));
    assert_eq!(filters(&bench.state, first), ["a/#"]);
    let refused = bench.apply(routes(first, 2, &["b"], &[])).unwrap_err();
    assert_eq!(refused, format!("incarnation {first} is fenced"));
    assert!(bench.apply(forget(second)).is_err());
    bench.apply(forget(first)).unwrap();
    bench.apply(forget(first)).unwrap();
    assert!(bench.state.member(first).is_none());
    assert_eq!(bench.state.n_routes(), 0);
}

#[test]
fn the_first_gateway_decides_where_sessions_are() {
    let mut bench = Bench::founded();
    // Who has none does not count.
    bench.register("b1", 1);
    assert_eq!(bench.state.store(), "");
    bench.apply(register_with("g1", 1, "redis-1")).unwrap();
    bench.apply(register_with("g2", 2, "redis-1")).unwrap();
    for (name, store) in [("g3", "redis-2"), ("g1", "memory"), ("g2", "redis-2")] {
        let refused = bench.apply(register_with(name, 9, store)).unwrap_err();
        assert!(refused.contains(store) && refused.contains("redis-1"));
    }
    assert_eq!(again(&bench.state).store(), "redis-1");
}

#[test]
fn sessions_in_memory_end_with_their_gateways() {
    let mut bench = Bench::founded();
    let first = bench.apply(register_with("g1", 1, "memory")).unwrap();
    let second = bench.apply(register_with("g2", 2, "memory")).unwrap();
    bench
        .apply(register_with("g1", 3, "redis-1"))
        .expect_err("g2 is there");
    bench.apply(fence(second)).unwrap();
    // Only its own last run was left.
    bench.apply(register_with("g1", 3, "redis-1")).unwrap();
    assert!(bench.state.member(first).unwrap().is_fenced());
    assert_eq!(bench.state.store(), "redis-1");
}

#[test]
fn fencing_twice_changes_nothing() {
    let mut bench = Bench::founded();
    let g1 = bench.register("g1", 5);
    bench.apply(fence(g1)).unwrap();
    bench.apply(fence(g1)).unwrap();
    bench.apply(fence(99)).unwrap();
    let no_reason = Kind::Fence(Fence {
        incarnation: g1,
        why: 0,
    });
    assert!(bench.apply(no_reason).is_err());
}

#[test]
fn routes_are_absolute_and_their_numbers_rise() {
    let mut bench = Bench::founded();
    let g1 = bench.register("g1", 1);
    bench.apply(routes(g1, 1, &["a", "b"], &["c"])).unwrap();
    bench.apply(routes(g1, 2, &["c"], &["a"])).unwrap();
    assert_eq!(filters(&bench.state, g1), ["b", "c"]);
    for old in [1, 2] {
        let index = bench.next;
        let ignored = bench.apply(routes(g1, old, &["z"], &["b"]));
        assert_eq!(ignored, Ok(index), "left out, not refused");
    }
    assert_eq!(filters(&bench.state, g1), ["b", "c"]);
    let gap = bench.apply(routes(g1, 4, &["z"], &[])).unwrap_err();
    let expected = format!("routes 4 of incarnation {g1} do not follow the last ones, 2");
    assert_eq!(gap, expected, "what lies between is not known");
    assert_eq!(filters(&bench.state, g1), ["b", "c"]);
    bench.apply(routes(g1, 3, &[], &["b"])).unwrap();
    assert_eq!(filters(&bench.state, g1), ["c"]);
    let refused = bench.apply(routes(99, 1, &["a"], &[])).unwrap_err();
    assert_eq!(refused, "incarnation 99 is not known");
}

#[test]
fn a_route_keeps_the_last_counts() {
    let mut bench = Bench::founded();
    let g1 = bench.register("g1", 1);
    for (number, n_online) in [(1, 3), (2, 1)] {
        let set = vec![Route {
            filter: "$share/g/a".to_owned(),
            n_online,
            n_offline: 9,
        }];
        let change = RoutesCommand {
            incarnation: g1,
            number,
            set,
            ..RoutesCommand::default()
        };
        bench.apply(Kind::Routes(change)).unwrap();
    }
    let expected = Counts {
        n_online: 1,
        n_offline: 9,
    };
    let found: Vec<_> = bench.state.routes_of("$share/g/a").collect();
    assert_eq!(found, [(g1, expected)]);
}

#[test]
fn pages_of_routes_are_in_order() {
    let mut bench = Bench::founded();
    let g1 = bench.register("g1", 1);
    let g2 = bench.register("g2", 2);
    bench.apply(routes(g1, 1, &["a", "c"], &[])).unwrap();
    bench.apply(routes(g2, 1, &["c", "b", "d"], &[])).unwrap();
    let page = bench.state.routes_from("b").take(3);
    let page: Vec<_> = page.map(|(filter, by, _)| (filter, by)).collect();
    assert_eq!(page, [("b", g2), ("c", g1), ("c", g2)]);
    assert_eq!(bench.state.n_routes(), 5);
}

#[test]
fn slices_of_the_fenced_go_to_the_living() {
    let mut bench = Bench::founded();
    let g1 = bench.register("g1", 1);
    let g2 = bench.register("g2", 2);
    let g3 = bench.register("g3", 3);
    let adopt = |by, slices: &[u32]| {
        Kind::Adopt(Adopt {
            fenced: g1,
            by,
            slices: slices.to_vec(),
        })
    };
    assert!(bench.apply(adopt(g2, &[1])).is_err(), "not fenced");
    bench.apply(fence(g1)).unwrap();
    bench.apply(adopt(g2, &[1, 2])).unwrap();
    bench.apply(adopt(g2, &[2])).unwrap();
    bench.apply(adopt(g3, &[3])).unwrap();
    bench.apply(fence(g2)).unwrap();
    assert!(bench.apply(adopt(g2, &[4])).is_err(), "fenced itself");
    bench.apply(adopt(g3, &[1])).unwrap();
    let adopted: Vec<_> = bench.state.member(g1).unwrap().adopted().collect();
    assert_eq!(adopted, [(1, g3), (2, g2), (3, g3)]);
}

#[test]
fn the_last_change_of_a_key_is_in_force() {
    let mut bench = Bench::founded();
    bench.apply(configure("a", Some("1"), 1)).unwrap();
    bench.apply(configure("a", Some("1"), 1)).unwrap();
    bench.apply(configure("b", Some("2"), 2)).unwrap();
    bench.apply(configure("a", None, 3)).unwrap();
    bench.apply(configure("a", None, 4)).unwrap();
    let settings = bench.state.settings();
    assert_eq!(settings.value("a"), None);
    assert_eq!(settings.value("b"), Some("2"));
    let history: Vec<_> = settings.history().map(|change| change.at).collect();
    assert_eq!(history, [1, 2, 3]);
    let long = "x".repeat((64 << 10) + 1);
    assert!(bench.apply(configure("a", Some(&long), 5)).is_err());
}

#[test]
fn a_key_outlives_the_history() {
    let mut bench = Bench::founded();
    bench.apply(configure("old", Some("1"), 0)).unwrap();
    for at in 1..=HISTORY as u64 + 5 {
        bench.apply(configure("new", Some("1"), at)).unwrap();
    }
    let check = |state: &State| {
        assert_eq!(state.settings().value("old"), Some("1"));
        assert_eq!(state.settings().history().count(), HISTORY);
        assert_eq!(state.settings().history().next().unwrap().at, 6);
    };
    check(&bench.state);
    check(&again(&bench.state));
}

#[test]
fn bans_come_and_go() {
    let mut bench = Bench::founded();
    bench.apply(ban("eve")).unwrap();
    bench.apply(ban("eve")).unwrap();
    let settings = bench.state.settings();
    assert!(settings.find_ban(BanKind::User, "eve").is_some());
    assert!(settings.find_ban(BanKind::ClientId, "eve").is_none());
    bench.apply(unban("eve")).unwrap();
    bench.apply(unban("eve")).unwrap();
    assert_eq!(bench.state.settings().bans().count(), 0);
    assert!(bench.apply(ban("")).is_err());
}

fn ban_until(value: &str, until: u64, is_automatic: bool) -> Kind {
    Kind::Ban(Ban {
        kind: BanKind::User.into(),
        value: value.to_owned(),
        until,
        is_automatic,
        ..Ban::default()
    })
}

/// The leader takes back what is over, while somebody else makes it last longer.
#[test]
fn a_ban_that_was_made_longer_is_not_taken_back() {
    let mut bench = Bench::founded();
    let over = Kind::Unban(Unban {
        kind: BanKind::User.into(),
        value: "eve".to_owned(),
        until: 5,
    });
    bench.apply(ban_until("eve", 5, false)).unwrap();
    bench.apply(ban_until("eve", 50, false)).unwrap();
    bench.apply(over.clone()).unwrap();
    assert_eq!(bench.state.settings().bans().count(), 1);
    bench.apply(ban_until("eve", 5, false)).unwrap();
    bench.apply(over).unwrap();
    assert_eq!(bench.state.settings().bans().count(), 0);
}

#[test]
fn a_gateways_own_ban_makes_none_shorter() {
    let mut bench = Bench::founded();
    let until = |bench: &Bench| {
        let ban = bench.state.settings().find_ban(BanKind::User, "eve");
        ban.map(|ban| (ban.until, ban.is_automatic))
    };
    bench.apply(ban_until("eve", 50, false)).unwrap();
    bench.apply(ban_until("eve", 40, true)).unwrap();
    assert_eq!(until(&bench), Some((50, false)));
    bench.apply(ban_until("eve", 60, true)).unwrap();
    assert_eq!(until(&bench), Some((60, true)));
    bench.apply(ban_until("eve", 0, false)).unwrap();
    bench.apply(ban_until("eve", 70, true)).unwrap();
    assert_eq!(until(&bench), Some((0, false)), "it has no end");
}

#[test]
fn there_is_room_for_so_many_bans_and_gateways_do_not_take_all_of_it() {
    use gatemq_proto::cluster::bans::{MOST, MOST_AUTOMATIC};
    let mut state = Bench::founded().state;
    let apply = |state: &mut State, kind| {
        let command = Command { kind: Some(kind) };
        state.apply(state.revision() + 1, &command).refused
    };
    for number in 0..MOST_AUTOMATIC {
        let refused = apply(&mut state, ban_until(&number.to_string(), 5, true));
        assert_eq!(refused, "");
    }
    let refused = apply(&mut state, ban_until("one more", 5, true));
    assert!(refused.starts_with("there are 10000 bans"), "{refused}");
    assert_eq!(apply(&mut state, ban_until("0", 6, true)), "");
    apply(&mut state, unban("1"));
    assert_eq!(apply(&mut state, ban_until("one more", 5, true)), "");
    let mut state = again(&state);
    assert_ne!(apply(&mut state, ban_until("and more", 5, true)), "");
    for number in MOST_AUTOMATIC..MOST {
        let refused = apply(&mut state, ban_until(&number.to_string(), 0, false));
        assert_eq!(refused, "");
    }
    let refused = apply(&mut state, ban("mallory"));
    assert!(refused.starts_with("there are 100000 bans"), "{refused}");
    assert_eq!(apply(&mut state, ban_until("0", 7, false)), "");
    apply(&mut state, unban("2"));
    assert_eq!(apply(&mut state, ban("mallory")), "");
}

#[test]
fn a_ban_that_cannot_be_one_is_refused() {
    let mut bench = Bench::founded();
    let address = |value: &str| {
        Kind::Ban(Ban {
            kind: BanKind::Address.into(),
            value: value.to_owned(),
            ..Ban::default()
        })
    };
    bench.apply(address("10.0.0.0/8")).unwrap();
    let refused = bench.apply(address("10.1.2.3/8")).unwrap_err();
    assert!(refused.contains("the ban's value"), "{refused}");
    assert!(refused.contains("write 10.0.0.0/8"), "{refused}");
    assert!(bench.apply(address("::ffff:10.0.0.1")).is_err());
}

/// Apart and together again.
fn again(state: &State) -> State {
    let again = State::restore(state.revision(), state.parts()).unwrap();
    assert_eq!(again.hash(), state.hash());
    assert_eq!(again.revision(), state.revision());
    again
}

#[test]
fn parts_make_the_same_state() {
    again(&State::default());
    let mut bench = Bench::founded();
    bench.apply(admit("c02")).unwrap();
    let g1 = bench.register("g1", 1);
    let g2 = bench.register("g2", 2);
    for number in 1..=20 {
        let set: Vec<_> = (0..500)
            .map(|n| format!("s/{number}/{n}/temperature"))
            .collect();
        let set: Vec<_> = set.iter().map(String::as_str).collect();
        bench.apply(routes(g1, number, &set, &[])).unwrap();
    }
    bench.apply(fence(g1)).unwrap();
    let adopt = Adopt {
        fenced: g1,
        by: g2,
        slices: vec![1, 5],
    };
    bench.apply(Kind::Adopt(adopt)).unwrap();
    let adopted = Adopted {
        fenced: g1,
        by: g2,
        slices: vec![5],
    };
    bench.apply(Kind::Adopted(adopted)).unwrap();
    bench.apply(configure("a", Some("1"), 1)).unwrap();
    bench.apply(ban("eve")).unwrap();
    let state = again(&bench.state);
    let member = state.member(g1).unwrap();
    assert!(member.is_adopted(5) && !member.is_adopted(1));
    assert_eq!(state.member(g1).unwrap().routes().len(), 10_000);
    assert_eq!(state.member(g1).unwrap().adopter(5), Some(g2));
    assert_eq!(state.member(g1).unwrap().last_routes(), 20);
    let sizes: Vec<_> = state.parts().map(|part| part.encoded_len()).collect();
    assert!(sizes.len() > 6);
    assert!(sizes.iter().all(|size| *size <= 64 << 10), "{sizes:?}");
}

#[test]
fn the_hash_does_not_depend_on_the_way() {
    let mut one = Bench::founded();
    let mut other = Bench::founded();
    let g1 = one.register("g1", 1);
    other.register("g1", 1);
    let set: Vec<_> = (0..2_000).map(|n| format!("f/{n}")).collect();
    let mut up: Vec<_> = set.iter().map(String::as_str).collect();
    one.apply(routes(g1, 1, &up, &[])).unwrap();
    up.reverse();
    other.apply(routes(g1, 1, &up, &[])).unwrap();
    assert_eq!(one.state.hash(), other.state.hash());
    one.apply(ban("eve")).unwrap();
    other.apply(ban("adam")).unwrap();
    assert_ne!(one.state.hash(), other.state.hash());
}

#[test]
fn parts_that_do_not_fit_are_an_error() {
    let stray = Part {
        kind: Some(gatemq_proto::cluster::state::part::Kind::Routes(
            gatemq_proto::cluster::state::RoutePart {
                incarnation: 9,
                routes: vec![route("a")],
            },
        )),
    };
    let error = State::restore(1, [stray]).unwrap_err();
    assert_eq!(error, Unreadable::UnknownMember(9));
    let error = State::restore(1, [Part { kind: None }]).unwrap_err();
    assert_eq!(error, Unreadable::UnknownKind);
}

#[test]
fn a_clone_is_not_changed() {
    let mut bench = Bench::founded();
    let g1 = bench.register("g1", 1);
    bench.apply(routes(g1, 1, &["a"], &[])).unwrap();
    let clone = bench.state.clone();
    let hash = clone.hash();
    bench.apply(routes(g1, 2, &["b"], &["a"])).unwrap();
    bench.apply(fence(g1)).unwrap();
    bench.apply(ban("eve")).unwrap();
    bench.apply(admit("c02")).unwrap();
    assert_eq!(clone.hash(), hash);
}

/// Prints what a million routes cost: `cargo test -p gatemq-control-plane --release memory --
/// --ignored --nocapture`.
#[test]
#[ignore = "takes a while; measures the process, so nothing else may run"]
fn memory_of_a_million_routes() {
    let mut bench = Bench::founded();
    let gateways: Vec<_> = (0..10)
        .map(|n| bench.register(&format!("g{n}"), n))
        .collect();
    let before = resident();
    let start = std::time::Instant::now();
    for batch in 0..1_000_u64 {
        // Scattered, so that leaves are split in the middle.
        let numbers = (0..1_000).map(|n| (batch * 1_000 + n) * 7_919 % 1_000_003);
        let set = numbers
            .map(|n| route(&format!("plant/line/{n:07}/temp")))
            .collect();
        let gateway = gateways[usize::try_from(batch % 10).unwrap()];
        let change = RoutesCommand {
            incarnation: gateway,
            number: batch + 1,
            set,
            ..RoutesCommand::default()
        };
        let command = Command {
            kind: Some(Kind::Routes(change)),
        };
        bench.state.apply(100 + batch, &command);
    }
    let took = start.elapsed();
    let each = (resident() - before) / bench.state.n_routes();
    println!(
        "{} routes: {each} bytes each, {took:?}",
        bench.state.n_routes()
    );
    let start = std::time::Instant::now();
    let n_parts = bench.state.parts().count();
    println!("{n_parts} parts: {:?}", start.elapsed());
    assert!(each < 150);
}

/// Bytes of memory that the process has.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4_096
}
