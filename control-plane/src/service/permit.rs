//! What nodes may say of whom, where they show who they are: each of itself, and only the control
//! plane of others (pure).
//!
//! That a role may call a method at all is `gatemq_proto::cluster::callers`. What another node of
//! the control plane passes on it has judged itself.

use gatemq_node::credentials::{Identity, Role};
use gatemq_proto::cluster::control::JoinRequest;
use gatemq_proto::cluster::state::command::Kind;
use gatemq_proto::cluster::state::fence::Why;
use gatemq_proto::cluster::state::{Ban, BanKind, Command, Role as Part};
use tonic::Status;

use super::replica::View;

/// How long a gateway may keep somebody out everywhere, in milliseconds.
const LONGEST_BAN: u64 = 24 * 3_600_000;
/// By how much the wall clocks of nodes may differ, in milliseconds.
const CLOCKS: u64 = 60_000;

/// Whether a node may ask to join as it does: under its own name.
pub(super) fn join(caller: &Identity, request: &JoinRequest) -> Result<(), Status> {
    let name = request.node.as_ref().map_or("", |node| &node.name);
    match name == caller.node {
        true => Ok(()),
        false => Err(denied(caller, &format!("join as {name:?}"))),
    }
}

/// Whether a node may propose a command; `now` is this node's wall clock, in Unix milliseconds.
pub(super) fn propose(
    caller: &Identity,
    command: &Command,
    view: &impl View,
    now: u64,
) -> Result<(), Status> {
    if caller.roles.has(Role::Control) {
        return Ok(());
    }
    match &command.kind {
        Some(Kind::Register(register)) => {
            let may_be = match register.role() {
                Part::Gateway => caller.roles.has(Role::Gateway),
                Part::Bridge => caller.roles.has(Role::Bridge),
                Part::Control | Part::Unspecified => false,
            };
            match may_be && register.name == caller.node {
                true => Ok(()),
                false => Err(denied(
                    caller,
                    &format!("register {:?} in that role", register.name),
                )),
            }
        }
        Some(Kind::Routes(routes)) => own(caller, routes.incarnation, view),
        Some(Kind::Adopted(adopted)) => own(caller, adopted.by, view),
        Some(Kind::Fence(fence)) if fence.why() == Why::Left => {
            own(caller, fence.incarnation, view)
        }
        Some(Kind::Ban(ban)) => {
            match caller.roles.has(Role::Gateway) && is_of_gateway(caller, ban, now) {
                true => Ok(()),
                false => Err(denied(caller, "propose a ban that is not for flapping")),
            }
        }
        Some(
            Kind::Fence(_)
            | Kind::Found(_)
            | Kind::Admit(_)
            | Kind::Dismiss(_)
            | Kind::Forget(_)
            | Kind::Configure(_)
            | Kind::Unban(_)
            | Kind::Trace(_)
            | Kind::Untrace(_)
            | Kind::Adopt(_),
        )
        | None => Err(denied(caller, "propose that")),
    }
}

/// Whether a ban is one that a gateway may make by itself: in its own name, of a client identifier
/// that comes and goes too often, for a while. It makes no ban of others shorter
/// (`state/settings.rs`). When it began is its own word; when it ends is held against this node's clock.
fn is_of_gateway(caller: &Identity, ban: &Ban, now: u64) -> bool {
    let latest = now.saturating_add(LONGEST_BAN + CLOCKS);
    ban.is_automatic
        && ban.kind() == BanKind::ClientId
        && ban.by == format!("gateway {}", caller.node)
        && ban.until > ban.at
        && ban.until <= latest
}

/// Whether an incarnation is that of the node that speaks for it.
pub(super) fn own(caller: &Identity, incarnation: u64, view: &impl View) -> Result<(), Status> {
    match view.name(incarnation) {
        Some(name) if name == caller.node => Ok(()),
        Some(name) => Err(denied(caller, &format!("speak for {name}"))),
        None if incarnation > view.revision() => Err(Status::unavailable(
            "this node has not heard of that incarnation yet: try again",
        )),
        // Nothing is left of it: whatever is said of it changes nothing.
        None => Ok(()),
    }
}

fn denied(caller: &Identity, what: &str) -> Status {
    let why = format!("{caller} may not {what}");
    tracing::debug!(why, "a node is refused"); // it is told, and may try again and again
    Status::permission_denied(why)
}

#[cfg(test)]
mod tests {
    use super::super::replica::Holder;
    use super::*;
    use crate::leases::Member;
    use gatemq_proto::cluster::callers::CALLERS;
    use gatemq_proto::cluster::prost::bytes::Bytes;
    use gatemq_proto::cluster::state::{
        Admit, Adopt, Adopted, Configure, ControlNode, Dismiss, Fence, Forget, Found,
        Part as StatePart, Register, Routes, Unban,
    };
    use tonic::Code;

    /// At revision 10: `g1` is 5, `g2` is 6.
    struct Known;

