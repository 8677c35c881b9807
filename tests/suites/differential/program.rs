//! What two clients do, from a seed.

use std::fmt;

use gatemq_tests::{
    history::Random,
    wire::{self, Properties, property},
};

/// Topics below the name of the program: each is matched by one of the first filters, and no more.
pub(super) const TOPICS: [&str; 5] = ["a", "b/x", "b/y", "c", "c/d/e"];
/// The topic of the group; who is in one gets no retained messages, which mosquitto forgets.
const OF_GROUP: &str = "d/x";
/// The topic of what is not released at once: whether a message goes on when it comes or when it is
/// released is open [MQTT-4.3.3-12], so it is one that nobody gets.
const HELD: &str = "held/x";
/// Filters of which no two match the same topic, and further ones that do.
const APART: [&str; 3] = ["a", "b/+", "c/#"];
const FURTHER: [&str; 5] = ["#", "+", "+/x", "b/x", "+/#"];
/// Steps of a program.
const LENGTH: (usize, usize) = (6, 20);

/// Steps of two clients.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) steps: Vec<Step>,
    /// Whether filters overlap: how often and with which QoS a message then comes is open.
    pub(super) overlaps: bool,
}

/// What one client does. Steps of a client that is not connected are left out.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) client: usize,
    pub(super) act: Act,
}

