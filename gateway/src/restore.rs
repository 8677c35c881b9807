//! What a gateway does with the store before it takes connections: sessions and subscriptions
//! come back into memory, wills of connections that the broker itself cut are put on the agenda.
//! Queues stay where they are.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use gatemq_node::seeded_bug::{Bug, is_seeded};

use crate::broker::Broker;
use crate::session::outbound::Outbound;
use crate::session::{Life, Session};
use crate::store::{keys, record};
use crate::turn::Turn;
use crate::will::Will;

/// Entries of a queue that are looked at for how large they are.
const SAMPLED: usize = 32;

impl Broker {
    /// Brings back what an earlier run of the broker left.
    pub(crate) fn restore(self: &Arc<Self>) {
        let mut wills = self.stored_wills();
        let (mut records, mut unread) = (Vec::new(), HashSet::new());
        let (start, end) = keys::all(keys::SESSION);
        self.store.scan(&start, &end, &mut |key, value| {
            match (keys::number(key), record::SessionRecord::restore(value)) {
                (Some(number), Ok(record)) => records.push((number, record)),
                (Some(number), Err(error)) => {
                    // A later version may read it.
                    tracing::error!(number, %error, "session left out; what it has stays stored");
                    unread.insert(number);
                }
                (None, _) => tracing::error!("session left out: its key is damaged"),
            }
            ControlFlow::Continue(())
        });
        // A client identifier has one session, the youngest: the broker may have died between
        // the beginning of that one and the end of the one before it.
        let youngest: HashMap<String, u64> = records
            .iter()
            .map(|(number, record)| (record.client_id.clone(), *number))
            .collect();
        records.retain(|(number, record)| youngest[&record.client_id] == *number);
        wills.retain(|number, _| !unread.contains(number));
        let numbers = records.iter().map(|(number, _)| *number);
        let known: HashSet<u64> = numbers.chain(unread).collect();
        let n_sessions = records.len();
        for (number, record) in records {
            self.restore_session(number, &record, wills.remove(&number));
        }
        self.remove_orphans(&known);
        for (number, will) in wills {
            // Of a session that ended with its connection.
            let mut turn = Turn::new(self);
            self.publish_will(number, None, &will, &mut turn);
            turn.finish(None);
        }
        if n_sessions > 0 {
            tracing::info!(
                sessions = n_sessions,
                retained = self.retained.len(),
                "restored"
            );
        }
    }

    /// Removes what belongs to no session: a session may have ended while the broker died. Its
    /// shared messages go to other members of their groups.
    fn remove_orphans(self: &Arc<Self>, known: &HashSet<u64>) {
        let mut orphans = HashSet::new();
        let kinds = [keys::SESSION, keys::FILTER, keys::QUEUE, keys::RECEIVED];
        for kind in kinds.into_iter().chain([keys::EDGE]) {
            let (mut start, end) = keys::all(kind);
            loop {
                let mut owner = None;
                self.store.scan(&start, &end, &mut |key, _| {
                    owner = keys::number(key);
                    ControlFlow::Break(())
                });
                let Some(owner) = owner else { break };
                if !known.contains(&owner) {
                    orphans.insert(owner);
                }
                start = keys::of_session(kind, owner).1;
            }
        }
        for orphan in orphans {
            let n_sent = self.sent_of(orphan);
            let mut turn = Turn::new(self);
            turn.batch.delete(&keys::session(orphan));
            turn.batch.put(&keys::edge(orphan), &n_sent.to_be_bytes());
            turn.finish(None);
            self.remove_queue(orphan, n_sent);
        }
    }

    /// From which number on nothing was sent of what a session left, of which the record may be gone.
    fn sent_of(&self, orphan: u64) -> u64 {
        let record = self.store.get(&keys::session(orphan));
        let record = record.and_then(|record| record::SessionRecord::restore(&record).ok());
        let sent_below = record.map_or(u64::MAX, |record| record.sent_below);
        how_far(sent_below, self.edge_of(orphan))
    }

    fn edge_of(&self, number: u64) -> Option<u64> {
        let edge = self.store.get(&keys::edge(number))?;
        Some(u64::from_be_bytes(edge[..].try_into().ok()?))
    }

    fn stored_wills(&self) -> HashMap<u64, Arc<Will>> {
        let mut wills = HashMap::new();
        let (start, end) = keys::all(keys::WILL);
        self.store.scan(&start, &end, &mut |key, value| {
            match (keys::number(key), record::will(value)) {
                (Some(number), Ok(will)) => {
                    wills.insert(number, Arc::new(will));
                }
                (number, Err(error)) => tracing::error!(?number, %error, "will left out"),
                (None, Ok(_)) => {}
            }
            ControlFlow::Continue(())
        });
        wills
    }

