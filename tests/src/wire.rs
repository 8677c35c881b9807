//! MQTT packets as bytes: builders that may also build wrong ones, and a lenient parser for what
//! the broker sends. The three versions are called by their protocol level: 3, 4 and 5.

mod packet;
pub mod property;

pub use packet::{Ack, Connack, Disconnect, Packet, Suback};
pub use property::{Properties, Value};

/// CONNECT.
pub const CONNECT: u8 = 1;
/// CONNACK.
pub const CONNACK: u8 = 2;
/// PUBLISH.
pub const PUBLISH: u8 = 3;
/// PUBACK.
pub const PUBACK: u8 = 4;
/// PUBREC.
pub const PUBREC: u8 = 5;
/// PUBREL.
pub const PUBREL: u8 = 6;
/// PUBCOMP.
pub const PUBCOMP: u8 = 7;
/// SUBSCRIBE.
pub const SUBSCRIBE: u8 = 8;
/// SUBACK.
pub const SUBACK: u8 = 9;
/// UNSUBSCRIBE.
pub const UNSUBSCRIBE: u8 = 10;
/// UNSUBACK.
pub const UNSUBACK: u8 = 11;
/// PINGREQ.
pub const PINGREQ: u8 = 12;
/// PINGRESP.
pub const PINGRESP: u8 = 13;
/// DISCONNECT.
pub const DISCONNECT: u8 = 14;
/// AUTH.
pub const AUTH: u8 = 15;

// === impl building blocks ===

/// A packet: the first byte, the length of the body, the body.
pub fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    bytes.extend(var_int(body.len()));
    bytes.extend_from_slice(body);
    bytes
}

/// A variable byte integer in its shortest form.
pub fn var_int(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value % 128).expect("a remainder of 128 fits");
        value /= 128;
        bytes.push(if value > 0 { low | 0x80 } else { low });
        if value == 0 {
            return bytes;
        }
    }
}

/// A length-prefixed string or binary field, of any bytes.
pub fn text(content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    let length = u16::try_from(content.len()).expect("a field is at most 65,535 bytes");
    [&length.to_be_bytes(), content].concat()
}

// === impl Connect ===

/// CONNECT with every field open to abuse.
#[derive(Clone, Debug)]
pub struct Connect {
    /// `MQTT`, or `MQIsdp` for 3.1.
    pub protocol: Vec<u8>,
    /// The protocol level: 3, 4 or 5.
    pub level: u8,
    /// Replaces the flags that follow from the other fields.
    pub flags: Option<u8>,
    /// Clean session (3.x), clean start (5).
    pub clean: bool,
    /// In seconds.
    pub keep_alive: u16,
    /// Sent with level 5 only.
    pub properties: Properties,
    /// May be no UTF-8.
    pub client_id: Vec<u8>,
    /// The will.
    pub will: Option<Will>,
    /// May be no UTF-8.
    pub username: Option<Vec<u8>>,
    /// Any bytes.
    pub password: Option<Vec<u8>>,
}

/// The will in a CONNECT.
#[derive(Clone, Debug, Default)]
pub struct Will {
    /// May be no UTF-8.
    pub topic: Vec<u8>,
    /// The message.
    pub payload: Vec<u8>,
    /// 0 to 2; 3 is wrong.
    pub qos: u8,
    /// Will retain.
    pub retain: bool,
    /// Sent with level 5 only.
    pub properties: Properties,
}

impl Connect {
    /// A clean connection of this level, keep alive 0 (none).
    pub fn new(level: u8, client_id: impl AsRef<[u8]>) -> Self {
        Self {
            protocol: if level == 3 {
                b"MQIsdp".to_vec()
            } else {
                b"MQTT".to_vec()
            },
            level,
            flags: None,
            clean: true,
            keep_alive: 0,
            properties: Properties::default(),
            client_id: client_id.as_ref().to_vec(),
            will: None,
            username: None,
            password: None,
        }
    }