#[derive(Clone, Debug)]
pub(super) enum Act {
    /// Also takes over from itself.
    Connect(Connecting),
    Subscribe {
        filters: Vec<(&'static str, u8)>,
        id: Option<u32>,
    },
    Unsubscribe(Vec<&'static str>),
    Publish {
        topic: &'static str,
        qos: u8,
        retain: bool,
        payload: String,
        /// Sent with level 5 only.
        properties: Properties,
        /// Whether a PUBREC is answered at once.
        releases: bool,
    },
    /// The oldest publish of QoS 2 that is not released is sent again.
    Again,
    /// The oldest of them is released.
    Release,
    /// The oldest packet that is to be acknowledged is.
    Acknowledge,
    /// With a reason, and another expiry of the session, in level 5.
    Disconnect(u8, Option<u32>),
    Cut,
    /// Something that is wrong, or nearly.
    Odd(Odd),
}

#[derive(Clone, Debug)]
pub(super) struct Connecting {
    pub(super) level: u8,
    pub(super) clean: bool,
    pub(super) expiry: Option<u32>,
    /// Topic, QoS, retain.
    pub(super) will: Option<(&'static str, u8, bool)>,
    pub(super) receive_maximum: Option<u16>,
    /// Whether what comes is acknowledged at once.
    pub(super) acknowledges: bool,
}

/// Packets that a client should not send, or not then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Odd {
    EmptySubscribe,
    EmptyUnsubscribe,
    SubscribeFlags,
    SubscribeToNothing,
    BadFilter,
    SubscribeWithIdZero,
    OptionsWithQos3,
    PublishQos3,
    PublishToWildcard,
    PublishToNothing,
    PublishWithIdZero,
    DupOfQos0,
    StrayPuback,
    StrayPubrec,
    StrayPubrel,
    StrayPubcomp,
    UnsubscribeFromNothing,
    PubrelFlags,
    Connack,
    Pingresp,
    Reserved,
    LongPing,
    CutShort,
    NoUtf8,
    NulInTopic,
    AliasZero,
    AliasUnknown,
    TwiceTheProperty,
    WrongProperty,
    SubscriptionIdOfAPublish,
    Auth,
}

const ODDS: [Odd; 31] = [
    Odd::EmptySubscribe,
    Odd::EmptyUnsubscribe,
    Odd::SubscribeFlags,
    Odd::SubscribeToNothing,
    Odd::BadFilter,
    Odd::SubscribeWithIdZero,
    Odd::OptionsWithQos3,
    Odd::PublishQos3,
    Odd::PublishToWildcard,
    Odd::PublishToNothing,
    Odd::PublishWithIdZero,
    Odd::DupOfQos0,
    Odd::StrayPuback,
    Odd::StrayPubrec,
    Odd::StrayPubrel,
    Odd::StrayPubcomp,
    Odd::UnsubscribeFromNothing,
    Odd::PubrelFlags,
    Odd::Connack,
    Odd::Pingresp,
    Odd::Reserved,
    Odd::LongPing,
    Odd::CutShort,
    Odd::NoUtf8,
    Odd::NulInTopic,
    Odd::AliasZero,
    Odd::AliasUnknown,
    Odd::TwiceTheProperty,
    Odd::WrongProperty,
    Odd::SubscriptionIdOfAPublish,
    Odd::Auth,
];

impl Program {
    pub(super) fn of(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let overlaps = random.once_in(5);
        let (least, most) = LENGTH;
        let n_steps = least + random.below(most - least);
        // A session keeps its version: of one that does not, mosquitto keeps the options of 5.0.
        let levels = [0, 1].map(|_| 4 + byte(random.below(2)));
        let connects = levels.map(|level| Act::Connect(connecting(&mut random, level)));
        let steps = connects.into_iter().enumerate();
        let mut steps: Vec<Step> = steps.map(|(client, act)| Step { client, act }).collect();
        for at in 0..n_steps {
            let client = random.below(2);
            let act = match random.below(10) {
                0 => Act::Connect(connecting(&mut random, levels[client])),
                _ => act(&mut random, client, overlaps, at),
            };
            steps.push(Step { client, act });
        }
        Self { steps, overlaps }
    }
}

fn act(random: &mut Random, client: usize, overlaps: bool, at: usize) -> Act {
    match random.below(36) {
        0..8 => {
            let mut filters: Vec<(&'static str, u8)> = Vec::new();
            for _ in 0..=random.below(2) {
                let filter = filter(random, client, overlaps);
                if filters.iter().all(|(other, _)| *other != filter) {
                    filters.push((filter, options(random, client, filter)));
                }
            }
            Act::Subscribe {
                filters,
                id: random.once_in(4).then(|| 1 + index(random.below(300))),
            }
        }
        8..10 => Act::Unsubscribe(vec![filter(random, client, overlaps)]),
        10..24 => {
            let (topic, releases) = match random.below(8) {
                0 if !overlaps => (HELD, false),
                1 if !overlaps => (OF_GROUP, true),
                _ => (TOPICS[random.below(TOPICS.len())], true),
            };
            Act::Publish {
                topic,
                qos: if releases { byte(random.below(3)) } else { 2 },
                retain: topic != OF_GROUP && random.once_in(3),
                payload: match random.once_in(6) {
                    true => String::new(),
                    false => format!("m{at}"),
                },
                properties: properties(random),
                releases,
            }
        }
        24 => Act::Again,
        25..27 => Act::Release,
        27..30 => Act::Acknowledge,
        30 => Act::Disconnect(0, None),
        31 => Act::Disconnect(4 * byte(random.below(2)), random.once_in(2).then_some(0)),
        32 | 33 => Act::Cut,
        _ => Act::Odd(ODDS[random.below(ODDS.len())]),
    }
}

fn connecting(random: &mut Random, level: u8) -> Connecting {
    let qos = byte(random.below(3));
    let clean = random.once_in(2);
    let maximum = random
        .once_in(4)
        .then(|| 1 + u16::from(byte(random.below(3))));
    Connecting {
        level,
        clean,
        expiry: (!random.once_in(3)).then_some(3_600),
        will: random
            .once_in(3)
            .then(|| (TOPICS[random.below(TOPICS.len())], qos, random.once_in(3))),
        // Of a session that goes on mosquitto sends more at once than that [MQTT-3.3.4-9].
        receive_maximum: maximum.filter(|_| clean),
        acknowledges: !random.once_in(3),
    }
}

/// One client alone is in a group: who of two gets a message is open.
fn filter(random: &mut Random, client: usize, overlaps: bool) -> &'static str {
    match overlaps {
        true if random.once_in(2) => FURTHER[random.below(FURTHER.len())],
        _ if client == 1 && random.once_in(5) => "$share/g/d/#",
        _ => APART[random.below(APART.len())],
    }
}

/// No Local and Retain As Published are those of a filter and never change: mosquitto keeps those
/// that a subscription was made with [MQTT-3.8.4-3].
fn options(random: &mut Random, client: usize, filter: &str) -> u8 {
    let qos = byte(random.below(3));
    let no_local = byte(usize::from(filter == APART[2 * client])) << 2;
    let as_published = byte(usize::from(filter == APART[1])) << 3;
    // Whether its own retained message is one of those that a client is not to have is read in two
    // ways [MQTT-3.8.3-3]: who is not to have its own asks for none.
    let handling = match no_local {
        0 => byte(random.below(5) / 2) << 4,
        _ => 2 << 4,
    };
    qos | no_local | as_published | handling
}

fn properties(random: &mut Random) -> Properties {
    let mut properties = Properties::new();
    if random.once_in(3) {
        properties = properties.user("k", "v").user("k", "w").user("", "");
    }
    if random.once_in(4) {
        properties = properties.byte(property::PAYLOAD_FORMAT_INDICATOR, 1);
    }
    if random.once_in(4) {
        properties = properties
            .text(property::CONTENT_TYPE, "text/plain")
            .text(property::RESPONSE_TOPIC, "answers")
            .binary(property::CORRELATION_DATA, &[0, 0xFF]);
    }
    if random.once_in(4) {
        properties = properties.four(property::MESSAGE_EXPIRY_INTERVAL, 1_000);
    }
    properties
}

fn byte(number: usize) -> u8 {
    u8::try_from(number).expect("a small number")
}

fn index(number: usize) -> u32 {
    u32::try_from(number).expect("a small number")
}

impl Odd {
    /// The packet, for a client of this level whose topics begin with this name.
    pub(super) fn bytes(self, level: u8, name: &str) -> Vec<u8> {
        let none = Properties::new();
        let topic = format!("{name}/a");
        let publish = |properties: Properties, first: u8, topic: &[u8], id: &[u8]| {
            let mut body = wire::text(topic);
            body.extend_from_slice(id);
            if level == 5 {
                body.extend(properties.bytes());
            }
            body.extend_from_slice(b"odd");
            wire::frame(first, &body)
        };
        let plain = |first: u8, topic: &[u8], id: &[u8]| publish(none.clone(), first, topic, id);
        let with = |properties: Properties| publish(properties, 0x30, topic.as_bytes(), &[]);
        let subscribe = |id: u16, filter: &str, options: u8| {
            wire::subscribe(level, id, &none, &[(filter, options)])
        };
        match self {
            Self::EmptySubscribe => wire::subscribe(level, 900, &none, &[]),
            Self::EmptyUnsubscribe => wire::unsubscribe(level, 900, &none, &[]),
            Self::SubscribeFlags => [&[0x80], &subscribe(900, &topic, 0)[1..]].concat(),
            Self::SubscribeToNothing => subscribe(900, "", 0),
            Self::BadFilter => subscribe(900, &format!("{topic}/#/b"), 0),
            Self::SubscribeWithIdZero => subscribe(0, &topic, 0),
            Self::OptionsWithQos3 => subscribe(900, &topic, 3),
            Self::PublishQos3 => plain(0x36, topic.as_bytes(), &[0, 9]),
            Self::PublishToWildcard => plain(0x30, format!("{name}/+").as_bytes(), &[]),
            Self::PublishToNothing => plain(0x30, b"", &[]),
            Self::PublishWithIdZero => plain(0x32, topic.as_bytes(), &[0, 0]),
            Self::DupOfQos0 => plain(0x38, topic.as_bytes(), &[]),
            Self::StrayPuback => wire::ack(wire::PUBACK, 7_777),
            Self::StrayPubrec => wire::ack(wire::PUBREC, 7_777),
            Self::StrayPubrel => wire::ack(wire::PUBREL, 7_777),
            Self::StrayPubcomp => wire::ack(wire::PUBCOMP, 7_777),
            Self::UnsubscribeFromNothing => {
                wire::unsubscribe(level, 900, &none, &[&format!("{name}/none")])
            }
            Self::PubrelFlags => wire::frame(0x60, &[0, 9]),
            Self::Connack => wire::frame(0x20, &[0, 0]),
            Self::Pingresp => wire::frame(0xD0, &[]),
            Self::Reserved => wire::frame(0x00, &[]),
            Self::LongPing => wire::frame(0xC0, &[0]),
            Self::CutShort => wire::frame(0x30, &[0, 9, b'a']),
            Self::NoUtf8 => plain(0x30, format!("{name}/").as_bytes(), &[])
                .iter()
                .map(|byte| if *byte == b'/' { 0xFF } else { *byte })
                .collect(),
            Self::NulInTopic => plain(0x30, format!("{name}/\0").as_bytes(), &[]),
            Self::AliasZero => with(none.two(property::TOPIC_ALIAS, 0)),
            Self::AliasUnknown => publish(none.two(property::TOPIC_ALIAS, 3), 0x30, b"", &[]),
            Self::TwiceTheProperty => with(
                none.four(property::MESSAGE_EXPIRY_INTERVAL, 1)
                    .four(property::MESSAGE_EXPIRY_INTERVAL, 2),
            ),
            Self::WrongProperty => with(none.two(property::RECEIVE_MAXIMUM, 1)),
            Self::SubscriptionIdOfAPublish => with(none.var(property::SUBSCRIPTION_IDENTIFIER, 1)),
            Self::Auth => wire::auth(0x18, &none),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "client {}: {:?}", self.client, self.act)
    }
}
