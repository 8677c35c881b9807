//! The rules that turn what the gossip tells into members and events: whose cluster a node belongs
//! to, who has a name, and whether it is the process that had it before.
//!
//! Pure: what happens is taken in by `admit`, `judge` and `on_*`, and what follows from it is
//! fetched by [`Table::take_outcome`]. What is remembered of nodes that are no members is bounded.

use super::member::{Before, Departure, Event, Member, NameTaken, OtherCluster};
use super::meta::{Meta, Unreadable};
use std::collections::BTreeMap;
use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// A node as the gossip tells of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer<'a> {
    pub(super) name: &'a str,
    pub(super) address: SocketAddr,
    /// What it says of itself, encoded.
    pub(super) meta: &'a [u8],
}

/// Why the gossip of another node is not taken in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// It is this node's own.
    #[error("this node has called itself")]
    Myself,
    /// For the other one, this node's name is that of a node at another address.
    #[error("the name is held by the node at {0}")]
    NameHeld(SocketAddr),
    #[error(transparent)]
    OtherCluster(OtherCluster),
}

/// What followed from what happened.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) events: Vec<Event>,
    /// All members by name, this node among them, if they have changed.
    pub(super) members: Option<Arc<[Member]>>,
    /// Where a node is said to be that has this node's name.
    pub(super) contested: Option<SocketAddr>,
    /// A node whose knowledge was taken in.
    pub(super) met: Option<SocketAddr>,
}

/// Who is there.
#[derive(Debug)]
pub(super) struct Table {
    own: Member,
    /// The others.
    present: BTreeMap<String, Entry>,
    departed: BTreeMap<String, Before>,
    /// What was said of a name last, so that it is said once.
    said: BTreeMap<String, Said>,
    events: Vec<Event>,
    is_changed: bool,
    contested: Option<SocketAddr>,
    met: Option<SocketAddr>,
}

#[derive(Debug)]
struct Entry {
    address: SocketAddr,
    meta: Option<Arc<Meta>>,
    /// The token before this one: two processes that take turns are both alive.
    previous_token: Option<u64>,
}

#[derive(Debug, PartialEq, Eq)]
enum Said {
    OtherCluster(OtherCluster),
    Contested(SocketAddr, SocketAddr),
    Taken(SocketAddr),
    Unreadable(Unreadable),
}

impl Table {
    /// A table with this node alone.
    pub(super) fn new(name: &str, address: SocketAddr, meta: Meta) -> Self {
        let own = Member {
            name: name.to_owned(),
            address,
            meta: Some(Arc::new(meta)),
            is_self: true,
        };
        Self {
            own,
            present: BTreeMap::new(),
            departed: BTreeMap::new(),
            said: BTreeMap::new(),
            events: Vec::new(),
            is_changed: true,
            contested: None,
            met: None,
        }
    }

    /// Where this node's gossip is reached, once its socket is bound.
    pub(super) fn set_own_address(&mut self, address: SocketAddr) {
        self.own.address = address;
        self.is_changed = true;
    }

    /// The name of this node.
    pub(super) fn own_name(&self) -> &str {
        &self.own.name
    }

    /// What this node says of itself.
    pub(super) fn own_meta(&self) -> &Meta {
        let meta = self.own.meta.as_deref();
        meta.expect("this node can read what it says")
    }

    /// Says something else of this node. Members of another cluster than the one that it belongs
    /// to now are members no longer.
    pub(super) fn set_own_meta(&mut self, meta: Meta) {
        self.own.meta = Some(Arc::new(meta));
        self.is_changed = true;
        let present = self.present.iter().map(|(name, entry)| entry.member(name));
        let strangers: Vec<OtherCluster> = present
            .filter_map(|member| {
                let meta = member.meta?;
                self.other_cluster(&member.name, member.address, &meta)
            })
            .collect();
        for stranger in strangers {
            self.expel(&stranger);
        }
    }