    /// A connection whose session outlives it: not clean, and in 5 with an expiry of an hour.
    pub fn persistent(level: u8, client_id: impl AsRef<[u8]>) -> Self {
        let mut connect = Self::new(level, client_id);
        connect.clean = false;
        if level == 5 {
            connect.properties = Properties::new().four(property::SESSION_EXPIRY_INTERVAL, 3600);
        }
        connect
    }

    /// Sets clean session or clean start.
    pub fn clean(mut self, clean: bool) -> Self {
        self.clean = clean;
        self
    }

    /// Sets the keep alive in seconds.
    pub fn keep_alive(mut self, seconds: u16) -> Self {
        self.keep_alive = seconds;
        self
    }

    /// Replaces the properties.
    pub fn properties(mut self, properties: Properties) -> Self {
        self.properties = properties;
        self
    }

    /// Adds a will.
    pub fn will(mut self, will: Will) -> Self {
        self.will = Some(will);
        self
    }

    /// Adds a user name.
    pub fn username(mut self, username: impl AsRef<[u8]>) -> Self {
        self.username = Some(username.as_ref().to_vec());
        self
    }

    /// Adds a password.
    pub fn password(mut self, password: impl AsRef<[u8]>) -> Self {
        self.password = Some(password.as_ref().to_vec());
        self
    }

    /// Sets the flags byte, whatever the fields say.
    pub fn flags(mut self, flags: u8) -> Self {
        self.flags = Some(flags);
        self
    }

    /// Sets the protocol name.
    pub fn protocol(mut self, protocol: impl AsRef<[u8]>) -> Self {
        self.protocol = protocol.as_ref().to_vec();
        self
    }

    /// The flags that follow from the fields.
    pub fn natural_flags(&self) -> u8 {
        let will = self.will.as_ref();
        u8::from(self.clean) << 1
            | u8::from(will.is_some()) << 2
            | will.map_or(0, |will| will.qos << 3 | u8::from(will.retain) << 5)
            | u8::from(self.password.is_some()) << 6
            | u8::from(self.username.is_some()) << 7
    }

    /// The variable header and payload, without the fixed header.
    pub fn body(&self) -> Vec<u8> {
        let mut body = text(&self.protocol);
        body.extend([
            self.level,
            self.flags.unwrap_or_else(|| self.natural_flags()),
        ]);
        body.extend(self.keep_alive.to_be_bytes());
        if self.level == 5 {
            body.extend(self.properties.bytes());
        }
        body.extend(text(&self.client_id));
        if let Some(will) = &self.will {
            if self.level == 5 {
                body.extend(will.properties.bytes());
            }
            body.extend(text(&will.topic));
            body.extend(text(&will.payload));
        }
        for field in [&self.username, &self.password].into_iter().flatten() {
            body.extend(text(field));
        }
        body
    }

    /// The packet.
    pub fn bytes(&self) -> Vec<u8> {
        frame(CONNECT << 4, &self.body())
    }
}

impl Will {
    /// A will of QoS 0 that is not retained.
    pub fn new(topic: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> Self {
        Self {
            topic: topic.as_ref().to_vec(),
            payload: payload.as_ref().to_vec(),
            ..Self::default()
        }
    }

    /// Sets the QoS.
    pub fn qos(mut self, qos: u8) -> Self {
        self.qos = qos;
        self
    }

    /// Sets will retain.
    pub fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    /// Replaces the will's properties.
    pub fn properties(mut self, properties: Properties) -> Self {
        self.properties = properties;
        self
    }
}

// === impl Publish ===

/// PUBLISH, to send and as received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publish {
    /// The DUP flag.
    pub dup: bool,
    /// 0 to 2; 3 is wrong.
    pub qos: u8,
    /// The RETAIN flag.
    pub retain: bool,
    /// The topic name.
    pub topic: String,
    /// The packet id; none with QoS 0.
    pub id: Option<u16>,
    /// Sent and received with level 5 only.
    pub properties: Properties,
    /// The message.
    pub payload: Vec<u8>,
}

