//! What each command does to the state.

use std::sync::Arc;

use gatemq_proto::cluster::state::command::Kind;
use gatemq_proto::cluster::state::{
    Admit, Adopt, Adopted, Command, Dismiss, Fence, Forget, Found, Register, Role, Routes, fence,
};

use super::{Cluster, Member, Refusal, State};

/// What a command that is not refused did.
pub(super) struct Done {
    /// The index that is told to the proposer.
    pub(super) index: u64,
    pub(super) has_changed: bool,
}

/// The number of the node that founds a cluster. No `Admit` can have this index: the log begins
/// with the membership, the first leader's blank entry, and `Found`.
pub(crate) const FOUNDER: u64 = 1;

/// The store of gateways that keep their sessions in memory.
const IN_MEMORY: &str = "memory";

impl State {
    pub(super) fn execute(&mut self, index: u64, command: &Command) -> Result<Done, Refusal> {
        let kind = command.kind.as_ref().ok_or(Refusal::NoKind)?;
        if self.cluster.is_none() && !matches!(kind, Kind::Found(_)) {
            return Err(Refusal::NoCluster);
        }
        let has_changed = match kind {
            Kind::Found(found) => self.found(found)?,
            Kind::Admit(admit) => self.admit(index, admit)?,
            Kind::Dismiss(dismiss) => self.dismiss(dismiss)?,
            Kind::Register(register) => return self.register(index, register),
            Kind::Fence(fence) => self.fence(fence)?,
            Kind::Forget(forget) => self.forget(forget)?,
            Kind::Routes(routes) => self.routes(routes)?,
            Kind::Adopt(adopt) => self.adopt(adopt)?,
            Kind::Adopted(adopted) => self.adopted(adopted)?,
            Kind::Configure(configure) => self.settings.configure(configure)?,
            Kind::Ban(ban) => self.settings.ban(ban)?,
            Kind::Unban(unban) => self.settings.unban(unban)?,
            Kind::Trace(trace) => self.settings.begin_trace(trace)?,
            Kind::Untrace(untrace) => self.settings.end_trace(untrace),
        };
        Ok(Done { index, has_changed })
    }

    fn found(&mut self, found: &Found) -> Result<bool, Refusal> {
        if self.cluster.is_some() {
            return Err(Refusal::Founded);
        }
        let node = found.node.as_ref().ok_or(Refusal::Missing("the node"))?;
        if found.cluster_id.is_empty() {
            return Err(Refusal::Missing("the cluster's id"));
        }
        self.cluster = Some(Cluster {
            id: found.cluster_id.clone(),
            control_size: found.control_size,
            store: String::new(),
        });
        Arc::make_mut(&mut self.control).insert(FOUNDER, node.clone());
        Ok(true)
    }

    fn admit(&mut self, index: u64, admit: &Admit) -> Result<bool, Refusal> {
        let node = admit.node.as_ref().ok_or(Refusal::Missing("the node"))?;
        if node.name.is_empty() {
            return Err(Refusal::Missing("the node's name"));
        }
        if let Some((number, _)) = self.control_node_named(&node.name) {
            let name = node.name.clone();
            return Err(Refusal::KnownName { name, number });
        }
        Arc::make_mut(&mut self.control).insert(index, node.clone());
        Ok(true)
    }

    fn dismiss(&mut self, dismiss: &Dismiss) -> Result<bool, Refusal> {
        let number = dismiss.number;
        if !self.control.contains_key(&number) {
            return Ok(false);
        }
        if self.control.len() == 1 {
            return Err(Refusal::LastNode(number));
        }
        Arc::make_mut(&mut self.control).remove(&number);
        Ok(true)
    }

    fn register(&mut self, index: u64, register: &Register) -> Result<Done, Refusal> {
        if register.name.is_empty() {
            return Err(Refusal::Missing("the name"));
        }
        if register.role == 0 {
            return Err(Refusal::Missing("the role"));
        }
        self.agree_on_store(register)?;
        if let Some((incarnation, member)) = self.living(&register.name, register.role()) {
            if member.token() == register.token {
                return Ok(Done {
                    index: incarnation,
                    has_changed: false,
                });
            }
            self.member_mut(incarnation)?.fence(fence::Why::Replaced);
        }
        let member = Arc::new(Member::new(register.clone()));
        Arc::make_mut(&mut self.members).insert(index, member);
        Ok(Done {
            index,
            has_changed: true,
        })
    }

