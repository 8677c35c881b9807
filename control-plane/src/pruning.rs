//! Bans and traces whose time is over are taken out of the state by the leader: the state itself has
//! no clock. A trace first ends, at every gateway at once whatever their clocks say, and can be read for
//! a while.

use std::time::Duration;

use gatemq_proto::cluster::state::command::Kind;
use gatemq_proto::cluster::state::{Command, Unban, Untrace};
use tokio_util::sync::CancellationToken;

use crate::api::now;
use crate::consensus::Consensus;
use crate::control_plane::propose_while_leading;
use crate::replica::Node;
use crate::service::Service;
use crate::state::State;

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(5);
/// How long, in milliseconds, one stays beyond its time: gateways go by clocks of their own, and one
/// that is a little late shall let nobody in before.
const LATE: u64 = 60_000;
/// How long, in milliseconds, a trace can be read when it is over.
const READABLE: u64 = 24 * 3_600_000;
/// How many are taken out at once.
const AT_ONCE: usize = 256;

/// What has to be proposed at a time, in Unix milliseconds. Each names the end that it saw: a ban
/// that was made longer meanwhile stays.
fn over(state: &State, now: u64) -> Vec<Command> {
    let bans = state.settings().bans();
    let over = bans.filter(|ban| ban.until > 0 && ban.until.saturating_add(LATE) <= now);
    let unbans = over.take(AT_ONCE).map(|ban| {
        Kind::Unban(Unban {
            kind: ban.kind,
            value: ban.value.clone(),
            until: ban.until,
        })
    });
    let untraces = state.settings().traces().filter_map(|trace| {
        let is_gone = trace.until.saturating_add(READABLE) <= now;
        let ends = trace.until <= now && !trace.is_over;
        (is_gone || ends).then(|| {
            Kind::Untrace(Untrace {
                name: trace.name.clone(),
                until: trace.until,
                stays_readable: !is_gone,
            })
        })
    });
    let kinds = unbans.chain(untraces);
    kinds.map(|kind| Command { kind: Some(kind) }).collect()
}

/// Takes them out, while this node leads.
pub(crate) async fn run(consensus: Consensus, service: Service<Node>, stop: CancellationToken) {
    let due = || over(&consensus.state(), now());
    propose_while_leading(EVERY, due, &consensus, &service, stop).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatemq_proto::cluster::state::{Ban, BanKind, ControlNode, Found, Trace, TraceKind};

    struct Bench {
        state: State,
        index: u64,
    }

    impl Bench {
        fn founded() -> Self {
            let (state, index) = (State::default(), 0);
            let mut bench = Self { state, index };
            bench.apply(Kind::Found(Found {
                cluster_id: vec![7; 16].into(),
                node: Some(ControlNode::default()),
                control_size: 1,
            }));
            bench
        }

        fn apply(&mut self, kind: Kind) {
            self.index += 1;
            let command = Command { kind: Some(kind) };
            let outcome = self.state.apply(self.index, &command);
            assert_eq!(outcome.refused, "");
        }

        /// Takes out what is over; returns how many commands that took.
        fn prune(&mut self, now: u64) -> usize {
            let commands = over(&self.state, now);
            let n_commands = commands.len();
            for command in commands {
                self.apply(command.kind.expect("a kind"));
            }
            n_commands
        }
    }

    #[test]
    fn what_is_long_over_is_taken_out_and_nothing_else() {
        let (mut bench, now) = (Bench::founded(), 1_000_000);
        for (value, until) in [
            ("for ever", 0),
            ("over", now - LATE),
            ("just over", now - LATE + 1),
            ("not over", now + 1),
        ] {
            bench.apply(Kind::Ban(Ban {
                kind: BanKind::User.into(),
                value: value.to_owned(),
                until,
                ..Ban::default()
            }));
        }
        assert_eq!(bench.prune(now), 1);
        let settings = bench.state.settings();
        assert_eq!(settings.bans().count(), 3);
        assert!(settings.find_ban(BanKind::User, "over").is_none());
    }

    #[test]
    fn a_trace_ends_when_its_time_is_over_and_goes_when_it_was_readable_for_a_day() {
        let mut bench = Bench::founded();
        for (name, until) in [("one", 1_000), ("two", 2_000)] {
            bench.apply(Kind::Trace(Trace {
                name: name.to_owned(),
                kind: TraceKind::ClientId.into(),
                value: "c".to_owned(),
                until,
                ..Trace::default()
            }));
        }
        let is_over = |bench: &Bench, name: &str| {
            let trace = bench.state.settings().trace(name);
            trace.map(|trace| trace.is_over)
        };
        assert_eq!(bench.prune(999), 0);
        assert_eq!(bench.prune(1_000), 1);
        assert_eq!(is_over(&bench, "one"), Some(true));
        assert_eq!(is_over(&bench, "two"), Some(false));
        assert_eq!(bench.prune(1_001), 0, "once");
        assert_eq!(bench.prune(1_000 + READABLE), 2);
        assert_eq!(is_over(&bench, "one"), None);
        assert_eq!(is_over(&bench, "two"), Some(true));
    }
}
