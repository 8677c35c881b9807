//! A network for the nodes of one cluster, with faults between them: each node has a namespace with
//! one address, and all are plugged into one switch.
//!
//! ```text
//!   this process ── 10.77.x.1 ──┐
//!   c1 ──────────── 10.77.x.2 ──┼── the switch, in a namespace of its own
//!   g1 ──────────── 10.77.x.3 ──┘
//! ```
//!
//! What is lost is lost in the switch, silently, as in a real one (`network/rules.rs`); what is
//! slow waits between the switch and a node (`network/lag.rs`). Nothing of the machine's own
//! network is touched, but for the one address. A file that is locked as long as the network is
//! there says that its number is taken: without the lock it is what a dead run left, and is removed.

mod command;
mod flap;
mod lag;
mod rules;
mod setup;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::Unavailable;
use crate::cluster::place::Place;
pub use flap::Flap;
use lag::Lag;
use rules::Rules;
use setup::Setup;

/// The name of this process in a network: clients are in it, and who asks nodes by HTTP.
pub const CLIENTS: &str = "clients";

/// A network of namespaces; its clones are the same one. All is removed with the last of them.
#[derive(Clone, Debug)]
pub struct Network(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    /// Goes last.
    setup: Setup,
}

#[derive(Debug)]
struct State {
    members: BTreeMap<String, Ipv4Addr>,
    rules: Rules,
    /// Nodes whose traffic is delayed, by name.
    lags: BTreeMap<String, Lag>,
    /// Nodes whose bandwidth is limited.
    limited: Vec<String>,
}

impl Network {
    /// Whether this machine can have such a network at all: it is tried, once.
    ///
    /// # Errors
    ///
    /// It cannot, and why.
    pub fn capability() -> Result<(), Unavailable> {
        static TRIED: LazyLock<Result<(), Unavailable>> = LazyLock::new(|| {
            let network = Network::start()?;
            network.join("one")?;
            network.join("other")?;
            let mut rules = Rules::default();
            let [one, other] = ["one", "other"].map(|name| network.address(name));
            rules.lose(one, other, 1);
            let tried = network.0.setup.filter(&rules.text());
            tried.map_err(Unavailable::new)
        });
        TRIED.clone()
    }

    /// A network that has no members but this process, and removes those of dead runs.
    ///
    /// # Errors
    ///
    /// It cannot be made: rights or programs are missing.
    pub fn start() -> Result<Self, Unavailable> {
        let setup = Setup::new().map_err(Unavailable::new)?;
        let clients = (CLIENTS.to_owned(), setup.address(1));
        let state = State {
            members: BTreeMap::from([clients]),
            rules: Rules::default(),
            lags: BTreeMap::new(),
            limited: Vec::new(),
        };
        Ok(Self(Arc::new(Inner {
            state: Mutex::new(state),
            setup,
        })))
    }

    /// Adds a member; the same name has the same place again. A name is one of letters and digits.
    ///
    /// # Errors
    ///
    /// Its namespace cannot be made.
    pub fn join(&self, name: &str) -> Result<Place, Unavailable> {
        let mut state = self.lock();
        let address = match state.members.get(name) {
            Some(address) => *address,
            None => {
                let last = u8::try_from(state.members.len() + 1);
                let last = last.map_err(|_| Unavailable::new("a network has 254 addresses"))?;
                let address = self.0.setup.address(last);
                let added = self.0.setup.add(name, address);
                added.map_err(Unavailable::new)?;
                state.members.insert(name.to_owned(), address);
                address
            }
        };
        Ok(Place::in_namespace(address, self.0.setup.namespace(name)))
    }

    /// The address of a member; its name has to be one.
    #[track_caller]
    pub fn address(&self, name: &str) -> Ipv4Addr {
        find(&self.lock().members, name)
    }

    /// All members but this process.
    pub fn nodes(&self) -> Vec<String> {
        let state = self.lock();
        let nodes = state.members.keys().filter(|name| *name != CLIENTS);
        nodes.cloned().collect()
    }

    // --- what is lost ---

    /// Nothing passes between the two sets, either way. Others are not affected. What several of these
    /// and of [`Self::cut`] stop passes when each of them is taken back.
    #[track_caller]
    pub fn partition(&self, some: &[&str], others: &[&str]) {
        self.change(|rules, [from, to]| rules.cut(from, to), some, others);
        self.cut(others, some);
    }

    /// Nothing passes from the one set to the other; what comes back does.
    #[track_caller]
    pub fn cut(&self, from: &[&str], to: &[&str]) {
        self.change(|rules, [from, to]| rules.cut(from, to), from, to);
    }

    /// Nothing passes between this node and all other nodes. Clients reach it.
    #[track_caller]
    pub fn isolate(&self, name: &str) {
        let others = self.nodes();
        let others = others.iter().map(String::as_str);
        let others: Vec<_> = others.filter(|other| *other != name).collect();
        self.partition(&[name], &others);
    }

    /// Takes a partition of the two sets back: what it stopped passes again, both ways, unless something
    /// else stops it, too.
    #[track_caller]
    pub fn join_up(&self, some: &[&str], others: &[&str]) {
        self.mend(some, others);
        self.mend(others, some);
    }

