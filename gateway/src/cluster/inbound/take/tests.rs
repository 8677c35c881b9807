//! What a message of another node is answered, and to whom it is given.

use std::sync::Arc;

use super::*;
use crate::broker::Broker;
use crate::session::link::Link;
use crate::session::outbound::Outbound;
use crate::session::queued::Share;
use crate::session::received::Origin;
use crate::session::{Life, Session, Subscription};

/// Another gateway.
const OTHER: u64 = 5;
/// One that goes on with its messages.
const THIRD: u64 = 6;

/// One of another node, to the topic `t`.
fn message(id: u64, flags: u32) -> Message {
    Message {
        id,
        source: OTHER,
        flags,
        topic: "t".into(),
        ..Message::default()
    }
}

/// What a message of the other one is answered, in a turn of its own.
fn taken(broker: &Arc<Broker>, message: &Message) -> Verdict {
    let mut turn = Turn::new(broker);
    let verdict = take(&mut turn, message, OTHER);
    turn.finish(None);
    verdict
}

/// The same of one that has come on a stream: its sessions may be on their way.
fn taken_inbound(broker: &Arc<Broker>, message: &Message) -> Verdict {
    let mut turn = Turn::new(broker);
    turn.inbound = Some(0);
    let verdict = take(&mut turn, message, OTHER);
    turn.inbound = None;
    turn.finish(None);
    verdict
}

/// It goes round again: whom it is for is just moving.
fn given_back() -> Verdict {
    Verdict::Moving {
        is_direct: true,
        picks: Vec::new(),
    }
}

/// A queue has so many bytes, and who does not fit is refused.
fn bound_queues(broker: &Broker, n_bytes: usize) {
    let settings = [
        ("limits.max-queued-bytes", n_bytes.to_string()),
        ("session.on-full", "reject".to_owned()),
    ];
    let settings = settings.map(|(key, value)| (key.to_owned(), value));
    broker.settings.apply(&settings.into());
}

#[tokio::test]
async fn what_was_refused_is_refused_when_it_comes_again_because_the_answer_was_lost() {
    const NUMBER: u64 = 7;
    let broker = Broker::in_cluster();
    let (direct, repeat, orphan) = (1_u32 << 3, 1_u32 << 4, 1_u32 << 5);
    let take_it = |id, flags| taken(&broker, &message(id, direct | 2 | flags));
    let session = Session::new(NUMBER, "full", Outbound::new(true), Life::default());
    session.outbound.lock().move_away();
    session.outbound.lock().give_up();
    let subscription = Subscription::any(Arc::new(session), Qos::ExactlyOnce);
    broker.table.subscribe(None, "t", NUMBER, subscription);
    let no = refused(Reason::UnspecifiedError);
    for (id, flags) in [(1, 0), (2, orphan), (3, 0)] {
        assert_eq!(take_it(id, flags), no);
    }
    broker.table.unsubscribe(None, "t", NUMBER);
    assert_eq!(take_it(4, 0), Verdict::Accepted);
    // Behind that one.
    assert_eq!(take_it(1, repeat), no);
    assert_eq!(take_it(1, repeat), no, "however often");
    assert_eq!(take_it(2, orphan | repeat), Verdict::Accepted);
    // Its source was told, and tries it once more.
    assert_eq!(take_it(3, 0), Verdict::Accepted);
    assert_eq!(take_it(3, repeat), Verdict::Accepted);
}

