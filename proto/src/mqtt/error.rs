//! What is wrong with a packet, where, and which reason code the standard has for it.

use std::fmt;

use super::{Reason, frame::PacketType};

/// A packet that is refused. The connection it came from has to be closed `[MQTT-4.13.1-1]`.
///
/// Cheap to make: no text is put together until it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    reason: Reason,
    packet: Option<PacketType>,
    field: &'static str,
    flaw: Flaw,
}

/// What is wrong with the field that an [`Error`] names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// The field is a whole sentence that says it all.
    Says,
    /// Flag bits of the fixed header are not the required ones.
    Flags {
        found: u8,
        required: u8,
    },
    /// The packet ends before the field does.
    CutOff,
    /// More bytes follow than there may be.
    Trailing,
    NotUtf8,
    Nul,
    ControlCharacter,
    NonCharacter,
    Wildcard,
    Empty,
    TooManyLevels,
    AboveLimit,
    TooMany,
    TooLong,
    Zero,
    /// A value that is not among those that are allowed.
    Value(u8),
    Repeated,
    Misplaced,
    FifthByte,
    NotShortest,
    TooLarge {
        limit: u32,
    },
}

impl Error {
    /// The reason code to answer with.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    #[cold]
    pub(super) const fn new(reason: Reason, field: &'static str, flaw: Flaw) -> Self {
        Self {
            reason,
            packet: None,
            field,
            flaw,
        }
    }

    /// Cannot be parsed according to the standard: 0x81.
    #[cold]
    pub(super) const fn malformed(field: &'static str, flaw: Flaw) -> Self {
        Self::new(Reason::MalformedPacket, field, flaw)
    }

    /// Can be parsed, and is not allowed: 0x82.
    #[cold]
    pub(super) const fn protocol(field: &'static str, flaw: Flaw) -> Self {
        Self::new(Reason::ProtocolError, field, flaw)
    }

    /// The same error, said of a packet of this type.
    #[cold]
    pub(super) const fn of(self, packet: PacketType) -> Self {
        Self {
            packet: Some(packet),
            ..self
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(packet) = self.packet {
            write!(formatter, "{}: ", packet.name())?;
        }
        let field = self.field;
        match self.flaw {
            Flaw::Says => write!(formatter, "{field}"),
            Flaw::Flags { found, required } => {
                write!(
                    formatter,
                    "{field} are {found:#06b}, must be {required:#06b}"
                )
            }
            Flaw::CutOff => write!(formatter, "the packet ends within the {field}"),
            Flaw::Trailing => write!(formatter, "bytes follow the {field}"),
            Flaw::NotUtf8 => write!(formatter, "{field} is not valid UTF-8"),
            Flaw::Nul => write!(formatter, "{field} contains U+0000"),
            Flaw::ControlCharacter => write!(formatter, "{field} contains a control character"),
            Flaw::NonCharacter => write!(formatter, "{field} contains a Unicode non-character"),
            Flaw::Wildcard => write!(formatter, "{field} contains a wildcard"),
            Flaw::Empty => write!(formatter, "{field} is empty"),
            Flaw::TooManyLevels => write!(formatter, "{field} has too many levels"),
            Flaw::AboveLimit => write!(formatter, "{field} is longer than is allowed here"),
            Flaw::TooMany => write!(formatter, "there are too many {field}"),
            Flaw::TooLong => write!(formatter, "{field} is longer than 65,535 bytes"),
            Flaw::Zero => write!(formatter, "{field} is 0"),
            Flaw::Value(value) => {
                write!(formatter, "{field} is {value:#04x}, which is not allowed")
            }
            Flaw::Repeated => write!(formatter, "{field} is there more than once"),
            Flaw::Misplaced => write!(formatter, "{field} is not allowed here"),
            Flaw::FifthByte => write!(formatter, "{field} is longer than four bytes"),
            Flaw::NotShortest => write!(formatter, "{field} is not in its shortest form"),
            Flaw::TooLarge { limit } => {
                write!(formatter, "{field} is above the limit of {limit} bytes")
            }
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_wrong_and_where() {
        let error = Error::malformed(
            "reserved flag bits",
            Flaw::Flags {
                found: 0b0000,
                required: 0b0010,
            },
        );
        assert_eq!(
            error.of(PacketType::Subscribe).to_string(),
            "SUBSCRIBE: reserved flag bits are 0b0000, must be 0b0010",
        );
        assert_eq!(error.reason(), Reason::MalformedPacket);
        assert_eq!(
            Error::protocol("Receive Maximum", Flaw::Repeated).to_string(),
            "Receive Maximum is there more than once",
        );
        assert!(size_of::<Error>() <= 32);
    }
}
