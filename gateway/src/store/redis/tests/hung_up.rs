//! A client that hangs up before it is let in has not come back: the will of its connection before
//! is published when it is due.

use std::sync::Arc;

use redis::Value;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::time::{Duration, Instant};

use super::fixture::{Server, eventually, tag};
use super::gateway::{claim_of, join, patient_gateway_with, settled};
use super::stolen::connect_with_will;
use crate::agenda;
use crate::broker::Broker;
use crate::config::Rates;
use crate::connection::Connection;
use crate::connection::handshake::{Accepted, Peer};
use crate::connection::stream::Stream;
use crate::lifecycle::{Claim, NoSession};
use crate::session::End;

/// CONNECT of MQTT 5.0, without clean start, by the client "c"; its session lives for an hour.
const CONNECT: &[u8] = b"\x10\x13\x00\x04MQTT\x05\x00\x00\x00\x05\x11\x00\x00\x0E\x10\x00\x01c";
const PINGREQ: &[u8] = b"\xC0\x00";

/// A client that has said this to a gateway.
async fn says(words: &[&[u8]]) -> (DuplexStream, Accepted) {
    let (mut client, stream) = tokio::io::duplex(4_096);
    for word in words {
        client.write_all(word).await.expect("it has room");
    }
    let (stream, socket) = Stream::owned(stream);
    let peer = Peer {
        address: None,
        port: None,
        listener: "test".into(),
        allow_anonymous: true,
        named: None,
    };
    let accepted = Accepted {
        stream,
        socket,
        peer,
        listener: None,
        client_publish: Rates::default(),
        deadline: Instant::now() + Duration::from_secs(20),
    };
    (client, accepted)
}

/// Two gateways; the session of "c" waits at the first one, with a will that is due after so many
/// seconds. Returns the session's number, too.
async fn left(server: &Server, delay: u32) -> ([Arc<Broker>; 2], u64) {
    let one = patient_gateway_with(server.config(), |broker| join(broker, 1)).await;
    let two = patient_gateway_with(server.config(), |broker| join(broker, 2)).await;
    for broker in [&one, &two] {
        broker.tasks.spawn(agenda::run(broker.clone()));
    }
    let session = connect_with_will(&one, "c", delay).await;
    one.detach(&session, &End::Lost);
    settled(&one).await;
    ([one, two], session.number)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_will_of_who_hangs_up_at_once_is_published() {
    for at in 0..2 {
        let server = Server::start(&[]).await;
        let (gateways, _) = left(&server, 1).await;
        let (client, accepted) = says(&[CONNECT]).await;
        drop(client);
        let connection = Connection::open(gateways[at].clone(), accepted).await;
        assert!(connection.is_none(), "it is gone, at {at}");
        let redis = gateways[at].store.redis().expect("it is in Redis");
        let deadline = Instant::now() + Duration::from_secs(20);
        // It is retained.
        while redis
            .count_retained()
            .await
            .map_or(true, |n_retained| n_retained == 0)
        {
            assert!(Instant::now() < deadline, "it is not published, at {at}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A session that is nobody's in particular would be closed to everybody else.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_not_theirs_who_hang_up_at_once() {
    for at in 0..2 {
        let server = Server::start(&[]).await;
        let (gateways, number) = left(&server, 300).await;
        let claim = |principal| Claim {
            principal: Some(principal),
            ..claim_of("c")
        };
        let claimed = gateways[at].claim(&claim("user ann")).await;
        let claimed = claimed.expect("it is for whoever comes");
        assert!(claimed.is_present && claimed.session.number == number);
        gateways[at].detach(&claimed.session, &End::Lost);
        settled(&gateways[at]).await;
        for gateway in &gateways {
            let claimed = gateway.claim(&claim("user bob")).await;
            let claimed = claimed.expect("it is for whoever comes still");
            assert!(claimed.is_present && claimed.session.number == number);
            gateway.let_in(&claimed.session, None).await;
            gateway.detach(&claimed.session, &End::Lost);
            settled(gateway).await;
            let refused = gateway.claim(&claim("user ann")).await;
            assert_eq!(refused.err(), Some(NoSession::NotOwn), "it is bob's now");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn that_of_who_is_let_in_is_forgotten() {
    // One that waits, and one that has said all that it has to say.
    for (words, stays) in [(&[CONNECT][..], true), (&[CONNECT, PINGREQ], false)] {
        for at in 0..2 {
            let server = Server::start(&[]).await;
            let (gateways, number) = left(&server, 300).await;
            let (client, accepted) = says(words).await;
            let client = stays.then_some(client);
            let connection = Connection::open(gateways[at].clone(), accepted).await;
            assert!(connection.is_some(), "it is let in, at {at}");
            drop((connection, client));
            settled(&gateways[at]).await;
            let key = format!("gatemq:{}:w:{number}", tag("c"));
            assert_eq!(server.ask(&["EXISTS", &key]).await, Value::Int(0));
            let session = gateways[at].registry.lock("c").find("c").cloned();
            let session = session.expect("it waits for its client");
            eventually("nobody has it", || !session.life.lock().is_claimed).await;
            assert!(session.life.lock().will_timer.is_none());
        }
    }
}
