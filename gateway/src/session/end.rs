//! Why a connection ends, and what the client is told.

use crate::proto::mqtt::Reason;

/// Why a connection ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The client sent DISCONNECT; whether its will is still to be published, and the session
    /// expiry that it asked for last.
    Disconnected {
        /// Reason code 0x04.
        with_will: bool,
        /// Session Expiry Interval, in seconds, if the client changed it.
        expiry: Option<u32>,
    },
    /// The connection broke or was closed without DISCONNECT.
    Lost,
    /// The broker ends it, with this reason; the text goes to the log, and to a client that
    /// asked for problem information.
    Refused(Reason, String),
}

impl End {
    /// The client takes nothing of what waits for it.
    pub(crate) fn stuck() -> Self {
        Self::refused(
            Reason::QuotaExceeded,
            "the client takes nothing of what waits for it",
        )
    }

    /// The broker ends the connection for this reason, or the one nearest to it that a DISCONNECT may
    /// have `[MQTT-3.14.2-1]`: some are of CONNACK only.
    pub(crate) fn refused(reason: Reason, text: impl Into<String>) -> Self {
        let reason = match reason {
            Reason::ServerUnavailable => Reason::ServerBusy,
            Reason::Banned => Reason::AdministrativeAction,
            reason => reason,
        };
        Self::Refused(reason, text.into())
    }
}

impl From<crate::proto::mqtt::Error> for End {
    fn from(error: crate::proto::mqtt::Error) -> Self {
        Self::Refused(error.reason(), error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::outbound::Outbound;
    use crate::session::{Life, Session, Signal};

    /// Its socket may break, or what it is owed may be refused, at the moment when it lets go.
    #[test]
    fn a_connection_does_not_end_for_what_became_of_the_one_before() {
        let life = Life {
            epoch: 2,
            ..Life::default()
        };
        let session = Session::new(1, "c", Outbound::new(true), life);
        session.request_end_of(1, End::Lost);
        assert_eq!(session.life.lock().end, None);
        assert!(!session.take_signal(Signal::End));
        session.request_end_of(2, End::Lost);
        assert_eq!(session.life.lock().end, Some(End::Lost));
        assert!(session.take_signal(Signal::End));
    }
}
