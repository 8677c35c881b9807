//! What is known of all members: from the state, the nodes of the control plane, and gateways.

use std::collections::BTreeMap;

use gatemq_proto::cluster::desk::{StatsReply, StatsRequest};
use gatemq_proto::cluster::state::{Role, fence};

use super::{Addresses, Kind, Member, Members, Standing};
use crate::api::Api;
use crate::api::lines::{Survey, gateways};
use crate::state::State;

impl Api {
    /// All members, as far as those who know of them answer.
    pub(super) async fn members(&self) -> Members {
        let state = self.consensus.state();
        let request = StatsRequest {
            cluster_id: self.consensus.cluster_id().clone(),
            is_brief: true,
            max_age: 0,
        };
        let asking = self.ask_gateways(gateways(&state), |mut desk| {
            let request = request.clone();
            async move { desk.stats(request).await }
        });
        let (survey, (answers, silent)) = tokio::join!(self.survey(), asking);
        let answers = answers.into_iter();
        let answers = answers.map(|(gateway, stats)| (gateway.incarnation, stats));
        let answers: BTreeMap<u64, StatsReply> = answers.collect();
        let mut items = control_nodes(&survey);
        items.extend(others(&state, &survey, &answers, &self.name));
        complete(&mut items, &*self.http_of);
        let mut unreachable = survey.unreachable;
        unreachable.extend(silent);
        unreachable.sort_unstable();
        unreachable.dedup();
        Members {
            items,
            next: None,
            unreachable,
        }
    }
}

fn control_nodes(survey: &Survey) -> Vec<Member> {
    let own = &survey.own;
    let silent = survey.leader().map(|leader| &leader.silent);
    let nodes = own.nodes.iter().filter_map(|control| {
        let node = control.node.as_ref()?;
        let number = control.number;
        let is_there = survey.all.contains_key(&number);
        let silence = silent.and_then(|silent| silent.iter().find(|it| it.node == number));
        Some(Member {
            name: node.name.clone(),
            kind: Kind::Control,
            number,
            incarnation: None,
            roles: Vec::new(),
            state: match own.voters.contains(&number) {
                _ if !is_there => Standing::Unreachable,
                true => Standing::Voter,
                false => Standing::Learner,
            },
            why: None,
            unreachable_for: silence.filter(|_| !is_there).map(|it| it.since),
            is_leader: own.leader == number,
            is_self: own.node == number,
            addresses: Addresses {
                control: Some(node.address.clone()),
                ..Addresses::default()
            },
            version: node.version.clone(),
            applied: survey.all.get(&number).map(|status| status.applied),
            has_lease: None,
            n_connected: None,
        })
    });
    nodes.collect()
}

/// Gateways and bridges.
fn others(
    state: &State,
    survey: &Survey,
    answers: &BTreeMap<u64, StatsReply>,
    own_name: &str,
) -> Vec<Member> {
    let leader = survey.leader();
    let members = state.members().map(|(incarnation, member)| {
        let answer = answers.get(&incarnation);
        let beat = leader.map(|leader| {
            let mut attendants = leader.attendants.iter();
            attendants.find(|one| one.incarnation == incarnation)
        });
        Member {
            name: member.name().to_owned(),
            kind: kind_of(member.role()),
            number: incarnation,
            incarnation: Some(incarnation),
            roles: Vec::new(),
            state: match answer {
                _ if member.is_fenced() => Standing::Fenced,
                Some(answer) if answer.is_draining => Standing::Draining,
                None if member.role() == Role::Gateway => Standing::Unreachable,
                _ => Standing::Active,
            },
            why: member.fenced().map(why),
            unreachable_for: None,
            is_leader: false,
            is_self: member.name() == own_name && !member.is_fenced(),
            addresses: Addresses {
                control: None,
                peer: filled(member.peer_address()),
                http: filled(member.http_address()),
            },
            version: member.version().to_owned(),
            applied: beat.flatten().map(|beat| beat.applied),
            has_lease: beat.map(|beat| beat.is_some()),
            n_connected: answer.map(|answer| answer.n_connected),
        }
    });
    members.collect()
}

/// Puts them in order, and fills in what those of one name know of each other. Where the HTTP of
/// one without a gateway is, `http_of` may know.
fn complete(members: &mut [Member], http_of: &dyn Fn(&str) -> Option<String>) {
    members.sort_by(|a, b| (&a.name, a.kind, a.number).cmp(&(&b.name, b.kind, b.number)));
    let mut roles: BTreeMap<String, Vec<Kind>> = BTreeMap::new();
    let mut http: BTreeMap<String, String> = BTreeMap::new();
    for member in &*members {
        let roles = roles.entry(member.name.clone()).or_default();
        if !roles.contains(&member.kind) {
            roles.push(member.kind);
        }
        if let Some(address) = &member.addresses.http {
            http.insert(member.name.clone(), address.clone());
        }
    }
    for member in members {
        member.roles = roles.get(&member.name).cloned().unwrap_or_default();
        if member.kind == Kind::Control {
            let known = http.get(&member.name).cloned();
            member.addresses.http = known.or_else(|| http_of(&member.name));
        }
    }
}

pub(super) fn kind_of(role: Role) -> Kind {
    match role {
        Role::Bridge => Kind::Bridge,
        Role::Control => Kind::Control,
        Role::Gateway | Role::Unspecified => Kind::Gateway,
    }
}

fn why(why: fence::Why) -> &'static str {
    match why {
        fence::Why::Lease => "its lease ran out",
        fence::Why::Left => "it left",
        fence::Why::Removed => "it was removed",
        fence::Why::Replaced => "its name came again",
        fence::Why::Unspecified => "a newer version knows",
    }
}

fn filled(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
