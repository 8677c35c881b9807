//! How many messages may be on their way over 5.0, as long as the other broker refuses some.
//!
//! rumqttc reckons with what is refused by a PUBREC as if it were on its way for ever, and stops when
//! that is as much as may be. So it is allowed so much more; what really is on its way stays within
//! the bound.

use rumqttc::v5::MqttState;
use rumqttc::v5::mqttbytes::v5::{ConnAck, ConnAckProperties, ConnectReturnCode, Packet};

/// Of one connection.
#[derive(Debug, Default)]
pub(in crate::mqtt) struct Inflight {
    /// What may be on its way.
    limit: u16,
    n_refused: u16,
}

/// What may be on its way, whatever the other broker would take.
pub(super) const INFLIGHT: u16 = 100;
/// What rumqttc has room for; a connection with more that is refused ends.
pub(super) const MOST: u16 = 2_000;

// === impl Inflight ===

impl Inflight {
    /// The other broker takes so many at a time.
    pub(super) fn on_connected(&mut self, state: &mut MqttState, receive_maximum: Option<u16>) {
        self.limit = receive_maximum.unwrap_or(u16::MAX).min(INFLIGHT);
        self.n_refused = 0;
        allow(state, self.limit);
    }

    /// One was refused otherwise than by a PUBACK.
    ///
    /// # Errors
    ///
    /// If rumqttc has no more room.
    pub(super) fn on_refused(&mut self, state: &mut MqttState) -> Result<(), String> {
        self.n_refused += 1;
        if self.limit + self.n_refused > MOST {
            return Err("very many messages are refused there".to_owned());
        }
        allow(state, self.limit + self.n_refused);
        Ok(())
    }
}

// === private ===

/// Lets it send so many, which it hears of from a CONNACK only.
fn allow(state: &mut MqttState, n_messages: u16) {
    let properties = ConnAckProperties {
        receive_max: Some(n_messages),
        session_expiry_interval: None,
        max_qos: None,
        retain_available: None,
        max_packet_size: None,
        assigned_client_identifier: None,
        topic_alias_max: None,
        reason_string: None,
        user_properties: Vec::new(),
        wildcard_subscription_available: None,
        subscription_identifiers_available: None,
        shared_subscription_available: None,
        server_keep_alive: None,
        response_information: None,
        server_reference: None,
        authentication_method: None,
        authentication_data: None,
    };
    let ack = ConnAck {
        session_present: false,
        code: ConnectReturnCode::Success,
        properties: Some(properties),
    };
    // No error: it is one that accepts.
    let _ = state.handle_incoming_packet(Packet::ConnAck(ack));
    state.events.pop_back();
}
