//! Every way from a publisher to a subscriber, judged again: clients do what a seed says under rules
//! that it makes, and each publish that was taken, each subscription that was granted, and each
//! message that anybody got is held against the second opinion (`gatemq_tests::acl::oracle`), and
//! so is what somebody did not get who was to.
//!
//! `GATEMQ_SEED` repeats a run; the seed is printed where it fails.

mod actor;
mod ledger;
mod play;

use std::fs;

use gatemq_tests::{
    Broker,
    acl::{Action, File, Rule, User, random},
    history::Random,
};

use self::{ledger::Totals, play::Play};
use super::scene;

/// Worlds, each with a broker, and rules that change half-way.
const N_WORLDS: usize = 6;
/// What clients do under the same rules.
const N_MOVES: usize = 160;

#[test]
fn whatever_way_a_message_goes_the_rules_are_kept() {
    let mut random = Random::from_env("rules and messages");
    let mut totals = Totals::default();
    for world in 0..N_WORLDS {
        let random = &mut random.fork();
        let first = file(random, "ver/1");
        let broker = scene::builder(&first.yaml()).start();
        let mut play = Play::new(&[broker.tcp()], first.clone(), random);
        play.go_on(random, N_MOVES);
        let second = File {
            users: first.users,
            ..file(random, "ver/2")
        };
        reload(&broker, &second);
        play.change(second, "ver/2");
        play.go_on(random, N_MOVES);
        totals.add(&play.end(&format!("world {world}")));
    }
    eprintln!("{totals:?}");
    totals.assert_much_happened();
}

#[test]
fn over_two_gateways_they_are_kept_too() {
    /// With some rules little can happen.
    const MOST_WORLDS: usize = 5;
    let mut random = Random::from_env("rules and messages of a cluster");
    let mut totals = Totals::default();
    for world in 0..MOST_WORLDS {
        let random = &mut random.fork();
        let file = file(random, "ver/1");
        let (cluster, _folder) = scene::two_gateways(&file.yaml());
        let mut play = Play::new(&cluster.addresses(), file, random);
        play.go_on(random, 2 * N_MOVES);
        totals.add(&play.end(&format!("cluster {world}")));
        eprintln!("{totals:?}");
        let much = ["accepted", "delivered", "resumed"];
        let n_refused = totals.of("refused") + totals.of("not granted");
        if n_refused > 0 && much.iter().all(|kind| totals.of(kind) > 0) {
            return;
        }
    }
    panic!("not enough has happened: {totals:?}");
}

/// Users and rules under which something is to be had; all may subscribe to `mark`, and to no other,
/// by which it is known that they hold.
fn file(random: &mut Random, mark: &str) -> File {
    let mut file = random::file(random);
    file.users.insert(0, root());
    let mut rules = file.rules.unwrap_or_default();
    let of_others = Rule {
        allow: false,
        ..for_all(&[Action::Subscribe], &["ver/+"])
    };
    rules.splice(0..0, [for_all(&[Action::Subscribe], &[mark]), of_others]);
    for _ in 0..6 {
        rules.push(random::rule(random));
    }
    let some = random::rule(random).users;
    rules.push(Rule {
        users: some,
        ..for_all(&[Action::Publish, Action::Subscribe], &["#", "$x/#"])
    });
    rules.push(for_all(&[Action::Publish], &["a/#", "+/b", "$x/a"]));
    rules.push(for_all(&[Action::Subscribe], &["+/+", "a/#"]));
    file.rules = Some(rules);
    file
}

/// One who may have everything.
fn root() -> User {
    User {
        username: Some("root".to_owned()),
        client_id: None,
        is_superuser: true,
    }
}

fn for_all(actions: &[Action], topics: &[&str]) -> Rule {
    Rule {
        allow: true,
        actions: actions.to_vec(),
        topics: topics.iter().map(|&topic| topic.to_owned()).collect(),
        users: None,
        clients: None,
        addresses: None,
    }
}

fn reload(broker: &Broker, file: &File) {
    fs::write(broker.dir().join("users.yml"), file.yaml()).expect("it is writable");
    broker.signal("HUP");
}
