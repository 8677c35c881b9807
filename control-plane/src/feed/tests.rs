//! What readers get, and when they are lost.

use super::*;

use futures_util::FutureExt;
use gatemq_proto::cluster::state::{Forget, command};

const ALL: Bounds = Bounds {
    n_commands: 1000,
    n_bytes: 1 << 20,
};

/// Tells the command of which its index is known by.
fn tell(feed: &Feed, index: u64) {
    let kind = command::Kind::Forget(Forget { incarnation: index });
    feed.applied(index, &Command { kind: Some(kind) });
}

fn feed(n_commands: usize, told: u64) -> Arc<Feed> {
    let bounds = Bounds { n_commands, ..ALL };
    let feed = Feed::new(bounds, 0);
    (1..=told).for_each(|index| tell(&feed, index));
    feed
}

fn revisions(batch: &Batch) -> Vec<u64> {
    batch
        .commands
        .iter()
        .map(|applied| applied.revision)
        .collect()
}

#[tokio::test]
async fn a_reader_gets_what_came_after_its_position() {
    let feed = feed(10, 5);
    let mut reader = feed.reader(3);
    let batch = reader.next(ALL).await.unwrap();
    assert_eq!((revisions(&batch), batch.revision), (vec![4, 5], 5));
    tell(&feed, 6);
    let batch = reader.next(ALL).await.unwrap();
    assert_eq!((revisions(&batch), reader.position()), (vec![6], 6));
}

#[tokio::test]
async fn a_waiting_reader_is_woken() {
    let feed = feed(10, 0);
    let mut reader = feed.reader(0);
    let waiting = tokio::spawn(async move { reader.next(ALL).await });
    tokio::task::yield_now().await;
    tell(&feed, 1);
    assert_eq!(revisions(&waiting.await.unwrap().unwrap()), [1]);
}

#[tokio::test]
async fn a_reader_ahead_of_the_feed_waits_for_its_place() {
    let feed = feed(10, 2);
    let mut reader = feed.reader(4);
    tell(&feed, 3);
    tell(&feed, 4);
    assert!(reader.next(ALL).now_or_never().is_none());
    tell(&feed, 5);
    assert_eq!(revisions(&reader.next(ALL).await.unwrap()), [5]);
}

#[tokio::test]
async fn entries_that_are_no_commands_move_the_revision() {
    let feed = feed(10, 2);
    let mut reader = feed.reader(2);
    feed.advance(3);
    let batch = reader.next(ALL).await.unwrap();
    assert_eq!((revisions(&batch), batch.revision), (vec![], 3));
    tell(&feed, 4);
    feed.advance(5);
    let batch = reader.next(ALL).await.unwrap();
    assert_eq!((revisions(&batch), batch.revision), (vec![4], 5));
}

#[tokio::test]
async fn batches_are_bounded_by_number_and_by_bytes() {
    let feed = feed(10, 5);
    let size = feed.fill().n_bytes / 5;
    let mut reader = feed.reader(0);
    let two = Bounds {
        n_commands: 2,
        ..ALL
    };
    assert_eq!(revisions(&reader.next(two).await.unwrap()), [1, 2]);
    assert_eq!(reader.position(), 2);
    let two = Bounds {
        n_bytes: 2 * size + 1,
        ..ALL
    };
    assert_eq!(revisions(&reader.next(two).await.unwrap()), [3, 4]);
    let nothing = Bounds {
        n_commands: 0,
        n_bytes: 0,
    };
    assert_eq!(revisions(&reader.next(nothing).await.unwrap()), [5]);
}

#[tokio::test]
async fn a_reader_that_fell_out_of_the_ring_is_lost() {
    let feed = feed(3, 5);
    assert_eq!(feed.fill().from, 2);
    assert_eq!(
        revisions(&feed.reader(2).next(ALL).await.unwrap()),
        [3, 4, 5]
    );
    let mut reader = feed.reader(1);
    assert_eq!(reader.next(ALL).await.unwrap_err(), Lost { position: 1 });
}

#[test]
fn the_ring_is_bounded_by_bytes_but_keeps_the_newest() {
    let feed = feed(10, 4);
    let size = feed.fill().n_bytes / 4;
    let bounds = Bounds {
        n_bytes: 2 * size,
        ..ALL
    };
    let feed = Feed::new(bounds, 0);
    (1..=4).for_each(|index| tell(&feed, index));
    let fill = feed.fill();
    assert_eq!((fill.n_commands, fill.n_bytes, fill.from), (2, 2 * size, 2));
    let feed = Feed::new(Bounds { n_bytes: 1, ..ALL }, 0);
    (1..=4).for_each(|index| tell(&feed, index));
    assert_eq!((feed.fill().n_commands, feed.fill().from), (1, 3));
}

#[tokio::test]
async fn after_a_reset_only_who_has_all_of_it_goes_on() {
    let feed = feed(10, 5);
    let mut behind = feed.reader(5);
    let mut level = feed.reader(9);
    feed.reset(9);
    assert_eq!(behind.next(ALL).await.unwrap_err(), Lost { position: 5 });
    tell(&feed, 10);
    assert_eq!(revisions(&level.next(ALL).await.unwrap()), [10]);
    assert_eq!(feed.fill().n_commands, 1);
}

#[tokio::test]
async fn commands_are_shared() {
    let feed = feed(10, 1);
    let one = feed.reader(0).next(ALL).await.unwrap();
    let other = feed.reader(0).next(ALL).await.unwrap();
    assert!(Arc::ptr_eq(&one.commands[0], &other.commands[0]));
}

#[tokio::test]
async fn reached_waits() {
    let feed = feed(10, 1);
    feed.reached(1).await;
    assert!(feed.reached(2).now_or_never().is_none());
    tell(&feed, 2);
    feed.reached(2).await;
}
