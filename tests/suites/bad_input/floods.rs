//! B3, of clients that send as fast as they can: their answers are bounded, and others get their
//! turn.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use gatemq_tests::{Broker, Connect, Properties, Publish, unique, wire};
use socket2::SockRef;

use super::oracle::{Oracle, scaled};

/// Answers wait for a client as messages do; then the broker stops reading from it. Scale 1: up
/// to 64 MiB of each packet, more than may be kept, until the socket takes no more for a second.
#[test]
fn b3_answers_that_nobody_reads_are_bounded() {
    let broker = Broker::builder()
        .config("limits: {max-outbox-bytes: 1MiB}\n")
        .start();
    let oracle = Oracle::watch(&broker);
    let packets = [
        wire::pingreq(),
        wire::ack(wire::PUBREL, 1),
        Publish::new("u", b"").qos(1, 1).bytes(4),
        wire::unsubscribe(4, 1, &Properties::new(), &["u"]),
    ];
    for packet in packets {
        let mut stream = TcpStream::connect(broker.tcp()).expect("it takes connections");
        // So that the kernel takes little of what the broker would keep.
        let small = SockRef::from(&stream).set_recv_buffer_size(16 * 1024);
        small.expect("the buffer can be small");
        stream
            .set_write_timeout(Some(Duration::from_secs(1)))
            .expect("a timeout can be set");
        stream
            .write_all(&Connect::new(4, unique("unread")).bytes())
            .expect("the broker reads");
        let batch = packet.repeat(64 * 1024 / packet.len());
        for _ in 0..scaled(1024) {
            if stream.write_all(&batch).is_err() {
                break;
            }
        }
        eprintln!(
            "{} KiB more after unread answers to {packet:02x?}",
            oracle.growth_kib()
        );
        oracle.grew_less_than(48 * 1024);
    }
    oracle.judge(48 * 1024);
}

/// Sends these bytes over and over, and reads and forgets all answers.
fn flood(broker: &Broker, packet: &[u8], until: Instant) {
    let mut stream = TcpStream::connect(broker.tcp()).expect("it takes connections");
    let mut reading = stream.try_clone().expect("a socket can be shared");
    let connect = Connect::new(4, unique("flood")).bytes();
    stream.write_all(&connect).expect("the broker reads");
    let reader = thread::spawn(move || {
        let mut buffer = vec![0; 256 * 1024];
        while reading.read(&mut buffer).is_ok_and(|count| count > 0) {}
    });
    let limit = Some(Duration::from_millis(500));
    stream
        .set_write_timeout(limit)
        .expect("a timeout can be set");
    let batch = packet.repeat(64 * 1024 / packet.len());
    while Instant::now() < until {
        // The end of the connection, or a broker that takes its time: both are its right.
        if stream.write_all(&batch).is_err() {
            break;
        }
    }
    let _gone = stream.shutdown(std::net::Shutdown::Both);
    reader.join().expect("the reader ends with the connection");
}

/// As many floods as the broker has threads, of the smallest packets there are: a megabyte is
/// half a million of them. Scale 1: 2 s of each.
#[test]
fn b3_floods_of_small_packets_leave_time_for_others() {
    let broker = Broker::builder().args(["--workers", "2"]).start();
    let oracle = Oracle::watch(&broker);
    let packets = [
        wire::pingreq(),
        Publish::new("u", b"").bytes(4),
        wire::unsubscribe(4, 1, &Properties::new(), &["u"]),
    ];
    for packet in &packets {
        let until = Instant::now() + Duration::from_secs(scaled(2) as u64);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| flood(&broker, packet, until));
            }
        });
    }
    oracle.judge(48 * 1024);
}
