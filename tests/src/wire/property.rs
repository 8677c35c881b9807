//! Properties of MQTT 5 as a list of (id, value), in the order that the wire has, and the reader
//! that takes packets apart.

use super::{text, var_int};

/// Payload Format Indicator: byte.
pub const PAYLOAD_FORMAT_INDICATOR: u8 = 0x01;
/// Message Expiry Interval: four bytes.
pub const MESSAGE_EXPIRY_INTERVAL: u8 = 0x02;
/// Content Type: text.
pub const CONTENT_TYPE: u8 = 0x03;
/// Response Topic: text.
pub const RESPONSE_TOPIC: u8 = 0x08;
/// Correlation Data: bytes.
pub const CORRELATION_DATA: u8 = 0x09;
/// Subscription Identifier: variable byte integer.
pub const SUBSCRIPTION_IDENTIFIER: u8 = 0x0B;
/// Session Expiry Interval: four bytes.
pub const SESSION_EXPIRY_INTERVAL: u8 = 0x11;
/// Assigned Client Identifier: text.
pub const ASSIGNED_CLIENT_IDENTIFIER: u8 = 0x12;
/// Server Keep Alive: two bytes.
pub const SERVER_KEEP_ALIVE: u8 = 0x13;
/// Authentication Method: text.
pub const AUTHENTICATION_METHOD: u8 = 0x15;
/// Authentication Data: bytes.
pub const AUTHENTICATION_DATA: u8 = 0x16;
/// Request Problem Information: byte.
pub const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
/// Will Delay Interval: four bytes.
pub const WILL_DELAY_INTERVAL: u8 = 0x18;
/// Request Response Information: byte.
pub const REQUEST_RESPONSE_INFORMATION: u8 = 0x19;
/// Response Information: text.
pub const RESPONSE_INFORMATION: u8 = 0x1A;
/// Server Reference: text.
pub const SERVER_REFERENCE: u8 = 0x1C;
/// Reason String: text.
pub const REASON_STRING: u8 = 0x1F;
/// Receive Maximum: two bytes.
pub const RECEIVE_MAXIMUM: u8 = 0x21;
/// Topic Alias Maximum: two bytes.
pub const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
/// Topic Alias: two bytes.
pub const TOPIC_ALIAS: u8 = 0x23;
/// Maximum QoS: byte.
pub const MAXIMUM_QOS: u8 = 0x24;
/// Retain Available: byte.
pub const RETAIN_AVAILABLE: u8 = 0x25;
/// User Property: pair.
pub const USER_PROPERTY: u8 = 0x26;
/// Maximum Packet Size: four bytes.
pub const MAXIMUM_PACKET_SIZE: u8 = 0x27;
/// Wildcard Subscription Available: byte.
pub const WILDCARD_SUBSCRIPTION_AVAILABLE: u8 = 0x28;
/// Subscription Identifier Available: byte.
pub const SUBSCRIPTION_IDENTIFIER_AVAILABLE: u8 = 0x29;
/// Shared Subscription Available: byte.
pub const SHARED_SUBSCRIPTION_AVAILABLE: u8 = 0x2A;

/// What a property holds; nothing ties it to the type that the id asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// One byte.
    Byte(u8),
    /// Two bytes, big-endian.
    Two(u16),
    /// Four bytes, big-endian.
    Four(u32),
    /// A variable byte integer.
    Var(u32),
    /// Text.
    Text(String),
    /// Length-prefixed bytes.
    Bytes(Vec<u8>),
    /// A pair of texts.
    Pair(String, String),
    /// These bytes, as they are.
    Raw(Vec<u8>),
}

/// Properties in order; duplicates and nonsense are allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// Id and value, as on the wire.
    pub list: Vec<(u8, Value)>,
    /// Replaces the length that goes in front.
    pub length: Option<Vec<u8>>,
}

impl Properties {
    /// No properties: a length of 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one of any type.
    pub fn with(mut self, id: u8, value: Value) -> Self {
        self.list.push((id, value));
        self
    }

    /// Adds a byte.
    pub fn byte(self, id: u8, value: u8) -> Self {
        self.with(id, Value::Byte(value))
    }

    /// Adds two bytes.
    pub fn two(self, id: u8, value: u16) -> Self {
        self.with(id, Value::Two(value))
    }

    /// Adds four bytes.
    pub fn four(self, id: u8, value: u32) -> Self {
        self.with(id, Value::Four(value))
    }

    /// Adds a variable byte integer.
    pub fn var(self, id: u8, value: u32) -> Self {
        self.with(id, Value::Var(value))
    }

    /// Adds a text.
    pub fn text(self, id: u8, value: &str) -> Self {
        self.with(id, Value::Text(value.to_owned()))
    }

    /// Adds length-prefixed bytes (also a text that is no UTF-8).
    pub fn binary(self, id: u8, value: &[u8]) -> Self {
        self.with(id, Value::Bytes(value.to_vec()))
    }

    /// Adds a user property.
    pub fn user(self, name: &str, value: &str) -> Self {
        self.with(
            USER_PROPERTY,
            Value::Pair(name.to_owned(), value.to_owned()),
        )
    }

    /// Replaces the length in front with these bytes.
    pub fn length(mut self, length: &[u8]) -> Self {
        self.length = Some(length.to_vec());
        self
    }

