//! What becomes of each message of the queue is told once, whatever becomes of it.

use super::*;

/// A message that is of use until then.
fn until(number: u32, expires_at: u64) -> Message {
    let message = message(number, Qos::AtLeastOnce);
    let expiring = MessageRef {
        expires_at,
        ..message.as_ref()
    };
    expiring.to_message()
}

#[test]
fn it_is_told_whether_it_goes_and_with_which_identifier_or_why_it_does_not() {
    let mut outbound = Outbound::new(false);
    outbound.attach(Link::any(1));
    for (number, expires_at) in [
        (0, u64::MAX),
        (1, 10),
        (2, u64::MAX),
        (3, u64::MAX),
        (4, 10),
    ] {
        deliver(&mut outbound, &until(number, expires_at), Qos::AtLeastOnce);
    }
    let (mut model, mut frames) = (Model::default(), Frames::default());
    let id = |number| NonZeroU16::new(number);
    outbound.handle_puback(NonZeroU16::MIN);
    outbound.pump(&mut model, &mut frames, 20, &bounds());
    assert!(outbound.drop_oldest(&mut model).is_some());
    assert_eq!(outbound.drop_expired(&mut model, 20), 1);
    let told = model.told.take();
    let expected = [
        (1, Err(Lost::Expired)),
        (2, Ok(id(3))),
        (3, Err(Lost::Oldest)),
        (4, Err(Lost::Expired)),
    ];
    assert_eq!(told, expected);
}

#[test]
fn one_that_the_client_does_not_take_is_told_of_too() {
    let mut outbound = Outbound::new(false);
    outbound.attach(Link::any(1));
    for number in 0..2 {
        let message = message(number, Qos::AtLeastOnce);
        deliver(&mut outbound, &message, Qos::AtLeastOnce);
    }
    outbound.handle_puback(NonZeroU16::MIN);
    if let Some(link) = &mut outbound.link {
        link.maximum_packet_size = 5;
    }
    let mut model = Model::default();
    outbound.pump(&mut model, &mut Frames::default(), 0, &bounds());
    assert_eq!(model.told.take(), [(1, Err(Lost::Refused))]);
}

#[test]
fn one_of_qos_0_that_may_have_been_sent_is_not_sent_again() {
    let mut model = Model::default();
    for (seq, number) in (0..4).zip(0..4) {
        let message = message(number, Qos::AtMostOnce);
        let entry = entry(seq, &message, Qos::AtMostOnce);
        model.entries.insert(seq, entry);
    }
    // After a crash: nothing was sent from the third on, the others may have been.
    let mut outbound = Outbound::restored(Some((0, 3)), 2, 4, 0).with_edge(4);
    outbound.attach(Link::any(8));
    outbound.pump(&mut model, &mut Frames::default(), 0, &bounds());
    let told = [
        (0, Err(Lost::Sent)),
        (1, Err(Lost::Sent)),
        (2, Ok(None)),
        (3, Ok(None)),
    ];
    assert_eq!(model.told.take(), told);
    assert!(model.entries.is_empty(), "none is kept");
    assert_eq!(outbound.n_queued(), 0);
}
