//! What an answer of Redis means: a value, or a reason to ask again, elsewhere or not at all.

use redis::{RedisError, Value};

use super::config::Address;

/// Why there is no value yet, or never will be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The connection is lost, or its other end does not answer: the outcome is unknown.
    Lost(String),
    /// Another node has the keys now.
    Moved(String),
    /// Another node gets the keys just now.
    Ask(Address),
    /// The node has not the scripts.
    Scripts,
    /// It will work soon: keys are on their way to another node, or writes to a replica.
    Soon(String),
    /// The call was to be carried out by a time that is over.
    Late,
    /// It may work later: the node is loading, failing over, cut off, …
    Later(String),
    /// Redis has no memory for it.
    Full(String),
    /// Asking again would not help.
    Refused(String),
}

// === impl Trouble ===

impl Trouble {
    /// What a failed request means.
    pub(super) fn of_error(error: &RedisError) -> Self {
        if let Some(code) = error.code() {
            return Self::of_code(code, error.detail().unwrap_or_default());
        }
        // Anything else is of this end of the connection: it cannot be used any more.
        Self::Lost(error.to_string())
    }

    /// What an error in an answer means. Only what is known to pass is tried again.
    fn of_code(code: &str, detail: &str) -> Self {
        let text = format!("{code} {detail}");
        match code {
            "MOVED" => Self::Moved(text),
            "ASK" => match detail.split(' ').nth(1).map(|text| Address::parse(text, 0)) {
                Some(Ok(address)) => Self::Ask(address),
                _ => Self::Later(text),
            },
            "NOSCRIPT" => Self::Scripts,
            "READONLY" | "MASTERDOWN" => Self::Moved(text),
            "TRYAGAIN" => Self::Soon(text),
            "CLUSTERDOWN" | "LOADING" | "BUSY" | "NOREPLICAS" | "MISCONF" | "UNBLOCKED"
            | "NOAUTH" | "WRONGPASS" | "NOPERM" | "UNKILLABLE" => Self::Later(text),
            "OOM" => Self::Full(text),
            // A script's error is an `ERR` with the first one in its text.
            _ if detail.contains("OOM ") => Self::Full(text),
            _ if ["READONLY ", "MISCONF ", "NOREPLICAS "]
                .iter()
                .any(|code| detail.contains(code)) =>
            {
                Self::Moved(text)
            }
            _ => Self::Refused(text),
        }
    }

    /// What it is, for a log or an error.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Lost(text)
            | Self::Moved(text)
            | Self::Soon(text)
            | Self::Later(text)
            | Self::Full(text)
            | Self::Refused(text) => text.clone(),
            Self::Ask(address) => format!("the keys are on their way to {address}"),
            Self::Scripts => "the scripts were removed".to_owned(),
            Self::Late => "it came too late".to_owned(),
        }
    }
}

/// The value of an answer, or the trouble that it tells of.
pub(super) fn value(answer: Value) -> Result<Value, Trouble> {
    match answer {
        Value::ServerError(error) => Err(Trouble::of_code(
            error.code(),
            error.details().unwrap_or_default(),
        )),
        value => Ok(value),
    }
}

/// An answer that has not the form that was agreed on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Takes an answer apart.
pub(super) trait Parts: Sized {
    fn list(self) -> Result<Vec<Value>, Malformed>;
    fn bytes(self) -> Result<Vec<u8>, Malformed>;
    fn number(self) -> Result<u64, Malformed>;

    fn text(self) -> Result<String, Malformed> {
        String::from_utf8(self.bytes()?).map_err(|_| Malformed)
    }
}

impl Parts for Value {
    fn list(self) -> Result<Vec<Value>, Malformed> {
        match self {
            Self::Array(values) => Ok(values),
            Self::Nil => Ok(Vec::new()),
            _ => Err(Malformed),
        }
    }

    fn bytes(self) -> Result<Vec<u8>, Malformed> {
        match self {
            Self::BulkString(bytes) => Ok(bytes),
            Self::SimpleString(text) => Ok(text.into_bytes()),
            Self::Okay => Ok(b"OK".to_vec()),
            _ => Err(Malformed),
        }
    }

    fn number(self) -> Result<u64, Malformed> {
        match self {
            Self::Int(number) => u64::try_from(number).map_err(|_| Malformed),
            other => other.text()?.parse().map_err(|_| Malformed),
        }
    }
}

/// Exactly so many values.
pub(super) fn values<const N: usize>(list: Vec<Value>) -> Result<[Value; N], Malformed> {
    list.try_into().map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: &str, detail: &str, is_expected: fn(&Trouble) -> bool) {
        let trouble = Trouble::of_code(code, detail);
        assert!(is_expected(&trouble), "{code} {detail}: {trouble:?}");
    }

    #[test]
    fn only_what_passes_is_tried_again() {
        check("MOVED", "12 10.0.0.1:7000", |t| {
            matches!(t, Trouble::Moved(_))
        });
        check(
            "ASK",
            "12 10.0.0.1:7000",
            |t| matches!(t, Trouble::Ask(address) if address.port == 7000),
        );
        check("ASK", "12", |t| matches!(t, Trouble::Later(_)));
        check("NOSCRIPT", "no such", |t| *t == Trouble::Scripts);
        check("TRYAGAIN", "split", |t| matches!(t, Trouble::Soon(_)));
        check("LOADING", "wait", |t| matches!(t, Trouble::Later(_)));
        check("OOM", "command not allowed", |t| {
            matches!(t, Trouble::Full(_))
        });
        check("ERR", "script: @user_script:1: OOM command", |t| {
            matches!(t, Trouble::Full(_))
        });
        check("ERR", "wrong number of arguments", |t| {
            matches!(t, Trouble::Refused(_))
        });
        check("WRONGTYPE", "a list", |t| matches!(t, Trouble::Refused(_)));
    }

    #[test]
    fn an_answer_of_another_form_is_an_error() {
        assert_eq!(Value::Int(-1).number(), Err(Malformed));
        assert_eq!(Value::BulkString(b"12".to_vec()).number(), Ok(12));
        assert_eq!(Value::BulkString(b"x".to_vec()).number(), Err(Malformed));
        assert_eq!(Value::Int(1).list(), Err(Malformed));
        assert_eq!(Value::BulkString(vec![0xFF]).text(), Err(Malformed));
        assert!(values::<2>(vec![Value::Nil]).is_err());
    }
}