    /// Takes a cut from the one set to the other back.
    #[track_caller]
    pub fn mend(&self, from: &[&str], to: &[&str]) {
        self.change(|rules, [from, to]| rules.mend(from, to), from, to);
    }

    /// Of what passes between nodes so many of 1,000 packets are lost; 0 for none. What passes
    /// between them and clients is not affected.
    #[track_caller]
    pub fn lose(&self, per_thousand: u16) {
        let nodes = self.nodes();
        let nodes: Vec<_> = nodes.iter().map(String::as_str).collect();
        self.lose_between(&nodes, &nodes, per_thousand);
    }

    /// The same between the two sets, both ways.
    #[track_caller]
    pub fn lose_between(&self, some: &[&str], others: &[&str], per_thousand: u16) {
        let lose = |rules: &mut Rules, [from, to]: [Ipv4Addr; 2]| {
            rules.lose(from, to, per_thousand);
            rules.lose(to, from, per_thousand);
        };
        self.change(lose, some, others);
    }

    /// Cuts the two sets off from one another and joins them up again, for so long each time,
    /// until what is returned is dropped.
    pub fn flap(&self, some: &[&str], others: &[&str], period: Duration) -> Flap {
        Flap::start(self.clone(), some, others, period)
    }

    // --- what is slow ---

    /// What passes between two members waits for `time`, and up to `jitter` longer, each way: a
    /// round trip takes twice as long. The order stays. Zero for both is no delay.
    ///
    /// # Errors
    ///
    /// The program that does it cannot be built (a C compiler is missing).
    #[track_caller]
    pub fn delay(
        &self,
        one: &str,
        other: &str,
        time: Duration,
        jitter: Duration,
    ) -> Result<(), Unavailable> {
        let mut state = self.lock();
        // The one at whose port it waits is always the same of the two, and never this process.
        let (at, peer) = match one == CLIENTS || one > other && other != CLIENTS {
            true => (other, one),
            false => (one, other),
        };
        let [number, peer] = [at, peer].map(|name| find(&state.members, name));
        if !state.lags.contains_key(at) {
            let lag = Lag::start(&self.0.setup, number)?;
            state.lags.insert(at.to_owned(), lag);
        }
        let lag = state.lags.get_mut(at).expect("it was put there");
        lag.set(peer, time, jitter);
        Ok(())
    }

    /// The same between every two nodes.
    ///
    /// # Errors
    ///
    /// As above.
    pub fn delay_all(&self, time: Duration, jitter: Duration) -> Result<(), Unavailable> {
        let nodes = self.nodes();
        for (number, one) in nodes.iter().enumerate() {
            for other in &nodes[number + 1..] {
                self.delay(one, other, time, jitter)?;
            }
        }
        Ok(())
    }

    /// What a node sends and what it is sent are each at most so many kilobits (1,000 bits) a
    /// second; what does not fit into a queue of 400 ms is lost. `None` is no limit.
    #[track_caller]
    pub fn limit(&self, name: &str, kilobits: Option<u32>) {
        let mut state = self.lock();
        let address = find(&state.members, name);
        self.unlimit(&mut state, name);
        if let Some(kilobits) = kilobits {
            let limited = self.0.setup.limit(name, address, kilobits);
            limited.unwrap_or_else(|trouble| panic!("{name}: {trouble}"));
            state.limited.push(name.to_owned());
        }
    }

    /// No fault any more: all passes, at once.
    #[track_caller]
    pub fn heal(&self) {
        let mut state = self.lock();
        state.rules = Rules::default();
        self.apply(&state);
        for name in state.limited.clone() {
            self.unlimit(&mut state, &name);
        }
        for (_, lag) in std::mem::take(&mut state.lags) {
            lag.end(&self.0.setup);
        }
    }

    // --- inside ---

    #[track_caller]
    fn change(&self, act: impl Fn(&mut Rules, [Ipv4Addr; 2]), some: &[&str], others: &[&str]) {
        let mut state = self.lock();
        for one in some {
            for other in others.iter().filter(|other| *other != one) {
                let pair = [one, other].map(|name| find(&state.members, name));
                act(&mut state.rules, pair);
            }
        }
        self.apply(&state);
    }

    /// A fault that is not there must not be taken for one that did no harm.
    #[track_caller]
    fn apply(&self, state: &State) {
        let applied = self.0.setup.filter(&state.rules.text());
        applied.unwrap_or_else(|trouble| panic!("the switch: {trouble}"));
    }

    #[track_caller]
    fn unlimit(&self, state: &mut State, name: &str) {
        if state.limited.iter().any(|limited| limited == name) {
            let address = find(&state.members, name);
            let freed = self.0.setup.unlimit(name, address);
            freed.unwrap_or_else(|trouble| panic!("{name}: {trouble}"));
            state.limited.retain(|limited| limited != name);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let state = self.0.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }
}

#[track_caller]
fn find(members: &BTreeMap<String, Ipv4Addr>, name: &str) -> Ipv4Addr {
    let found = members.get(name).copied();
    found.unwrap_or_else(|| panic!("nobody in the network is called {name}"))
}