/// A bridge's stream to another gateway is one publisher, and each stream is another one.
#[tokio::test]
async fn what_is_behind_a_message_that_comes_again_is_refused_with_it() {
    const LARGE: usize = 1 << 10;
    let broker = Broker::in_cluster();
    bound_queues(&broker, LARGE);
    let session = Session::new(7, "c", Outbound::new(true), Life::default());
    let session = Arc::new(session);
    let subscription = Subscription::any(session.clone(), Qos::AtLeastOnce);
    broker.table.subscribe(None, "t", 7, subscription);
    let (direct, repeat, in_row) = (1_u32 << 3, 1_u32 << 4, 1_u32 << 7);
    let take_it = |publisher, id, flags, n_bytes| {
        let message = Message {
            id,
            source: OTHER,
            publisher,
            flags: direct | 1 | flags,
            topic: "t".into(),
            payload: vec![0; n_bytes].into(),
            ..Message::default()
        };
        taken(&broker, &message)
    };
    let no = refused(Reason::QuotaExceeded);
    let n_queued = || session.outbound.lock().n_queued();
    assert_eq!(take_it(1, 1, in_row, 1), Verdict::Accepted);
    assert_eq!(take_it(1, 2, in_row, LARGE), no);
    assert_eq!(
        take_it(1, 3, in_row, 1),
        no,
        "it would come before that one"
    );
    assert_eq!(take_it(1, 3, in_row | repeat, 1), no);
    assert_eq!(take_it(1, 1, in_row | repeat, 1), Verdict::Accepted);
    assert_eq!(n_queued(), 1);
    // Of others nothing is said, nor of what does not come again.
    assert_eq!(take_it(2, 4, in_row, 1), Verdict::Accepted);
    assert_eq!(take_it(1, 5, 0, 1), Verdict::Accepted);
    assert_eq!(n_queued(), 3);
    // They come again, when there is room.
    broker.settings.apply(&Default::default());
    for (id, n_bytes) in [(2, LARGE), (3, 1)] {
        assert_eq!(take_it(3, id, in_row | repeat, n_bytes), Verdict::Accepted);
    }
    assert_eq!(n_queued(), 5);
    assert_eq!(take_it(3, 2, in_row | repeat, LARGE), Verdict::Accepted);
    assert_eq!(n_queued(), 5, "once");
}

/// It becomes known that all know where a session is, while messages of one publisher are on their way
/// to it: the first of them were given back, and come again.
#[tokio::test]
async fn what_is_on_its_way_behind_a_message_that_was_given_back_does_not_overtake_it() {
    const KNOWS: u64 = 9;
    let broker = Broker::in_cluster();
    let mut session = Session::new(7, "c", Outbound::new(true), Life::default());
    session.arrives();
    let session = Arc::new(session);
    let subscription = Subscription::any(session.clone(), Qos::AtLeastOnce);
    broker.table.subscribe(None, "t", 7, subscription);
    let take_it = |id, flags| {
        let message = Message {
            id,
            source: OTHER,
            publisher: 3,
            flags: 1 << 3 | 1 | flags,
            topic: "t".into(),
            knows: KNOWS,
            ..Message::default()
        };
        taken_inbound(&broker, &message)
    };
    let given_back = given_back();
    let repeat = 1_u32 << 4;
    assert_eq!(take_it(1, 0), given_back);
    let stamp = broker.cluster.as_ref().expect("it is in one").stamp();
    session.become_known(KNOWS, stamp);
    assert_eq!(
        [take_it(2, 0), take_it(3, 0)],
        [(); 2].map(|()| given_back.clone())
    );
    assert_eq!(session.outbound.lock().n_queued(), 0);
    for (id, n_queued) in [(1, 1), (2, 2), (3, 3)] {
        assert_eq!(take_it(id, repeat), Verdict::Accepted);
        assert_eq!(session.outbound.lock().n_queued(), n_queued, "{id}");
    }
    assert_eq!(take_it(4, 0), Verdict::Accepted);
    assert_eq!(session.outbound.lock().n_queued(), 4);
}

/// One subscriber is full, and another one is just moving.
#[tokio::test]
async fn what_is_behind_a_message_that_somebody_was_full_for_is_refused_though_it_was_given_back() {
    const LARGE: usize = 1 << 10;
    let broker = Broker::in_cluster();
    bound_queues(&broker, LARGE);
    let [full, moving] = [7, 8].map(|number| {
        let mut session = Session::new(number, "c", Outbound::new(true), Life::default());
        if number == 8 {
            session.arrives();
        }
        Arc::new(session)
    });
    for session in [&full, &moving] {
        let subscription = Subscription::any(session.clone(), Qos::AtLeastOnce);
        broker
            .table
            .subscribe(None, "t", session.number, subscription);
    }
    let take_it = |publisher, id, n_bytes| {
        let message = Message {
            id,
            source: OTHER,
            publisher,
            flags: 1 << 3 | 1 << 7 | 1,
            topic: "t".into(),
            payload: vec![0; n_bytes].into(),
            knows: 9,
            ..Message::default()
        };
        taken_inbound(&broker, &message)
    };
    let given_back = given_back();
    let n_queued = || full.outbound.lock().n_queued();
    assert_eq!(take_it(1, 1, 1), given_back);
    assert_eq!(take_it(1, 2, LARGE), given_back);
    assert_eq!(n_queued(), 1, "it is full");
    assert_eq!(take_it(1, 3, 1), refused(Reason::QuotaExceeded));
    assert_eq!(n_queued(), 1);
    assert_eq!(take_it(2, 4, 1), given_back);
    assert_eq!(n_queued(), 2, "of another stream");
}

