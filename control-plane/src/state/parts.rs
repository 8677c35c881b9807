//! The state in parts, for snapshots: taking it apart, putting it together, hashing it.
//!
//! Parts come in the order of the table below, and what is in them in the order of its keys, so
//! that equal states have equal parts on every node.
//!
//! ```text
//!   Summary    one
//!   Members    nodes of the control plane and members, without routes
//!   RoutePart  routes of one incarnation
//!   Settings   changes of the configuration, bans, traces
//! ```

use std::iter;
use std::sync::Arc;

use gatemq_proto::cluster::prost::Message;
use gatemq_proto::cluster::state::part::Kind;
use gatemq_proto::cluster::state::{Control, Members, Part, Route, RoutePart, Settings, Summary};

use super::{Cluster, Member, State};

/// A part is closed when it has this many bytes; one item more may be in it.
pub const PART_BYTES: usize = 48 << 10;

/// Why parts do not make a state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A newer version wrote it.
    #[error("a part of the state is of a kind that this version does not know")]
    UnknownKind,
    /// Routes of nobody.
    #[error("routes of incarnation {0}, which is no member")]
    UnknownMember(u64),
    /// A part lacks what makes it one.
    #[error("a part of the state has no {0}")]
    Missing(&'static str),
}

/// A state that is being put together.
#[derive(Debug, Default)]
pub struct Restoring {
    state: State,
}

// === impl Restoring ===

impl Restoring {
    /// Adds the next part.
    ///
    /// # Errors
    ///
    /// A part that this version cannot read, or that does not fit the ones before.
    pub fn add(&mut self, part: Part) -> Result<(), Unreadable> {
        match part.kind.ok_or(Unreadable::UnknownKind)? {
            Kind::Summary(summary) => self.state.cluster = cluster(summary),
            Kind::Members(members) => self.add_members(members)?,
            Kind::Routes(routes) => self.add_routes(&routes)?,
            Kind::Settings(settings) => self.add_settings(settings),
        }
        Ok(())
    }

    /// The state at an index of the log.
    pub fn finish(mut self, revision: u64) -> State {
        self.state.revision = revision;
        self.state
    }

    fn add_members(&mut self, part: Members) -> Result<(), Unreadable> {
        let control = Arc::make_mut(&mut self.state.control);
        for Control { number, node } in part.control {
            control.insert(number, node.ok_or(Unreadable::Missing("node"))?);
        }
        let members = Arc::make_mut(&mut self.state.members);
        for mut part in part.members {
            let registered = part.registered.take();
            let registered = registered.ok_or(Unreadable::Missing("registration"))?;
            let member = Member::from_part(registered, &part);
            members.insert(part.incarnation, Arc::new(member));
        }
        Ok(())
    }

    fn add_routes(&mut self, part: &RoutePart) -> Result<(), Unreadable> {
        let members = Arc::make_mut(&mut self.state.members);
        let member = members.get_mut(&part.incarnation);
        let member = member.ok_or(Unreadable::UnknownMember(part.incarnation))?;
        let routes = Arc::make_mut(member).routes_mut();
        for route in &part.routes {
            routes.set(&route.filter, route.into());
        }
        Ok(())
    }

    fn add_settings(&mut self, part: Settings) {
        for change in part.history {
            self.state.settings.set(change);
        }
        for ban in part.bans {
            self.state.settings.set_ban(ban);
        }
        for trace in part.traces {
            self.state.settings.set_trace(trace);
        }
    }
}

// === taking apart ===

pub(super) fn of(state: &State) -> impl Iterator<Item = Part> + '_ {
    iter::once(Kind::Summary(summary(state)))
        .chain(control(state))
        .chain(members(state))
        .chain(routes(state))
        .chain(settings(state))
        .map(|kind| Part { kind: Some(kind) })
}

/// FNV-1a over the parts and the revision: slow, and the same on every machine.
pub(super) fn hash(state: &State) -> u64 {
    let mut hash = 0xCBF2_9CE4_8422_2325;
    let mut add = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
        }
    };
    add(&state.revision.to_be_bytes());
    for part in of(state) {
        add(&part.encode_length_delimited_to_vec());
    }
    hash
}

fn summary(state: &State) -> Summary {
    Summary {
        cluster_id: state.cluster_id().cloned().unwrap_or_default(),
        control_size: state.control_size(),
        store: state.store().to_owned(),
    }
}

fn cluster(summary: Summary) -> Option<Cluster> {
    (!summary.cluster_id.is_empty()).then_some(Cluster {
        id: summary.cluster_id,
        control_size: summary.control_size,
        store: summary.store,
    })
}

fn control(state: &State) -> impl Iterator<Item = Kind> + '_ {
    let nodes = state.control_nodes().map(|(number, node)| Control {
        number,
        node: Some(node.clone()),
    });
    chunks(nodes).map(|control| {
        Kind::Members(Members {
            control,
            members: Vec::new(),
        })
    })
}

fn members(state: &State) -> impl Iterator<Item = Kind> + '_ {
    let members = state.members();
    let members = members.map(|(incarnation, member)| member.to_part(incarnation));
    chunks(members).map(|members| {
        Kind::Members(Members {
            control: Vec::new(),
            members,
        })
    })
}

fn routes(state: &State) -> impl Iterator<Item = Kind> + '_ {
    state.members().flat_map(|(incarnation, member)| {
        let routes = member.routes().iter().map(|(filter, counts)| Route {
            filter: filter.to_owned(),
            n_online: counts.n_online,
            n_offline: counts.n_offline,
        });
        chunks(routes).map(move |routes| {
            Kind::Routes(RoutePart {
                incarnation,
                routes,
            })
        })
    })
}

fn settings(state: &State) -> impl Iterator<Item = Kind> + '_ {
    let changes = chunks(state.settings.changes().cloned()).map(|history| Settings {
        history,
        ..Settings::default()
    });
    let bans = chunks(state.settings.bans().cloned()).map(|bans| Settings {
        bans,
        ..Settings::default()
    });
    let traces = chunks(state.settings.traces().cloned()).map(|traces| Settings {
        traces,
        ..Settings::default()
    });
    changes.chain(bans).chain(traces).map(Kind::Settings)
}

/// Items in lists that are as large as a part may be.
fn chunks<M: Message>(items: impl Iterator<Item = M>) -> impl Iterator<Item = Vec<M>> {
    let mut items = items.peekable();
    iter::from_fn(move || {
        items.peek()?;
        let mut size = 0;
        let mut chunk = Vec::new();
        while size < PART_BYTES {
            let Some(item) = items.next() else { break };
            size += item.encoded_len() + ITEM_OVERHEAD;
            chunk.push(item);
        }
        Some(chunk)
    })
}

/// The most that the tag and the length of an item take.
const ITEM_OVERHEAD: usize = 6;
