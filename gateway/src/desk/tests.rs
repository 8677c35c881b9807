//! Finding clients, without a broker; publishing, with one that has no clients.

use std::sync::Arc;

use super::find::{find, show};
use super::{drain, publish};
use crate::broker::Broker;
use crate::completion;
use crate::memory::Memory;
use crate::proto::cluster::desk::{DrainRequest, FindRequest, PublishRequest, Subscription};
use crate::proto::mqtt::{Qos, Reason, Version};
use crate::registry::Registry;
use crate::session::link::Link;
use crate::session::outbound::Outbound;
use crate::session::{self, Life, Session, Subscribed};

fn registry(client_ids: &[&str]) -> Registry {
    let registry = Registry::default();
    for (number, client_id) in (1..).zip(client_ids) {
        let life = Life {
            version: Some(Version::V5),
            detached_at: 7,
            expiry: 60,
            keep_alive: 30,
            ..Life::default()
        };
        let session = Session::new(number, client_id, Outbound::new(true), life);
        registry.lock(client_id).insert(Arc::new(session));
    }
    registry
}

/// The names of a page, and whether there are more.
fn page(registry: &Registry, search: &str, after: &str, limit: u32) -> (Vec<String>, bool) {
    let request = FindRequest {
        search: search.into(),
        after: after.into(),
        limit,
        ..FindRequest::default()
    };
    let reply = find(registry, &request);
    let names = reply.clients.into_iter().map(|client| client.client_id);
    (names.collect(), reply.has_more)
}

#[test]
fn pages_have_every_client_once_in_order() {
    let names: Vec<String> = (0..257).map(|n| format!("client-{n:03}")).collect();
    let shuffled: Vec<&str> = (0..257).map(|n| &*names[n * 97 % 257]).collect();
    let registry = registry(&shuffled);
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let (page, has_more) = page(&registry, "", &after, 20);
        after = page.last().expect("a page has somebody").clone();
        seen.extend(page);
        if !has_more {
            break;
        }
    }
    assert_eq!(seen, names);
}

#[test]
fn a_search_looks_for_a_part_in_any_case() {
    let registry = registry(&["Pump-1", "pump-2", "valve-1", "backpump"]);
    let found = page(&registry, "PUMP", "", 10);
    let expected = ["Pump-1", "backpump", "pump-2"].map(str::to_owned);
    assert_eq!(found, (expected.to_vec(), false));
    assert_eq!(
        page(&registry, "pump", "", 1),
        (vec!["Pump-1".to_owned()], true)
    );
    assert_eq!(page(&registry, "none", "", 10), (Vec::new(), false));
}

#[test]
fn one_client_is_shown_whole() {
    let registry = registry(&["a", "b"]);
    let session = registry.lock("a").find("a").cloned().expect("it is there");
    let subscribed = Subscribed {
        no_local: true,
        id: 9,
        ..Subscribed::any(Qos::AtLeastOnce)
    };
    for filter in ["z/+", "b/#"] {
        let mut subscriptions = session.subscriptions.lock();
        subscriptions.insert(filter.into(), subscribed.clone());
    }
    let shown = show(&registry, "a");
    let client = shown.client.expect("it is known");
    assert_eq!(
        (client.version, client.since, client.is_connected),
        (5, 7, false)
    );
    assert_eq!((shown.session_expiry, shown.keep_alive), (60, 30));
    let filters = ["b/#", "z/+"].map(|filter| Subscription {
        filter: filter.into(),
        qos: 1,
        no_local: true,
        retain_as_published: false,
        id: 9,
    });
    assert_eq!(shown.subscriptions, filters);
    assert!(show(&registry, "c").client.is_none());
}

fn broker() -> Arc<Broker> {
    let broker = Broker::in_memory();
    broker.tasks.spawn(completion::run(broker.clone()));
    broker
}

fn message(topic: &str, qos: u32) -> PublishRequest {
    PublishRequest {
        topic: topic.into(),
        payload: "p".into(),
        qos,
        ..PublishRequest::default()
    }
}

#[tokio::test]
async fn a_retained_message_is_safe_when_it_is_answered() {
    let broker = broker();
    let retained = PublishRequest {
        retain: true,
        content_type: "text/plain".into(),
        is_text: true,
        ..message("a/b", 1)
    };
    let reason = publish::publish(&broker, &retained).await;
    assert_eq!(reason.expect("it is taken"), Reason::NoMatchingSubscribers);
    assert_eq!(broker.retained.len(), 1);
    assert!(broker.store.stats().commits > 0, "it is stored");
    let plain = publish::publish(&broker, &message("a/b", 0)).await;
    assert_eq!(plain.expect("it is taken"), Reason::NoMatchingSubscribers);
    broker.tasks_end.cancel();
}

#[tokio::test]
async fn a_message_for_very_many_is_answered_when_it_is_written_to_all() {
    let broker = broker();
    let subscribers = (1..=1_000).map(|number| {
        let session = Session::new(number, "c", Outbound::new(false), Life::default());
        session.outbound.lock().attach(Link::any(1));
        Arc::new(session)
    });
    let subscribers: Vec<Arc<Session>> = subscribers.collect();
    for session in &subscribers {
        let subscription = session::Subscription::any(session.clone(), Qos::AtLeastOnce);
        broker
            .table
            .subscribe(None, "a", session.number, subscription);
    }
    for request in [message("a", 0), message("a", 1)] {
        let reason = publish::publish(&broker, &request).await;
        assert_eq!(reason.expect("it is taken"), Reason::Success);
        let n_unwritten = subscribers.iter().filter(|session| {
            let outbound = session.outbound.lock();
            outbound.link.as_ref().is_some_and(|link| link.is_dirty)
        });
        assert_eq!(n_unwritten.count(), 0);
    }
    broker.tasks_end.cancel();
}

#[tokio::test]
async fn what_is_no_message_here_is_refused() {
    let broker = broker();
    let wrong = [
        message("", 0),
        message("a/#", 0),
        message("$SYS/x", 0),
        message("a", 3),
        PublishRequest {
            response_topic: "a/+".into(),
            ..message("a", 0)
        },
        PublishRequest {
            content_type: "nul \0".into(),
            ..message("a", 0)
        },
        PublishRequest {
            content_type: "x".repeat(70_000),
            ..message("a", 0)
        },
    ];
    for request in wrong {
        let refused = publish::publish(&broker, &request).await;
        let code = refused.map_err(|status| status.code());
        assert_eq!(code, Err(tonic::Code::InvalidArgument), "{request:?}");
    }
    broker.tasks_end.cancel();
}

#[tokio::test]
async fn without_memory_no_message_is_taken() {
    let mut broker = Broker::in_memory();
    Arc::get_mut(&mut broker).expect("nobody else's").memory = Memory::new(1_000);
    broker.memory.look(950);
    let refused = publish::publish(&broker, &message("a", 0)).await;
    let status = refused.expect_err("it is not taken");
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert!(status.message().contains("memory"), "{status}");
    broker.memory.look(0);
    assert!(publish::publish(&broker, &message("a", 0)).await.is_ok());
    broker.tasks_end.cancel();
}

#[tokio::test]
async fn a_drained_gateway_takes_nobody() {
    let broker = broker();
    assert_eq!(drain::drain(&broker, &DrainRequest::default()), 0);
    assert!(broker.is_draining());
    assert!(broker.draining.is_cancelled());
    broker.tasks_end.cancel();
}