    /// The first gateway decides where the sessions of all are. Those in memory end with their
    /// gateway, so that the next one is free when nobody else is there.
    fn agree_on_store(&mut self, register: &Register) -> Result<(), Refusal> {
        let (own, agreed) = (&register.store, self.store());
        if own.is_empty() || own == agreed {
            return Ok(());
        }
        let is_free = match agreed {
            "" => true,
            IN_MEMORY => !self
                .members()
                .any(|(_, member)| !member.is_fenced() && member.name() != register.name),
            _ => false,
        };
        if !is_free {
            return Err(Refusal::OtherStore {
                own: own.clone(),
                agreed: agreed.to_owned(),
            });
        }
        if let Some(cluster) = &mut self.cluster {
            cluster.store.clone_from(own);
        }
        Ok(())
    }

    fn fence(&mut self, fence: &Fence) -> Result<bool, Refusal> {
        let why = fence.why();
        if why == fence::Why::Unspecified {
            return Err(Refusal::Missing("the reason"));
        }
        match self.member(fence.incarnation) {
            Some(member) if !member.is_fenced() || is_given_up(member, why) => {
                self.member_mut(fence.incarnation)?.fence(why);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn forget(&mut self, forget: &Forget) -> Result<bool, Refusal> {
        match self.member(forget.incarnation) {
            Some(member) if !member.is_fenced() => Err(Refusal::NotFenced(forget.incarnation)),
            Some(_) => {
                Arc::make_mut(&mut self.members).remove(&forget.incarnation);
                Ok(true)
            }
            None => Ok(false),
        }
    }

    fn routes(&mut self, routes: &Routes) -> Result<bool, Refusal> {
        let member = self.living_member(routes.incarnation)?;
        let last = member.last_routes();
        if routes.number <= last {
            return Ok(false);
        }
        if routes.number > last.saturating_add(1) {
            return Err(Refusal::Gap {
                incarnation: routes.incarnation,
                number: routes.number,
                last,
            });
        }
        self.member_mut(routes.incarnation)?.change_routes(routes);
        Ok(true)
    }

    fn adopt(&mut self, adopt: &Adopt) -> Result<bool, Refusal> {
        let known = self.member(adopt.fenced);
        let fenced = known.ok_or(Refusal::Unknown(adopt.fenced))?;
        if !fenced.is_fenced() {
            return Err(Refusal::NotFenced(adopt.fenced));
        }
        self.living_member(adopt.by)?;
        let is_done = |slice| fenced.adopter(slice) == Some(adopt.by);
        if adopt.slices.iter().copied().all(is_done) {
            return Ok(false);
        }
        self.member_mut(adopt.fenced)?.adopt(adopt);
        Ok(true)
    }

    fn adopted(&mut self, adopted: &Adopted) -> Result<bool, Refusal> {
        let known = self.member(adopted.fenced);
        let Some(fenced) = known else {
            return Ok(false); // nothing is left of it
        };
        let is_new =
            |slice: &u32| fenced.adopter(*slice) == Some(adopted.by) && !fenced.is_adopted(*slice);
        let new: Vec<u32> = adopted.slices.iter().copied().filter(is_new).collect();
        if new.is_empty() {
            return Ok(false);
        }
        self.member_mut(adopted.fenced)?.note_adopted(new);
        Ok(true)
    }

    fn living_member(&self, incarnation: u64) -> Result<&Member, Refusal> {
        match self.member(incarnation) {
            Some(member) if !member.is_fenced() => Ok(member),
            Some(_) => Err(Refusal::Fenced(incarnation)),
            None => Err(Refusal::Unknown(incarnation)),
        }
    }

    /// The member of an incarnation, to be changed: what it shares with a clone is copied first.
    fn member_mut(&mut self, incarnation: u64) -> Result<&mut Member, Refusal> {
        let member = Arc::make_mut(&mut self.members).get_mut(&incarnation);
        member
            .map(Arc::make_mut)
            .ok_or(Refusal::Unknown(incarnation))
    }
}

/// Whether somebody says that a bridge that is gone does not come back: until then its routes stay.
fn is_given_up(member: &Member, why: fence::Why) -> bool {
    member.role() == Role::Bridge
        && why == fence::Why::Removed
        && member.fenced() != Some(fence::Why::Removed)
}
