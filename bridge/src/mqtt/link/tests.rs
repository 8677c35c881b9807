//! Connections to another broker that says what these tests want.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

pub(crate) fn remote(port: u16, is_v5: bool) -> Remote {
    Remote {
        name: "hq".to_owned(),
        address: ("127.0.0.1".to_owned(), port),
        is_v5,
        client_id: "gatemq-b1".to_owned(),
        login: None,
        keep_alive: Duration::from_secs(30),
        tls: None,
        suspect: std::sync::Arc::default(),
    }
}

/// The next packet: its first byte, and what is behind its length.
pub(crate) async fn packet(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let first = stream.read_u8().await.ok()?;
    let (mut length, mut shift) = (0, 0);
    loop {
        let byte = stream.read_u8().await.ok()?;
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((first, body))
}

/// Takes one connection of 5.0 with this CONNACK, and refuses whatever comes with QoS 2.
async fn refuse_all(listener: TcpListener, connack: &'static [u8]) {
    let (mut stream, _) = listener.accept().await.expect("a connection");
    packet(&mut stream).await.expect("a CONNECT");
    stream.write_all(connack).await.expect("it listens");
    while let Some((first, body)) = packet(&mut stream).await {
        assert_eq!(first, 0x34, "a PUBLISH of QoS 2");
        let at = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
        let refused = [0x50, 3, body[at], body[at + 1], 0x87];
        stream.write_all(&refused).await.expect("it listens");
    }
}

/// Whether a release of a message of an earlier connection is answered.
async fn is_answered(is_v5: bool) {
    const RELEASE: [u8; 4] = [0x62, 2, 0, 7];
    const COMPLETE: [u8; 4] = [0x70, 2, 0, 7];
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let broker = async {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut bytes = [0; 512];
        let n_bytes = stream.read(&mut bytes).await.expect("a CONNECT");
        assert!(n_bytes > 0);
        // The session of before goes on.
        let connack: &[u8] = match is_v5 {
            true => &[0x20, 3, 1, 0, 0],
            false => &[0x20, 2, 1, 0],
        };
        stream.write_all(connack).await.expect("it listens");
        stream.write_all(&RELEASE).await.expect("it listens");
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await.expect("an answer");
        answer
    };
    let remote = remote(address.port(), is_v5);
    let (_sender, mut link) = open(&remote, "from", true);
    let polling = async {
        loop {
            match link.next().await {
                Ok(_) => {}
                Err(lost) => return lost.why,
            }
        }
    };
    let answered = async {
        tokio::select! {
            answer = broker => answer,
            why = polling => panic!("{why}"),
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(20), answered).await;
    assert_eq!(answer.expect("in time"), COMPLETE);
}

#[tokio::test]
async fn what_was_answered_on_an_earlier_connection_may_be_released_over_5_0() {
    is_answered(true).await;
}

#[tokio::test]
async fn what_was_answered_on_an_earlier_connection_may_be_released_over_3_1_1() {
    is_answered(false).await;
}

#[tokio::test]
async fn what_is_refused_of_qos_2_holds_up_nothing() {
    const N_MESSAGES: usize = 500;
    // Receive Maximum 20
    const CONNACK: &[u8] = &[0x20, 6, 0, 0, 3, 0x21, 0, 20];
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(refuse_all(listener, CONNACK));
    let (sender, mut link) = open(&remote(port, true), "to", false);
    for _ in 0..N_MESSAGES {
        let parting = Parting {
            topic: "a/secret".to_owned(),
            qos: 2,
            is_retained: false,
            expiry: None,
            described: Described::default(),
            user_properties: Vec::new(),
            payload: Bytes::new(),
        };
        assert!(sender.publish(parting));
    }
    let (mut n_open, mut n_refused) = (0, 0);
    let polling = async {
        while n_refused < N_MESSAGES {
            match link.next().await.expect("it is connected") {
                Event::Sent(_) => n_open += 1,
                Event::Answered(_, outcome) | Event::Completed(_, outcome) => {
                    assert!(outcome.is_err());
                    n_open -= 1;
                    n_refused += 1;
                }
                _ => {}
            }
            assert!(n_open <= 20, "it takes no more at a time");
        }
    };
    let polled = tokio::time::timeout(Duration::from_secs(20), polling).await;
    assert!(polled.is_ok(), "{n_refused} are answered");
}

#[tokio::test]
async fn the_other_broker_says_what_it_takes() {
    // Maximum QoS 1, Retain Available 0
    const CONNACK: &[u8] = &[0x20, 7, 0, 0, 4, 0x24, 1, 0x25, 0];
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(refuse_all(listener, CONNACK));
    let (_sender, mut link) = open(&remote(port, true), "to", false);
    let event = link.next().await.expect("it is connected");
    let Event::Connected { limits, .. } = event else {
        panic!("{event:?}");
    };
    let mut parting = Parting {
        topic: "a".to_owned(),
        qos: 2,
        is_retained: true,
        expiry: None,
        described: Described::default(),
        user_properties: Vec::new(),
        payload: Bytes::new(),
    };
    Limits::NONE.hold(&mut parting);
    assert_eq!((parting.qos, parting.is_retained), (2, true));
    limits.hold(&mut parting);
    assert_eq!((parting.qos, parting.is_retained), (1, false));
}