/// What a bridge brings comes again until there is room for a full subscriber; what another one has had
/// that ends with its connection is stored nowhere.
#[tokio::test]
async fn what_a_connected_client_had_comes_once_though_it_comes_in_a_row_until_another_has_room() {
    const LARGE: usize = 1 << 10;
    let broker = Broker::in_cluster();
    bound_queues(&broker, LARGE);
    let [has, full] = [(7, false), (8, true)].map(|(number, is_stored)| {
        let mut outbound = Outbound::new(is_stored);
        if !is_stored {
            outbound.attach(Link::any(9));
        }
        let session = Arc::new(Session::new(number, "c", outbound, Life::default()));
        let subscription = Subscription::any(session.clone(), Qos::ExactlyOnce);
        broker.table.subscribe(None, "t", number, subscription);
        session
    });
    let subscription = Subscription::any(full.clone(), Qos::ExactlyOnce);
    broker.table.subscribe(None, "full", 8, subscription);
    let in_row = 1 << 7;
    let mut n_streams = 0; // one that was refused begins anew
    let mut take_it = |topic: &str, (id, flags), n_bytes| {
        let mut message = message(id, 1_u32 << 3 | 2 | flags);
        n_streams += 1;
        message.publisher = n_streams;
        (message.topic, message.payload) = (topic.to_owned().into(), vec![0; n_bytes].into());
        taken_inbound(&broker, &message)
    };
    assert_eq!(take_it("full", (1, 0), LARGE * 3 / 4), Verdict::Accepted);
    let n_had = || has.outbound.lock().n_inflight();
    for flags in [0, 1 << 4, 1 << 4] {
        let verdict = take_it("t", (2, in_row | flags), LARGE / 2);
        assert_eq!(verdict, refused(Reason::QuotaExceeded));
        assert_eq!(n_had(), 1);
    }
    broker.settings.apply(&Default::default());
    assert_eq!(
        take_it("t", (2, in_row | 1 << 4), LARGE / 2),
        Verdict::Accepted
    );
    assert_eq!((n_had(), full.outbound.lock().n_queued()), (1, 2));
}

/// One subscriber does not get it, another one has moved, and each round would bring a third one more.
#[tokio::test]
async fn what_somebody_had_comes_once_though_another_refuses_it_and_one_has_moved() {
    let broker = Broker::in_cluster();
    let (direct, repeat, orphan) = (1_u32 << 3, 1_u32 << 4, 1_u32 << 5);
    let [has, moved, stolen] = [7, 8, 9].map(|number| {
        let session = Session::new(number, "c", Outbound::new(true), Life::default());
        let session = Arc::new(session);
        let subscription = Subscription::any(session.clone(), Qos::ExactlyOnce);
        broker.table.subscribe(None, "t", number, subscription);
        session
    });
    for session in [&moved, &stolen] {
        session.outbound.lock().move_away();
    }
    stolen.outbound.lock().give_up();
    let take_it = |id, flags| taken_inbound(&broker, &message(id, direct | 2 | flags));
    let n_queued = || has.outbound.lock().n_queued();
    for flags in [0, repeat, repeat] {
        assert_eq!(take_it(1, flags), refused(Reason::UnspecifiedError));
        assert_eq!(n_queued(), 1);
    }
    // Nobody would publish it again for who has moved.
    for flags in [0, repeat, repeat] {
        assert_eq!(take_it(2, orphan | flags), given_back());
        assert_eq!(n_queued(), 2);
    }
}

#[tokio::test]
async fn a_topic_that_no_packet_can_have_is_refused() {
    let broker = Broker::in_cluster();
    let take_it = |length: usize| {
        let message = Message {
            id: 1,
            source: OTHER,
            flags: 1 << 3 | 1,
            topic: "t".repeat(length).into(),
            ..Message::default()
        };
        taken(&broker, &message)
    };
    assert_eq!(take_it(MAX_LENGTH + 1), refused(Reason::MalformedPacket));
    assert_eq!(take_it(MAX_LENGTH), Verdict::Accepted);
}

