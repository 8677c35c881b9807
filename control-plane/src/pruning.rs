//! Bans whose time is over are taken out of the state by the leader: the state itself has no clock.

use std::time::Duration;

use gatemq_proto::cluster::state::command::Kind;
use gatemq_proto::cluster::state::{Command, Unban};
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
/// How many are taken out at once.
const AT_ONCE: usize = 256;

/// What has to be proposed at a time, in Unix milliseconds. Each names the end that it saw: a ban
/// that was made longer meanwhile stays.
fn over(state: &State, now: u64) -> Vec<Command> {
    let bans = state.settings().bans();
    let over = bans.filter(|ban| ban.until > 0 && ban.until.saturating_add(LATE) <= now);
    let commands = over.take(AT_ONCE).map(|ban| {
        let kind = Kind::Unban(Unban {
            kind: ban.kind,
            value: ban.value.clone(),
            until: ban.until,
        });
        Command { kind: Some(kind) }
    });
    commands.collect()
}

/// Takes them out, while this node leads.
pub(crate) async fn run(consensus: Consensus, service: Service<Node>, stop: CancellationToken) {
    let due = || over(&consensus.state(), now());
    propose_while_leading(EVERY, due, &consensus, &service, stop).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatemq_proto::cluster::state::{Ban, BanKind, ControlNode, Found};

    #[test]
    fn what_is_long_over_is_taken_out_and_nothing_else() {
        let mut state = State::default();
        let mut index = 0;
        let mut apply = |state: &mut State, kind| {
            index += 1;
            let outcome = state.apply(index, &Command { kind: Some(kind) });
            assert_eq!(outcome.refused, "");
        };
        let found = Found {
            cluster_id: vec![7; 16].into(),
            node: Some(ControlNode::default()),
            control_size: 1,
        };
        apply(&mut state, Kind::Found(found));
        let now = 1_000_000;
        for (value, until) in [
            ("for ever", 0),
            ("over", now - LATE),
            ("just over", now - LATE + 1),
            ("not over", now + 1),
        ] {
            let ban = Ban {
                kind: BanKind::User.into(),
                value: value.to_owned(),
                until,
                ..Ban::default()
            };
            apply(&mut state, Kind::Ban(ban));
        }
        let commands = over(&state, now);
        assert_eq!(commands.len(), 1, "{commands:?}");
        for command in commands {
            apply(&mut state, command.kind.expect("a kind"));
        }
        let settings = state.settings();
        assert_eq!(settings.bans().count(), 3);
        assert!(settings.find_ban(BanKind::User, "over").is_none());
    }
}
