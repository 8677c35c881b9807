//! Connections to another broker that says what these tests want.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

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
    let remote = Remote {
        name: "hq".to_owned(),
        address: ("127.0.0.1".to_owned(), address.port()),
        is_v5,
        client_id: "gatemq-b1".to_owned(),
        login: None,
        keep_alive: Duration::from_secs(30),
        tls: None,
    };
    let (_sender, mut link) = open(&remote, "from", true);
    let polling = async {
        loop {
            match link.next().await {
                Ok(_) => {}
                Err(why) => return why,
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
