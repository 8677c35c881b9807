//! Packets as they are received, and what is in them. A body that does not fit its type fails the
//! test.

use std::fmt;

use super::{CONNACK, PUBLISH, Properties, Publish, name, property::Reader};

/// A packet as it was received.
#[derive(Clone, PartialEq, Eq)]
pub struct Packet {
    /// The type, as the constants above.
    pub kind: u8,
    /// The low four bits of the first byte.
    pub flags: u8,
    /// Everything after the fixed header.
    pub body: Vec<u8>,
}

/// CONNACK as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connack {
    /// Session Present.
    pub session_present: bool,
    /// The whole first byte: all but bit 0 is reserved.
    pub flags: u8,
    /// The return code (3.x) or reason code (5).
    pub code: u8,
    /// Level 5 only.
    pub properties: Properties,
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The packet id.
    pub id: u16,
    /// 0 where it was left out.
    pub reason: u8,
    /// Level 5 only.
    pub properties: Properties,
}

/// SUBACK or UNSUBACK as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suback {
    /// The packet id.
    pub id: u16,
    /// Level 5 only.
    pub properties: Properties,
    /// One code per filter; none in an UNSUBACK of 3.x.
    pub codes: Vec<u8>,
}

/// DISCONNECT or AUTH as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disconnect {
    /// 0 where it was left out.
    pub reason: u8,
    /// Level 5 only.
    pub properties: Properties,
}

impl Packet {
    /// Fails the test unless the packet has this type.
    #[track_caller]
    pub fn expect(self, kind: u8) -> Self {
        assert_eq!(self.kind, kind, "expected {}, got {self:?}", name(kind));
        self
    }

    /// Reads it as CONNACK.
    #[track_caller]
    pub fn connack(&self, level: u8) -> Connack {
        let mut reader = self.reader(CONNACK);
        let flags = reader.byte();
        let code = reader.byte();
        let properties = if level == 5 {
            reader.properties()
        } else {
            Properties::default()
        };
        reader.end();
        Connack {
            session_present: flags & 1 == 1,
            flags,
            code,
            properties,
        }
    }

    /// Reads it as PUBLISH.
    #[track_caller]
    pub fn publish(&self, level: u8) -> Publish {
        let mut reader = self.reader(PUBLISH);
        let qos = self.flags >> 1 & 3;
        let topic = reader.text();
        let id = (qos > 0).then(|| reader.two());
        let properties = if level == 5 {
            reader.properties()
        } else {
            Properties::default()
        };
        Publish {
            dup: self.flags & 8 != 0,
            qos,
            retain: self.flags & 1 != 0,
            topic,
            id,
            properties,
            payload: reader.rest(),
        }
    }

    /// Reads it as one of the four acknowledgements.
    #[track_caller]
    pub fn ack(&self, kind: u8, level: u8) -> Ack {
        let mut reader = self.reader(kind);
        let id = reader.two();
        let (reason, properties) = reader.optional_reason(level);
        Ack {
            id,
            reason,
            properties,
        }
    }

    /// Reads it as SUBACK or UNSUBACK.
    #[track_caller]
    pub fn suback(&self, kind: u8, level: u8) -> Suback {
        let mut reader = self.reader(kind);
        let id = reader.two();
        let properties = if level == 5 {
            reader.properties()
        } else {
            Properties::default()
        };
        Suback {
            id,
            properties,
            codes: reader.rest(),
        }
    }

    /// Reads it as DISCONNECT or AUTH of 5.
    #[track_caller]
    pub fn disconnect(&self, kind: u8) -> Disconnect {
        let mut reader = self.reader(kind);
        let (reason, properties) = reader.optional_reason(5);
        Disconnect { reason, properties }
    }

    #[track_caller]
    fn reader(&self, kind: u8) -> Reader<'_> {
        assert_eq!(self.kind, kind, "expected {}, got {self:?}", name(kind));
        Reader::new(&self.body)
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} flags {:#x} body {:02x?}",
            name(self.kind),
            self.flags,
            self.body
        )
    }
}
