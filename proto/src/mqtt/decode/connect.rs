//! CONNECT, with its will and login.

use super::{
    Limits,
    properties::{List, read_block},
    property::Property,
    publish::will_properties,
    reader::{Reader, check_topic},
};
use crate::mqtt::{
    Connect, Error, Login, PublishProperties, Qos, Reason, UserProperties, Version, Will,
    error::Flaw, frame::PacketType,
};

pub(super) fn decode<'a>(mut body: Reader<'a>, limits: &Limits) -> Result<Connect<'a>, Error> {
    let version = read_version(&mut body)?;
    let flags = Flags::read(&mut body, version)?;
    let keep_alive = body.u16("keep alive")?;
    let mut connect = Connect {
        version,
        clean_start: flags.has(CLEAN_START),
        keep_alive,
        client_id: "",
        will: None,
        login: Login::default(),
        session_expiry: None,
        receive_maximum: None,
        maximum_packet_size: None,
        topic_alias_maximum: 0,
        request_response_information: false,
        request_problem_information: true,
        authentication_method: None,
        authentication_data: None,
        user_properties: UserProperties::default(),
    };
    if version == Version::V5 {
        read_properties(&mut connect, &mut body, limits)?;
    }
    connect.client_id = body.label("client identifier")?;
    if flags.has(WILL) {
        connect.will = Some(read_will(&mut body, version, flags, limits)?);
    }
    connect.login = read_login(&mut body, version, flags)?;
    body.finish("last field of the payload")?;
    Ok(connect)
}

impl Version {
    /// The version of a frame that is a CONNECT, whatever else is wrong with it: which form of
    /// CONNACK its sender understands. `None` if there is no telling.
    pub fn of_connect(frame: &[u8]) -> Option<Self> {
        let crate::mqtt::Frame::Complete { header, total } =
            crate::mqtt::frame(Self::V5, frame, u32::MAX).ok()?
        else {
            return None;
        };
        if PacketType::of(*frame.first()?) != Some(PacketType::Connect) {
            return None;
        }
        read_version(&mut Reader::new(frame.get(header..total)?)).ok()
    }
}

/// Protocol name and level. A level with its high bit set is a bridge of mosquitto, which is told
/// so by the same answer as any unknown version.
fn read_version(body: &mut Reader<'_>) -> Result<Version, Error> {
    let unsupported = Reason::UnsupportedProtocolVersion;
    let name = body.binary("protocol name")?;
    if name != b"MQTT" && name != b"MQIsdp" {
        // [MQTT-3.1.2-1]
        return Err(Error::new(
            unsupported,
            "protocol name is unknown",
            Flaw::Says,
        ));
    }
    match (name, body.u8("protocol version")?) {
        (b"MQIsdp", 3) => Ok(Version::V31),
        (b"MQTT", 4) => Ok(Version::V311),
        (b"MQTT", 5) => Ok(Version::V5),
        // [MQTT-3.1.2-2]
        (_, level) => Err(Error::new(
            unsupported,
            "protocol version",
            Flaw::Value(level),
        )),
    }
}

const RESERVED: u8 = 0b0000_0001;
const CLEAN_START: u8 = 0b0000_0010;
const WILL: u8 = 0b0000_0100;
const WILL_QOS: u8 = 0b0001_1000;
const WILL_RETAIN: u8 = 0b0010_0000;
const PASSWORD: u8 = 0b0100_0000;
const USER_NAME: u8 = 0b1000_0000;

/// The connect flags, checked `[MQTT-3.1.2.3]`.
#[derive(Clone, Copy)]
struct Flags {
    bits: u8,
    will_qos: Qos,
}

