//! Records that a disk, or somebody at Redis, has changed: an error or another record, but no panic,
//! and nothing larger than what was read.

use gatemq_storage::suite::damage::each;

use super::*;

/// Damaged forms of each kind of record.
const ROUNDS: usize = 40_000;

fn message(payload: &[u8]) -> MessageRef<'_> {
    MessageRef {
        publisher: 7,
        qos: Qos::AtLeastOnce,
        retain: true,
        expires_at: 5_500,
        topic: "a/b/\u{1F980}",
        properties: &[1, 1],
        payload,
        trace: None,
    }
}

#[test]
fn damaged_sessions_and_subscriptions() {
    let record = |principal: &str| SessionRecord {
        client_id: "pump-7".to_owned(),
        version: Version::V5,
        expiry: 3_600,
        detached_at: 12,
        created_at: 11,
        sent_below: 7,
        principal: principal.to_owned(),
    };
    let valid = [record("").store(), record("user ann").store()];
    each(&valid, ROUNDS, |bytes| {
        if let Ok(record) = SessionRecord::restore(bytes) {
            assert!(record.client_id.len() + record.principal.len() <= bytes.len());
            assert_eq!(SessionRecord::restore(&record.store()), Ok(record));
        }
    });
    let kept = Subscribed {
        qos: Qos::ExactlyOnce,
        no_local: true,
        retain_as_published: true,
        is_owed: true,
        replayed_to: None,
        id: 268_435_455,
        asked: None,
    };
    let in_part = Subscribed {
        replayed_to: Some(Box::new(Topic("a/b".into()))),
        ..kept
    };
    let restored = subscribed(&store_subscribed(&in_part)).expect("it was just stored");
    assert_eq!(restored.replayed_to, in_part.replayed_to);
    each(
        &[store_subscribed(&kept), store_subscribed(&in_part)],
        ROUNDS,
        |bytes| {
            if let Ok(kept) = subscribed(bytes) {
                let stored = store_subscribed(&kept);
                let again = subscribed(&stored).expect("it was just stored");
                assert_eq!(store_subscribed(&again), stored);
            }
        },
    );
}

#[test]
fn damaged_queue_entries() {
    let share = Arc::new(Share {
        group: "g".into(),
        filter: "a/#".into(),
    });
    let terms = Terms {
        qos: Qos::ExactlyOnce,
        retain: true,
        ids: &[7, 9],
        share: Some(&share),
    };
    let message = message(b"hello");
    let mut body = Vec::new();
    message.store(&mut body);
    let mut valid = vec![released().to_vec(), body.clone()];
    for number in [0, 44] {
        let mut stored = Vec::new();
        store_queued(&mut stored, Qos::ExactlyOnce, &terms, &message, number);
        valid.push(stored);
    }
    each(&valid, ROUNDS, |bytes| {
        let load = |number| (number % 2 == 0).then(|| Bytes::copy_from_slice(bytes));
        if let Ok(entry) = queued(3, bytes, load) {
            assert!(4 * entry.ids.len() <= bytes.len());
            let message = entry.message.as_deref().map(Message::as_ref);
            let size = message.map_or(0, |message| message.size());
            assert!(size <= bytes.len());
        }
        // What its size would be is asked before it is read.
        size_of(bytes);
        crate::message::expiry_of(bytes);
    });
}

#[test]
fn damaged_wills_and_messages() {
    let will_of = |origin, principal: &str| {
        store_will(&Will {
            delay: 5,
            expiry: Some(7),
            client_id: "pump-7".into(),
            principal: principal.into(),
            origin,
            message: message(b"gone").to_message(),
        })
    };
    let origin = Some(Origin { source: 3, id: 4 });
    let valid = [will_of(None, ""), will_of(origin, "user ann")];
    each(&valid, ROUNDS, |bytes| {
        if let Ok(kept) = will(bytes) {
            assert_eq!(will(&store_will(&kept)), Ok(kept));
        }
    });
    let mut stored = Vec::new();
    message(b"hello").store(&mut stored);
    each(&[stored], ROUNDS, |bytes| {
        if let Ok(message) = Message::restore(bytes) {
            let message = message.as_ref();
            assert!(message.topic.len() + message.payload.len() <= bytes.len());
            let mut again = Vec::new();
            message.store(&mut again);
            assert_eq!(Message::restore(&again), Ok(message.to_message()));
        }
    });
}
