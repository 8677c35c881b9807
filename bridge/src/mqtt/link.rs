//! One connection to another broker, in either version, with the little that the two directions
//! need. It ends with its first error: whoever wants to go on makes another.

mod event;
mod inflight;

use std::io;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::v5;
use rumqttc::v5::mqttbytes::v5 as packets;
use rumqttc::{TlsConfiguration, Transport};

use self::event::{of_v4, of_v5};
use self::inflight::Inflight;
use super::Remote;
use super::described::Described;

/// Hands packets to a connection.
#[derive(Clone)]
pub(super) enum Sender {
    V5(v5::AsyncClient),
    V4(rumqttc::AsyncClient),
}

/// The connection: it goes on while it is polled.
pub(super) enum Link {
    V5(Box<v5::EventLoop>, Inflight),
    V4(Box<rumqttc::EventLoop>),
}

/// What happens on it.
#[derive(Debug)]
pub(super) enum Event {
    /// The other broker has taken us, with the session of before or with a new one.
    Connected {
        is_resumed: bool,
        limits: Limits,
    },
    /// A publish got this identifier; 0 with QoS 0, which is all that becomes of it.
    Sent(u16),
    /// The other broker has it, or says why not: one of QoS 1, or of QoS 2 that it does not take.
    Answered(u16, Result<(), String>),
    /// The other broker has one of QoS 2, which it completes next.
    Received(u16),
    /// The same is done for, or why not.
    Completed(u16, Result<(), String>),
    /// What was handed over next is larger than the other broker takes; the connection is over.
    TooLarge,
    /// The connection is over, for a message that the other broker does not want to see.
    Dismissed(String),
    /// A subscription is no more.
    Unsubscribed,
    /// A subscription was refused.
    NotSubscribed(String),
    Arrived(Box<Arrived>),
    /// A message of QoS 2 is over: this identifier may be another's.
    Released(u16),
    Other,
}

/// Why there is no connection any more, or none came about.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) why: String,
    /// Whether the other side has closed it, without a word.
    pub(super) is_closed: bool,
}

/// What the other broker takes of messages; it ends the connection for what is more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) highest_qos: u8,
    pub(super) has_retain: bool,
}

/// A message of the other broker.
#[derive(Clone, Debug)]
pub(super) struct Arrived {
    pub(super) topic: Bytes,
    pub(super) qos: u8,
    pub(super) is_retained: bool,
    pub(super) expiry: Option<u32>,
    pub(super) described: Described,
    pub(super) user_properties: Vec<(String, String)>,
    pub(super) payload: Bytes,
    pub(super) receipt: Receipt,
}

/// What is to be acknowledged.
#[derive(Clone, Debug)]
pub(super) enum Receipt {
    V5(packets::Publish),
    V4(rumqttc::Publish),
}

/// A message to the other broker.
pub(super) struct Parting {
    pub(super) topic: String,
    pub(super) qos: u8,
    pub(super) is_retained: bool,
    /// Seconds that are left of it. What follows, too, is of 5.0.
    pub(super) expiry: Option<u32>,
    pub(super) described: Described,
    pub(super) user_properties: Vec<(String, String)>,
    pub(super) payload: Bytes,
}

/// Packets that wait for the connection.
pub(super) const QUEUE: usize = 1_024;
/// Messages of the other broker that are not acknowledged.
const RECEIVE: u16 = 1_000;
/// What a packet may have.
const LARGEST: usize = 256 << 20;
const CONNECT: Duration = Duration::from_secs(5);

/// A connection that begins when it is polled. `direction` is the end of our name there; one that
/// is kept is a session that outlives it.
pub(super) fn open(remote: &Remote, direction: &str, is_kept: bool) -> (Sender, Link) {
    let client_id = format!("{}-{direction}", remote.client_id);
    let (host, port) = remote.address.clone();
    let transport = remote.tls.as_ref().map(|tls| {
        Transport::Tls(TlsConfiguration::Simple {
            ca: tls.authorities.clone(),
            alpn: None,
            client_auth: tls.identity.clone(),
        })
    });
    if remote.is_v5 {
        let mut options = v5::MqttOptions::new(client_id, host, port);
        options
            .set_clean_start(!is_kept)
            .set_session_expiry_interval(is_kept.then_some(u32::MAX))
            .set_receive_maximum(Some(RECEIVE))
            .set_max_packet_size(Some(LARGEST as u32))
            .set_keep_alive(remote.keep_alive)
            .set_connection_timeout(CONNECT.as_secs())
            .set_manual_acks(true);
        options.set_outgoing_inflight_upper_limit(inflight::MOST);
        if let Some((name, password)) = &remote.login {
            options.set_credentials(name, password);
        }
        if let Some(transport) = transport {
            options.set_transport(transport);
        }
        let (sender, link) = v5::AsyncClient::new(options, QUEUE);
        let link = Link::V5(Box::new(link), Inflight::default());
        return (Sender::V5(sender), link);
    }
    let mut options = rumqttc::MqttOptions::new(client_id, host, port);
    options
        .set_clean_session(!is_kept)
        .set_max_packet_size(LARGEST, LARGEST)
        .set_keep_alive(remote.keep_alive)
        .set_inflight(inflight::INFLIGHT)
        .set_manual_acks(true);
    if let Some((name, password)) = &remote.login {
        options.set_credentials(name, password);
    }
    if let Some(transport) = transport {
        options.set_transport(transport);
    }
    let (sender, link) = rumqttc::AsyncClient::new(options, QUEUE);
    (Sender::V4(sender), Link::V4(Box::new(link)))
}

