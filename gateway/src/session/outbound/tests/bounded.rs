//! What waits counts with all that it takes, and QoS 0 waits behind what waits already.

use super::*;

fn deliver_with(outbound: &mut Outbound, number: u32, ids: &[u32], bounds: &Bounds) -> Taken {
    let qos = match ids {
        [] => Qos::AtMostOnce,
        _ => Qos::AtLeastOnce,
    };
    let (message, mut frames) = (message(number, qos), Frames::default());
    let terms = Terms {
        qos,
        retain: false,
        ids,
        share: None,
    };
    let mut delivery = Delivery::new(message.as_ref(), 0, &mut frames);
    outbound.deliver(&mut delivery, &terms, bounds)
}

/// One for each overlapping subscription, of which a client may have very many.
#[test]
fn subscription_identifiers_take_room() {
    let bounds = Bounds {
        bytes: 10_000,
        ..bounds()
    };
    let ids = [9; 1_000];
    for (is_stored, n_more) in [(true, 0), (false, 1)] {
        let mut outbound = Outbound::new(is_stored);
        outbound.attach(Link::any(1));
        // The first one of a clean session does not wait.
        for number in 0..2 + n_more {
            let taken = deliver_with(&mut outbound, number, &ids, &bounds);
            assert_ne!(taken, Taken::Full, "{number}");
        }
        assert_eq!(deliver_with(&mut outbound, 9, &ids, &bounds), Taken::Full);
    }
}

#[test]
fn qos_0_that_is_kept_for_a_client_is_not_overtaken_when_it_is_back() {
    let (mut model, mut frames) = (Model::default(), Frames::default());
    let bounds = Bounds {
        messages: 2,
        queue_qos0: true,
        ..bounds()
    };
    let mut outbound = Outbound::new(true);
    let mut come = |outbound: &mut Outbound, seq, number| {
        let taken = deliver_with(outbound, number, &[], &bounds);
        if taken == Taken::Store(seq) {
            let message = message(number, Qos::AtMostOnce);
            model
                .entries
                .insert(seq, entry(seq, &message, Qos::AtMostOnce));
            outbound.commit(seq);
        }
        taken
    };
    assert_eq!(come(&mut outbound, 0, 10), Taken::Store(0));
    outbound.attach(Link::any(10));
    assert_eq!(come(&mut outbound, 1, 11), Taken::Store(1), "behind that");
    assert_eq!(
        come(&mut outbound, 2, 12),
        Taken::Dropped,
        "it is owed to nobody"
    );
    while outbound.has_waiting() {
        outbound.pump(&mut model, &mut frames, 0, &bounds);
        model.commit_edge(&mut outbound);
    }
    let told = model.told.take();
    assert_eq!(told, [(10, Ok(None)), (11, Ok(None))]);
    let taken = deliver_with(&mut outbound, 13, &[], &bounds);
    assert_eq!(taken, Taken::Accepted { is_sent: true });
}
