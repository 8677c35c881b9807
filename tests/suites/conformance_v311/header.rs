//! Chapter 2: flags of the fixed header, packet ids, remaining length.

use gatemq_tests::{Broker, Client, Connect, Publish, unique, wire};

use super::{client, keeper, resume, violates};

#[test]
fn mqtt311_2_2_2_1_reserved_flags_are_sent_as_listed() {
    let broker = Broker::shared();
    let mut client = Client::connect_tcp(broker.tcp());
    client.send(&Connect::new(4, unique("flags")).bytes());
    let topic = unique("flags");
    let check = |client: &mut Client, kind, flags| {
        let packet = client.recv().expect(kind);
        assert_eq!(packet.flags, flags, "{packet:?}"); // [MQTT-2.2.2-1]
    };
    check(&mut client, wire::CONNACK, 0);
    client.send(&wire::subscribe(4, 1, &Default::default(), &[(&topic, 2)]));
    check(&mut client, wire::SUBACK, 0);
    client.send(&Publish::new("elsewhere", "x").qos(1, 2).bytes(4));
    check(&mut client, wire::PUBACK, 0);
    client.send(&Publish::new("elsewhere", "x").qos(2, 3).bytes(4));
    check(&mut client, wire::PUBREC, 0);
    client.send(&wire::ack(wire::PUBREL, 3));
    check(&mut client, wire::PUBCOMP, 0);
    client.send(&wire::unsubscribe(4, 4, &Default::default(), &[&topic]));
    check(&mut client, wire::UNSUBACK, 0);
    client.send(&wire::pingreq());
    check(&mut client, wire::PINGRESP, 0);
}

#[test]
fn mqtt311_2_2_2_1_pubrel_is_sent_with_flags_2() {
    let broker = Broker::shared();
    let topic = unique("pubrel");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 2);
    client(&broker).publish(&topic, "x", 2);
    let id = subscriber.expect_publish().id.expect("QoS 2 has an id");
    subscriber.send(&wire::ack(wire::PUBREC, id));
    let pubrel = subscriber.recv().expect(wire::PUBREL);
    assert_eq!((pubrel.flags, pubrel.body), (2, id.to_be_bytes().to_vec())); // [MQTT-2.2.2-1]
}

#[test]
fn mqtt311_2_2_2_2_invalid_flags_close() {
    let filter = [&[0, 9][..], &wire::text("a")].concat();
    let cases: [(u8, Vec<u8>, u8); 8] = [
        (wire::PUBACK, vec![0, 9], 0),
        (wire::PUBREC, vec![0, 9], 0),
        (wire::PUBREL, vec![0, 9], 2),
        (wire::PUBCOMP, vec![0, 9], 0),
        (wire::SUBSCRIBE, [&filter[..], &[0]].concat(), 2),
        (wire::UNSUBSCRIBE, filter, 2),
        (wire::PINGREQ, vec![], 0),
        (wire::DISCONNECT, vec![], 0),
    ];
    for (kind, body, legal) in cases {
        for flags in (0..16).filter(|flags| *flags != legal) {
            violates(wire::name(kind), &wire::frame(kind << 4 | flags, &body)); // [MQTT-2.2.2-2]
        }
    }
}

#[test]
fn mqtt311_2_2_2_2_connect_with_flags_closes() {
    for flags in 1..16 {
        let connect = Connect::new(4, unique("flags"));
        super::is_no_connect("flags", &wire::frame(0x10 | flags, &connect.body()));
    }
}

#[test]
fn mqtt311_2_3_1_1_packet_id_zero_closes() {
    violates("PUBLISH QoS 1", &Publish::new("a", "x").qos(1, 0).bytes(4)); // [MQTT-2.3.1-1]
    violates("PUBLISH QoS 2", &Publish::new("a", "x").qos(2, 0).bytes(4));
    violates(
        "SUBSCRIBE",
        &wire::subscribe(4, 0, &Default::default(), &[("a", 0)]),
    );
    violates(
        "UNSUBSCRIBE",
        &wire::unsubscribe(4, 0, &Default::default(), &["a"]),
    );
}

#[test]
fn mqtt311_2_3_1_4_the_broker_assigns_free_packet_ids_and_keeps_them_in_a_resend() {
    let broker = Broker::shared();
    let topic = unique("ids");
    let (mut subscriber, id) = keeper(&broker);
    subscriber.subscribe(&topic, 2);
    let mut publisher = client(&broker);
    for qos in [1, 2, 1, 2] {
        publisher.publish(&topic, "x", qos);
    }
    let mut ids: Vec<_> = (0..4).map(|_| subscriber.expect_publish().id).collect();
    subscriber.cut();
    let mut subscriber = resume(&broker, &id);
    let again: Vec<_> = (0..4).map(|_| subscriber.expect_publish().id).collect();
    assert_eq!(again, ids); // [MQTT-2.3.1-4]
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4, "an id was used twice: {ids:?}");
    assert!(!ids.contains(&Some(0)) && !ids.contains(&None)); // [MQTT-2.3.1-1]
}

#[test]
fn mqtt311_2_3_1_5_qos_0_has_no_packet_id() {
    let broker = Broker::shared();
    let topic = unique("noid");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 2);
    client(&broker).publish(&topic, "payload", 0);
    let body = subscriber.recv().expect(wire::PUBLISH).body;
    assert_eq!(body, [&wire::text(&topic)[..], b"payload"].concat()); // [MQTT-2.3.1-5]
}

#[test]
fn mqtt311_2_3_1_6_acknowledgements_carry_the_publishers_id() {
    let broker = Broker::shared();
    let mut publisher = client(&broker);
    for id in [1, 255, 256, 65_535] {
        publisher.send(&Publish::new("ids", "x").qos(1, id).bytes(4));
        publisher.expect_ack(wire::PUBACK, id); // [MQTT-2.3.1-6]
        publisher.send(&Publish::new("ids", "x").qos(2, id).bytes(4));
        publisher.expect_ack(wire::PUBREC, id);
        publisher.send(&wire::ack(wire::PUBREL, id));
        publisher.expect_ack(wire::PUBCOMP, id);
    }
}

#[test]
fn mqtt311_2_3_1_7_suback_and_unsuback_carry_the_id() {
    let broker = Broker::shared();
    let mut client = client(&broker);
    for id in [1, 256, 65_535] {
        client.send(&wire::subscribe(
            4,
            id,
            &Default::default(),
            &[("ids/x", 0)],
        ));
        assert_eq!(client.recv().suback(wire::SUBACK, 4).id, id); // [MQTT-2.3.1-7] [MQTT-3.8.4-2]
        client.send(&wire::unsubscribe(4, id, &Default::default(), &["ids/x"]));
        assert_eq!(client.recv().suback(wire::UNSUBACK, 4).id, id); // [MQTT-3.10.4-4]
    }
}

#[test]
fn remaining_length_of_five_bytes_closes() {
    violates("five bytes", &[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]);
}

#[test]
fn packets_only_a_server_sends_close() {
    for kind in [
        wire::CONNACK,
        wire::SUBACK,
        wire::UNSUBACK,
        wire::PINGRESP,
        0,
        15,
    ] {
        let body: &[u8] = if kind == wire::PINGRESP {
            &[]
        } else {
            &[0, 1, 0]
        };
        violates(wire::name(kind), &wire::frame(kind << 4, body));
    }
}
