//! Lanes to gateways of these tests, which answer as they are told.

use std::time::Duration;

use gatemq_proto::cluster::intake::intake_server::{Intake, IntakeServer};
use gatemq_proto::cluster::intake::publish_request::Kind;
use gatemq_proto::cluster::intake::{PublishReply, PublishRequest};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

use super::*;

const N_MESSAGES: usize = 1_000;

/// Answers so many messages of each stream, and then ends it.
#[derive(Clone)]
struct Gateway {
    patience: usize,
    reason: u8,
    had: Arc<Mutex<Vec<Message>>>,
}

#[tonic::async_trait]
impl Intake for Gateway {
    type PublishStream = ReceiverStream<Result<PublishReply, Status>>;

    async fn publish(
        &self,
        request: Request<Streaming<PublishRequest>>,
    ) -> Result<Response<Self::PublishStream>, Status> {
        let (replies, stream) = mpsc::channel(1);
        let (gateway, mut requests) = (self.clone(), request.into_inner());
        tokio::spawn(async move {
            let mut left = gateway.patience;
            while let Ok(Some(request)) = requests.message().await {
                let Some(Kind::Batch(batch)) = request.kind else {
                    continue;
                };
                let n_answered = batch.messages.len().min(left);
                left -= n_answered;
                gateway.had.lock().extend(batch.messages);
                let reply = PublishReply {
                    first: batch.first,
                    reasons: vec![gateway.reason; n_answered].into(),
                };
                let _ = replies.send(Ok(reply)).await;
                if left == 0 {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

async fn serve(patience: usize, reason: u8) -> (String, Gateway) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let gateway = Gateway {
        patience,
        reason,
        had: Arc::default(),
    };
    let server: tonic::transport::Server = tonic::transport::Server::builder();
    let serving = { server }
        .add_service(IntakeServer::new(gateway.clone()))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(serving);
    (address, gateway)
}

/// Publishes numbers; returns the answers in the order in which they came.
async fn publish(addresses: Vec<String>) -> Vec<(usize, Answer)> {
    const PATIENCE: Duration = Duration::from_millis(300);
    let (_gateways, watched) = watch::channel(addresses);
    let outbound = Outbound::new(
        Bytes::new(),
        9,
        watched,
        Dialer::default(),
        TaskTracker::new(),
        CancellationToken::new(),
    );
    let lane = outbound.lane("r", PATIENCE);
    let (answers, mut answered) = mpsc::channel(N_MESSAGES);
    for number in 0..N_MESSAGES {
        let arrival = Arrival {
            topic: "a/b".to_owned(),
            qos: Qos::AtLeastOnce,
            is_retained: false,
            expiry: None,
            trace: None,
            properties: Bytes::new(),
            payload: number.to_string().into(),
        };
        let answers = answers.clone();
        let done = Box::new(move |answer| {
            answers.try_send((number, answer)).expect("there is room");
        });
        lane.publish(arrival, done).await;
    }
    let mut all = Vec::new();
    let collecting = async {
        while all.len() < N_MESSAGES {
            all.extend(answered.recv().await);
        }
    };
    let limit = Duration::from_secs(30);
    let collected = tokio::time::timeout(limit, collecting).await;
    collected.expect("all are answered in time");
    assert!(lane.is_empty());
    all
}

#[tokio::test]
async fn what_one_gateway_does_not_answer_goes_to_another_under_the_same_ids() {
    let (first, dying) = serve(300, 0).await;
    let (second, living) = serve(usize::MAX, 0).await;
    let answers = publish(vec![first, second]).await;
    let numbers = answers.iter().map(|(number, _)| *number);
    assert!(numbers.eq(0..N_MESSAGES), "in order");
    assert!(answers.iter().all(|it| it.1 == Answer::Accepted));
    let (died, lived) = (dying.had.lock(), living.had.lock());
    let all = died.iter().chain(lived.iter());
    let mut ids: Vec<_> = all.map(|it| (it.payload.clone(), it.id)).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), N_MESSAGES, "a message has one id");
    assert_eq!(lived.last().map(|it| &*it.payload), Some(&b"999"[..]));
}

#[tokio::test]
async fn what_is_refused_for_good_is_told() {
    let (address, _gateway) = serve(usize::MAX, 0x95).await;
    let answers = publish(vec![address]).await;
    let refused = Answer::Refused(Reason::PacketTooLarge);
    assert!(answers.iter().all(|(_, answer)| *answer == refused));
}

#[tokio::test]
async fn what_a_full_subscriber_refuses_for_long_holds_up_nothing_behind_it() {
    let (address, gateway) = serve(usize::MAX, 0x97).await;
    let answers = publish(vec![address]).await;
    let refused = Answer::Refused(Reason::QuotaExceeded);
    assert!(answers.iter().all(|(_, answer)| *answer == refused));
    let had = gateway.had.lock();
    let n_first = had.iter().filter(|it| &*it.payload == b"0").count();
    assert!(n_first > 1, "it was tried again");
}
