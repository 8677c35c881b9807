//! What is damaged in the store may come out of its order.

use super::*;

/// Acknowledges what was sent, and goes on, until nothing comes any more: what came at a time.
fn played(outbound: &mut Outbound, model: &mut Model) -> Vec<Vec<u32>> {
    let mut rounds = Vec::new();
    loop {
        outbound.pump(model, &mut Frames::default(), 0, &bounds());
        let seen = taken(outbound);
        let mut numbers = Vec::new();
        for seen in &seen {
            let Seen::Publish(id, number, ..) = *seen else {
                panic!("{seen:?} is of QoS 2");
            };
            let finished = outbound.handle_puback(id);
            assert!(matches!(finished, Acknowledged::Finished { .. }), "{id}");
            numbers.push(number);
        }
        if numbers.is_empty() {
            return rounds;
        }
        rounds.push(numbers);
    }
}

#[test]
fn what_comes_behind_a_higher_number_waits_for_all_before_it() {
    for (seqs, expected) in [
        (vec![5, 6, 7], vec![vec![5, 6, 7]]),
        (vec![5, 60, 6, 7], vec![vec![5, 60], vec![6, 7]]),
        // It has to wait for its identifier, too.
        (
            vec![5, 70_000, 6, 7],
            vec![vec![5], vec![70_000], vec![6, 7]],
        ),
        (vec![5, 5, 4], vec![vec![5], vec![5], vec![4]]),
    ] {
        let mut outbound = Outbound::restored(Some((0, 100_000)), 0, 4, 0).with_edge(200_000);
        outbound.attach(Link::any(100));
        let mut model = Model {
            is_slow: true,
            ..Model::default()
        };
        outbound.pump(&mut model, &mut Frames::default(), 0, &bounds());
        let range = model.wanted.take().expect("it is read");
        let entry = |seq: &u64| {
            let message = message(*seq as u32, Qos::AtLeastOnce);
            entry(*seq, &message, Qos::AtLeastOnce)
        };
        outbound.handle_page(range, seqs.iter().map(entry).collect(), None);
        assert_eq!(played(&mut outbound, &mut model), expected);
        assert_eq!(outbound.n_inflight(), 0);
    }
}