/// The only member of the group `g` for the topic `t`.
fn join(broker: &Broker, session: Session) -> Arc<Session> {
    let session = Arc::new(session);
    let share = Share {
        group: "g".into(),
        filter: "t".into(),
    };
    let subscription = Subscription {
        share: Some(Arc::new(share)),
        ..Subscription::any(session.clone(), Qos::ExactlyOnce)
    };
    let number = session.number;
    broker.table.subscribe(Some("g"), "t", number, subscription);
    session
}

/// What a message for that group is answered that comes from the gateway that routed it first.
fn comes_for_group(broker: &Arc<Broker>, id: u64, flags: u32, knows: u64) -> Verdict {
    comes_from(broker, OTHER, (id, flags, knows))
}

/// The same from this one.
fn comes_from(broker: &Arc<Broker>, from: u64, (id, flags, knows): (u64, u32, u64)) -> Verdict {
    let pick = Pick {
        group: "g".into(),
        filter: "t".into(),
    };
    let message = Message {
        id,
        source: OTHER,
        flags: 2 | flags,
        knows,
        topic: "t".into(),
        picks: vec![pick],
        ..Message::default()
    };
    let mut turn = Turn::new(broker);
    turn.inbound = Some(0);
    let verdict = take(&mut turn, &message, from);
    turn.finish(None);
    verdict
}

/// A publisher went from one gateway to another, which goes on under the name that the first one
/// gave its message, while what that one sent is still on its way.
#[tokio::test]
async fn a_group_gets_once_what_its_gateway_routes_under_the_name_that_another_gave_it() {
    let broker = Broker::in_cluster();
    let session = Session::new(7, "member", Outbound::new(true), Life::default());
    let session = join(&broker, session);
    let origin = |id| Origin { source: OTHER, id };
    let goes_on = |id| {
        let mut turn = Turn::new(&broker);
        turn.begin_message();
        turn.go_on(origin(id));
        turn.is_repeat = true;
        let message = MessageRef::any(Qos::ExactlyOnce);
        let plan = broker.table.plan("t");
        turn.route_begun(message, &plan, Author::named("c", ""));
        turn.since = None;
        turn.finish(None);
    };
    let comes = |id, flags| {
        let verdict = comes_for_group(&broker, id, flags, 0);
        assert_eq!(verdict, Verdict::Accepted);
    };
    let n_queued = || session.outbound.lock().n_queued();
    goes_on(1);
    comes(1, 0);
    assert_eq!(n_queued(), 1, "its own came first");
    comes(2, 0);
    goes_on(2);
    assert_eq!(n_queued(), 2, "what the other one sent came first");
    goes_on(1);
    comes(2, 1 << 4);
    assert_eq!(n_queued(), 2, "again");
    let cluster = broker.cluster.as_deref().expect("there is one");
    cluster.picked.forget(origin(1), ("g", "t"), None);
    comes(1, 0);
    assert_eq!(n_queued(), 3, "its member has gone without it");
}

/// Who goes on with a message of which nobody knows whom it reached asks first.
#[tokio::test]
async fn a_group_that_was_said_not_to_have_a_message_takes_it_from_who_asked_only() {
    const REPEAT: u32 = 1 << 4;
    const ASK: u32 = 1 << 6;
    let broker = Broker::in_cluster();
    let session = Session::new(7, "member", Outbound::new(true), Life::default());
    let session = join(&broker, session);
    let n_queued = || session.outbound.lock().n_queued();
    let no = |verdict| {
        let is_no = |picks: &[Pick]| picks.len() == 1;
        matches!(verdict, Verdict::Refused { picks, .. } if is_no(&picks))
    };
    let comes = |id, flags| comes_for_group(&broker, id, flags, 0);
    let from_third = |id, flags| comes_from(&broker, THIRD, (id, flags, 0));
    assert!(no(comes(1, REPEAT | ASK)));
    for flags in [0, REPEAT] {
        let verdict = from_third(1, flags);
        let is_sent_back = matches!(&verdict, Verdict::Moving { picks, .. } if picks.len() == 1);
        assert!(is_sent_back, "who asked sees to it: {verdict:?}");
    }
    assert_eq!(n_queued(), 0, "a question is no message");
    let verdict = from_third(1, REPEAT | ASK);
    assert!(
        matches!(verdict, Verdict::Moving { .. }),
        "one after the other"
    );
    assert_eq!(comes(1, REPEAT), Verdict::Accepted);
    assert_eq!(n_queued(), 1);
    assert_eq!(comes(1, REPEAT | ASK), Verdict::Accepted);
    assert_eq!(comes(2, 0), Verdict::Accepted);
    assert_eq!(comes(2, REPEAT | ASK), Verdict::Accepted);
    assert_eq!(n_queued(), 2);
    session.outbound.lock().move_away();
    let verdict = comes(3, REPEAT | ASK);
    assert!(matches!(verdict, Verdict::Moving { .. }), "{verdict:?}");
}

