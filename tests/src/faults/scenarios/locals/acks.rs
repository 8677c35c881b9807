//! Which acknowledgements a gateway gave when: read from what clients saw.

use std::collections::HashMap;

use crate::history::{Event, Name, Record};

/// When messages were accepted by clients that were connected to this address, by the history's
/// clock, of those from `since` until `until`.
pub(super) fn accepted_at(records: &[Record], address: &str, since: u64, until: u64) -> Vec<u64> {
    let mut places: HashMap<(&Name, u32), &Name> = HashMap::new();
    let mut times = Vec::new();
    for record in records {
        match &record.event {
            Event::Connected {
                client,
                connection,
                node,
                ..
            } => {
                places.insert((client, *connection), node);
            }
            Event::Accepted { uid, connection } => {
                let place = places.get(&(&uid.publisher, *connection));
                let is_there = place.is_some_and(|place| ***place == *address);
                if is_there && (since..until).contains(&record.t) {
                    times.push(record.t);
                }
            }
            _ => {}
        }
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::History;

    #[test]
    fn acks_count_where_and_when_they_came() {
        let history = History::default();
        let put = |t, event| history.add(Record { t, event });
        put(1, Event::connected_at("here", "one", 1));
        put(2, Event::connected_at("there", "other", 1));
        put(3, Event::accepted_of("one", 1));
        put(4, Event::accepted_of("other", 1));
        put(5, Event::accepted_of("one", 1));
        put(6, Event::connected_at("there", "one", 2));
        put(7, Event::accepted_of("one", 2));
        put(8, Event::connected_at("here", "other", 2));
        put(9, Event::accepted_of("other", 2));
        let records = history.records();
        assert_eq!(accepted_at(&records, "here", 0, 100), [3, 5, 9]);
        assert_eq!(accepted_at(&records, "here", 4, 9), [5]);
        assert_eq!(accepted_at(&records, "there", 0, 100), [4, 7]);
    }
}
