//! What rules that are gone have left in the spool: it is sent where they sent it.

use gatemq_storage::{Engine, Error};

use crate::produce::Link;
use crate::spool::{self, Orphan};

/// What the spool calls the place at the end of a way.
pub(super) fn home(name: &str, link: &Link) -> String {
    match link {
        Link::Kafka(_) => name.to_owned(),
        Link::Mqtt(..) => format!("mqtt:{name}"),
    }
}

/// Adds the queues of rules that are gone to those that are there, each with the number of its way;
/// returns how many have none any more.
pub(super) fn take_in(
    engine: &dyn Engine,
    homes: &[String],
    spooled: &mut Vec<(String, usize)>,
) -> Result<usize, Error> {
    let known: Vec<&str> = spooled.iter().map(|(name, _)| name.as_str()).collect();
    let mut n_stranded = 0;
    for Orphan { name: rule, home } in spool::orphans(engine, &known)? {
        let is_it = |known: &String| Some(known) == home.as_ref();
        if let Some(way) = homes.iter().position(is_it) {
            tracing::info!(rule, "a rule is gone: what it has left is sent");
            spooled.push((rule, way));
        } else {
            tracing::warn!(
                rule,
                home,
                "a rule and its target are gone: its records stay"
            );
            n_stranded += 1;
        }
    }
    Ok(n_stranded)
}
