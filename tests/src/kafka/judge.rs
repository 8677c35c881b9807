//! Judges whether a topic of Kafka has what clients were promised: all that was acknowledged and is for
//! it, nothing else, nothing altered, in the order of each key, and again only under the same id.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use super::reader::Found;
use crate::history::{self, Event, Record, Uid, matches};

/// What is wrong with a topic, and what it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Messages that were acknowledged and have to be there.
    pub n_wanted: usize,
    /// Those of them that are not.
    pub n_lost: usize,
    /// Records.
    pub n_records: usize,
    /// Records of messages that were there already.
    pub n_repeated: usize,
    /// In words, without what is lost.
    pub mistakes: Vec<String>,
}

/// What is known of one that was sent.
#[derive(Default)]
struct Sent<'a> {
    n_times: usize,
    /// Under which it is in Kafka, if it is.
    id: Option<&'a str>,
}

/// Judges the records of a topic, each partition's in order, that has what matches one of these
/// filters. Whether the order counts depends on what was done to bridges.
pub fn judge(records: &[Record], found: &[Found], filters: &[&str], is_ordered: bool) -> Verdict {
    let is_for_it = |uid: &Uid| filters.iter().any(|filter| matches(filter, &uid.topic));
    let mut sent: HashMap<&Uid, Sent<'_>> = HashMap::new();
    let mut wanted: HashSet<&Uid> = HashSet::new();
    for record in records {
        match &record.event {
            Event::Sent { uid, .. } => sent.entry(uid).or_default().n_times += 1,
            Event::Accepted { uid, .. } if is_for_it(uid) => {
                wanted.insert(uid);
            }
            _ => {}
        }
    }
    let mut verdict = Verdict {
        n_wanted: wanted.len(),
        n_records: found.len(),
        ..Verdict::default()
    };
    let mut latest: HashMap<(&str, &str), u64> = HashMap::new();
    let uids: Vec<_> = found
        .iter()
        .map(|found| history::decode(found.value.as_bytes()))
        .collect();
    for (Found { key, id, .. }, uid) in found.iter().zip(&uids) {
        let Some(uid) = uid else {
            verdict.wrong(format!("of {key}: altered"));
            continue;
        };
        let Some(known) = sent.get_mut(uid) else {
            verdict.wrong(format!("{uid}: nobody has sent it"));
            continue;
        };
        if *key != *uid.topic {
            verdict.wrong(format!("{uid}: its key is {key}"));
        }
        if !is_for_it(uid) {
            verdict.wrong(format!("{uid}: is not for this topic"));
        }
        wanted.remove(uid);
        if let Some(before) = known.id {
            verdict.n_repeated += 1;
            if known.n_times == 1 && before != id {
                verdict.wrong(format!("{uid}: is there as {before} and as {id}"));
            }
            continue;
        }
        known.id = Some(id);
        let latest = latest.entry((&uid.publisher, &uid.topic)).or_default();
        if is_ordered && uid.seq < *latest {
            verdict.wrong(format!("{uid}: comes after {latest}"));
        }
        *latest = uid.seq.max(*latest);
    }
    verdict.n_lost = wanted.len();
    verdict
}

// === impl Verdict ===

impl Verdict {
    fn wrong(&mut self, what: String) {
        self.mistakes.push(what);
    }

    /// Whether all is as it was promised.
    pub fn is_good(&self) -> bool {
        self.n_lost == 0 && self.mistakes.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            n_wanted,
            n_lost,
            n_records,
            n_repeated,
            mistakes,
        } = self;
        write!(
            out,
            "{n_records} records, {n_repeated} of them again; {n_lost} of {n_wanted} lost"
        )?;
        if !mistakes.is_empty() {
            let first: Vec<_> = mistakes.iter().take(3).collect();
            write!(out, "; {} mistakes, {first:?}", mistakes.len())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(topic: &str, seq: u64) -> Uid {
        Uid {
            publisher: "p".into(),
            topic: topic.into(),
            seq,
        }
    }

    /// Each of these was sent so many times, and acknowledged.
    fn history(sent: &[(&str, u64, usize)]) -> Vec<Record> {
        let mut records = Vec::new();
        for (topic, seq, n_times) in sent {
            let (uid, connection) = (uid(topic, *seq), 1);
            let one = Event::Sent {
                uid: uid.clone(),
                connection,
                qos: 1,
                retain: false,
                dup: false,
                empty: false,
            };
            records.extend(vec![one; *n_times]);
            records.push(Event::Accepted { uid, connection });
        }
        let records = records.into_iter();
        records.map(|event| Record { t: 0, event }).collect()
    }

    fn found(topic: &str, seq: u64, id: &str) -> Found {
        let value = history::encode(&uid(topic, seq), 40);
        Found {
            key: topic.to_owned(),
            value: String::from_utf8(value).expect("it is text"),
            id: id.to_owned(),
            headers: Vec::new(),
        }
    }

    #[test]
    fn all_that_is_for_it_in_order_is_good() {
        let records = history(&[("a/1", 0, 1), ("a/1", 1, 1), ("b/1", 0, 1), ("a/2", 0, 1)]);
        let found = [
            found("a/1", 0, "x"),
            found("a/2", 0, "y"),
            found("a/1", 1, "z"),
            found("a/1", 0, "x"),
        ];
        let verdict = judge(&records, &found, &["a/+"], true);
        assert!(verdict.is_good(), "{verdict}");
        assert_eq!((verdict.n_wanted, verdict.n_repeated), (3, 1));
    }

    #[test]
    fn each_mistake_is_found() {
        let records = history(&[("a/1", 0, 1), ("a/1", 1, 1), ("b/1", 0, 1)]);
        let both = || vec![found("a/1", 0, "x"), found("a/1", 1, "y")];
        let check = |found: &[Found], says: &str| {
            let verdict = judge(&records, found, &["a/+"], true);
            assert!(
                !verdict.is_good() && verdict.to_string().contains(says),
                "{verdict}"
            );
        };
        check(&both()[1..], "1 of 2 lost");
        check(&[both().remove(1), both().remove(0)], "comes after 1");
        let with = |more: Found| [both(), vec![more]].concat();
        check(&with(found("b/1", 0, "z")), "is not for this topic");
        check(&with(found("a/1", 2, "z")), "nobody has sent it");
        check(&with(found("a/1", 1, "z")), "as y and as z");
        let mut other = found("a/1", 1, "y");
        other.key = "a/2".to_owned();
        check(&with(other), "its key is a/2");
        let mut other = found("a/1", 1, "y");
        other.value.insert(0, 'x');
        check(&with(other), "altered");
    }

    #[test]
    fn what_its_publisher_sent_again_may_have_two_ids_and_order_may_not_count() {
        let records = history(&[("a/1", 0, 2), ("a/1", 1, 1)]);
        let found = [
            found("a/1", 1, "z"),
            found("a/1", 0, "x"),
            found("a/1", 0, "y"),
        ];
        assert!(judge(&records, &found, &["a/+"], false).is_good());
        assert!(!judge(&records, &found, &["a/+"], true).is_good());
    }
}
