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

    /// The broker ends the connection for this reason.
    pub(crate) fn refused(reason: Reason, text: impl Into<String>) -> Self {
        Self::Refused(reason, text.into())
    }
}

impl From<crate::proto::mqtt::Error> for End {
    fn from(error: crate::proto::mqtt::Error) -> Self {
        Self::Refused(error.reason(), error.to_string())
    }
}
