//! What describes a message of MQTT 5.0, and goes along with it from one broker to another as it is.

use bytes::Bytes;
use gatemq_proto::mqtt::PublishProperties;

/// Properties of a message, beside those of its users.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Described {
    /// Payload Format Indicator: whether it is text.
    pub(super) is_text: Option<bool>,
    pub(super) content_type: Option<String>,
    pub(super) response_topic: Option<String>,
    pub(super) correlation_data: Option<Bytes>,
}

/// Identifiers of properties.
const PAYLOAD_FORMAT: u8 = 0x01;
const CONTENT_TYPE: u8 = 0x03;
const RESPONSE_TOPIC: u8 = 0x08;
const CORRELATION_DATA: u8 = 0x09;

// === impl Described ===

impl Described {
    /// Reads a property list of a PUBLISH, encoded; nothing, if it is none.
    pub(super) fn read(block: &[u8]) -> Self {
        let properties = PublishProperties::from_block(block).unwrap_or_default();
        Self {
            is_text: properties.payload_is_utf8,
            content_type: properties.content_type.map(str::to_owned),
            response_topic: properties.response_topic.map(str::to_owned),
            correlation_data: properties.correlation_data.map(Bytes::copy_from_slice),
        }
    }

    /// Appends them, encoded.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        if let Some(is_text) = self.is_text {
            out.extend([PAYLOAD_FORMAT, u8::from(is_text)]);
        }
        let content_type = self.content_type.as_ref().map(String::as_bytes);
        let response_topic = self.response_topic.as_ref().map(String::as_bytes);
        for (id, value) in [
            (CONTENT_TYPE, content_type),
            (RESPONSE_TOPIC, response_topic),
            (CORRELATION_DATA, self.correlation_data.as_deref()),
        ] {
            // Whatever came in a packet of MQTT is no longer.
            if let Some(value) = value
                && let Ok(length) = u16::try_from(value.len())
            {
                out.push(id);
                out.extend(length.to_be_bytes());
                out.extend_from_slice(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for described in [
            Described::default(),
            Described {
                is_text: Some(true),
                content_type: Some("text/plain".to_owned()),
                response_topic: Some("answers/7".to_owned()),
                correlation_data: Some(Bytes::from_static(b"\0\xff")),
            },
            Described {
                content_type: Some(String::new()),
                ..Described::default()
            },
        ] {
            let mut block = Vec::new();
            described.write(&mut block);
            assert_eq!(Described::read(&block), described);
        }
        assert_eq!(Described::read(b"\x03\0"), Described::default());
    }
}
