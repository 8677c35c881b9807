//! I11, shared subscriptions: an accepted message reaches a member of each group that matches: with
//! QoS 2 one, with QoS 1 at least one. Source: 4.8.2 of the standard of MQTT 5.
//!
//! It is owed while a member is there that subscribed, above QoS 0, before the message was first
//! sent, and that stayed to the end. With QoS 2 it may go with a member whose session ended
//! meanwhile `[MQTT-4.8.2-5]`. A member that receives it by another subscription too does not count
//! as a second one. No fault excuses a second member: who chooses anew for a gateway that is gone asks
//! all others first.
//!
//! Excluded: wills, messages without payload, groups with a member that did not drain (I1 tells
//! that).

use std::collections::HashMap;

use super::{Picture, Verdict, Violation, picture::Message};
use crate::history::Name;

/// A member and the numbers of its subscriptions.
type Members = Vec<(usize, usize)>;

pub(super) fn judge(picture: &Picture<'_>, verdict: &mut Verdict) {
    // Which groups match depends on the topic alone.
    let mut groups_of: HashMap<&str, HashMap<&Name, Members>> = HashMap::new();
    for (number, message) in picture.messages.iter().enumerate() {
        if message.is_will || message.is_empty {
            continue;
        }
        let topic = &*message.uid.topic;
        let groups = groups_of
            .entry(topic)
            .or_insert_with(|| groups(picture, topic));
        for (group, members) in groups {
            judge_group(picture, (number, message), group, members, verdict);
        }
    }
}

fn groups<'a>(picture: &Picture<'a>, topic: &str) -> HashMap<&'a Name, Members> {
    let mut groups: HashMap<&Name, Members> = HashMap::new();
    for (client, numbers) in picture.matching(topic) {
        for number in numbers {
            let subscription = &picture.clients[client].subscriptions[*number];
            if subscription.is_shared {
                let members = groups.entry(subscription.name).or_default();
                members.push((client, *number));
            }
        }
    }
    groups
}

fn judge_group(
    picture: &Picture<'_>,
    (number, message): (usize, &Message<'_>),
    group: &Name,
    members: &Members,
    verdict: &mut Verdict,
) {
    let mut clients: Vec<usize> = members.iter().map(|(client, _)| *client).collect();
    clients.dedup();
    let receipts = |client: &usize| picture.first_receipt(*client, number);
    let mut received: Vec<_> = clients.iter().filter_map(receipts).collect();
    received.sort_by_key(|receipt| receipt.at);
    // Who has it from elsewhere too, perhaps has it from there only.
    let is_member_only = |client: usize| {
        let mut all = picture.subscriptions_to(&message.uid.topic, client);
        all.all(|it| it.name == group)
    };
    let only = received.iter().filter(|it| is_member_only(it.client));
    for again in only.skip(1).filter(|it| it.qos != 1) {
        verdict.violations.push(Violation::GroupTwice {
            uid: message.uid.clone(),
            group: group.clone(),
            client: picture.clients[again.client].name.clone(),
        });
    }
    if received.is_empty() && is_owed(picture, message, members) {
        verdict.violations.push(Violation::GroupLost {
            uid: message.uid.clone(),
            group: group.clone(),
        });
    }
}

fn is_owed(picture: &Picture<'_>, message: &Message<'_>, members: &Members) -> bool {
    let subscription = |(client, number): &(usize, usize)| {
        let client = &picture.clients[*client];
        (client, &client.subscriptions[*number])
    };
    let (mut is_owed, mut is_open) = (false, false);
    for (client, it) in members.iter().map(subscription) {
        let ends = [it.session_end, it.unsubscribing, it.degraded];
        match ends.into_iter().flatten().min() {
            None => {
                is_owed |= it.owes(message);
                is_open |= client.drained <= message.accepted;
            }
            Some(end) => is_open |= message.qos == 2 && end > message.first_sent,
        }
    }
    is_owed && !is_open
}
