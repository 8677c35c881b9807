//! Faults that begin and end by themselves, whatever else is in force: what F40 mixes, and what a soak
//! draws from. None hits what another one hits at the time.

use std::time::Duration;

use super::{Run, evidence::stands_still};
use crate::{
    Cluster, Node,
    cluster::REDIS,
    history::Random,
    nemesis::{disk::SickDisk, network::Flap},
    patience::pause,
};

/// How much longer each sync takes.
const SLOW: Duration = Duration::from_millis(200);
/// A link comes or goes after this time.
const PERIOD: Duration = Duration::from_secs(1);
/// What links lose, of 1,000 packets.
const LOST: u16 = 100;
/// What passes between two nodes waits so long, and up to half of it longer, each way.
const LATE: Duration = Duration::from_millis(60);
/// What a node may send, and be sent, in kilobits a second.
const NARROW: u32 = 1_000;
/// Between the ends of two faults, in milliseconds, at most.
const APART: usize = 1_000;
/// The target of a fault that hits all links.
const ALL: &str = "all";

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    DeadGateway,
    /// Of the control plane; another control node where nobody leads.
    DeadLeader,
    DeadRedis,
    StillGateway,
    StillControl,
    StillRedis,
    /// It ends in order, and is away.
    EndedGateway,
    EndedControl,
    /// Syncs of a control node take longer; it has to run under [`SickDisk::wrap`].
    SlowSync,
    /// Nothing passes between one node and all others, as of here where there is a network.
    CutOff,
    /// It passes in one direction.
    CutOneWay,
    /// The link between two nodes comes and goes.
    Flapping,
    Loss,
    Delay,
    Bandwidth,
}

/// A fault that is in force.
pub(super) struct InForce<'a> {
    kind: Kind,
    target: String,
    hit: Hit<'a>,
}

/// What has to be undone.
enum Hit<'a> {
    Node(&'a Node),
    Redis,
    /// Between the target and these.
    Links(Vec<String>),
    /// From the ones to the others.
    OneWay([Vec<String>; 2]),
    Flap(Flap),
    AllLinks,
    Narrow,
}

/// A node that was started and may not be ready.
struct Starting<'a> {
    kind: Kind,
    node: &'a Node,
}

// === impl Kind ===

impl Kind {
    /// Those that every cluster can have.
    pub(super) const USUAL: [Self; 8] = [
        Self::DeadGateway,
        Self::DeadLeader,
        Self::DeadRedis,
        Self::StillGateway,
        Self::StillControl,
        Self::StillRedis,
        Self::EndedGateway,
        Self::EndedControl,
    ];

    /// Those of the links in a network.
    pub(super) const OF_LINKS: [Self; 6] = [
        Self::CutOff,
        Self::CutOneWay,
        Self::Flapping,
        Self::Loss,
        Self::Delay,
        Self::Bandwidth,
    ];

    /// Makes one happen; `None` where the others have left nothing that it could hit, or the machine
    /// cannot.
    pub(super) fn begin<'a>(
        self,
        run: &mut Run,
        cluster: &'a Cluster,
        others: &[InForce<'_>],
    ) -> Option<InForce<'a>> {
        let is_free = |target: &str| others.iter().all(|other| other.target != target);
        let (target, hit) = match self {
            Self::DeadRedis | Self::StillRedis if is_free(REDIS) => (REDIS.to_owned(), Hit::Redis),
            Self::DeadRedis | Self::StillRedis => return None,
            Self::Loss | Self::Delay => (ALL.to_owned(), Hit::AllLinks),
            Self::CutOff | Self::CutOneWay | Self::Flapping | Self::Bandwidth => {
                self.choose_links(run, cluster, is_free)?
            }
            _ => {
                let node = self.choose_node(&mut run.random, cluster, is_free)?;
                (node.name().to_owned(), Hit::Node(node))
            }
        };
        let mut in_force = InForce {
            kind: self,
            target,
            hit,
        };
        in_force.install(run, cluster)?;
        Some(in_force)
    }

    fn choose_node<'a>(
        self,
        random: &mut Random,
        cluster: &'a Cluster,
        is_free: impl Fn(&str) -> bool,
    ) -> Option<&'a Node> {
        let mut nodes = match self {
            Self::DeadGateway | Self::StillGateway | Self::EndedGateway => cluster.gateways(),
            _ => cluster.controls(),
        };
        nodes.retain(|node| is_free(node.name()));
        let chosen = (!nodes.is_empty()).then(|| nodes[random.below(nodes.len())]);
        let leads = |node: &&&Node| node.metric("control_leads") == Some(1.0);
        match self {
            Self::DeadLeader => nodes.iter().find(leads).copied().or(chosen),
            _ => chosen,
        }
    }

    fn choose_links<'a>(
        self,
        run: &mut Run,
        cluster: &Cluster,
        is_free: impl Fn(&str) -> bool,
    ) -> Option<(String, Hit<'a>)> {
        let mut nodes = cluster.network().nodes();
        let one = nodes.swap_remove(run.random.below(nodes.len()));
        if !is_free(&one) {
            return None;
        }
        Some(match self {
            Self::Bandwidth => (one, Hit::Narrow),
            Self::Flapping => {
                let other = nodes.swap_remove(run.random.below(nodes.len()));
                (one, Hit::Links(vec![other]))
            }
            _ => (one, Hit::Links(nodes)),
        })
    }

    fn op(self) -> &'static str {
        match self {
            Self::DeadGateway | Self::DeadLeader | Self::DeadRedis => "kill",
            Self::StillGateway | Self::StillControl | Self::StillRedis => "stop",
            Self::EndedGateway | Self::EndedControl => "terminate",
            Self::SlowSync => "slow disk",
            Self::CutOff => "cut off",
            Self::CutOneWay => "cut off one way",
            Self::Flapping => "flapping",
            Self::Loss => "loss",
            Self::Delay => "delay",
            Self::Bandwidth => "bandwidth",
        }
    }
}