    impl View for Known {
        fn cluster_id(&self) -> Bytes {
            Bytes::new()
        }
        fn revision(&self) -> u64 {
            10
        }
        fn parts(&self) -> impl Iterator<Item = StatePart> + Send + '_ {
            std::iter::empty()
        }
        fn member(&self, _: u64) -> Option<Member> {
            None
        }
        fn members(&self) -> Vec<Member> {
            Vec::new()
        }
        fn name(&self, incarnation: u64) -> Option<String> {
            match incarnation {
                5 => Some("g1".to_owned()),
                6 => Some("g2".to_owned()),
                _ => None,
            }
        }
        fn holder(&self, _: &str, _: Part, _: u64) -> Option<Holder> {
            None
        }
    }

    fn register(name: &str, role: Part) -> Kind {
        Kind::Register(Register {
            name: name.to_owned(),
            role: role.into(),
            ..Register::default()
        })
    }

    fn routes(incarnation: u64) -> Kind {
        Kind::Routes(Routes {
            incarnation,
            ..Routes::default()
        })
    }

    fn fence(incarnation: u64, why: Why) -> Kind {
        Kind::Fence(Fence {
            incarnation,
            why: why.into(),
        })
    }

    fn adopted(by: u64) -> Kind {
        Kind::Adopted(Adopted {
            fenced: 6,
            by,
            slices: Vec::new(),
        })
    }

    /// A ban that the gateway g1 may make, but for what is changed.
    fn flapping(change: impl Fn(&mut Ban)) -> Kind {
        let mut ban = Ban {
            kind: BanKind::ClientId.into(),
            value: "c".to_owned(),
            by: "gateway g1".to_owned(),
            at: NOW,
            until: NOW + 300_000,
            is_automatic: true,
            ..Ban::default()
        };
        change(&mut ban);
        Kind::Ban(ban)
    }

    /// What only the control plane proposes.
    fn of_control() -> Vec<Kind> {
        vec![
            Kind::Found(Found::default()),
            Kind::Admit(Admit::default()),
            Kind::Dismiss(Dismiss::default()),
            Kind::Forget(Forget::default()),
            Kind::Configure(Configure::default()),
            Kind::Ban(Ban::default()),
            flapping(|ban| ban.is_automatic = false),
            flapping(|ban| ban.kind = BanKind::User.into()),
            flapping(|ban| ban.kind = BanKind::Address.into()),
            flapping(|ban| ban.until = 0),
            flapping(|ban| ban.until = ban.at),
            flapping(|ban| ban.until = NOW + LONGEST_BAN + CLOCKS + 1),
            // In a hundred years, for a day.
            flapping(|ban| {
                ban.at = NOW + 100 * 365 * LONGEST_BAN;
                ban.until = ban.at + LONGEST_BAN;
            }),
            flapping(|ban| ban.by = "gateway g2".to_owned()),
            flapping(|ban| ban.by = "root, by the api of c1".to_owned()),
            Kind::Unban(Unban::default()),
            Kind::Trace(Default::default()),
            Kind::Untrace(Default::default()),
            Kind::Adopt(Adopt::default()),
            fence(5, Why::Removed),
            fence(5, Why::Lease),
            fence(5, Why::Replaced),
            fence(5, Why::Unspecified),
        ]
    }

    fn check(caller: &str, kind: &Kind) -> Code {
        let caller = caller.parse().expect("an identity");
        let command = Command {
            kind: Some(kind.clone()),
        };
        let judged = propose(&caller, &command, &Known, NOW);
        judged.map_or_else(|status| status.code(), |()| Code::Ok)
    }

    const NOW: u64 = 1_800_000_000_000;
    const G1: &str = "gatemq://c/gateway/g1";

    #[test]
    fn a_gateway_proposes_what_is_about_itself_and_nothing_else() {
        use Code::{Ok, PermissionDenied as Denied, Unavailable};
        let cases = [
            (register("g1", Part::Gateway), Ok),
            (register("g2", Part::Gateway), Denied),
            (register("g1", Part::Bridge), Denied),
            (register("g1", Part::Control), Denied),
            (register("g1", Part::Unspecified), Denied),
            (routes(5), Ok),
            (routes(6), Denied),
            (routes(7), Ok), // of nobody any more
            (routes(11), Unavailable),
            (adopted(5), Ok),
            (adopted(6), Denied),
            (fence(5, Why::Left), Ok),
            (flapping(|_| ()), Ok),
            (flapping(|ban| ban.until = NOW + LONGEST_BAN), Ok),
            (fence(6, Why::Left), Denied),
        ];
        for (kind, expected) in cases {
            assert_eq!(check(G1, &kind), expected, "{kind:?}");
            // One that is of the control plane, too, proposes everything.
            assert_eq!(
                check("gatemq://c/control+gateway/n1", &kind),
                Ok,
                "{kind:?}"
            );
            assert_eq!(check("gatemq://c/control/c1", &kind), Ok, "{kind:?}");
        }
        for kind in of_control() {
            assert_eq!(check(G1, &kind), Denied, "{kind:?}");
            assert_eq!(check("gatemq://c/bridge/g1", &kind), Denied, "{kind:?}");
            assert_eq!(check("gatemq://c/control/c1", &kind), Ok, "{kind:?}");
        }
        let nothing = propose(&G1.parse().unwrap(), &Command::default(), &Known, NOW);
        assert_eq!(nothing.unwrap_err().code(), Denied);
    }

    #[test]
    fn a_node_joins_under_its_own_name() {
        let caller = "gatemq://c/control/c1".parse().unwrap();
        let request = |name: &str| JoinRequest {
            node: Some(ControlNode {
                name: name.to_owned(),
                ..ControlNode::default()
            }),
            ..JoinRequest::default()
        };
        assert!(join(&caller, &request("c1")).is_ok());
        let refused = join(&caller, &request("c2")).unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert!(join(&caller, &JoinRequest::default()).is_err());
    }

    #[test]
    fn the_table_of_callers_has_no_role_that_no_certificate_can_have() {
        let mut roles = CALLERS.iter().flat_map(|(_, roles)| *roles);
        assert!(roles.all(|role| Role::named(role).is_some()));
    }
}
