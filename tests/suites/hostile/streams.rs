//! D7: HTTP/2 that costs more than it should, on the ports that are for nodes: the cluster goes on
//! and pays little.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use gatemq_tests::{Cluster, history::Random};

use super::{SOON, is_well};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// Memory that all of this may cost a node for good.
const COST_KIB: u64 = 64 << 10;
/// How long one kind of abuse goes on, at most.
const PERIOD: Duration = Duration::from_secs(2);

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame is short");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A gRPC call of this method, in HPACK without a table.
fn call(path: &str) -> Vec<u8> {
    let text = |text: &str| {
        let length = u8::try_from(text.len()).expect("short").min(126);
        [&[length], text.as_bytes()].concat()
    };
    let mut block = vec![0x83, 0x86]; // POST, http
    block.push(0x04); // :path
    block.extend(text(path));
    block.push(0x01); // :authority
    block.extend(text("localhost"));
    block.extend([0x0F, 0x10]); // content-type
    block.extend(text("application/grpc"));
    block.push(0x00);
    block.extend(text("te"));
    block.extend(text("trailers"));
    block
}

/// What whole connections say that call this method, with messages of several lengths.
pub(crate) fn calls(path: &str) -> Vec<Vec<u8>> {
    let headers = frame(HEADERS, END_HEADERS, 1, &call(path));
    let messages: [&[u8]; 3] = [
        &[0, 0, 0, 0, 0],
        &[0, 0, 0, 0, 4, 0x0A, 2, 8, 1],
        &[0, 0, 0, 0, 8, 0x0A, 6, 8, 1, 16, 2, 0x22, 0],
    ];
    let begin = [
        PREFACE,
        &frame(SETTINGS, 0, 0, &[]),
        &frame(SETTINGS, 1, 0, &[]),
    ]
    .concat();
    let whole = messages.map(|message| {
        let data = frame(DATA, END_STREAM, 1, message);
        [&begin[..], &headers, &data].concat()
    });
    whole.to_vec()
}

/// A connection that has begun HTTP/2.
fn begin(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect_timeout(&address, SOON).expect("somebody listens");
    for set in [TcpStream::set_read_timeout, TcpStream::set_write_timeout] {
        set(&stream, Some(Duration::from_millis(500))).expect("a timeout can be set");
    }
    let hello = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    stream.write_all(&hello).expect("it is read");
    stream
}

/// Sends what `next` makes until there is no more, nobody reads it any more, or the period is over;
/// what comes back is read now and then.
fn pour(address: SocketAddr, mut next: impl FnMut(u32) -> Option<Vec<u8>>) {
    let mut stream = begin(address);
    let until = Instant::now() + PERIOD;
    let mut buffer = vec![0; 64 << 10];
    let _never = stream.set_nonblocking(false);
    for at in 0.. {
        let Some(bytes) = next(at) else { break };
        if stream.write_all(&bytes).is_err() || Instant::now() > until {
            break;
        }
        if at % 64 == 0 {
            let _set = stream.set_read_timeout(Some(Duration::from_millis(1)));
            if matches!(stream.read(&mut buffer), Ok(0)) {
                break;
            }
        }
    }
}

/// The number of the `at`th stream of a client.
fn stream(at: u32) -> u32 {
    at * 2 + 1
}

