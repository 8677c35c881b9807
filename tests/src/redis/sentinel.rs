//! A server, its replica, and a Sentinel that puts the one in the place of the other.

use std::{fs, net::SocketAddr};

use super::{Redis, START_LIMIT};
use crate::{
    cluster::{place::Place, wrap::Wrap},
    patience,
};

/// What the Sentinel calls them.
pub const MASTER: &str = "gate";

/// A server that is watched.
pub struct Watched {
    master: Redis,
    replica: Redis,
    sentinel: Redis,
}

impl Watched {
    /// Starts all three, the two servers under this, and waits until the Sentinel knows the replica:
    /// only then can it promote it.
    #[track_caller]
    pub fn start(wrap: &Wrap) -> Self {
        let master = Redis::start_in(Place::default(), wrap.clone());
        let port = master.port.to_string();
        let follow = ["--replicaof", "127.0.0.1", &port];
        let follow = follow
            .into_iter()
            .chain(["--repl-diskless-sync-delay", "0"]);
        let replica = Redis {
            wrap: wrap.clone(),
            ..Redis::prepare(follow.map(str::to_owned))
        };
        replica.restart();
        let is_linked = || {
            let info = replica.command(&["INFO", "replication"]);
            info.contains("master_link_status:up")
        };
        let follows = patience::becomes_true(START_LIMIT, is_linked);
        assert!(follows, "the replica does not follow");
        // A Sentinel asks at once which replicas there are, and then only every ten seconds.
        let sentinel = Redis::prepare([]);
        let text = format!(
            "sentinel monitor {MASTER} 127.0.0.1 {port} 1\n\
             sentinel down-after-milliseconds {MASTER} 500\n\
             sentinel failover-timeout {MASTER} 5000\n"
        );
        let path = sentinel.dir.path().join("sentinel.conf");
        fs::write(path, text).expect("a folder of its own");
        let sentinel = Redis {
            arguments: ["sentinel.conf", "--sentinel"].map(str::to_owned).into(),
            ready: "+monitor master",
            ..sentinel
        };
        sentinel.restart();
        let knows = || {
            let replicas = sentinel.command(&["SENTINEL", "REPLICAS", MASTER]);
            replicas.contains("master-link-status\nok")
        };
        let knows = patience::becomes_true(START_LIMIT, knows);
        assert!(knows, "the Sentinel knows no replica");
        Self {
            master,
            replica,
            sentinel,
        }
    }

    /// The server that is the master at first.
    pub fn master(&self) -> &Redis {
        &self.master
    }

    /// The one that comes after it.
    pub fn replica(&self) -> &Redis {
        &self.replica
    }

    /// Where the Sentinel listens.
    pub fn sentinel(&self) -> SocketAddr {
        self.sentinel.address()
    }

    /// The server that is the master now, and its replica.
    #[track_caller]
    pub fn roles(&self) -> [&Redis; 2] {
        let is_master = |server: &Redis| server.command(&["ROLE"]).starts_with("master");
        match is_master(&self.replica) && !is_master(&self.master) {
            true => [&self.replica, &self.master],
            false => [&self.master, &self.replica],
        }
    }

    /// Starts the server again that was the master, as a replica of the one that is, and waits until
    /// it follows. The Sentinel would see to that, too, some ten seconds later.
    #[track_caller]
    pub fn take_back(&self, old: &Redis, new: &Redis) {
        old.restart();
        old.follow(new);
        let is_whole = || {
            let both = [&self.master, &self.replica];
            let follows = both.map(|it| it.command(&["INFO", "replication"]));
            let n_masters = follows.iter().filter(|it| it.contains("role:master"));
            let is_linked = follows
                .iter()
                .any(|it| it.contains("master_link_status:up"));
            n_masters.count() == 1 && is_linked
        };
        let is_whole = patience::becomes_true(2 * START_LIMIT, is_whole);
        assert!(is_whole, "{}", self.sentinel.log().tail(20));
    }

    /// Waits until the one is a master, and the Sentinel says so.
    #[track_caller]
    pub fn wait_until_promoted(&self, server: &Redis) {
        let port = server.port.to_string();
        let ask = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER];
        let is_promoted = || {
            let is_master = server.command(&["ROLE"]).starts_with("master");
            is_master && self.sentinel.command(&ask).ends_with(&port)
        };
        let is_promoted = patience::becomes_true(2 * START_LIMIT, is_promoted);
        assert!(is_promoted, "{}", self.sentinel.log().tail(20));
    }

    /// Kills the master when its replica has all, and waits until that is one.
    #[track_caller]
    pub fn fail_over(&self) {
        self.master.wait_for_replica();
        self.master.kill();
        self.wait_until_promoted(&self.replica);
    }
}