// === impl InForce ===

impl<'a> InForce<'a> {
    /// What it is and whom it hits, in a word each.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.kind.op(), self.target)
    }

    fn install(&mut self, run: &mut Run, cluster: &Cluster) -> Option<()> {
        let (kind, target) = (self.kind, self.target.as_str());
        if kind == Kind::Delay {
            // It may not be had here, and is only known to be then.
            let delayed = cluster.network().delay_all(LATE, LATE / 2);
            run.can(kind.op(), delayed)?;
        }
        run.begins(kind.op(), target);
        match &self.hit {
            Hit::Node(node) => match kind {
                Kind::DeadGateway | Kind::DeadLeader => node.kill(),
                Kind::EndedGateway | Kind::EndedControl => drop(node.terminate()),
                Kind::SlowSync => {
                    let disk = SickDisk::of(node.folder());
                    disk.slow(SLOW).expect("a folder of its own");
                }
                _ => node.pause(),
            },
            Hit::Redis if kind == Kind::DeadRedis => cluster.redis().kill(),
            Hit::Redis => cluster.redis().pause(),
            Hit::Links(others) => {
                let network = cluster.network();
                match kind {
                    Kind::Flapping => {
                        let flap = network.flap(&[target], &borrowed(others), PERIOD);
                        self.hit = Hit::Flap(flap);
                    }
                    Kind::CutOneWay => {
                        let mut ways = [vec![target.to_owned()], others.clone()];
                        if !run.random.once_in(2) {
                            ways.reverse();
                        }
                        network.cut(&borrowed(&ways[0]), &borrowed(&ways[1]));
                        self.hit = Hit::OneWay(ways);
                    }
                    _ => network.partition(&[target], &borrowed(others)),
                }
            }
            Hit::AllLinks if kind == Kind::Loss => cluster.network().lose(LOST),
            // They are made above.
            Hit::AllLinks | Hit::Flap(_) | Hit::OneWay(_) => {}
            Hit::Narrow => cluster.network().limit(target, Some(NARROW)),
        }
        let target = self.target.as_str();
        run.sees(kind.op(), target, self.is_in_force(cluster));
        Some(())
    }

    /// As far as one can see from outside; what is done to links has been done, or had panicked.
    fn is_in_force(&self, cluster: &Cluster) -> bool {
        match (&self.hit, self.kind) {
            (Hit::Node(node), Kind::StillGateway | Kind::StillControl) => stands_still(node.pid()),
            (Hit::Node(node), kind) => kind == Kind::SlowSync || !node.is_running(),
            (Hit::Redis, Kind::StillRedis) => stands_still(cluster.redis().pid()),
            (Hit::Redis, _) => !cluster.redis().is_running(),
            _ => true,
        }
    }

    /// Ends it. Who was started for that is returned: it is over when that one is ready.
    fn end(self, run: &mut Run, cluster: &Cluster) -> Option<Starting<'a>> {
        let Self { kind, target, hit } = self;
        match hit {
            Hit::Node(node) => match kind {
                Kind::StillGateway | Kind::StillControl => node.resume(),
                Kind::SlowSync => {
                    let disk = SickDisk::of(node.folder());
                    disk.heal().expect("a folder of its own");
                }
                _ => {
                    node.launch().expect("the binary runs");
                    return Some(Starting { kind, node });
                }
            },
            Hit::Redis if kind == Kind::DeadRedis => cluster.redis().restart(),
            Hit::Redis => cluster.redis().resume(),
            Hit::Links(others) => {
                cluster.network().join_up(&[&target], &borrowed(&others));
            }
            Hit::OneWay([from, to]) => {
                cluster.network().mend(&borrowed(&from), &borrowed(&to));
            }
            Hit::AllLinks if kind == Kind::Loss => cluster.network().lose(0),
            Hit::AllLinks => {
                let ended = cluster.network().delay_all(Duration::ZERO, Duration::ZERO);
                ended.expect("what delays is there");
            }
            Hit::Narrow => cluster.network().limit(&target, None),
            Hit::Flap(flap) => drop(flap),
        }
        run.healed(kind.op(), &target);
        None
    }
}

// === impl Starting ===

impl Starting<'_> {
    /// Who needs what is gone at the time ends with a line that says so, and is started once more, as
    /// whatever looks after processes does.
    fn becomes_ready(self, run: &mut Run) {
        if self.node.wait_until_ready().is_err() {
            self.node.restart();
        }
        run.healed(self.kind.op(), self.node.name());
    }
}

fn borrowed(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

/// Ends all of them, one after the other in an order that chance chooses; whoever was started for that
/// is ready when this returns.
pub(super) fn end_all<'a>(run: &mut Run, cluster: &'a Cluster, mut in_force: Vec<InForce<'a>>) {
    let mut starting = Vec::new();
    while !in_force.is_empty() {
        let ended = in_force.swap_remove(run.random.below(in_force.len()));
        starting.extend(ended.end(run, cluster));
        if !in_force.is_empty() {
            let wait = u64::try_from(run.random.below(APART)).expect("small");
            pause(Duration::from_millis(wait));
        }
    }
    for one in starting {
        one.becomes_ready(run);
    }
}
