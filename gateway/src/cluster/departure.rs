//! How a node went, as operators are told: only one that nobody stopped is a reason to look.

use super::view::Departed;
use crate::proto::cluster::state::fence::Why;

/// Says that a node takes no part any more, to operators of the gateway of this name.
pub(super) fn tell(departed: &Departed, own_name: &str) {
    let (incarnation, name) = (departed.incarnation, &departed.name);
    match how(departed.why) {
        Ok(how) => tracing::info!(incarnation, name, how, "node left"),
        // This gateway's own last run is over: here is the next.
        Err(how) if *name == *own_name => tracing::info!(incarnation, name, how, "node left"),
        Err(how) => tracing::warn!(incarnation, name, how, "node is gone"),
    }
}

/// In words; an error if nobody asked for it.
fn how(why: Why) -> Result<&'static str, &'static str> {
    match why {
        Why::Left => Ok("it has stopped"),
        Why::Removed => Ok("it was removed"),
        Why::Replaced => Ok("it was started again"),
        Why::Lease => Err("it was not heard of"),
        Why::Unspecified => Err("for a reason that a newer version knows"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_node_that_went_without_a_word_is_a_warning() {
        assert!(how(Why::Lease).is_err() && how(Why::Unspecified).is_err());
        for why in [Why::Left, Why::Removed, Why::Replaced] {
            assert!(how(why).is_ok(), "{why:?}");
        }
    }
}
