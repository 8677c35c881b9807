//! What a bridge brings comes again at another gateway when its stream ends without answers: who has
//! had it does not get it twice.

use std::collections::BTreeMap;

use gatemq_proto::cluster::intake::intake_client::IntakeClient;
use gatemq_proto::cluster::intake::publish_request::Kind;
use gatemq_proto::cluster::intake::{Batch, Message, Open, PublishRequest};
use gatemq_tests::{Cluster, Node, unique};

use super::api::{LIMIT, ask};
use super::shared::{counts, drain, members};

/// A bridge that this test is, by its first incarnation: no process of the cluster has it.
const SOURCE: u64 = 1 << 50;

/// The id of the cluster, as a stream begins with it.
fn cluster_id(cluster: &Cluster) -> Vec<u8> {
    let told = ask(cluster.controls()[0], "GET /cluster", None);
    let digits = told["cluster_id"].as_str().expect("an id").as_bytes();
    let bytes = digits.chunks(2).map(|digits| {
        let digits = str::from_utf8(digits).expect("hexadecimal digits");
        u8::from_str_radix(digits, 16).expect("hexadecimal digits")
    });
    bytes.collect()
}

fn message(topic: &str, number: u16) -> Message {
    Message {
        qos: 2,
        topic: topic.to_owned(),
        payload: number.to_be_bytes().to_vec().into(),
        ..Message::default()
    }
}

/// Brings these messages on a stream of its own, until all are answered; what they are answered.
fn bring(cluster: &[u8], to: &Node, messages: &[Message]) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let open = Kind::Open(Open {
        cluster_id: cluster.to_vec().into(),
        source: SOURCE,
        rule: "r".to_owned(),
    });
    let batch = Kind::Batch(Batch {
        first: 1,
        messages: messages.to_vec(),
        is_last_try: false,
    });
    let (requests, stream) = tokio::sync::mpsc::channel(2);
    for kind in [open, batch] {
        let request = PublishRequest { kind: Some(kind) };
        requests.try_send(request).expect("room");
    }
    let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
    let address = format!("http://{}", to.grpc());
    let bringing = async {
        let mut client = IntakeClient::connect(address).await.expect("it is there");
        let opened = client.publish(stream).await;
        let mut replies = opened.expect("it opens").into_inner();
        let mut reasons = Vec::new();
        while reasons.len() < messages.len() {
            let reply = replies.message().await.expect("no error");
            reasons.extend(reply.expect("an answer").reasons);
        }
        reasons
    };
    runtime.block_on(async {
        let brought = tokio::time::timeout(LIMIT, bringing).await;
        brought.expect("it is answered")
    })
}

/// [MQTT-4.8.2]: a member of the group on any node may have had it.
#[test]
fn what_comes_again_with_qos_2_at_another_gateway_reaches_a_group_and_others_once() {
    const N_MESSAGES: u16 = 24;
    let cluster = Cluster::shared();
    let nodes = cluster.three();
    let id = cluster_id(&cluster);
    for (round, retain) in (0..).zip([false, true]) {
        let topic = unique("brought");
        let mut group = members(&nodes, 3, &format!("$share/team/{topic}"), 2);
        let mut others = members(&nodes, 3, &topic, 2);
        let mut messages: Vec<Message> = (0..N_MESSAGES)
            .map(|number| Message {
                id: 1 + round * 1_000 + u64::from(number),
                retain,
                ..message(&topic, number)
            })
            .collect();
        for node in nodes {
            let reasons = bring(&id, node, &messages);
            assert_eq!(reasons, [0; N_MESSAGES as usize], "to {}", node.name());
            for message in &mut messages {
                message.was_sent = true;
            }
        }
        let expected: BTreeMap<_, _> = (0..N_MESSAGES).map(|number| (number, 1)).collect();
        let received = drain(&mut group, usize::from(N_MESSAGES));
        assert_eq!(counts(&received), expected, "{retain}: {received:?}");
        assert!(received.iter().all(|of_one| !of_one.is_empty()));
        for one in &mut others {
            let received = drain(std::slice::from_mut(one), usize::from(N_MESSAGES));
            let in_order: Vec<_> = (0..N_MESSAGES).collect();
            assert_eq!(received, [in_order], "{retain}");
        }
    }
}

#[test]
fn what_comes_again_replaces_nothing_that_was_retained_since() {
    let cluster = Cluster::shared();
    let [one, two, three] = cluster.three();
    let (id, topic) = (cluster_id(&cluster), unique("retained"));
    let mut retained = Message {
        id: 5_000,
        retain: true,
        ..message(&topic, 1)
    };
    assert_eq!(bring(&id, one, std::slice::from_ref(&retained)), [0]);
    three
        .v5(&unique("publisher"))
        .publish_retained(&topic, 2_u16.to_be_bytes(), 1);
    retained.was_sent = true;
    assert_eq!(bring(&id, two, &[retained]), [0]);
    let mut late = three.v5(&unique("late"));
    late.subscribe(&topic, 1);
    assert_eq!(late.receive().payload, 2_u16.to_be_bytes());
}
