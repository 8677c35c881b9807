//! A node that is far behind gets the state as a whole, while who sends it is killed: F31.

use std::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use crate::{
    Client, Cluster, Node,
    faults::{Run, Scenario, commands, states},
    patience::pause,
    unique,
    wire::Properties,
};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "F31",
    title: "a control node far behind gets a snapshot, and its sender is killed",
    is_short: false,
    act: the_sender_dies,
}];

/// So many entries of the log later what the node lacks is in nobody's log any more.
const N_ENTRIES: usize = 5_500;
/// Who proposes them at a time.
const N_PROPOSING: usize = 16;
/// How long that may take; on a machine that is slower there is nothing to see.
const PROPOSING: Duration = Duration::from_secs(60);
/// Sessions that make the state large, and the filters of each, of this length.
const N_LARGE: usize = 20;
const N_FILTERS: usize = 500;
const LENGTH: usize = 200;
/// When the sender is killed, at the latest.
const SENDING: usize = 2_500;
/// What a node says that got one.
const GOT: &str = "state replaced by a snapshot";

fn the_sender_dies(run: &mut Run) {
    let cluster = Cluster::builder().control(3).gateways(2).start();
    cluster.wait_for_voters();
    let large = grow(&cluster, "");
    let traffic = run.everybody(&cluster);
    let (all, history) = (cluster.controls(), run.history());
    run.meanwhile(
        |go_on| states::watch(&all, &history, go_on),
        |run| {
            for _ in 0..run.rounds(1, 2) {
                run.somewhere(&traffic);
                let leader = cluster.leader();
                let mut followers = all.iter().filter(|node| node.name() != leader.name());
                let behind = *followers.nth(run.random.below(2)).expect("there are two");
                run.kill(behind);
                propose(leader);
                let n_snapshots = behind.log().count(GOT);
                behind.launch().expect("the binary runs");
                let wait = run.random.below(SENDING).try_into().expect("it fits");
                pause(Duration::from_millis(wait));
                let leader = cluster.leader();
                let killed = run.kill(leader);
                behind.wait_until_ready().expect("it becomes ready");
                run.healed("kill", behind.name());
                run.recovers(&traffic, killed);
                run.restart(leader);
                run.probe(&traffic);
                run.agree(&all);
                if behind.log().count(GOT) == n_snapshots {
                    run.unavailable("snapshot", "the node was not far enough behind");
                }
            }
        },
    );
    drop(large);
    run.conclude(traffic);
    run.look_at(&cluster);
}

/// Subscriptions that nobody publishes to, to filters that begin with this; they last as long as their
/// clients.
pub(super) fn grow(cluster: &Cluster, mark: &str) -> Vec<Client> {
    let subscribed = (0..N_LARGE).map(|number| {
        let node = cluster.gateways()[number % 2];
        let mut client = node.v5(&unique("large"));
        client.set_limit(Duration::from_secs(30));
        let prefix = unique(&format!("{mark}{}", "x".repeat(LENGTH)));
        let filters = (0..N_FILTERS).map(|at| format!("{prefix}/{at}"));
        let filters: Vec<_> = filters.collect();
        for some in filters.chunks(50) {
            let some: Vec<_> = some.iter().map(|filter| (filter.as_str(), 0)).collect();
            client.subscribe_with(&Properties::new(), &some);
        }
        client
    });
    subscribed.collect()
}

/// Commands that change nothing, so that one whose answer is lost may be given again: each is an entry
/// of the log all the same.
pub(super) fn propose(leader: &Node) {
    let (n_left, start) = (AtomicUsize::new(N_ENTRIES), Instant::now());
    thread::scope(|scope| {
        for _ in 0..N_PROPOSING {
            scope.spawn(|| {
                let takes = |n: usize| n.checked_sub(1);
                while start.elapsed() < PROPOSING
                    && n_left.fetch_update(Relaxed, Relaxed, takes).is_ok()
                {
                    let done = commands::until_done(leader, "DELETE", "/api/v1/config/log.level");
                    done.unwrap_or_else(|why| panic!("{why}"));
                }
            });
        }
    });
}
