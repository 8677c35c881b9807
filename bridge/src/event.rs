//! comqtt's JSON: what it told Kafka of a publish, and of clients that come, go and subscribe.

use base64::{Engine, prelude::BASE64_STANDARD};
use gatemq_proto::topic;
use serde::{Deserialize, Serialize, Serializer};

/// Something that happened, as comqtt wrote it. What is empty or 0 is left out.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Event<'a> {
    /// What it is.
    #[serde(rename = "action")]
    pub kind: Kind,
    /// The client.
    #[serde(rename = "clientid")]
    pub client_id: &'a str,
    /// Its user name.
    pub username: &'a str,
    /// Its address; for a connect.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub remote: &'a str,
    /// The listener that it came to; for a connect.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub listener: &'a str,
    /// The topic of a publish, or the filters of a subscribe or an unsubscribe.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub topics: &'a [&'a str],
    /// What was published, or why it was disconnected.
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "as_base64")]
    pub payload: &'a [u8],
    /// 3, 4 or 5; for a connect.
    #[serde(rename = "protocolVersion", skip_serializing_if = "is_zero")]
    pub protocol_version: u8,
    /// Whether it began anew; for a connect.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub clean: bool,
    /// Seconds since 1970.
    #[serde(rename = "ts")]
    pub seconds: u64,
    /// Milliseconds since 1970.
    #[serde(skip)]
    pub at: u64,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A session was established.
    Connect,
    /// A connection ended.
    Disconnect,
    /// A client has published.
    Publish,
    /// A client has subscribed.
    Subscribe,
    /// A client has unsubscribed.
    Unsubscribe,
}

// === impl Kind ===

impl Kind {
    /// What comqtt calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Disconnect => "disconnect",
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
        }
    }
}

// === impl Event ===

impl<'a> Event<'a> {
    /// One of a client, at a time in milliseconds since 1970; all else is empty.
    #[must_use]
    pub fn new(client_id: &'a str, username: &'a str, at: u64) -> Self {
        Self {
            kind: Kind::Connect,
            client_id,
            username,
            remote: "",
            listener: "",
            topics: &[],
            payload: &[],
            protocol_version: 0,
            clean: false,
            seconds: at / 1000,
            at,
        }
    }

    /// Appends its JSON.
    pub fn write(&self, out: &mut Vec<u8>) {
        // Texts and numbers alone are written without fail.
        let _ = serde_json::to_writer(out, self);
    }
}

/// Those of a client's filters that `rules.filters` lets through; all, if there is no rule. A rule
/// is a filter that theirs is matched with as if it were a topic. None is left: nothing is told.
pub fn matching<'a>(rules: &[String], filters: &[&'a str]) -> Vec<&'a str> {
    let is_let_through = |filter: &&'a str| {
        rules.is_empty() || rules.iter().any(|rule| topic::matches(rule, filter))
    };
    filters.iter().copied().filter(is_let_through).collect()
}

// === private ===

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u8) -> bool {
    *number == 0
}

fn as_base64<S: Serializer>(bytes: &&[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(event: Event<'_>, expected: &str) {
        let mut out = Vec::new();
        event.write(&mut out);
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn each_kind_is_written_as_comqtt_wrote_it() {
        let event = Event::new("dev-1", "ann", 1_700_000_000_123);
        check(
            Event {
                remote: "10.0.0.1:5000",
                listener: "tcp",
                protocol_version: 4,
                clean: true,
                ..event
            },
            r#"{"action":"connect","clientid":"dev-1","username":"ann","remote":"10.0.0.1:5000","listener":"tcp","protocolVersion":4,"clean":true,"ts":1700000000}"#,
        );
        check(
            Event {
                kind: Kind::Disconnect,
                payload: b"EOF",
                ..event
            },
            r#"{"action":"disconnect","clientid":"dev-1","username":"ann","payload":"RU9G","ts":1700000000}"#,
        );
        check(
            Event {
                kind: Kind::Subscribe,
                topics: &["a/#", "b"],
                ..event
            },
            r#"{"action":"subscribe","clientid":"dev-1","username":"ann","topics":["a/#","b"],"ts":1700000000}"#,
        );
        check(
            Event {
                kind: Kind::Publish,
                topics: &["a"],
                payload: &[0, 255],
                ..Event::new("dev-1", "", 0)
            },
            r#"{"action":"publish","clientid":"dev-1","username":"","topics":["a"],"payload":"AP8=","ts":0}"#,
        );
    }

    #[test]
    fn filters_that_no_rule_names_are_not_told_of() {
        let rules = ["a/+".to_owned(), "b/#".to_owned()];
        let matched = matching(&rules, &["a/b", "a/b/c", "b", "c", "a/b"]);
        assert_eq!(matched, ["a/b", "b", "a/b"]);
        assert_eq!(matching(&rules, &["c"]), Vec::<&str>::new());
        assert_eq!(matching(&[], &["c"]), ["c"]);
    }
}
