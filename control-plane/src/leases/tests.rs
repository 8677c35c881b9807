//! One test for each clause of the argument, and a random world for all of it.

use super::*;

mod simulation;

const NOBODY: [u64; 0] = [];

const FRESH: Option<Duration> = Some(Duration::from_millis(100));
const STALE: Option<Duration> = Some(Duration::from_millis(1000));

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn member(incarnation: u64) -> Member {
    Member {
        incarnation,
        fenced: None,
    }
}

fn fenced(incarnation: u64, why: Why) -> Member {
    Member {
        incarnation,
        fenced: Some(why),
    }
}

fn said(incarnation: u64, beat: u64, applied: u64) -> Attendant {
    Attendant {
        incarnation,
        beat,
        applied,
    }
}

/// An office of no past, opened at 0 over a state of revision 10 without members.
fn book() -> Leases {
    Leases::new(Terms::default(), ms(0), 10, 10, [])
}

/// One with gateways 11 and 12, both leased at 100 ms, and everything applied up to 20.
fn book_of_two() -> Leases {
    let mut book = book();
    book.set_members(ms(50), 12, &[member(11), member(12)]);
    book.advance(ms(60), 20);
    assert_eq!(book.watermark(), 20);
    for incarnation in [11, 12] {
        assert_eq!(
            book.beat(ms(100), FRESH, said(incarnation, 1, 20)),
            Answer::Confirmed
        );
    }
    book.advance(ms(100), 100);
    book
}

#[test]
fn the_watermark_is_the_least_that_anybody_with_a_lease_has_applied() {
    let mut book = book_of_two();
    assert_eq!(
        book.beat(ms(200), FRESH, said(11, 2, 30)),
        Answer::Confirmed
    );
    assert_eq!(book.watermark(), 20);
    book.beat(ms(210), FRESH, said(12, 2, 25));
    assert_eq!(book.watermark(), 25);
    book.beat(ms(220), FRESH, said(12, 3, 40));
    assert_eq!(book.watermark(), 30);
}

#[test]
fn without_gateways_the_watermark_is_what_the_control_plane_has_applied() {
    let mut book = book();
    assert_eq!(book.watermark(), 10);
    book.advance(ms(1), 17);
    assert_eq!(book.watermark(), 17);
}

#[test]
fn the_watermark_is_never_above_what_the_control_plane_has_applied() {
    let mut book = book();
    book.set_members(ms(1), 11, &[member(11)]);
    book.advance(ms(1), 11);
    assert_eq!(
        book.beat(ms(2), FRESH, said(11, 1, u64::MAX)),
        Answer::Confirmed
    );
    assert_eq!(book.watermark(), 11);
}

#[test]
fn a_gateway_counts_for_the_lease_and_the_margin_and_then_not() {
    let mut book = book_of_two();
    book.beat(ms(200), FRESH, said(11, 2, 30));
    assert_eq!(book.next_deadline(), Some(ms(100 + 2200)));
    book.expire(ms(2299));
    assert_eq!(book.watermark(), 20);
    book.expire(ms(2300));
    assert_eq!(book.watermark(), 30);
}

#[test]
fn who_lost_its_lease_gets_another_only_with_everything_that_was_released_since() {
    let mut book = book_of_two();
    book.beat(ms(2000), FRESH, said(11, 2, 30));
    book.expire(ms(2300));
    book.beat(ms(2310), FRESH, said(11, 3, 50));
    assert_eq!(book.watermark(), 50);
    assert_eq!(
        book.beat(ms(2400), FRESH, said(12, 2, 49)),
        Answer::Unconfirmed
    );
    assert_eq!(
        book.beat(ms(2500), FRESH, said(12, 3, 50)),
        Answer::Confirmed
    );
    // From now on it counts again.
    book.beat(ms(2600), FRESH, said(11, 4, 60));
    assert_eq!(book.watermark(), 50);
}

#[test]
fn a_new_gateway_does_not_count_before_its_first_confirmed_beat() {
    let mut book = book_of_two();
    book.set_members(ms(200), 21, &[member(11), member(12), member(21)]);
    book.beat(ms(210), FRESH, said(21, 1, 0));
    for incarnation in [11, 12] {
        book.beat(ms(300), FRESH, said(incarnation, 2, 40));
    }
    assert_eq!(book.watermark(), 40);
    assert_eq!(
        book.beat(ms(310), FRESH, said(21, 2, 39)),
        Answer::Unconfirmed
    );
    assert_eq!(
        book.beat(ms(320), FRESH, said(21, 3, 40)),
        Answer::Confirmed
    );
}