    /// Every value of this id.
    pub fn all(&self, id: u8) -> Vec<&Value> {
        self.list
            .iter()
            .filter(|(found, _)| *found == id)
            .map(|(_, value)| value)
            .collect()
    }

    /// Whether the id is there.
    pub fn has(&self, id: u8) -> bool {
        self.list.iter().any(|(found, _)| *found == id)
    }

    /// The first value of this id, when it is a number of any width.
    pub fn number(&self, id: u8) -> Option<u32> {
        match self.all(id).first()? {
            Value::Byte(value) => Some(u32::from(*value)),
            Value::Two(value) => Some(u32::from(*value)),
            Value::Four(value) | Value::Var(value) => Some(*value),
            _ => None,
        }
    }

    /// The first value of this id, when it is a text.
    pub fn string(&self, id: u8) -> Option<&str> {
        match self.all(id).first()? {
            Value::Text(value) => Some(value),
            _ => None,
        }
    }

    /// The first value of this id, when it is binary.
    pub fn data(&self, id: u8) -> Option<&[u8]> {
        match self.all(id).first()? {
            Value::Bytes(value) => Some(value),
            _ => None,
        }
    }

    /// The user properties in order.
    pub fn users(&self) -> Vec<(&str, &str)> {
        self.all(USER_PROPERTY)
            .into_iter()
            .filter_map(|value| match value {
                Value::Pair(name, value) => Some((name.as_str(), value.as_str())),
                _ => None,
            })
            .collect()
    }

    /// Length and properties as bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for (id, value) in &self.list {
            body.push(*id);
            match value {
                Value::Byte(value) => body.push(*value),
                Value::Two(value) => body.extend(value.to_be_bytes()),
                Value::Four(value) => body.extend(value.to_be_bytes()),
                Value::Var(value) => {
                    body.extend(var_int(usize::try_from(*value).expect("64-bit machine")));
                }
                Value::Text(value) => body.extend(text(value)),
                Value::Bytes(value) => body.extend(text(value)),
                Value::Pair(name, value) => {
                    body.extend(text(name));
                    body.extend(text(value));
                }
                Value::Raw(value) => body.extend(value),
            }
        }
        let length = self.length.clone().unwrap_or_else(|| var_int(body.len()));
        [length, body].concat()
    }
}

/// Takes a received body apart; whatever does not fit fails the test.
pub(super) struct Reader<'a> {
    left: &'a [u8],
    whole: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self {
            left: body,
            whole: body,
        }
    }

    #[track_caller]
    fn take(&mut self, count: usize) -> &'a [u8] {
        assert!(
            self.left.len() >= count,
            "the body ends too early: {:02x?}",
            self.whole
        );
        let (taken, left) = self.left.split_at(count);
        self.left = left;
        taken
    }

    #[track_caller]
    pub(super) fn byte(&mut self) -> u8 {
        self.take(1)[0]
    }

    #[track_caller]
    pub(super) fn two(&mut self) -> u16 {
        u16::from_be_bytes(self.take(2).try_into().expect("two bytes"))
    }

    #[track_caller]
    fn four(&mut self) -> u32 {
        u32::from_be_bytes(self.take(4).try_into().expect("four bytes"))
    }

    #[track_caller]
    fn var(&mut self) -> u32 {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte();
            value |= u32::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return value;
            }
        }
        panic!(
            "a variable byte integer of more than four bytes: {:02x?}",
            self.whole
        );
    }

    #[track_caller]
    fn binary(&mut self) -> Vec<u8> {
        let length = self.two();
        self.take(usize::from(length)).to_vec()
    }

    #[track_caller]
    pub(super) fn text(&mut self) -> String {
        String::from_utf8(self.binary()).expect("text from the broker is UTF-8")
    }

    pub(super) fn rest(&mut self) -> Vec<u8> {
        self.take(self.left.len()).to_vec()
    }

    #[track_caller]
    pub(super) fn end(&self) {
        assert!(
            self.left.is_empty(),
            "bytes after the last field: {:02x?}",
            self.whole
        );
    }

    #[track_caller]
    pub(super) fn optional_reason(&mut self, level: u8) -> (u8, Properties) {
        if level != 5 {
            self.end();
            return (0, Properties::default());
        }
        let reason = if self.left.is_empty() { 0 } else { self.byte() };
        let properties = if self.left.is_empty() {
            Properties::default()
        } else {
            self.properties()
        };
        self.end();
        (reason, properties)
    }

    #[track_caller]
    pub(super) fn properties(&mut self) -> Properties {
        let length = usize::try_from(self.var()).expect("64-bit machine");
        let mut inner = Reader {
            left: self.take(length),
            whole: self.whole,
        };
        let mut properties = Properties::new();
        while !inner.left.is_empty() {
            let id = inner.byte();
            let value = match id {
                0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => Value::Byte(inner.byte()),
                0x13 | 0x21 | 0x22 | 0x23 => Value::Two(inner.two()),
                0x02 | 0x11 | 0x18 | 0x27 => Value::Four(inner.four()),
                0x0B => Value::Var(inner.var()),
                0x03 | 0x08 | 0x12 | 0x15 | 0x1A | 0x1C | 0x1F => Value::Text(inner.text()),
                0x09 | 0x16 => Value::Bytes(inner.binary()),
                0x26 => Value::Pair(inner.text(), inner.text()),
                other => panic!("unknown property {other:#x} in {:02x?}", self.whole),
            };
            properties.list.push((id, value));
        }
        properties
    }
}
