//! Which gateways there are, from what the control plane tells: pure.

use std::collections::BTreeMap;

use gatemq_proto::cluster::state::{Command, Part, Register, Role, command, fence, part};

/// The gateways that take part.
#[derive(Debug, Default)]
pub(super) struct Gateways {
    /// By incarnation: name and address.
    known: BTreeMap<u64, (String, String)>,
}

// === impl Gateways ===

impl Gateways {
    /// All is told anew.
    pub(super) fn begin(&mut self) {
        self.known.clear();
    }

    /// Takes in a part of the state.
    pub(super) fn read(&mut self, part: Part) {
        let Some(part::Kind::Members(members)) = part.kind else {
            return;
        };
        for member in members.members {
            let is_fenced = member.fenced() != fence::Why::Unspecified;
            if let Some(registered) = member.registered
                && !is_fenced
            {
                self.add(member.incarnation, registered);
            }
        }
    }

    /// Takes in a change.
    pub(super) fn apply(&mut self, revision: u64, command: &Command) {
        match &command.kind {
            Some(command::Kind::Register(registered)) => self.add(revision, registered.clone()),
            Some(command::Kind::Fence(fence)) => {
                self.known.remove(&fence.incarnation);
            }
            _ => {}
        }
    }

    /// Where they are reached.
    pub(super) fn addresses(&self) -> Vec<String> {
        let known = self.known.values();
        known.map(|(_, address)| address.clone()).collect()
    }

    /// An earlier incarnation of the same name is fenced by a new one.
    fn add(&mut self, incarnation: u64, registered: Register) {
        if registered.role() != Role::Gateway {
            return;
        }
        self.known.retain(|_, (name, _)| *name != registered.name);
        let known = (registered.name, registered.peer_address);
        self.known.insert(incarnation, known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatemq_proto::cluster::state::{Fence, Member, Members};

    fn register(name: &str, address: &str, role: Role) -> Register {
        Register {
            name: name.to_owned(),
            role: role.into(),
            peer_address: address.to_owned(),
            ..Register::default()
        }
    }

    fn member(incarnation: u64, registered: Register, why: fence::Why) -> Member {
        Member {
            incarnation,
            registered: Some(registered),
            fenced: why.into(),
            ..Member::default()
        }
    }

    #[test]
    fn gateways_that_take_part_are_known_and_nobody_else() {
        let mut gateways = Gateways::default();
        let members = vec![
            member(2, register("g1", "a:1", Role::Gateway), fence::Why::Left),
            member(
                3,
                register("g2", "b:1", Role::Gateway),
                fence::Why::Unspecified,
            ),
            member(
                4,
                register("b1", "c:1", Role::Bridge),
                fence::Why::Unspecified,
            ),
        ];
        let members = Members {
            members,
            control: vec![],
        };
        gateways.read(Part {
            kind: Some(part::Kind::Members(members)),
        });
        assert_eq!(gateways.addresses(), ["b:1"]);
        let apply = |gateways: &mut Gateways, revision, kind| {
            gateways.apply(revision, &Command { kind: Some(kind) });
        };
        let kind = command::Kind::Register(register("g3", "d:1", Role::Gateway));
        apply(&mut gateways, 5, kind);
        let kind = command::Kind::Register(register("g2", "e:1", Role::Gateway));
        apply(&mut gateways, 6, kind);
        assert_eq!(gateways.addresses(), ["d:1", "e:1"]);
        let kind = command::Kind::Fence(Fence {
            incarnation: 5,
            why: fence::Why::Lease.into(),
        });
        apply(&mut gateways, 7, kind);
        assert_eq!(gateways.addresses(), ["e:1"]);
        gateways.begin();
        assert!(gateways.addresses().is_empty());
    }
}