#[test]
fn the_watermark_waits_once_for_a_gateway_that_is_nearly_there() {
    let mut book = book_of_two();
    book.set_members(ms(200), 21, &[member(11), member(12), member(21)]);
    for incarnation in [11, 12] {
        book.beat(ms(300), FRESH, said(incarnation, 2, 40));
    }
    assert_eq!(
        book.beat(ms(310), FRESH, said(21, 1, 39)),
        Answer::Unconfirmed
    );
    for incarnation in [11, 12] {
        book.beat(ms(320), FRESH, said(incarnation, 3, 50));
    }
    assert_eq!(book.watermark(), 40, "it waits");
    assert_eq!(
        book.beat(ms(330), FRESH, said(21, 2, 41)),
        Answer::Confirmed
    );
    assert_eq!(book.watermark(), 41, "and goes on with the newcomer");

    // A second one that never comes is not waited for at length, nor soon again.
    let mut book = book_of_two();
    book.set_members(ms(200), 21, &[member(11), member(12), member(21)]);
    book.beat(ms(310), FRESH, said(21, 1, 19));
    for incarnation in [11, 12] {
        book.beat(ms(320), FRESH, said(incarnation, 2, 50));
    }
    assert_eq!(
        (book.watermark(), book.next_deadline()),
        (20, Some(ms(310 + 250)))
    );
    book.expire(ms(560));
    assert_eq!(book.watermark(), 50);
    book.beat(ms(570), FRESH, said(21, 2, 49));
    for incarnation in [11, 12] {
        book.beat(ms(580), FRESH, said(incarnation, 3, 60));
    }
    assert_eq!(book.watermark(), 60);
}

#[test]
fn without_a_quorum_no_beat_is_confirmed_and_leases_run_out() {
    let mut book = book_of_two();
    for (millis, age) in [(200, STALE), (300, None)] {
        let beat = said(11, millis, 20);
        assert_eq!(book.beat(ms(millis), age, beat), Answer::Unconfirmed);
    }
    assert_eq!(book.next_deadline(), Some(ms(2300)));
    assert_eq!(
        book.beat(ms(400), FRESH, said(11, 400, 20)),
        Answer::Confirmed
    );
}

#[test]
fn beats_that_were_overtaken_or_come_twice_change_nothing() {
    let mut book = book_of_two();
    book.beat(ms(200), FRESH, said(11, 5, 30));
    assert_eq!(
        book.beat(ms(300), FRESH, said(11, 4, 29)),
        Answer::Unconfirmed
    );
    assert_eq!(
        book.beat(ms(2000), FRESH, said(11, 5, 99)),
        Answer::Confirmed,
        "an echo"
    );
    book.beat(ms(2000), FRESH, said(12, 2, 40));
    assert_eq!(book.watermark(), 30);
    book.expire(ms(2400));
    assert_eq!(book.watermark(), 40, "the echo did not lengthen the lease");
}

#[test]
fn who_was_never_registered_is_unknown() {
    assert_eq!(book().beat(ms(1), FRESH, said(7, 1, 10)), Answer::Unknown);
}

#[test]
fn a_new_leader_counts_everybody_as_having_nothing_until_it_hears_of_them() {
    let members = [member(3), member(4), fenced(5, Why::Left)];
    let mut book = Leases::new(Terms::default(), ms(0), 10, 10, members);
    assert_eq!(book.watermark(), 0);
    book.beat(ms(10), FRESH, said(3, 1, 10));
    assert_eq!(book.watermark(), 0);
    book.beat(ms(20), FRESH, said(4, 1, 10));
    assert_eq!(book.watermark(), 10);
}

#[test]
fn a_new_leader_waits_as_long_as_an_earlier_one_may_have_granted() {
    let mut book = Leases::new(Terms::default(), ms(0), 10, 10, [member(3), member(4)]);
    for second in 0..3 {
        book.beat(ms(1000 * second), FRESH, said(3, second + 1, 10));
    }
    let end = 1000 + 2000 + 200; // the quorum's age, the lease, the margin
    book.expire(ms(end - 1));
    assert_eq!(book.watermark(), 0);
    book.expire(ms(end));
    assert_eq!(book.watermark(), 10);
}

#[test]
fn a_confirmed_beat_does_not_shorten_what_an_earlier_leader_may_have_granted() {
    let mut book = Leases::new(Terms::default(), ms(0), 10, 10, [member(3)]);
    assert_eq!(book.beat(ms(10), FRESH, said(3, 1, 10)), Answer::Confirmed);
    assert_eq!(book.next_deadline(), Some(ms(3200)));
}

