//! Connections that end before their first byte of MQTT: what is counted, and what the log says of
//! them. Whoever only tries whether the port is open is nobody to speak of.

use std::io;
use std::sync::Arc;

use tokio_tungstenite::tungstenite::Error;

use crate::broker::Broker;
use crate::connection::handshake::Peer;
use crate::connection::refusal;
use crate::metrics::Stage;

/// Why there will be no connection.
#[derive(Debug)]
pub(super) struct TurnedAway {
    why: String,
    /// What it did not get through, if that is for somebody to mend.
    stage: Option<Stage>,
}

impl TurnedAway {
    /// By a ban of its address, before a handshake that costs more than it is worth to say no.
    pub(super) fn by_ban() -> Self {
        Self {
            why: "its address is banned".to_owned(),
            stage: Some(Stage::Ban),
        }
    }

    /// By what came of a TLS handshake: rustls says what it does not take, and the socket says that
    /// the client has gone.
    pub(super) fn by_tls(error: &io::Error) -> Self {
        let is_refused = error.get_ref().is_some_and(|it| it.is::<rustls::Error>());
        Self {
            why: without_link(&error.to_string()),
            stage: is_refused.then_some(Stage::Tls),
        }
    }

    /// By what came of a WebSocket upgrade: what has an answer of the listener's own was one.
    pub(super) fn by_websocket(error: &Error) -> Self {
        let Error::Http(answer) = error else {
            return error.to_string().into();
        };
        let text = answer.body().as_deref().unwrap_or_default();
        Self {
            why: format!("{}: {}", answer.status(), String::from_utf8_lossy(text)),
            stage: Some(Stage::WebSocket),
        }
    }

    /// Counts it and says it.
    pub(super) fn tell(&self, broker: &Arc<Broker>, peer: &Peer) {
        broker.metrics.connections_refused.inc_early(self.stage);
        refusal::tell_early(broker, peer, self.stage, &self.why);
    }
}

impl From<String> for TurnedAway {
    fn from(why: String) -> Self {
        Self { why, stage: None }
    }
}

/// A reason without where there is more to read of it.
fn without_link(why: &str) -> String {
    let end = ["https://", "http://"]
        .iter()
        .filter_map(|it| why.find(it))
        .min();
    let why = &why[..end.unwrap_or(why.len())];
    let why = why.trim_end_matches([' ', '(', '<', ':', ',', ';']);
    let why = why.strip_suffix(" see").unwrap_or(why);
    why.trim_end_matches([' ', '(', ':', ',', ';', '.'])
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_tungstenite::tungstenite::http::Response;

    #[test]
    fn what_rustls_refuses_is_a_refusal_and_who_has_gone_is_none() {
        let refused = rustls::Error::NoCertificatesPresented;
        let refused = TurnedAway::by_tls(&io::Error::new(io::ErrorKind::InvalidData, refused));
        assert_eq!(refused.stage, Some(Stage::Tls));
        assert_eq!(refused.why, "peer sent no certificates");
        for kind in [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset] {
            let gone = TurnedAway::by_tls(&io::Error::new(kind, "tls handshake eof"));
            assert_eq!(gone.stage, None, "{kind}");
            assert_eq!(TurnedAway::by_tls(&kind.into()).stage, None, "{kind}");
        }
    }

    #[test]
    fn an_upgrade_that_is_answered_with_no_is_a_refusal() {
        let answer = Response::builder().status(403);
        let answer = answer.body(Some(b"not this origin".to_vec()));
        let answer = Error::Http(Box::new(answer.expect("an answer")));
        let refused = TurnedAway::by_websocket(&answer);
        assert_eq!(refused.stage, Some(Stage::WebSocket));
        assert_eq!(refused.why, "403 Forbidden: not this origin");
        assert_eq!(
            TurnedAway::by_websocket(&Error::ConnectionClosed).stage,
            None
        );
    }

    #[test]
    fn links_are_left_out() {
        for (why, shown) in [
            ("bad certificate: expired", "bad certificate: expired"),
            ("too old; see https://docs.rs/x for more", "too old"),
            ("too old (https://docs.rs/x)", "too old"),
            ("too old: <http://docs.rs/x>", "too old"),
        ] {
            assert_eq!(without_link(why), shown);
        }
    }
}
