//! `/members`: the nodes of the cluster. One item for each thing that a node is: a process that has
//! a control plane and a gateway is two items of one name. [`listing`] gathers what is known of them.

mod listing;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State as Shared;
use axum::{Extension, Json};
use gatemq_proto::cluster::desk::{DrainRequest, RemoveRequest};
use gatemq_proto::cluster::state::{Fence, Role, command::Kind as Change, fence};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use self::listing::kind_of;
use super::access::about::About;
use super::access::token::Scope;
use super::endpoint::Endpoint;
use super::extract::{Json as Body, Path, Query};
use super::lines::{self, ANSWER, gateways};
use super::page::Page;
use super::problem::Problem;
use super::{Api, CHANGE};
use crate::consensus::ChangeError;
use crate::state::{self, State};

/// A node, as one thing that it is.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct Member {
    name: String,
    kind: Kind,
    /// Of a node of the control plane its number, of a gateway or bridge its incarnation: no other
    /// ever has it.
    number: u64,
    /// Of a gateway or bridge: its incarnation; null of a node of the control plane.
    incarnation: Option<u64>,
    /// All that nodes of this name are.
    roles: Vec<Kind>,
    state: Standing,
    /// Why it is fenced; null if it is not.
    why: Option<&'static str>,
    /// Of an unreachable node of the control plane: for how many milliseconds the leader has not
    /// reached it; null if that is not known.
    unreachable_for: Option<u64>,
    is_leader: bool,
    /// Whether it is part of the process that answers.
    is_self: bool,
    addresses: Addresses,
    version: String,
    /// The revision, an index of the log, up to which it has applied everything; null if that is
    /// not known.
    applied: Option<u64>,
    /// Of a gateway: whether the leader counts on it; null if that is not known.
    has_lease: Option<bool>,
    /// Of a gateway: clients connected to it; null if it does not answer.
    n_connected: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Control,
    Gateway,
    Bridge,
}

/// How a member stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Standing {
    /// Of the control plane: it votes.
    Voter,
    /// Of the control plane: it follows, and does not vote.
    Learner,
    /// A gateway or bridge that takes part.
    Active,
    /// It takes no more connections.
    Draining,
    /// It does not answer.
    Unreachable,
    /// It takes no part any more; it is listed until its sessions have been adopted.
    Fenced,
}

/// HOST:PORT; null where there is none or it is not known.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
struct Addresses {
    /// gRPC of the control plane.
    control: Option<String>,
    /// gRPC of a gateway or bridge.
    peer: Option<String>,
    http: Option<String>,
}

/// Members, and who did not answer.
#[derive(Debug, Serialize, ToSchema)]
struct Members {
    items: Vec<Member>,
    next: Option<String>,
    /// Names of nodes that did not answer: of them only what this node knows is told.
    unreachable: Vec<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Invitation {
    /// HOST:PORT of the gossip of another node.
    address: String,
}

/// Whom this node has joined.
#[derive(Debug, Serialize, ToSchema)]
struct Joined {
    address: String,
}

#[derive(Debug, Deserialize, IntoParams)]
struct Removal {
    /// Which of them, if the name is that of several: control, gateway or bridge.
    kind: Option<Kind>,
    /// Whether a gateway goes although it has its lease; it does not, if this is left out.
    force: Option<bool>,
}

/// What was removed.
#[derive(Debug, Serialize, ToSchema)]
struct Removed {
    name: String,
    kind: Kind,
    number: u64,
}

#[derive(Debug, Deserialize, IntoParams)]
struct Draining {
    /// Seconds over which the clients are disconnected, 0 to 600; 5 if it is left out.
    over: Option<u32>,
}

/// What a drained gateway said.
#[derive(Debug, Serialize, ToSchema)]
struct Drained {
    name: String,
    /// Clients that were connected, and are being disconnected.
    n_clients: u64,
    /// Whether they are told to use another server (0x9C), for there is one; else that this one
    /// shuts down (0x8B).
    has_other: bool,
}

pub(super) fn table() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/members", "listMembers", "All members", list)
            .answers::<Members>("Members, in the order of their names"),
        Endpoint::post(
            "/members",
            "joinMember",
            "Makes this node join another one, and all that it knows, by gossip",
            join,
        )
        .body::<Invitation>()
        .answers::<Joined>("It is joined")
        .fails(&[502]),
        Endpoint::get("/members/{name}", "showMember", "A member", show)
            .answers_page::<Member>("One item for each thing that it is")
            .fails(&[404]),
        Endpoint::delete(
            "/members/{name}",
            "removeMember",
            "Removes a member: a node of the control plane for good, a gateway until it joins anew; \
             stop it first",
            remove,
        )
        .says(
            "A gateway that stops in order, or is not heard of for some seconds, goes by itself. \
             One that has its lease is refused (409): stop its process (SIGTERM), which hands its \
             sessions over; drain it before that to send its clients elsewhere. With force=true it \
             is fenced all the same: its connections end, the other gateways take its sessions, \
             and if its process runs, it joins anew. A node of the control plane is refused (409) \
             if too few of the others would be left.",
        )
        .query::<Removal>()
        .answers::<Removed>("It is removed")
        .fails(&[404, 409, 503, 504]),
        Endpoint::post(
            "/members/{name}/drain",
            "drainMember",
            "Makes a gateway take no more connections, until it is started again, and sends its \
             clients elsewhere",
            drain,
        )
        .needs(Scope::Operator)
        .query::<Draining>()
        .answers::<Drained>("It is being drained")
        .fails(&[404, 503, 504]),
    ]
}

