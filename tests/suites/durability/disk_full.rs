//! The disk fills up, by others or by the broker itself: nothing new is stored before it is full,
//! who asks for it is told, and what makes room works. Needs the right to mount a small file system.

use std::time::Duration;

use gatemq_tests::{
    Broker, Client, Connect, Publish, eventually, nemesis::disk::SmallDisk, unique, wire,
};

/// The reason code of a QoS 1 publish.
fn publish(client: &mut Client, topic: &str, payload: &[u8], retain: bool) -> u8 {
    let id = client.next_id();
    let publish = Publish::new(topic, payload).qos(1, id);
    let publish = if retain { publish.retain() } else { publish };
    client.send(&publish.bytes(5));
    client.expect_ack(wire::PUBACK, id).reason
}

#[test]
fn nothing_new_is_stored_on_a_disk_that_is_nearly_full() {
    for way in ["redb", "fjall"] {
        let broker = Broker::builder().storage(way).start();
        broker.terminate();
        let disk = match SmallDisk::mount(160, &broker.data_dir()) {
            Ok(disk) => disk,
            Err(why) => return crate::foreign::skip("a disk that fills up", &why.to_string()),
        };
        broker.restart();
        let topic = unique("full");
        let away = Connect::persistent(5, unique("away"));
        let mut client = Client::connect(&broker, &away).0;
        client.subscribe(&topic, 1);
        client.disconnect();
        let mut publisher = Client::v5(&broker, &unique("pub"));
        let kept = format!("{topic}/kept");
        assert_eq!(publish(&mut publisher, &topic, b"first", false), 0);
        assert!(publish(&mut publisher, &kept, b"x", true) < 0x80);

        disk.take(110);
        eventually!(publish(&mut publisher, &topic, b"no room", false) == 0x97);
        assert_eq!(publish(&mut publisher, &kept, b"y", true), 0x97);
        let (_, refused) = Client::attempt(&broker, &Connect::persistent(5, unique("new")));
        assert_eq!(refused.code, 0x97, "a session that would have to be stored");
        // What needs no store goes on, and so does what makes room.
        let mut clean = Client::v5(&broker, &unique("clean"));
        let elsewhere = unique("elsewhere");
        clean.subscribe(&elsewhere, 1);
        assert_eq!(publish(&mut publisher, &elsewhere, b"live", false), 0);
        assert_eq!(clean.receive().payload, b"live");
        assert!(publish(&mut publisher, &kept, b"", true) < 0x80, "a clear");
        let mut client = Client::connect(&broker, &away).0;
        assert_eq!(client.receive().payload, b"first");
        while let Some(packet) = client.recv_within(Duration::from_millis(300)) {
            // Before the broker looked at the disk again.
            let late = packet.publish(5);
            client.acknowledge(&late);
        }
        client.disconnect();

        disk.give_back();
        eventually!(publish(&mut publisher, &topic, b"last", false) == 0);
        let mut client = Client::connect(&broker, &away).0;
        assert_eq!(client.receive().payload, b"last");
        assert_eq!(broker.terminate().code(), Some(0), "{}", broker.log());
    }
}

#[test]
fn a_disk_that_queues_filled_has_room_again_when_they_are_drained() {
    for way in ["redb", "fjall"] {
        let config = "limits: {max-queued-bytes: 1GiB}\n";
        let broker = Broker::builder().config(config).storage(way).start();
        broker.terminate();
        // fjall keeps a journal of 64 MiB, too.
        let _disk = match SmallDisk::mount(288, &broker.data_dir()) {
            Ok(disk) => disk,
            Err(why) => return crate::foreign::skip("a disk that fills up", &why.to_string()),
        };
        broker.restart();
        let topic = unique("full");
        let away = Connect::persistent(5, unique("away"));
        let mut client = Client::connect(&broker, &away).0;
        client.subscribe(&topic, 1);
        client.disconnect();
        for is_restarted in [false, true] {
            let mut publisher = Client::v5(&broker, &unique("pub"));
            let payload = [7; 60_000];
            let n_taken = (0..10_000)
                .take_while(|_| publish(&mut publisher, &topic, &payload, false) == 0)
                .count();
            assert!((1..10_000).contains(&n_taken), "{way}: {n_taken}");
            let mut client = Client::connect(&broker, &away).0;
            for number in 0..n_taken {
                let publish = client.receive();
                assert_eq!(publish.payload, payload, "{way}: {number}");
                client.acknowledge(&publish);
            }
            client.disconnect();
            if is_restarted {
                assert_eq!(broker.terminate().code(), Some(0), "{}", broker.log());
                broker.restart();
                publisher = Client::v5(&broker, &unique("pub"));
            }
            let limit = Duration::from_secs(30);
            eventually!(limit, publish(&mut publisher, &topic, b"last", false) == 0);
            let mut client = Client::connect(&broker, &away).0;
            let last = client.receive();
            assert_eq!(last.payload, b"last");
            client.acknowledge(&last);
            client.disconnect();
        }
        assert_eq!(broker.terminate().code(), Some(0), "{}", broker.log());
    }
}