    fn restore_session(
        self: &Arc<Self>,
        number: u64,
        record: &record::SessionRecord,
        will: Option<Arc<Will>>,
    ) {
        let life = Life::stored(record, will, self.clock.now());
        let outbound = self.restore_queue(number, record.sent_below);
        let session = Arc::new(Session::new(number, &record.client_id, outbound, life));
        self.restore_received(&session);
        self.restore_subscriptions(&session);
        self.registry
            .lock(&session.client_id)
            .insert(session.clone());
        self.set_timers(&session, &mut session.life.lock());
    }

    /// Finds the bounds of a session's queue. Its messages stay where they are. Below where it goes on,
    /// and where the oldest were dropped, some are missing, so they are counted; from the first one
    /// behind that on all are there, so how many they are follows from the last number. How large they
    /// are at least is what those are that were looked at: a session that a guess takes for full would
    /// end with all that it has.
    fn restore_queue(&self, number: u64, recorded: u64) -> Outbound {
        let (start, end) = (keys::queue(number, 0), keys::queue(number, keys::SEQS));
        let edge = self.edge_of(number);
        let (sent_below, next_seq) = (how_far(recorded, edge), after(recorded, edge));
        let gaps_below = sent_below.max(next_seq);
        let (mut first, mut behind) = (None, None);
        let (mut n_seen, mut n_counted, mut n_bytes) = (0, 0, 0);
        self.store.scan(&start, &end, &mut |key, value| {
            let seq = keys::seq(key);
            first.get_or_insert(seq);
            if seq < gaps_below {
                n_counted += 1;
            } else {
                behind.get_or_insert(seq);
                if n_seen >= SAMPLED {
                    return ControlFlow::Break(());
                }
            }
            n_bytes += record::size_of(value);
            n_seen += 1;
            ControlFlow::Continue(())
        });
        let last = self
            .store
            .last(&start, &end)
            .map(|(key, _)| keys::seq(&key));
        let n_behind = behind.zip(last).map_or(0, |(behind, last)| {
            (last + 1).saturating_sub(behind) as usize
        });
        Outbound::restored(first.zip(last), sent_below, n_counted + n_behind, n_bytes)
            .going_on_at(next_seq)
            .with_edge(edge.unwrap_or(0))
    }

    fn restore_received(&self, session: &Session) {
        if is_seeded(Bug::Qos2ExchangeForgotten) {
            return;
        }
        let (start, end) = keys::of_session(keys::RECEIVED, session.number);
        let mut received = session.received.lock();
        self.store.scan(&start, &end, &mut |key, _| {
            if let [high, low] = keys::rest(key) {
                let packet_id = u16::from_be_bytes([*high, *low]);
                if let Some(packet_id) = std::num::NonZeroU16::new(packet_id) {
                    received.insert_safe(packet_id);
                }
            }
            ControlFlow::Continue(())
        });
    }

    fn restore_subscriptions(&self, session: &Arc<Session>) {
        let (start, end) = keys::of_session(keys::FILTER, session.number);
        let mut found = Vec::new();
        self.store.scan(&start, &end, &mut |key, value| {
            match (record::filter(keys::rest(key)), record::subscribed(value)) {
                (Ok(filter), Ok(subscribed)) => found.push((Box::from(filter), subscribed)),
                _ => tracing::error!(client.id = &*session.client_id, "subscription left out"),
            }
            ControlFlow::Continue(())
        });
        for (text, subscribed) in found {
            self.subscribe(session, &text, &subscribed, || None);
            session.subscriptions.lock().insert(text, subscribed);
        }
    }
}

/// From which number on nothing was sent, by what the record and the edge say.
pub(crate) fn how_far(recorded: u64, edge: Option<u64>) -> u64 {
    match recorded {
        // Of a connection that was there at the end; one of an earlier version has no edge, and all
        // of its queue may have been sent.
        u64::MAX => edge.unwrap_or(u64::MAX),
        recorded => recorded,
    }
}