// === impl Sender ===

impl Sender {
    /// Hands a message over, if there is room.
    pub(super) fn publish(&self, parting: Parting) -> bool {
        let Parting {
            topic,
            qos,
            is_retained,
            expiry,
            described,
            user_properties,
            payload,
        } = parting;
        match self {
            Self::V5(sender) => {
                let properties = packets::PublishProperties {
                    payload_format_indicator: described.is_text.map(u8::from),
                    message_expiry_interval: expiry,
                    content_type: described.content_type,
                    response_topic: described.response_topic,
                    correlation_data: described.correlation_data,
                    user_properties,
                    ..packets::PublishProperties::default()
                };
                let qos = v5_qos(qos);
                let sent = sender.try_publish_with_properties(
                    topic,
                    qos,
                    is_retained,
                    payload,
                    properties,
                );
                sent.is_ok()
            }
            Self::V4(sender) => {
                let sent = sender.try_publish(topic, v4_qos(qos), is_retained, payload);
                sent.is_ok()
            }
        }
    }

    /// Acknowledges a message, if there is room.
    pub(super) fn acknowledge(&self, receipt: &Receipt) -> bool {
        match (self, receipt) {
            (Self::V5(sender), Receipt::V5(publish)) => sender.try_ack(publish).is_ok(),
            (Self::V4(sender), Receipt::V4(publish)) => sender.try_ack(publish).is_ok(),
            _ => true,
        }
    }

    /// Subscribes, if there is room.
    pub(super) fn subscribe(&self, filters: &[(String, u8)]) -> bool {
        let filters = filters.iter().cloned();
        match self {
            Self::V5(sender) => {
                let filters = filters.map(|(path, qos)| packets::Filter {
                    preserve_retain: true,
                    ..packets::Filter::new(path, v5_qos(qos))
                });
                sender.try_subscribe_many(filters).is_ok()
            }
            Self::V4(sender) => {
                let filters =
                    filters.map(|(path, qos)| rumqttc::SubscribeFilter::new(path, v4_qos(qos)));
                sender.try_subscribe_many(filters).is_ok()
            }
        }
    }
}

impl Sender {
    /// Takes a subscription back, if there is room.
    pub(super) fn unsubscribe(&self, filter: &str) -> bool {
        match self {
            Self::V5(sender) => sender.try_unsubscribe(filter).is_ok(),
            Self::V4(sender) => sender.try_unsubscribe(filter).is_ok(),
        }
    }
}

// === impl Limits ===

impl Limits {
    /// Everything.
    pub(super) const NONE: Self = Self {
        highest_qos: 2,
        has_retain: true,
    };

    /// Makes of a message what is taken.
    pub(super) fn hold(self, parting: &mut Parting) {
        parting.qos = parting.qos.min(self.highest_qos);
        parting.is_retained &= self.has_retain;
    }
}

// === impl Receipt ===

impl Receipt {
    /// The identifier of a message of QoS 2.
    pub(super) fn exchange(&self) -> Option<u16> {
        let (qos, id) = match self {
            Self::V5(publish) => (publish.qos as u8, publish.pkid),
            Self::V4(publish) => (publish.qos as u8, publish.pkid),
        };
        (qos == 2).then_some(id)
    }
}

// === impl Link ===

impl Link {
    /// What has happened and was not told before the error that came instead.
    pub(super) fn released(&mut self) -> Vec<u16> {
        let all: Vec<Event> = match self {
            Self::V5(link, _) => link.state.events.drain(..).map(of_v5).collect(),
            Self::V4(link) => link.state.events.drain(..).map(of_v4).collect(),
        };
        let released = all.into_iter().filter_map(|event| match event {
            Event::Released(id) => Some(id),
            _ => None,
        });
        released.collect()
    }

    /// rumqttc forgets with a connection which messages of QoS 2 it was sent, and ends the next one
    /// at a PUBREL that it does not know. So that each is answered `[MQTT-4.3.3-11]` it is told of all
    /// that there may be.
    fn know_all(&mut self) {
        for id in 1..=u16::MAX {
            // No error: they are messages as any.
            match self {
                Self::V5(link, _) => {
                    let qos = v5::mqttbytes::QoS::ExactlyOnce;
                    let mut publish = packets::Publish::new("", qos, Bytes::new(), None);
                    publish.pkid = id;
                    let publish = packets::Packet::Publish(publish);
                    let _ = link.state.handle_incoming_packet(publish);
                    link.state.events.pop_back();
                }
                Self::V4(link) => {
                    let qos = rumqttc::QoS::ExactlyOnce;
                    let mut publish = rumqttc::Publish::from_bytes("", qos, Bytes::new());
                    publish.pkid = id;
                    let publish = rumqttc::Packet::Publish(publish);
                    let _ = link.state.handle_incoming_packet(publish);
                    link.state.events.pop_back();
                }
            }
        }
    }