// === handlers ===

async fn list(Shared(api): Shared<Arc<Api>>) -> Json<Members> {
    Json(api.members().await)
}

async fn show(
    Shared(api): Shared<Arc<Api>>,
    Path(name): Path<String>,
) -> Result<Json<Page<Member>>, Problem> {
    let mut members = api.members().await.items;
    members.retain(|member| member.name == name);
    match members.is_empty() {
        true => Err(nobody(&name)),
        false => Ok(Json(Page::whole(members))),
    }
}

async fn join(
    Shared(api): Shared<Arc<Api>>,
    Extension(about): Extension<About>,
    Body(invitation): Body<Invitation>,
) -> Result<Json<Joined>, Problem> {
    about.say(&format!("address {}", invitation.address));
    let joining = (api.join)(invitation.address);
    match tokio::time::timeout(CHANGE, joining).await {
        Ok(Ok(address)) => Ok(Json(Joined { address })),
        Ok(Err(why)) => Err(Problem::not_joined(why)),
        Err(_) => Err(Problem::not_joined("it does not answer")),
    }
}

async fn remove(
    Shared(api): Shared<Arc<Api>>,
    Extension(about): Extension<About>,
    Path(name): Path<String>,
    Query(removal): Query<Removal>,
) -> Result<Json<Removed>, Problem> {
    about.say(&format!("member {name}"));
    let state = api.consensus.state();
    let (kind, numbers) = choose(&state, &name, removal.kind)?;
    drop(state);
    for number in &numbers {
        match kind {
            Kind::Control => api.remove_control(*number).await?,
            Kind::Gateway | Kind::Bridge => api.fence(&name, *number, &removal).await?,
        }
    }
    let number = numbers.last().copied().unwrap_or_default();
    tracing::info!(name, ?kind, number, "member removed by the API");
    Ok(Json(Removed { name, kind, number }))
}

async fn drain(
    Shared(api): Shared<Arc<Api>>,
    Extension(about): Extension<About>,
    Path(name): Path<String>,
    Query(draining): Query<Draining>,
) -> Result<Json<Drained>, Problem> {
    about.say(&format!("member {name}"));
    let over = draining.over.unwrap_or(5);
    if over > 600 {
        return Err(Problem::bad_request("over is 0 to 600 seconds"));
    }
    let all = gateways(&api.consensus.state());
    let has_other = all.iter().any(|gateway| gateway.name != name);
    let gateway = all.into_iter().find(|gateway| gateway.name == name);
    let gateway = gateway.ok_or_else(|| nobody(&name))?;
    let request = DrainRequest {
        cluster_id: api.consensus.cluster_id().clone(),
        over: u64::from(over) * 1000,
        has_other,
    };
    let failed = |status: tonic::Status| Problem::of_call(&name, &status);
    let mut desk = api.lines.desk(&gateway.address).map_err(failed)?;
    let drained = lines::within(ANSWER, desk.drain(request)).await;
    let n_clients = drained.map_err(failed)?.n_clients;
    Ok(Json(Drained {
        name,
        n_clients,
        has_other,
    }))
}

// === impl Api ===

impl Api {
    async fn fence(&self, name: &str, incarnation: u64, removal: &Removal) -> Result<(), Problem> {
        if removal.force != Some(true) {
            self.check_without_lease(name, incarnation).await?;
        }
        let why = fence::Why::Removed.into();
        let fence = Fence { incarnation, why };
        self.propose(Change::Fence(fence)).await.map(drop)
    }

    /// Refuses where a gateway has its lease: it runs, and would only join anew.
    async fn check_without_lease(&self, name: &str, incarnation: u64) -> Result<(), Problem> {
        let survey = self.survey().await;
        let leader = survey.leader();
        let leader = leader.ok_or_else(|| Problem::no_leader("the leader does not answer"))?;
        let mut attendants = leader.attendants.iter();
        if !attendants.any(|one| one.incarnation == incarnation) {
            return Ok(());
        }
        let detail = format!("{name} runs: it has its lease, and would join anew");
        Err(Problem::conflict(detail).hint(
            "stop its process: it hands its sessions over (POST /api/v1/members/NAME/drain before \
             that sends its clients elsewhere); or add ?force=true to end its connections and make \
             it join anew",
        ))
    }

    /// Removes a node of the control plane: here, or at the leader.
    async fn remove_control(&self, number: u64) -> Result<(), Problem> {
        let removed = tokio::time::timeout(CHANGE, self.remove_anywhere(number)).await;
        removed.unwrap_or_else(|_| Err(Problem::undecided("no answer in time")))
    }