/// From which number on messages are numbered: behind all that may have been sent, though nothing of
/// that is left. Those of before would count as sent, too.
pub(crate) fn after(recorded: u64, edge: Option<u64>) -> u64 {
    let both = edge.into_iter().chain([recorded]);
    let sound = both.filter(|seq| *seq < keys::SEQS); // not if it is damaged, or not known
    sound.max().unwrap_or(0)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::num::NonZeroU16;

    use gatemq_storage::Batch;

    use super::*;
    use crate::completion;
    use crate::message::MessageRef;
    use crate::proto::mqtt::{Qos, Version};
    use crate::session::Subscribed;
    use crate::session::queued::{Share, Terms};

    /// An earlier version is started for a moment.
    #[tokio::test]
    async fn what_a_session_has_whose_record_cannot_be_read_stays() {
        const NUMBER: u64 = 7;
        let broker = Broker::in_memory();
        broker.tasks.spawn(completion::run(broker.clone()));
        let will = Will {
            delay: 0,
            expiry: None,
            client_id: "c".into(),
            principal: "".into(),
            origin: None,
            message: MessageRef::any(Qos::AtLeastOnce).to_message(),
        };
        let entries = [
            (keys::session(NUMBER), vec![250; 64]),
            (keys::queue(NUMBER, 3), record::released().to_vec()),
            (keys::received(NUMBER, NonZeroU16::MIN), vec![]),
            (keys::will(NUMBER), record::store_will(&will)),
        ];
        let mut batch = Batch::default();
        for (key, value) in &entries {
            batch.put(key, value);
        }
        assert_eq!(broker.store.make_safe(batch).await, Ok(true));
        broker.restore();
        assert_eq!(broker.store.make_safe(Batch::default()).await, Ok(true));
        for (key, value) in &entries {
            assert_eq!(broker.store.get(key).as_deref(), Some(&**value), "{key:?}");
        }
        broker.tasks_end.cancel();
    }

    /// Its client has acknowledged what came behind the first, or that was dropped when there was no
    /// room; and behind a start numbers go on at the edge.
    #[tokio::test]
    async fn what_is_missing_from_a_queue_does_not_count() {
        const NUMBER: u64 = 7;
        let broker = Broker::in_memory();
        broker.tasks.spawn(completion::run(broker.clone()));
        let mut batch = Batch::default();
        for seq in [5].into_iter().chain(990..1_100).chain(3_000..3_050) {
            batch.put(&keys::queue(NUMBER, seq), &record::released());
        }
        assert_eq!(broker.store.make_safe(batch).await, Ok(true));
        let n_queued = |recorded| broker.restore_queue(NUMBER, recorded).n_queued();
        assert_eq!([2_000, 3_000, u64::MAX].map(n_queued), [161; 3]);
        let mut batch = Batch::default();
        batch.put(&keys::edge(NUMBER), &3_000_u64.to_be_bytes());
        assert_eq!(broker.store.make_safe(batch).await, Ok(true));
        assert_eq!([6, 990, u64::MAX].map(n_queued), [161; 3]);
        // Between those that were sent and those that were dropped.
        let (start, end) = (keys::queue(NUMBER, 990), keys::queue(NUMBER, 3_000));
        let mut batch = Batch::default();
        batch.delete_range(&start, &end);
        batch.put(&keys::edge(NUMBER), &6_u64.to_be_bytes());
        assert_eq!(broker.store.make_safe(batch).await, Ok(true));
        assert_eq!([6, 100].map(n_queued), [51; 2]);
        broker.tasks_end.cancel();
    }

    /// Or what comes before the next start would count as sent: with DUP, though it has expired, and
    /// not given to others of its group.
    #[tokio::test]
    async fn numbers_go_on_behind_all_that_was_sent() {
        const NUMBER: u64 = 7;
        let broker = Broker::in_memory();
        broker.tasks.spawn(completion::run(broker.clone()));
        assert_eq!(broker.restore_queue(NUMBER, 1_000).next_seq(), 1_000);
        let mut batch = Batch::default();
        batch.put(&keys::queue(NUMBER, 5), &record::released());
        batch.put(&keys::edge(NUMBER), &2_000_u64.to_be_bytes());
        assert_eq!(broker.store.make_safe(batch).await, Ok(true));
        for (recorded, expected) in [(1_000, 2_000), (3_000, 3_000), (u64::MAX, 2_000)] {
            let restored = broker.restore_queue(NUMBER, recorded);
            assert_eq!(restored.next_seq(), expected);
        }
        broker.tasks_end.cancel();
    }

    #[tokio::test]
    async fn after_a_crash_all_up_to_the_edge_counts_as_sent() {
        const NUMBER: u64 = 7;
        let broker = Broker::in_memory();
        broker.tasks.spawn(completion::run(broker.clone()));
        let mut batch = Batch::default();
        // More than two of the largest windows: what was finished was not deleted any more.
        let n_entries = 3 * u64::from(broker.config.limits.max_inflight);
        for seq in 0..n_entries {
            batch.put(&keys::queue(NUMBER, seq), &record::released());
        }
        let edge = n_entries - 5;
        batch.put(&keys::edge(NUMBER), &edge.to_be_bytes());
        assert_eq!(broker.store.make_safe(batch).await, Ok(true));
        let sent_below = |stored| broker.restore_queue(NUMBER, stored).sent_below();
        assert_eq!(sent_below(u64::MAX), edge);
        assert_eq!(sent_below(4), 4, "its connection ended in order");
        let mut batch = Batch::default();
        batch.delete(&keys::edge(NUMBER));
        assert_eq!(broker.store.make_safe(batch).await, Ok(true));
        assert_eq!(
            broker.restore_queue(NUMBER, u64::MAX).sent_below(),
            n_entries
        );
    }

    #[tokio::test]
    async fn a_queue_goes_on_behind_the_last_number_that_one_can_have() {
        const NUMBER: u64 = u64::MAX;
        let broker = Broker::in_memory();
        broker.tasks.spawn(completion::run(broker.clone()));
        let mut batch = Batch::default();
        for seq in [3, 4, keys::SEQS, u64::MAX] {
            batch.put(&keys::queue(NUMBER, seq), &record::released());
        }
        assert_eq!(broker.store.make_safe(batch).await, Ok(true));
        let outbound = broker.restore_queue(NUMBER, u64::MAX);
        assert_eq!((outbound.sent_below(), outbound.n_queued()), (5, 2));
        // The first is as it may be, and many are missing.
        let mut batch = Batch::default();
        batch.put(&keys::queue(NUMBER, keys::SEQS - 1), &[0; 1 << 16]);
        assert_eq!(broker.store.make_safe(batch).await, Ok(true));
        let outbound = broker.restore_queue(NUMBER, u64::MAX);
        assert_eq!(outbound.sent_below(), keys::SEQS);
        // And all of it goes.
        let (start, end) = keys::of_session(keys::QUEUE, NUMBER);
        let mut batch = Batch::default();
        batch.delete_range(&start, &end);
        assert_eq!(broker.store.make_safe(batch).await, Ok(true));
        assert!(broker.store.last(&start, &end).is_none());
    }

    /// The entry of a message of a group, in a queue.
    pub(crate) fn shared(payload: &[u8]) -> Vec<u8> {
        let share = Arc::new(Share {
            group: "g".into(),
            filter: "t".into(),
        });
        let terms = Terms {
            qos: Qos::ExactlyOnce,
            retain: false,
            ids: &[],
            share: Some(&share),
        };
        let message = MessageRef {
            publisher: 0,
            qos: Qos::ExactlyOnce,
            retain: false,
            expires_at: u64::MAX,
            topic: "t",
            properties: &[],
            payload,
            trace: None,
        };
        let mut entry = Vec::new();
        record::store_queued(&mut entry, Qos::ExactlyOnce, &terms, &message, 0);
        entry
    }

    fn stored(client_id: &str, sent_below: u64) -> Vec<u8> {
        let record = record::SessionRecord {
            client_id: client_id.to_owned(),
            version: Version::V5,
            expiry: u32::MAX,
            detached_at: 1,
            created_at: 1,
            sent_below,
            principal: String::new(),
        };
        record.store()
    }

    /// How many of ten messages another member of the group gets of a member that has ended, of which
    /// the store has this.
    async fn given_on(record: Option<u64>, edge: Option<u64>) -> usize {
        const ENDED: u64 = 7;
        const OTHER: u64 = 8;
        let broker = Broker::in_memory();
        broker.tasks.spawn(completion::run(broker.clone()));
        let mut batch = Batch::default();
        for seq in 0..10 {
            batch.put(&keys::queue(ENDED, seq), &shared(&seq.to_be_bytes()));
        }
        if let Some(edge) = edge {
            batch.put(&keys::edge(ENDED), &edge.to_be_bytes());
        }
        if let Some(sent_below) = record {
            // It came back as another session, and the broker died before this one was removed.
            batch.put(&keys::session(ENDED), &stored("ended", sent_below));
            batch.put(&keys::session(9), &stored("ended", 0));
        }
        batch.put(&keys::session(OTHER), &stored("other", 0));
        let subscribed = Subscribed::any(Qos::ExactlyOnce);
        let subscribed = record::store_subscribed(&subscribed);
        batch.put(&keys::filter(OTHER, "$share/g/t"), &subscribed);
        assert_eq!(broker.store.make_safe(batch).await, Ok(true));
        broker.restore();
        let other = broker.registry.lock("other").find("other").cloned();
        let other = other.expect("it is restored");
        assert_eq!(other.number, OTHER);
        let n_given = other.outbound.lock().n_queued();
        assert_eq!(broker.store.make_safe(Batch::default()).await, Ok(true));
        let (start, end) = keys::of_session(keys::QUEUE, ENDED);
        assert!(broker.store.last(&start, &end).is_none(), "it is removed");
        assert_eq!(broker.store.get(&keys::edge(ENDED)), None);
        n_given
    }

    #[tokio::test]
    async fn what_an_ended_member_was_never_sent_goes_to_another_one() {
        assert_eq!(given_on(None, Some(4)).await, 6);
        assert_eq!(given_on(Some(u64::MAX), Some(4)).await, 6);
        let in_order = given_on(Some(2), Some(64)).await;
        assert_eq!(in_order, 8, "its connection ended in order");
        assert_eq!(given_on(None, None).await, 0, "of an earlier version");
    }
}