    /// Whether news of a living node are taken in at all.
    pub(super) fn admit(&mut self, peer: Peer<'_>) -> Result<(), Refusal> {
        if peer.name == self.own.name {
            return Ok(());
        }
        let Ok(meta) = Meta::decode(peer.meta) else {
            return Ok(());
        };
        match self.other_cluster(peer.name, peer.address, &meta) {
            None => Ok(()),
            Some(stranger) => {
                self.expel(&stranger);
                Err(Refusal::OtherCluster(stranger))
            }
        }
    }

    /// Whether all that another node knows is taken in: when one of the two joins the other.
    /// `peers` are those that are alive for it.
    pub(super) fn judge(&mut self, peers: &[Peer<'_>]) -> Result<(), Refusal> {
        let own_token = self.own_meta().token;
        let (mut met, mut is_ours, mut stranger) = (None, false, None);
        for peer in peers {
            let meta = Meta::decode(peer.meta).ok();
            if peer.name == self.own.name && meta.as_ref().map(|meta| meta.token) == Some(own_token)
            {
                continue;
            }
            met = met.or(Some(peer.address));
            let Some(meta) = meta else { continue };
            let cluster_id = meta.cluster_id;
            is_ours |= cluster_id.is_some() && cluster_id == self.own_meta().cluster_id;
            let other = self.other_cluster(peer.name, peer.address, &meta);
            stranger = stranger.or(other);
        }
        if met.is_none() && !peers.is_empty() {
            return Err(Refusal::Myself);
        }
        if let Some(stranger) = stranger.filter(|_| !is_ours) {
            self.expel(&stranger);
            return Err(Refusal::OtherCluster(stranger));
        }
        let is_holder =
            |peer: &&Peer<'_>| peer.name == self.own.name && peer.address != self.own.address;
        match peers.iter().find(is_holder).map(|holder| holder.address) {
            None => {
                self.met = met;
                Ok(())
            }
            Some(holder) => {
                self.contest(self.own.name.clone(), holder, self.own.address);
                Err(Refusal::NameHeld(holder))
            }
        }
    }

    /// A node is there, or says something else of itself.
    pub(super) fn on_present(&mut self, peer: Peer<'_>) {
        if peer.name == self.own.name || self.admit(peer).is_err() {
            return;
        }
        let meta = match Meta::decode(peer.meta) {
            Ok(meta) => Some(Arc::new(meta)),
            Err(error) => {
                self.say_unreadable(peer, error);
                None
            }
        };
        let mut entry = Entry {
            address: peer.address,
            meta,
            previous_token: None,
        };
        let member = entry.member(peer.name);
        let event = match self.present.get(peer.name) {
            None => Event::Joined {
                member,
                before: self.departed.remove(peer.name),
            },
            Some(old) if old.address == entry.address && old.meta == entry.meta => return,
            Some(old) if old.address == entry.address && old.token() == entry.token() => {
                entry.previous_token = old.previous_token;
                Event::Updated(member)
            }
            Some(old) => {
                let before = old.before();
                let is_turn = old.previous_token.is_some() && old.previous_token == entry.token();
                entry.previous_token = old.token();
                if is_turn {
                    self.contest(peer.name.to_owned(), before.address, entry.address);
                }
                Event::Restarted { member, before }
            }
        };
        self.events.push(event);
        self.present.insert(peer.name.to_owned(), entry);
        self.is_changed = true;
    }

    /// A node is gone.
    pub(super) fn on_gone(&mut self, name: &str) {
        let is_leaving = |entry: &Entry| entry.meta.as_ref().is_some_and(|meta| meta.is_leaving);
        let how = match self.present.get(name).is_some_and(is_leaving) {
            true => Departure::Left,
            false => Departure::Failed,
        };
        self.remove(name, how);
    }

    /// A node at `asking` wants a name that the one at `holder` has.
    pub(super) fn on_conflict(&mut self, name: &str, holder: SocketAddr, asking: SocketAddr) {
        self.contest(name.to_owned(), holder, asking);
    }

    /// The node at `theirs` has this node's name, and has answered.
    pub(super) fn on_name_taken(&mut self, theirs: SocketAddr) -> NameTaken {
        let taken = NameTaken {
            name: self.own.name.clone(),
            ours: self.own.address,
            theirs,
        };
        if self.is_new(&taken.name, Said::Taken(theirs)) {
            self.events.push(Event::NameTaken(taken.clone()));
        }
        taken
    }

    /// What followed since the last call.
    pub(super) fn take_outcome(&mut self) -> Outcome {
        Outcome {
            events: mem::take(&mut self.events),
            members: mem::take(&mut self.is_changed).then(|| self.members()),
            contested: self.contested.take(),
            met: self.met.take(),
        }
    }

    fn members(&self) -> Arc<[Member]> {
        let others = self.present.iter().map(|(name, entry)| entry.member(name));
        let mut all: Vec<Member> = others.chain([self.own.clone()]).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all.into()
    }

    /// Both clusters, if a node belongs to another than this one. A node that belongs to none yet
    /// is welcome anywhere.
    fn other_cluster(&self, name: &str, address: SocketAddr, meta: &Meta) -> Option<OtherCluster> {
        let ours = self.own_meta().cluster_id?;
        let theirs = meta.cluster_id.filter(|theirs| *theirs != ours)?;
        Some(OtherCluster {
            name: name.to_owned(),
            address,
            theirs,
            ours,
        })
    }

    fn expel(&mut self, stranger: &OtherCluster) {
        if self.is_new(&stranger.name, Said::OtherCluster(stranger.clone())) {
            self.events.push(Event::OtherCluster(stranger.clone()));
        }
        // Another cluster may have a node of the same name: a member of this one at another address
        // is not meant.
        let known = self.present.get(&stranger.name);
        if known.is_some_and(|known| known.address == stranger.address) {
            self.remove(&stranger.name, Departure::OtherCluster);
        }
    }

    fn contest(&mut self, name: String, holder: SocketAddr, asking: SocketAddr) {
        if name == self.own.name {
            let is_holder = holder == self.own.address;
            self.contested = Some(if is_holder { asking } else { holder });
        }
        if self.is_new(&name, Said::Contested(holder, asking)) {
            self.events.push(Event::NameContested {
                name,
                holder,
                asking,
            });
        }
    }

    fn say_unreadable(&mut self, peer: Peer<'_>, error: Unreadable) {
        if self.is_new(peer.name, Said::Unreadable(error.clone())) {
            self.events.push(Event::Unreadable {
                name: peer.name.to_owned(),
                address: peer.address,
                error,
            });
        }
    }

    fn remove(&mut self, name: &str, how: Departure) {
        let Some(entry) = self.present.remove(name) else {
            return;
        };
        remember(&mut self.departed, name, entry.before());
        let member = entry.member(name);
        self.events.push(Event::Left { member, how });
        self.is_changed = true;
    }

    fn is_new(&mut self, name: &str, said: Said) -> bool {
        if self.said.get(name) == Some(&said) {
            return false;
        }
        remember(&mut self.said, name, said);
        true
    }
}

// === impl Entry ===

impl Entry {
    fn member(&self, name: &str) -> Member {
        Member {
            name: name.to_owned(),
            address: self.address,
            meta: self.meta.clone(),
            is_self: false,
        }
    }

    fn token(&self) -> Option<u64> {
        self.meta.as_ref().map(|meta| meta.token)
    }

    fn before(&self) -> Before {
        Before {
            address: self.address,
            token: self.token(),
        }
    }
}

/// Keeps something by name, in the place of another one if there are too many.
fn remember<V>(map: &mut BTreeMap<String, V>, name: &str, value: V) {
    if map.len() >= MAX_REMEMBERED && !map.contains_key(name) {
        map.pop_first();
    }
    map.insert(name.to_owned(), value);
}

/// Names that are no members of which something is remembered.
const MAX_REMEMBERED: usize = 1_024;