/// Everything that is to be survived, on one address; methods of the service there.
fn abuse(address: SocketAddr, methods: &[&str], random: &mut Random) {
    for method in methods {
        let block = call(method);
        let open = |at: u32, flags: u8| frame(HEADERS, flags | END_HEADERS, stream(at), &block);
        // A message that says it has 4 GiB, and then one byte at a time.
        let mut endless = open(0, 0);
        endless.extend(frame(DATA, 0, 1, &[0, 0xFF, 0xFF, 0xFF, 0xFF]));
        pour(address, |at| match at {
            0 => Some(endless.clone()),
            1..2_000 => Some(frame(DATA, 0, 1, &[0])),
            _ => None,
        });
        // One that says it is compressed, and one of 32 MiB that is really sent.
        let big = frame(DATA, 0, 1, &[0; 16_000]);
        pour(address, |at| match at {
            0 => Some([open(0, 0), frame(DATA, 0, 1, &[1, 0, 0, 0, 1, 0])].concat()),
            _ => None,
        });
        pour(address, |at| match at {
            0 => Some([open(0, 0), frame(DATA, 0, 1, &[0, 2, 0, 0, 0])].concat()),
            1..2_000 => Some(big.clone()),
            _ => None,
        });
        // DATA with nothing in it, for ever.
        let empty: Vec<u8> = (0..100).flat_map(|_| frame(DATA, 0, 1, &[])).collect();
        pour(address, |at| match at {
            0 => Some(open(0, 0)),
            _ => Some(empty.clone()),
        });
        // Streams that are opened and left, and streams that are opened and reset.
        pour(address, |at| (at < 20_000).then(|| open(at, 0)));
        pour(address, |at| {
            let reset = frame(RST_STREAM, 0, stream(at), &8_u32.to_be_bytes());
            (at < 50_000).then(|| [open(at, 0), reset].concat())
        });
        // Streams that end at once: no message where there has to be one.
        pour(address, |at| (at < 2_000).then(|| open(at, END_STREAM)));
    }
    let block = call(methods[0]);
    // A header that goes on and on.
    let more = frame(CONTINUATION, 0, 1, &[0x00; 16_000]);
    pour(address, |at| match at {
        0 => Some(frame(HEADERS, 0, 1, &block)),
        _ => Some(more.clone()),
    });
    let nothing: Vec<u8> = (0..100)
        .flat_map(|_| frame(CONTINUATION, 0, 1, &[]))
        .collect();
    pour(address, |at| match at {
        0 => Some(frame(HEADERS, 0, 1, &block)),
        _ => Some(nothing.clone()),
    });
    // Questions whose answers are not read.
    let mut silent = begin(address);
    let pings: Vec<u8> = (0..1_000)
        .flat_map(|_| frame(PING, 0, 0, &[7; 8]))
        .collect();
    let settings: Vec<u8> = (0..1_000)
        .flat_map(|_| frame(SETTINGS, 0, 0, &[]))
        .collect();
    for _ in 0..200 {
        if silent.write_all(&pings).is_err() || silent.write_all(&settings).is_err() {
            break;
        }
    }
    // Windows beyond every bound, streams that are not, frames of a wrong length.
    for wrong in [
        frame(WINDOW_UPDATE, 0, 0, &0x7FFF_FFFF_u32.to_be_bytes()),
        frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
        frame(WINDOW_UPDATE, 0, 7, &[0, 0, 0, 1]),
        frame(DATA, 0, 0, b"x"),
        frame(DATA, 0, 3, b"x"),
        frame(HEADERS, END_HEADERS, 2, &block),
        frame(HEADERS, END_HEADERS, 1, &[0xFF; 64]),
        frame(HEADERS, END_HEADERS, 1, &[]),
        frame(CONTINUATION, END_HEADERS, 1, &block),
        frame(SETTINGS, 0, 0, &[0, 5, 0xFF, 0xFF, 0xFF, 0xFF]),
        frame(SETTINGS, 0, 0, &[0; 5]),
        frame(SETTINGS, 0, 1, &[]),
        frame(PING, 0, 0, &[0; 7]),
        frame(RST_STREAM, 0, 9, &[0; 4]),
        frame(0x42, 0xFF, 1, b"unknown"),
        vec![0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0, 1],
    ] {
        pour(address, |at| (at < 2).then(|| wrong.clone()));
    }
    // Good calls with some bytes changed.
    let good = [
        frame(HEADERS, END_HEADERS, 1, &block),
        frame(DATA, END_STREAM, 1, &[0, 0, 0, 0, 0]),
    ]
    .concat();
    for _ in 0..300 {
        let mut bad = good.clone();
        for _ in 0..=random.below(4) {
            let at = random.below(bad.len());
            bad[at] = random.below(256).to_le_bytes()[0];
        }
        let mut connection = begin(address);
        let _cut = connection.write_all(&bad);
    }
}

#[test]
fn d7_frames_that_cost_much_cost_little() {
    let cluster = Cluster::builder().control(1).gateways(1).start();
    let (control, gateway) = (cluster.node("c1"), cluster.node("g1"));
    let mut random = Random::from_env("frames");
    for (node, address, methods) in [
        (
            control,
            control.raft(),
            &[
                "/gatemq.raft.v1.Raft/Append",
                "/gatemq.control.v1.Control/Watch",
            ][..],
        ),
        (gateway, gateway.grpc(), &["/gatemq.peer.v1.Peer/Forward"]),
    ] {
        let before = node.rss_kib();
        abuse(address, methods, &mut random);
        let growth = node.rss_kib().saturating_sub(before);
        eprintln!("{}: {growth} KiB", node.name());
        assert!(growth < COST_KIB, "{}: {growth} KiB", node.name());
        is_well(&cluster);
    }
    // Nobody has become a member, and nobody has been fenced.
    assert_eq!(
        cluster.complaints(|line| line.contains("fenced")),
        Vec::<String>::new()
    );
}
