//! Where rules send what is in their queue, as the spool notes it: what a rule that is gone has left
//! is sent there, too.

use crate::produce::Link;

/// What the spool calls the place at the end of a way.
pub(super) fn home(name: &str, link: &Link) -> String {
    match link {
        Link::Kafka(_) => name.to_owned(),
        Link::Mqtt(..) => format!("{MQTT}{name}"),
    }
}

/// Whether that is another broker of MQTT, whose records are of another form.
pub(super) fn is_of_mqtt(home: &str) -> bool {
    home.starts_with(MQTT)
}

const MQTT: &str = "mqtt:";
