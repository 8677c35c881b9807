//! I10, retained messages: each topic is a linearizable register. PUBLISHes with RETAIN set and
//! clear it, new subscriptions read it. Source: P2, `[MQTT-3.3.1-5]`, `[MQTT-3.3.1-6]`.
//!
//! A write may take effect at any time from its PUBLISH to its acknowledgement; one that was not
//! answered, at any time after it, or never. With QoS 1 each sending is a write of its own, of
//! which the last one is what was acknowledged; with QoS 2 all sendings are one. What was refused
//! did not take effect. A will with RETAIN may be written at any time.
//!
//! Excluded: messages that expire. Topics begin with nothing retained.

pub(super) mod register;

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Picture, Verdict, Violation, picture::QUOTA_EXCEEDED};
use crate::history::{Event, Name, Uid};
use register::{Act, Found, Operation};

/// What happened to one topic.
#[derive(Default)]
struct Topic<'a> {
    operations: Vec<Operation<'a>>,
    /// Who read, by the number of the operation.
    readers: HashMap<usize, &'a Name>,
    /// The last sending of each message.
    last: HashMap<&'a Uid, usize>,
    /// What was refused.
    refused: HashSet<usize>,
}

// === impl Topic ===

impl<'a> Topic<'a> {
    fn write(&mut self, uid: &'a Uid, is_empty: bool, qos: u8, t: u64) {
        if qos == 2 && self.last.contains_key(uid) {
            return;
        }
        self.last.insert(uid, self.operations.len());
        let value = (!is_empty).then_some(uid);
        self.operations.push(Operation {
            act: Act::Write(value),
            invoked: t,
            returned: None,
        });
    }
}

pub(super) fn judge(picture: &Picture<'_>, verdict: &mut Verdict) {
    let mut topics: BTreeMap<&Name, Topic<'_>> = BTreeMap::new();
    for record in picture.records {
        match &record.event {
            Event::Sent {
                uid,
                qos,
                retain: true,
                empty,
                ..
            } => {
                let topic = topics.entry(&uid.topic).or_default();
                topic.write(uid, *empty, *qos, record.t);
            }
            Event::WillArmed {
                uid, retain: true, ..
            } => {
                let topic = topics.entry(&uid.topic).or_default();
                topic.write(uid, false, 0, record.t);
            }
            Event::Accepted { uid, .. } => {
                let topic = topics.get_mut(&uid.topic);
                if let Some((topic, number)) =
                    topic.and_then(|it| it.last.get(uid).copied().map(|number| (it, number)))
                {
                    topic.operations[number].returned = Some(record.t);
                }
            }
            // It may have been kept, and one of its subscribers had no room.
            Event::Refused {
                reason: QUOTA_EXCEEDED,
                ..
            } => {}
            Event::Refused { uid, .. } => {
                if let Some(topic) = topics.get_mut(&uid.topic)
                    && let Some(number) = topic.last.get(uid)
                {
                    topic.refused.insert(*number);
                }
            }
            Event::RetainedRead {
                client,
                topic,
                value,
                invoked,
                returned,
            } => {
                let topic = topics.entry(topic).or_default();
                topic.readers.insert(topic.operations.len(), client);
                topic.operations.push(Operation {
                    act: Act::Read(value.as_ref()),
                    invoked: *invoked,
                    returned: Some(*returned),
                });
            }
            _ => {}
        }
    }
    for (name, topic) in &topics {
        if !topic.readers.is_empty() {
            judge_topic(name, topic, verdict);
        }
    }
}

fn judge_topic(name: &Name, topic: &Topic<'_>, verdict: &mut Verdict) {
    match register::search(&topic.operations, &topic.refused) {
        Found::Order => {}
        Found::TooMany => {
            let doubt = format!("too much went on at {name} to say whether it is linearizable");
            verdict.doubts.push(doubt);
        }
        Found::NoOrderFor(number) => {
            let value = match topic.operations[number].act {
                Act::Read(value) | Act::Write(value) => value.cloned(),
            };
            verdict.violations.push(Violation::NotLinearizable {
                topic: name.clone(),
                value,
                client: topic.readers[&number].clone(),
            });
        }
    }
}