    async fn remove_anywhere(&self, number: u64) -> Result<(), Problem> {
        match self.consensus.remove(number).await {
            Ok(()) => Ok(()),
            Err(ChangeError::Refused(why)) => Err(Problem::conflict(why)),
            Err(ChangeError::Later(why)) => Err(Problem::no_leader(why)),
            Err(ChangeError::NotLeader {
                leader_address: Some(address),
            }) => {
                let failed = |status: tonic::Status| Problem::of_call("the leader", &status);
                let mut office = self.lines.office(&address).map_err(failed)?;
                let request = RemoveRequest {
                    cluster_id: self.consensus.cluster_id().clone(),
                    number,
                };
                let reply = lines::within(CHANGE, office.remove(request)).await;
                let refused = reply.map_err(failed)?.refused;
                match refused.is_empty() {
                    true => Ok(()),
                    false => Err(Problem::conflict(refused)),
                }
            }
            Err(error) => Err(Problem::no_leader(error.to_string())),
        }
    }
}

// === private ===

fn nobody(name: &str) -> Problem {
    Problem::not_found(
        format!("no such member is named {name:?}"),
        "GET /api/v1/members lists them",
    )
}

/// Whom a removal means, by numbers: of gateways one that takes part; of bridges all runs that are
/// gone, and one that takes part only where there are none.
fn choose(state: &State, name: &str, kind: Option<Kind>) -> Result<(Kind, Vec<u64>), Problem> {
    let control = state.control_node_named(name);
    let mut found: BTreeMap<Kind, Vec<u64>> = BTreeMap::new();
    found.extend(control.map(|(number, _)| (Kind::Control, vec![number])));
    for is_gone in [true, false] {
        let members = state
            .members()
            .filter(|(_, it)| it.name() == name && it.is_fenced() == is_gone && can_be_removed(it));
        let mut runs: BTreeMap<Kind, Vec<u64>> = BTreeMap::new();
        for (number, member) in members {
            runs.entry(kind_of(member.role())).or_default().push(number);
        }
        for (kind, numbers) in runs {
            found.entry(kind).or_insert(numbers);
        }
    }
    found.retain(|it, _| kind.is_none_or(|kind| kind == *it));
    if found.len() > 1 {
        let kinds = found
            .keys()
            .map(|kind| format!("?kind={kind:?}").to_lowercase());
        let kinds = kinds.collect::<Vec<_>>().join(" or ");
        return Err(Problem::conflict(format!(
            "several nodes are named {name}: say which is meant by {kinds}"
        )));
    }
    match found.pop_first() {
        Some(one) => Ok(one),
        None if state.members().any(|(_, member)| member.name() == name) => Err(Problem::conflict(
            format!("{name} is fenced already: it goes when its sessions have been adopted"),
        )),
        None => Err(nobody(name)),
    }
}

/// Whether somebody may say that it does not come back: a bridge that is gone is waited for until then.
fn can_be_removed(member: &state::Member) -> bool {
    match member.role() {
        Role::Bridge => member.fenced() != Some(fence::Why::Removed),
        _ => !member.is_fenced(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatemq_proto::cluster::prost::bytes::Bytes;
    use gatemq_proto::cluster::state::{Command, ControlNode, Found, Register};

    fn apply(state: &mut State, kind: Change) -> u64 {
        let command = Command { kind: Some(kind) };
        let outcome = state.apply(state.revision() + 1, &command);
        assert_eq!(outcome.refused, "");
        outcome.index
    }

    fn register(state: &mut State, role: Role) -> u64 {
        let register = Register {
            name: "n".to_owned(),
            role: role.into(),
            token: state.revision(),
            ..Register::default()
        };
        apply(state, Change::Register(register))
    }

    #[test]
    fn a_bridge_whose_earlier_runs_are_waited_for_can_be_rid_of_them() {
        let mut state = State::default();
        let node = ControlNode {
            name: "c".to_owned(),
            ..ControlNode::default()
        };
        let found = Found {
            cluster_id: Bytes::from_static(&[1; 16]),
            node: Some(node),
            control_size: 1,
        };
        apply(&mut state, Change::Found(found));
        let [first, second, third] = [(); 3].map(|()| register(&mut state, Role::Bridge));
        let chosen = |state: &State, kind| choose(state, "n", kind).map_err(drop);
        assert_eq!(
            chosen(&state, None),
            Ok((Kind::Bridge, vec![first, second]))
        );
        let gateway = register(&mut state, Role::Gateway);
        assert_eq!(chosen(&state, None), Err(()), "which of both?");
        let kind = Some(Kind::Gateway);
        assert_eq!(chosen(&state, kind), Ok((Kind::Gateway, vec![gateway])));
        let kind = Some(Kind::Bridge);
        for (incarnation, left) in [
            (first, vec![second]),
            (second, vec![third]),
            (third, vec![]),
        ] {
            let why = fence::Why::Removed.into();
            apply(&mut state, Change::Fence(Fence { incarnation, why }));
            let expected = (!left.is_empty()).then_some((Kind::Bridge, left)).ok_or(());
            assert_eq!(chosen(&state, kind), expected);
        }
    }
}