impl Publish {
    /// A QoS 0 message.
    pub fn new(topic: &str, payload: impl AsRef<[u8]>) -> Self {
        Self {
            topic: topic.to_owned(),
            payload: payload.as_ref().to_vec(),
            ..Self::default()
        }
    }

    /// Sets QoS and packet id.
    pub fn qos(mut self, qos: u8, id: u16) -> Self {
        self.qos = qos;
        self.id = Some(id);
        self
    }

    /// Sets RETAIN.
    pub fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    /// Sets DUP.
    pub fn dup(mut self) -> Self {
        self.dup = true;
        self
    }

    /// Replaces the properties.
    pub fn properties(mut self, properties: Properties) -> Self {
        self.properties = properties;
        self
    }

    /// The packet for this protocol level.
    pub fn bytes(&self, level: u8) -> Vec<u8> {
        let first = PUBLISH << 4 | u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain);
        let mut body = text(&self.topic);
        if let Some(id) = self.id {
            body.extend(id.to_be_bytes());
        }
        if level == 5 {
            body.extend(self.properties.bytes());
        }
        body.extend_from_slice(&self.payload);
        frame(first, &body)
    }
}

// === impl other packets ===

/// SUBSCRIBE; the second of each pair is the options byte (QoS in its low bits).
pub fn subscribe(level: u8, id: u16, properties: &Properties, filters: &[(&str, u8)]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if level == 5 {
        body.extend(properties.bytes());
    }
    for (filter, options) in filters {
        body.extend(text(filter));
        body.push(*options);
    }
    frame(SUBSCRIBE << 4 | 2, &body)
}

/// UNSUBSCRIBE.
pub fn unsubscribe(level: u8, id: u16, properties: &Properties, filters: &[&str]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if level == 5 {
        body.extend(properties.bytes());
    }
    for filter in filters {
        body.extend(text(filter));
    }
    frame(UNSUBSCRIBE << 4 | 2, &body)
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP in the short form that every version knows.
pub fn ack(kind: u8, id: u16) -> Vec<u8> {
    frame(
        kind << 4 | if kind == PUBREL { 2 } else { 0 },
        &id.to_be_bytes(),
    )
}

/// The same with a reason code and properties (5 only).
pub fn ack_with(kind: u8, id: u16, reason: u8, properties: &Properties) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.push(reason);
    body.extend(properties.bytes());
    frame(kind << 4 | if kind == PUBREL { 2 } else { 0 }, &body)
}

/// PINGREQ.
pub fn pingreq() -> Vec<u8> {
    frame(PINGREQ << 4, &[])
}

/// DISCONNECT in the short form that every version knows.
pub fn disconnect() -> Vec<u8> {
    frame(DISCONNECT << 4, &[])
}

/// DISCONNECT with a reason code and properties (5 only).
pub fn disconnect_with(reason: u8, properties: &Properties) -> Vec<u8> {
    frame(
        DISCONNECT << 4,
        &[vec![reason], properties.bytes()].concat(),
    )
}

/// AUTH (5 only).
pub fn auth(reason: u8, properties: &Properties) -> Vec<u8> {
    frame(AUTH << 4, &[vec![reason], properties.bytes()].concat())
}

/// The name of a packet type.
pub fn name(kind: u8) -> &'static str {
    const NAMES: [&str; 16] = [
        "type 0",
        "CONNECT",
        "CONNACK",
        "PUBLISH",
        "PUBACK",
        "PUBREC",
        "PUBREL",
        "PUBCOMP",
        "SUBSCRIBE",
        "SUBACK",
        "UNSUBSCRIBE",
        "UNSUBACK",
        "PINGREQ",
        "PINGRESP",
        "DISCONNECT",
        "AUTH",
    ];
    NAMES[usize::from(kind & 15)]
}
