//! A line of a trace: JSON, with what every line has in front. Pure.

use std::fmt::Write;
use std::net::IpAddr;

use serde::Serialize;

/// Whom and what something is about.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct About<'a> {
    /// Empty if it is not known yet.
    pub(crate) client_id: &'a str,
    pub(crate) address: Option<IpAddr>,
    /// Of topics or, for a subscription, of filters.
    pub(crate) topic: Option<&'a str>,
}

/// Something that happened.
#[derive(Debug)]
pub(crate) struct Event {
    /// `connect`, `publish` and so on.
    what: &'static str,
    /// What else there is to say, as members of an object, each behind a comma.
    more: String,
}

// === impl Event ===

impl Event {
    pub(crate) fn new(what: &'static str) -> Self {
        let more = String::new();
        Self { what, more }
    }

    /// Says something about it.
    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, value: impl Serialize) -> Self {
        write_member(&mut self.more, name, value);
        self
    }

    /// The same of what may not be there.
    #[must_use]
    pub(crate) fn with_some(self, name: &'static str, value: Option<impl Serialize>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// The line: when by the wall clock, in Unix milliseconds, and at which node it happened.
    pub(super) fn into_line(self, about: &About<'_>, at: u64, node: &str) -> String {
        let mut line = format!("{{\"at\":{at}");
        write_member(&mut line, "time", written(at));
        write_member(&mut line, "node", node);
        write_member(&mut line, "event", self.what);
        if !about.client_id.is_empty() {
            write_member(&mut line, "client_id", about.client_id);
        }
        if let Some(address) = about.address {
            write_member(&mut line, "address", address);
        }
        line.push_str(&self.more);
        line.push_str("}\n");
        line
    }
}

fn write_member(line: &mut String, name: &str, value: impl Serialize) {
    if let Ok(value) = serde_json::to_string(&value) {
        let _ = write!(line, ",\"{name}\":{value}"); // a String takes everything
    }
}

/// A time in Unix milliseconds as RFC 3339 writes it, in UTC.
fn written(at: u64) -> String {
    let (seconds, millis) = (at / 1_000, at % 1_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// The date of a day, counted from 1970-01-01: year, month, day of the month. Years that begin with
/// March have their leap day last, so that months are found by a division.
fn date(days: u64) -> (u64, u64, u64) {
    /// Days from 0000-03-01 to 1970-01-01, and of the 400 years after which the calendar repeats.
    const BEFORE: u64 = 719_468;
    const ERA: u64 = 146_097;
    let days = days + BEFORE;
    let (era, day) = (days / ERA, days % ERA);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153; // from March on
    let day = day - (153 * month + 2) / 5 + 1;
    let year = era * 400 + year + u64::from(month >= 10);
    (year, if month < 10 { month + 3 } else { month - 9 }, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_object_whatever_names_there_are() {
        let about = About {
            client_id: "a\"\n",
            address: "10.0.0.1".parse().ok(),
            topic: None,
        };
        let event = Event::new("publish").with("topic", "x\\").with("qos", 1);
        let event = event.with_some("reason", None::<&str>);
        let line = event.into_line(&about, 1_700_000_000_123, "g1");
        let written = "{\"at\":1700000000123,\"time\":\"2023-11-14T22:13:20.123Z\",\"node\":\"g1\",\
                       \"event\":\"publish\",\"client_id\":\"a\\\"\\n\",\"address\":\"10.0.0.1\",\
                       \"topic\":\"x\\\\\",\"qos\":1}\n";
        assert_eq!(line, written);
    }

    #[test]
    fn days_have_dates() {
        for (days, expected) in [
            (0, (1970, 1, 1)),
            (58, (1970, 2, 28)),
            (59, (1970, 3, 1)),
            (789, (1972, 2, 29)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (20_088, (2024, 12, 31)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(date(days), expected, "{days}");
        }
    }
}