#[test]
fn a_new_leader_confirms_nobody_below_its_floor() {
    let mut book = Leases::new(Terms::default(), ms(0), 10, 12, [member(3)]);
    assert_eq!(book.beat(ms(10), FRESH, said(3, 1, 9)), Answer::Unconfirmed);
    assert_eq!(book.watermark(), 9, "it counts all the same");
    assert_eq!(book.beat(ms(20), FRESH, said(3, 2, 10)), Answer::Confirmed);
}

#[test]
fn a_fenced_gateway_counts_until_its_lease_is_over_but_gets_no_other() {
    let mut book = book_of_two();
    book.set_members(ms(200), 30, &[member(11), fenced(12, Why::Removed)]);
    assert_eq!(
        book.beat(ms(300), FRESH, said(12, 2, 29)),
        Answer::Unconfirmed
    );
    assert_eq!(
        book.beat(ms(310), FRESH, said(12, 1, 29)),
        Answer::Unconfirmed,
        "no echo either"
    );
    book.beat(ms(400), FRESH, said(11, 2, 40));
    assert_eq!(book.watermark(), 29);
    book.expire(ms(2300));
    assert_eq!(book.watermark(), 40);
}

#[test]
fn a_fenced_gateway_that_knows_of_it_does_not_count() {
    let mut book = book_of_two();
    book.set_members(ms(200), 30, &[member(11), fenced(12, Why::Replaced)]);
    book.beat(ms(400), FRESH, said(11, 2, 40));
    book.beat(ms(410), FRESH, said(12, 2, 30));
    assert_eq!(book.watermark(), 40);
}

#[test]
fn who_left_in_order_does_not_count_at_once() {
    let mut book = book_of_two();
    book.beat(ms(150), FRESH, said(11, 2, 40));
    book.set_members(ms(200), 30, &[member(11), fenced(12, Why::Left)]);
    assert_eq!(book.watermark(), 40);
}

#[test]
fn who_is_forgotten_by_the_state_still_counts_until_its_lease_is_over() {
    let mut book = book_of_two();
    book.set_members(ms(200), 31, &[member(11)]);
    book.beat(ms(400), FRESH, said(11, 2, 40));
    assert_eq!(book.watermark(), 20);
    book.expire(ms(2300));
    assert_eq!(book.watermark(), 40);
    assert_eq!(book.beat(ms(2310), FRESH, said(12, 9, 40)), Answer::Unknown);
}

#[test]
fn an_emptied_table_holds_the_watermark_and_gets_no_lease_until_it_is_full_again() {
    let mut book = book_of_two();
    assert_eq!(
        book.beat(ms(200), FRESH, said(12, 2, 0)),
        Answer::Unconfirmed
    );
    book.beat(ms(210), FRESH, said(11, 2, 40));
    assert_eq!(book.watermark(), 20);
    assert_eq!(
        book.beat(ms(300), FRESH, said(12, 3, 50)),
        Answer::Confirmed
    );
    assert_eq!(book.watermark(), 40);
}

#[test]
fn who_is_silent_for_long_is_to_be_fenced() {
    let mut book = book_of_two();
    for second in 1..=2 {
        book.beat(ms(1000 * second), FRESH, said(11, second + 1, 20));
        assert_eq!(book.due_fences(ms(1000 * second), FRESH), NOBODY);
    }
    assert_eq!(book.due_fences(ms(2699), FRESH), NOBODY);
    assert_eq!(book.due_fences(ms(2700), FRESH), [12]);
    assert_eq!(
        book.due_fences(ms(2700), STALE),
        NOBODY,
        "not without a quorum"
    );
    book.set_members(ms(3200), 40, &[member(11), fenced(12, Why::Lease)]);
    assert_eq!(book.due_fences(ms(3200), FRESH), NOBODY, "not twice");
}

#[test]
fn a_new_leader_fences_nobody_before_its_own_time() {
    let mut book = Leases::new(Terms::default(), ms(0), 10, 10, [member(3), member(4)]);
    for tick in 1..=32 {
        assert_eq!(book.due_fences(ms(100 * tick - 1), FRESH), NOBODY);
        book.beat(ms(100 * tick), FRESH, said(3, tick, 10));
    }
    assert_eq!(book.due_fences(ms(3200), FRESH), [4]);
}

#[test]
fn a_leader_that_slept_fences_nobody() {
    let mut book = book_of_two();
    assert_eq!(
        book.due_fences(ms(9000), FRESH),
        NOBODY,
        "nobody at all is heard of"
    );
    book.beat(ms(9000), FRESH, said(11, 2, 20));
    assert_eq!(
        book.due_fences(ms(9001), FRESH),
        NOBODY,
        "the others may be right behind"
    );
    for tick in 1..=30 {
        book.beat(ms(9000 + 100 * tick), FRESH, said(11, 2 + tick, 20));
    }
    assert_eq!(book.due_fences(ms(12_000), FRESH), [12]);
}