impl Flags {
    fn read(body: &mut Reader<'_>, version: Version) -> Result<Self, Error> {
        let malformed = |sentence| Err(Error::malformed(sentence, Flaw::Says));
        let mut bits = body.u8("connect flags")?;
        if version == Version::V31 {
            // There what has no meaning is not looked at (3.1 section 3.1).
            bits &= !RESERVED;
            if bits & WILL == 0 {
                bits &= !(WILL_QOS | WILL_RETAIN);
            }
        }
        let Some(will_qos) = Qos::from_bits((bits & WILL_QOS) >> 3) else {
            return malformed("will QoS is 3"); // [MQTT-3.1.2-12]
        };
        let flags = Self { bits, will_qos };
        if flags.has(RESERVED) {
            return malformed("reserved connect flag is set"); // [MQTT-3.1.2-3]
        }
        if !flags.has(WILL) && will_qos != Qos::AtMostOnce {
            return malformed("will QoS is set and will flag is not"); // [MQTT-3.1.2-11]
        }
        if !flags.has(WILL) && flags.has(WILL_RETAIN) {
            return malformed("will retain is set and will flag is not"); // [MQTT-3.1.2-13]
        }
        if version < Version::V5 && flags.has(PASSWORD) && !flags.has(USER_NAME) {
            // 3.1.1: [MQTT-3.1.2-22]; 5.0 allows it.
            return malformed("password flag is set and user name flag is not");
        }
        Ok(flags)
    }

    fn has(self, flag: u8) -> bool {
        self.bits & flag != 0
    }
}

fn read_properties<'a>(
    connect: &mut Connect<'a>,
    body: &mut Reader<'a>,
    limits: &Limits,
) -> Result<(), Error> {
    let mut list = List::read(body, PacketType::Connect, limits)?;
    while let Some(property) = list.next()? {
        match property {
            Property::SessionExpiryInterval(seconds) => connect.session_expiry = Some(seconds),
            Property::ReceiveMaximum(maximum) => connect.receive_maximum = Some(maximum),
            Property::MaximumPacketSize(size) => connect.maximum_packet_size = Some(size),
            Property::TopicAliasMaximum(maximum) => connect.topic_alias_maximum = maximum,
            Property::RequestResponseInformation(yes) => {
                connect.request_response_information = yes;
            }
            Property::RequestProblemInformation(yes) => connect.request_problem_information = yes,
            Property::AuthenticationMethod(method) => connect.authentication_method = Some(method),
            Property::AuthenticationData(data) => connect.authentication_data = Some(data),
            _ => {}
        }
    }
    connect.user_properties = list.user_properties();
    if connect.authentication_data.is_some() && connect.authentication_method.is_none() {
        let sentence = "Authentication Data is there without Authentication Method";
        return Err(Error::protocol(sentence, Flaw::Says));
    }
    Ok(())
}

fn read_will<'a>(
    body: &mut Reader<'a>,
    version: Version,
    flags: Flags,
    limits: &Limits,
) -> Result<Will<'a>, Error> {
    let (properties, delay) = if version == Version::V5 {
        will_properties(read_block(body)?, limits)?
    } else {
        (PublishProperties::default(), 0)
    };
    let field = "will topic";
    let topic = body.any_text(field)?;
    check_topic(topic, limits.topics, field, Reason::TopicNameInvalid)?;
    Ok(Will {
        topic,
        payload: body.binary("will payload")?,
        qos: flags.will_qos,
        retain: flags.has(WILL_RETAIN),
        delay,
        properties,
    })
}

fn read_login<'a>(
    body: &mut Reader<'a>,
    version: Version,
    flags: Flags,
) -> Result<Login<'a>, Error> {
    let mut login = Login::default();
    // In 3.1 the end of the packet takes precedence over the flags (its section 3.1).
    let is_there =
        |flag, body: &Reader<'_>| flags.has(flag) && !(version == Version::V31 && body.is_empty());
    if is_there(USER_NAME, body) {
        login.username = Some(body.label("user name")?);
    }
    if is_there(PASSWORD, body) {
        login.password = Some(body.binary("password")?);
    }
    Ok(login)
}