/// Its last member has left, and this node does not know of those elsewhere.
#[tokio::test]
async fn a_group_without_members_has_not_had_it_though_others_share_its_filter() {
    let broker = Broker::in_cluster();
    let session = Session::new(7, "c", Outbound::new(true), Life::default());
    let subscription = Subscription::any(Arc::new(session), Qos::ExactlyOnce);
    broker.table.subscribe(None, "t", 7, subscription);
    let verdict = comes_for_group(&broker, 1, 0, 0);
    assert!(matches!(verdict, Verdict::Refused { picks, .. } if picks.len() == 1));
}

/// It is chosen no more for that message: two such nodes would send it to and fro.
#[tokio::test]
async fn a_group_whose_members_cannot_take_it_is_told_from_one_without_any() {
    let broker = Broker::in_cluster();
    let share = Share {
        group: "g".into(),
        filter: "t".into(),
    };
    let session = Arc::new(Session::new(7, "c", Outbound::new(true), Life::default()));
    let subscription = Subscription {
        qos: Qos::AtMostOnce,
        share: Some(Arc::new(share)),
        ..Subscription::any(session, Qos::AtMostOnce)
    };
    broker.table.subscribe(Some("g"), "t", 7, subscription);
    let [there, gone] = ["g", "h"].map(|group| Pick {
        group: group.into(),
        filter: "t".into(),
    });
    let refused = |picks: &[&Pick]| {
        let message = Message {
            picks: picks.iter().copied().cloned().collect(),
            ..message(picks.len() as u64, 1)
        };
        match taken_inbound(&broker, &message) {
            Verdict::Refused { reason, picks } => (Reason::from_u8(reason), picks.len()),
            verdict => panic!("{verdict:?}"),
        }
    };
    assert_eq!(refused(&[&there]), (Some(DENIED), 1));
    // Of that one it may be known elsewhere in a moment.
    let no = Some(Reason::NoMatchingSubscribers);
    assert_eq!(refused(&[&there, &gone]), (no, 2));
}

/// What is behind others elsewhere waits for them, and it is its group that waits.
#[tokio::test]
async fn a_group_whose_only_member_is_full_and_has_just_come_is_tried_again() {
    let broker = Broker::in_cluster();
    let mut session = Session::new(7, "member", Outbound::new(true), Life::default());
    session.arrives();
    join(&broker, session);
    let n_most = broker.settings.load().bounds.messages as u64;
    for id in 1..=n_most {
        assert_eq!(comes_for_group(&broker, id, 0, 0), Verdict::Accepted);
    }
    let Verdict::Moving { is_direct, picks } = comes_for_group(&broker, n_most + 1, 0, 1) else {
        panic!("it was taken, or refused");
    };
    assert_eq!((is_direct, picks.len()), (false, 1));
}

#[test]
fn what_is_answered_names_all_who_have_to_be_tried_again() {
    let full = Some(Reason::QuotaExceeded);
    let pick = || {
        vec![Pick {
            group: "g".into(),
            filter: "a".into(),
        }]
    };
    let moving = |is_direct, picks| Verdict::Moving { is_direct, picks };
    assert_eq!(verdict(None, false, false, vec![]), Verdict::Accepted);
    assert_eq!(verdict(None, true, false, vec![]), moving(true, vec![]));
    assert_eq!(verdict(None, true, true, pick()), moving(true, pick()));
    assert_eq!(verdict(None, false, true, pick()), moving(false, pick()));
    assert_eq!(verdict(full, true, false, vec![]), moving(true, vec![]));
    assert_eq!(verdict(full, false, true, pick()), moving(true, pick()));
    assert_eq!(
        verdict(full, false, false, pick()),
        refused(Reason::QuotaExceeded)
    );
    assert!(matches!(
        verdict(None, false, false, pick()),
        Verdict::Refused { picks, .. } if picks == pick()
    ));
}
