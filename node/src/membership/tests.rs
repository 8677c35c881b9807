//! Real gossip on 127.0.0.1. Each node has a runtime of its own, as a process would: dropping that
//! is its sudden end.

use super::*;
use crate::Shutdown;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::Runtime;
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;

const PATIENCE: Duration = Duration::from_secs(30);
const A: ClusterId = ClusterId([0xaa; 16]);
const B: ClusterId = ClusterId([0xbb; 16]);

struct Node {
    /// `None` once it is killed: the handle would keep its sockets open.
    process: Option<(Runtime, Membership)>,
    events: broadcast::Receiver<Event>,
    shutdown: Shutdown,
    tasks: TaskTracker,
}

impl Node {
    async fn start(config: Config, meta: Meta) -> Result<Self, StartError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (shutdown, tasks) = (Shutdown::new(), TaskTracker::new());
        let (child, tracker) = (shutdown.clone(), tasks.clone());
        let started = runtime
            .spawn(async move { Membership::start(config, meta, &child, &tracker).await })
            .await
            .unwrap();
        match started {
            Ok(membership) => Ok(Self {
                events: membership.events(),
                process: Some((runtime, membership)),
                shutdown,
                tasks,
            }),
            Err(error) => {
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    /// A node with defaults that joins through others.
    async fn new(name: &str, seeds: &[&Self]) -> Self {
        let seeds = seeds.iter().map(|node| node.address().to_string());
        let config = Config {
            seeds: seeds.collect(),
            ..config(name)
        };
        Self::start(config, Meta::default()).await.unwrap()
    }

    /// A node that knows its cluster.
    async fn of(cluster_id: ClusterId, name: &str, seeds: &[&Self]) -> Self {
        let seeds = seeds.iter().map(|node| node.address().to_string());
        let config = Config {
            seeds: seeds.collect(),
            ..config(name)
        };
        let meta = Meta {
            cluster_id: Some(cluster_id),
            ..Meta::default()
        };
        Self::start(config, meta).await.unwrap()
    }

    fn membership(&self) -> &Membership {
        let process = self.process.as_ref();
        &process.expect("it runs").1
    }

    fn address(&self) -> SocketAddr {
        self.membership().address()
    }

    fn find(&self, name: &str) -> Option<Member> {
        let members = self.membership().members();
        members.iter().find(|member| member.name == name).cloned()
    }

    async fn joined(&self) -> Result<Joined, JoinError> {
        let joined = timeout(PATIENCE, self.membership().joined()).await;
        joined.expect("it joins, or says why not")
    }

    /// Waits until it has just these members.
    async fn has(&self, names: &[&str]) {
        let mut watch = self.membership().watch();
        let has = watch.wait_for(|members| {
            let own: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
            own == names
        });
        let is_so = timeout(PATIENCE, has).await.is_ok();
        assert!(is_so, "not {names:?}: {:?}", self.membership().members());
    }

    /// Waits until a member is as asked for.
    async fn sees(&self, name: &str, is_so: impl Fn(&Member) -> bool) {
        let mut watch = self.membership().watch();
        let has = watch.wait_for(|members| {
            let found = members.iter().find(|member| member.name == name);
            found.is_some_and(&is_so)
        });
        let is_seen = timeout(PATIENCE, has).await.is_ok();
        assert!(is_seen, "{name} is {:?}", self.find(name));
    }

    /// The next event that is asked for.
    async fn event(&mut self, is_it: impl Fn(&Event) -> bool) -> Event {
        let next = async {
            loop {
                let event = self.events.recv().await.expect("few events");
                if is_it(&event) {
                    return event;
                }
            }
        };
        timeout(PATIENCE, next).await.expect("it happens")
    }

    /// Ends at once, as if by `kill -9`.
    fn kill(&mut self) {
        if let Some((runtime, membership)) = self.process.take() {
            drop(membership);
            runtime.shutdown_background();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

fn config(name: &str) -> Config {
    let mut config = Config::new(name, ([127, 0, 0, 1], 0).into());
    config.timing.retry_interval = Duration::from_millis(50);
    config.timing.rejoin_interval = Duration::from_millis(500);
    config.timing.exchange_interval = Duration::from_secs(2);
    config
}

/// An address where nobody is, nor will be: the system gives out other ports by itself.
async fn nowhere() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = std::process::id() as u16 % 10_000;
    loop {
        let port = 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        let address = ([127, 0, 0, 1], port).into();
        let is_free = TcpListener::bind(address).await.is_ok();
        if is_free && UdpSocket::bind(address).await.is_ok() {
            return address;
        }
    }
}

/// Starts a node on a port that a killed one is about to let go.
async fn restart(config: Config) -> Node {
    let end = Instant::now() + PATIENCE;
    loop {
        match Node::start(config.clone(), Meta::default()).await {
            Ok(node) => return node,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        sleep(Duration::from_millis(10)).await;
    }
}

async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "not in time: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

fn has_left(name: &'static str) -> impl Fn(&Event) -> bool {
    move |event| matches!(event, Event::Left { member, .. } if member.name == name)
}

fn how(event: &Event) -> Departure {
    match event {
        Event::Left { how, .. } => *how,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn three_nodes_find_one_another_through_one() {
    let seed = Node::new("a", &[]).await;
    assert_eq!(seed.joined().await, Ok(Joined { through: None }));
    let by_name = format!("localhost:{}", seed.address().port());
    let mut config_b = config("b");
    config_b.seeds = vec![by_name.clone()];
    let meta = Meta {
        roles: Roles::GATEWAY,
        peer_address: "b.example:7702".to_owned(),
        ..Meta::default()
    };
    let second = Node::start(config_b, meta).await.unwrap();
    let through = Some(by_name);
    assert_eq!(second.joined().await, Ok(Joined { through }));
    let third = Node::new("c", &[&seed]).await;
    for node in [&seed, &second, &third] {
        node.has(&["a", "b", "c"]).await;
        let b = node.find("b").unwrap();
        assert_eq!(b.address, second.address());
        assert_eq!(b.is_self, std::ptr::eq(node, &second));
        let meta = b.meta.unwrap();
        assert_eq!(meta.peer_address, "b.example:7702");
        assert!(meta.roles.contains(Roles::GATEWAY) && meta.token != 0);
    }
}

#[tokio::test]
async fn a_seed_that_is_down_is_tried_until_it_is_there() {
    let address = nowhere().await;
    let mut early = config("early");
    early.seeds = vec![address.to_string()];
    let early = Node::start(early, Meta::default()).await.unwrap();
    let is_waiting = timeout(Duration::from_millis(300), early.membership().joined()).await;
    assert!(is_waiting.is_err(), "{is_waiting:?}");
    let mut seed = config("seed");
    seed.bind = address;
    let seed = Node::start(seed, Meta::default()).await.unwrap();
    assert!(early.joined().await.unwrap().through.is_some());
    seed.has(&["early", "seed"]).await;
}

#[tokio::test]
async fn any_one_seed_is_enough_and_a_node_may_be_its_own() {
    let seed = Node::new("seed", &[]).await;
    let own = nowhere().await;
    let mut config = config("node");
    config.bind = own;
    config.seeds = vec![
        nowhere().await.to_string(),
        "no-such-host.invalid:7946".to_owned(),
        own.to_string(),
        seed.address().to_string(),
    ];
    let node = Node::start(config.clone(), Meta::default()).await.unwrap();
    assert!(node.joined().await.is_ok());
    node.has(&["node", "seed"]).await;
    drop(node);

    // By an address that it does not call its own.
    config.name = "alone".to_owned();
    config.bind = ([0, 0, 0, 0], own.port()).into();
    config.advertise = Some(([127, 0, 0, 2], own.port()).into());
    config.seeds = vec![own.to_string()];
    let alone = restart(config).await;
    assert_eq!(alone.joined().await, Ok(Joined { through: None }));
}

#[tokio::test]
async fn two_halves_that_know_of_one_another_become_one() {
    let later = nowhere().await;
    let b = Node::new("b", &[]).await;
    let mut config_c = config("c");
    config_c.seeds = vec![later.to_string(), b.address().to_string()];
    let c = Node::start(config_c, Meta::default()).await.unwrap();
    c.has(&["b", "c"]).await;
    let mut config_a = config("a");
    config_a.bind = later;
    let a = Node::start(config_a, Meta::default()).await.unwrap();
    for node in [&a, &b, &c] {
        node.has(&["a", "b", "c"]).await;
    }
}

#[tokio::test]
async fn a_node_that_is_killed_has_failed() {
    let mut a = Node::new("a", &[]).await;
    let b = Node::new("b", &[&a]).await;
    let mut c = Node::new("c", &[&a]).await;
    b.has(&["a", "b", "c"]).await;
    a.has(&["a", "b", "c"]).await;
    c.kill();
    let killed = Instant::now();
    assert_eq!(how(&a.event(has_left("c")).await), Departure::Failed);
    b.has(&["a", "b"]).await;
    let took = killed.elapsed();
    // 2 to 4 s on a machine that is not stopped itself.
    assert!(
        took > Duration::from_secs(1) && took < Duration::from_secs(15),
        "{took:?}"
    );
}

#[tokio::test]
async fn a_node_that_leaves_has_left() {
    let mut a = Node::new("a", &[]).await;
    let b = Node::new("b", &[&a]).await;
    let mut c = Node::new("c", &[&a]).await;
    for node in [&a, &b, &c] {
        node.has(&["a", "b", "c"]).await;
    }
    assert!(b.membership().leave(PATIENCE).await);
    for node in [&mut a, &mut c] {
        assert_eq!(how(&node.event(has_left("b")).await), Departure::Left);
        node.has(&["a", "c"]).await;
    }
    assert!(b.membership().leave(PATIENCE).await, "the same again");
    assert_eq!(
        b.membership().join("127.0.0.1:1").await,
        Err(JoinError::Stopped)
    );
    let free = TcpListener::bind(b.address()).await;
    let free = free.and(UdpSocket::bind(b.address()).await);
    assert!(free.is_ok(), "{free:?}");
}

#[tokio::test]
async fn a_node_that_is_told_to_end_leaves() {
    let mut a = Node::new("a", &[]).await;
    let b = Node::new("b", &[&a]).await;
    a.has(&["a", "b"]).await;
    b.has(&["a", "b"]).await;
    b.shutdown.request();
    assert_eq!(how(&a.event(has_left("b")).await), Departure::Left);
    b.tasks.close();
    let ended = timeout(PATIENCE, b.tasks.wait()).await;
    assert!(ended.is_ok(), "tasks go on");
}

#[tokio::test]
async fn a_killed_node_comes_back_with_another_address() {
    let mut a = Node::new("a", &[]).await;
    let mut old = Node::new("b", &[&a]).await;
    a.has(&["a", "b"]).await;
    let was = old.find("b").unwrap();
    old.kill();
    // At once: the others have not noticed.
    let new = Node::new("b", &[&a]).await;
    let joined = new.joined().await;
    assert!(
        matches!(joined, Ok(Joined { through: Some(_) })),
        "{joined:?}"
    );
    a.sees("b", |b| b.address == new.address()).await;
    let is_back = |event: &Event| {
        matches!(
            event,
            Event::Joined {
                before: Some(_),
                ..
            }
        )
    };
    let Event::Joined { member, before } = a.event(is_back).await else {
        unreachable!("asked for")
    };
    let before = before.unwrap();
    assert_eq!((before.address, before.token), (was.address, was.token()));
    assert_ne!(member.token(), was.token());
}

#[tokio::test]
async fn a_killed_node_comes_back_with_the_same_address() {
    let a = Node::new("a", &[]).await;
    let mut old = Node::new("b", &[&a]).await;
    a.has(&["a", "b"]).await;
    let was = old.find("b").unwrap();
    old.kill();
    let mut again = config("b");
    again.bind = was.address;
    again.seeds = vec![a.address().to_string()];
    let new = restart(again).await;
    assert!(new.joined().await.is_ok());
    a.sees("b", |b| b.token() != was.token()).await;
    assert_eq!(a.find("b").unwrap().address, was.address);
}

#[tokio::test]
async fn a_node_that_is_known_by_a_former_address_says_so() {
    let a = Node::new("a", &[]).await;
    let port = nowhere().await.port();
    let at = |last| Config {
        bind: ([0, 0, 0, 0], port).into(),
        advertise: Some(([127, 0, 0, last], port).into()),
        seeds: vec![a.address().to_string()],
        ..config("b")
    };
    let mut old = Node::start(at(1), Meta::default()).await.unwrap();
    a.has(&["a", "b"]).await;
    old.kill();
    let new = restart(at(2)).await;
    let former = JoinError::FormerAddress(([127, 0, 0, 1], port).into());
    assert_eq!(new.joined().await, Err(former));
    drop(new);
    a.has(&["a"]).await;
    let new = restart(at(2)).await;
    assert!(new.joined().await.is_ok());
    new.has(&["a", "b"]).await;
}

#[tokio::test]
async fn a_name_is_taken_while_its_holder_is_alive() {
    let mut a = Node::new("a", &[]).await;
    let holder = Node::new("b", &[&a]).await;
    a.has(&["a", "b"]).await;
    let late = Node::new("b", &[&a]).await;
    let taken = NameTaken {
        name: "b".to_owned(),
        ours: late.address(),
        theirs: holder.address(),
    };
    assert_eq!(
        late.joined().await,
        Err(JoinError::NameTaken(taken.clone()))
    );
    let text = taken.to_string();
    let is_named = |node: &Node| text.contains(&node.address().to_string());
    assert!(is_named(&late) && is_named(&holder), "{text}");
    let contested = |event: &Event| matches!(event, Event::NameContested { .. });
    let Event::NameContested {
        holder: at, asking, ..
    } = a.event(contested).await
    else {
        unreachable!("asked for")
    };
    assert_eq!((at, asking), (holder.address(), late.address()));
    assert_eq!(a.find("b").unwrap().address, holder.address());
    assert!(holder.joined().await.is_ok(), "the first one stays");
    drop(late);
    holder.has(&["a", "b"]).await;
}

#[tokio::test]
async fn other_keys_and_no_keys_are_not_let_in() {
    let with = |name: &str, keys: &[u8], seeds: &[&Node]| Config {
        keys: keys.iter().map(|byte| Key([*byte; 32])).collect(),
        seeds: seeds
            .iter()
            .map(|node| node.address().to_string())
            .collect(),
        ..config(name)
    };
    let a = Node::start(with("a", &[1], &[]), Meta::default())
        .await
        .unwrap();
    let same = Node::start(with("same", &[1], &[&a]), Meta::default())
        .await
        .unwrap();
    a.has(&["a", "same"]).await;
    let other = Node::start(with("other", &[2], &[&a]), Meta::default())
        .await
        .unwrap();
    let none = Node::start(with("none", &[], &[&a]), Meta::default())
        .await
        .unwrap();
    for node in [&other, &none] {
        let result = node.membership().join(&a.address().to_string()).await;
        assert!(
            matches!(result, Err(JoinError::Unreachable(..))),
            "{result:?}"
        );
        let result = a.membership().join(&node.address().to_string()).await;
        assert!(
            matches!(result, Err(JoinError::Unreachable(..))),
            "{result:?}"
        );
    }
    a.has(&["a", "same"]).await;
    same.has(&["a", "same"]).await;
    assert_eq!(
        (
            other.membership().members().len(),
            none.membership().members().len()
        ),
        (1, 1)
    );
}

#[tokio::test]
async fn keys_change_while_nodes_run() {
    let (first, second) = (Key([1; 32]), Key([2; 32]));
    let mut config_a = config("a");
    config_a.keys = vec![first];
    let a = Node::start(config_a, Meta::default()).await.unwrap();
    let mut config_b = config("b");
    config_b.keys = vec![first];
    config_b.seeds = vec![a.address().to_string()];
    let mut b = Node::start(config_b.clone(), Meta::default())
        .await
        .unwrap();
    a.has(&["a", "b"]).await;

    let nodes = [a.membership(), b.membership()];
    assert_eq!(nodes[0].use_key(second), Err(KeyError::Unknown));
    assert_eq!(nodes[0].remove_key(first), Err(KeyError::Primary));
    assert_eq!(nodes.map(|node| node.install_key(second)), [Ok(()); 2]);
    assert_eq!(nodes.map(|node| node.use_key(second)), [Ok(()); 2]);
    assert_eq!(nodes.map(|node| node.remove_key(first)), [Ok(()); 2]);
    assert_eq!(nodes[0].remove_key(first), Err(KeyError::Unknown));
    assert_eq!(nodes[0].remove_key(second), Err(KeyError::Primary));

    let version = "after".to_owned();
    let meta = Meta {
        version,
        ..Meta::default()
    };
    b.membership().update_meta(meta).await.unwrap();
    let is_after = |member: &Member| member.meta.as_ref().is_some_and(|m| m.version == "after");
    a.sees("b", is_after).await;
    config_b.name = "late".to_owned();
    let late = Node::start(config_b.clone(), Meta::default())
        .await
        .unwrap();
    let refused = late.membership().join(&a.address().to_string()).await;
    assert!(
        matches!(refused, Err(JoinError::Unreachable(..))),
        "{refused:?}"
    );
    config_b.keys = vec![second];
    config_b.name = "new".to_owned();
    let new = Node::start(config_b, Meta::default()).await.unwrap();
    new.has(&["a", "b", "new"]).await;
    // Nobody had to be taken for dead on the way.
    while let Ok(event) = b.events.try_recv() {
        assert!(!matches!(event, Event::Left { .. }), "{event:?}");
    }
}

#[tokio::test]
async fn nothing_is_sent_in_plain() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = config("a-name-to-look-for");
    config.keys = vec![Key([7; 32])];
    config.seeds = vec![listener.local_addr().unwrap().to_string()];
    let _node = Node::start(config, Meta::default()).await.unwrap();
    let (mut stream, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    let mut bytes = vec![0; 64];
    timeout(PATIENCE, stream.read_exact(&mut bytes))
        .await
        .unwrap()
        .unwrap();
    let has_name = bytes.windows(11).any(|window| window == b"a-name-to-l");
    assert!(!has_name, "{bytes:?}");
}

#[tokio::test]
async fn a_connection_that_falls_silent_after_a_byte_stops_nobody() {
    let a = Node::new("a", &[]).await;
    let mut silent = Vec::new();
    for first in 0..16 {
        let mut stream = TcpStream::connect(a.address()).await.unwrap();
        stream.write_all(&[first]).await.unwrap();
        silent.push(stream);
    }
    let b = Node::new("b", &[&a]).await;
    b.has(&["a", "b"]).await;
    a.has(&["a", "b"]).await;
}

#[tokio::test]
async fn two_clusters_do_not_mix() {
    let mut a1 = Node::of(A, "a1", &[]).await;
    let a2 = Node::of(A, "a2", &[&a1]).await;
    a1.has(&["a1", "a2"]).await;
    let b = Node::of(B, "b", &[&a1, &a2]).await;
    let error = b.joined().await.unwrap_err();
    let JoinError::OtherCluster(other) = &error else {
        panic!("{error:?}")
    };
    assert_eq!((other.theirs, other.ours), (A, B));
    let strange = |event: &Event| matches!(event, Event::OtherCluster(_));
    let Event::OtherCluster(other) = a1.event(strange).await else {
        unreachable!("asked for")
    };
    assert_eq!(other.address, b.address());
    assert_eq!((other.theirs, other.ours), (B, A));

    // A node that belongs to neither tells each of the other.
    let both = Node::new("both", &[&a1]).await;
    both.has(&["a1", "a2", "both"]).await;
    both.membership()
        .join(&b.address().to_string())
        .await
        .unwrap();
    both.has(&["a1", "a2", "b", "both"]).await;
    b.has(&["b", "both"]).await;
    a2.has(&["a1", "a2", "both"]).await;
    while let Ok(event) = a1.events.try_recv() {
        assert!(!strange(&event), "again: {event:?}");
    }
    // And parts from one as soon as it belongs to the other.
    let meta = Meta {
        cluster_id: Some(A),
        ..Meta::default()
    };
    both.membership().update_meta(meta).await.unwrap();
    both.has(&["a1", "a2", "both"]).await;
    b.has(&["b"]).await;
}

#[tokio::test]
async fn remembered_members_are_enough() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("members");
    let has = |path: &Path, name: &str| {
        std::fs::read_to_string(path).is_ok_and(|text| text.contains(name))
    };
    let mut seed = Node::new("seed", &[]).await;
    let b = Node::new("b", &[&seed]).await;
    let config = Config {
        seeds: vec![seed.address().to_string()],
        memory: Some(path.clone()),
        ..config("c")
    };
    let mut c = Node::start(config.clone(), Meta::default()).await.unwrap();
    c.has(&["b", "c", "seed"]).await;
    eventually("both are remembered", || {
        has(&path, "seed") && has(&path, " b ")
    })
    .await;
    c.kill();
    seed.kill();
    b.has(&["b"]).await;
    let c = Node::start(config, Meta::default()).await.unwrap();
    let through = Some(b.address().to_string());
    assert_eq!(c.joined().await, Ok(Joined { through }));
    b.has(&["b", "c"]).await;
}

#[tokio::test]
async fn what_a_node_says_anew_reaches_the_others() {
    let mut a = Node::new("a", &[]).await;
    let b = Node::new("b", &[&a]).await;
    a.has(&["a", "b"]).await;
    let token = b.find("b").unwrap().token();
    let meta = Meta {
        incarnation: 7,
        cluster_id: Some(A),
        ..Meta::default()
    };
    b.membership().update_meta(meta.clone()).await.unwrap();
    let updated = a.event(|event| matches!(event, Event::Updated(_))).await;
    let Event::Updated(member) = updated else {
        unreachable!("asked for")
    };
    assert_eq!(member.token(), token, "the same process");
    assert_eq!(member.meta.as_ref().unwrap().incarnation, 7);
    let long = Meta {
        version: "v".repeat(300),
        ..meta
    };
    assert!(b.membership().update_meta(long).await.is_err());
    assert_eq!(b.find("b").unwrap().meta.unwrap().incarnation, 7);
}

#[tokio::test]
async fn what_cannot_start_says_so() {
    let long = Meta {
        control_address: "c".repeat(250),
        peer_address: "p".repeat(250),
        ..Meta::default()
    };
    let error = Node::start(config("a"), long).await.err().unwrap();
    assert!(error.to_string().contains("gossip carries 512"), "{error}");
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = config("a");
    config.bind = taken.local_addr().unwrap();
    let error = Node::start(config.clone(), Meta::default())
        .await
        .err()
        .unwrap();
    assert!(
        error.to_string().contains(&config.bind.to_string()),
        "{error}"
    );
}

#[tokio::test]
async fn a_port_that_is_not_of_gossip_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut streams = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            // Its settings, whatever is asked: gRPC is HTTP/2.
            let _ = stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
            streams.push(stream);
        }
    });
    let node = Node::new("a", &[]).await;
    let joined = node.membership().join(&address.to_string()).await;
    let error = joined.unwrap_err().to_string();
    assert!(error.contains("name the port of its gossip"), "{error}");
}