    /// Whatever happens next.
    ///
    /// # Errors
    ///
    /// Why there is no connection.
    pub(super) async fn next(&mut self) -> Result<Event, Lost> {
        let event = self.poll().await;
        if let Ok(Event::Connected {
            is_resumed: true, ..
        }) = event
        {
            self.know_all();
        }
        event
    }

    async fn poll(&mut self) -> Result<Event, Lost> {
        match self {
            Self::V5(link, inflight) => match link.poll().await {
                Ok(event) => {
                    look_after(&event, &mut link.state, inflight).map_err(Lost::by_us)?;
                    Ok(of_v5(event))
                }
                Err(v5::ConnectionError::MqttState(v5::StateError::OutgoingPacketTooLarge {
                    ..
                })) => Ok(Event::TooLarge),
                Err(v5::ConnectionError::MqttState(v5::StateError::ServerDisconnect {
                    reason_code,
                    ..
                })) if is_about_a_message(reason_code) => {
                    Ok(Event::Dismissed(format!("{reason_code:?}")))
                }
                Err(error) => Err(Lost {
                    why: error.to_string(),
                    is_closed: match error {
                        v5::ConnectionError::MqttState(v5::StateError::ConnectionAborted) => true,
                        v5::ConnectionError::MqttState(v5::StateError::Io(error)) => {
                            is_closed(error.kind())
                        }
                        _ => false,
                    },
                }),
            },
            Self::V4(link) => match link.poll().await {
                Ok(event) => Ok(of_v4(event)),
                Err(error) => Err(Lost {
                    why: error.to_string(),
                    is_closed: match error {
                        rumqttc::ConnectionError::MqttState(
                            rumqttc::StateError::ConnectionAborted,
                        ) => true,
                        rumqttc::ConnectionError::MqttState(rumqttc::StateError::Io(error)) => {
                            is_closed(error.kind())
                        }
                        _ => false,
                    },
                }),
            },
        }
    }
}

// === impl Lost ===

impl Lost {
    fn by_us(why: String) -> Self {
        Self {
            why,
            is_closed: false,
        }
    }
}

// === private ===

fn v5_qos(qos: u8) -> v5::mqttbytes::QoS {
    match qos {
        0 => v5::mqttbytes::QoS::AtMostOnce,
        1 => v5::mqttbytes::QoS::AtLeastOnce,
        _ => v5::mqttbytes::QoS::ExactlyOnce,
    }
}

fn v4_qos(qos: u8) -> rumqttc::QoS {
    match qos {
        0 => rumqttc::QoS::AtMostOnce,
        1 => rumqttc::QoS::AtLeastOnce,
        _ => rumqttc::QoS::ExactlyOnce,
    }
}

/// Whether a connection that ends so was closed by the other side.
fn is_closed(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        kind,
        Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe | Kind::UnexpectedEof
    )
}

/// Whether a connection ends so for what a message is.
fn is_about_a_message(reason: packets::DisconnectReasonCode) -> bool {
    use packets::DisconnectReasonCode as Reason;
    matches!(
        reason,
        Reason::MalformedPacket
            | Reason::ProtocolError
            | Reason::NotAuthorized
            | Reason::TopicNameInvalid
            | Reason::PacketTooLarge
            | Reason::PayloadFormatInvalid
            | Reason::RetainNotSupported
            | Reason::QoSNotSupported
    )
}

fn look_after(
    event: &v5::Event,
    state: &mut v5::MqttState,
    inflight: &mut Inflight,
) -> Result<(), String> {
    use packets::{PubCompReason, PubRecReason};
    match event {
        v5::Event::Incoming(packets::Packet::ConnAck(ack)) => {
            let properties = ack.properties.as_ref();
            inflight.on_connected(state, properties.and_then(|it| it.receive_max));
            Ok(())
        }
        v5::Event::Incoming(packets::Packet::PubRec(ack))
            if !matches!(
                ack.reason,
                PubRecReason::Success | PubRecReason::NoMatchingSubscribers
            ) =>
        {
            inflight.on_refused(state)
        }
        v5::Event::Incoming(packets::Packet::PubComp(ack))
            if ack.reason != PubCompReason::Success =>
        {
            inflight.on_refused(state)
        }
        v5::Event::Incoming(packets::Packet::Publish(publish))
            if publish
                .properties
                .as_ref()
                .is_some_and(|it| it.topic_alias.is_some()) =>
        {
            // rumqttc would keep each [MQTT-3.3.2-9].
            Err("it uses a topic alias, and was told that there are none".to_owned())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
pub(super) mod tests;
