//! Gateways that could not read the secret of the store when they started, and one that Redis has lost.

use std::sync::Arc;

use super::fixture::{Server, eventually};
use crate::auth::password::scram::Mechanism;
use crate::auth::{Beginning, Guard};
use crate::broker::Broker;
use crate::config::{Auth, AuthSource};
use crate::shared;
use crate::store::Store;

const RULES: &str = "rules:\n- {allow: all, topics: [a]}\n";

/// A gateway without listeners that knows no user.
async fn gateway(server: &Server) -> Arc<Broker> {
    let file = server.directory.join("users.yml");
    std::fs::write(&file, RULES).expect("it is writable");
    let auth = Auth {
        sources: vec![AuthSource::File(file)],
        ..Auth::default()
    };
    let mut config = server.config();
    config.timeout = std::time::Duration::from_millis(300);
    let opened = Store::open_redis(config, Default::default()).await;
    let (store, clock) = opened.expect("the store opens");
    let mut broker = Broker::of_store(store, clock);
    let alone = Arc::get_mut(&mut broker).expect("nobody has it yet");
    alone.guard = Guard::open(&auth).expect("it is right");
    broker
}

fn guard(broker: &Broker) -> &Guard {
    broker.guard.as_ref().expect("there is one")
}

/// The salt that one is asked with who is not there.
async fn salt(broker: &Broker) -> String {
    let beginning = Beginning {
        mechanism: Mechanism::Sha256,
        message: b"n,,n=nobody,r=abc",
        client_id: "c",
        address: None,
        has_to_be: None,
    };
    let challenged = guard(broker).challenge(&beginning, &broker.clock).await;
    let Ok((_, asked)) = challenged else {
        panic!("it is not asked");
    };
    let salt = asked.split(',').find(|part| part.starts_with("s="));
    salt.expect("it has a salt").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_could_not_read_it_at_the_start_has_it_when_redis_is_back_and_offers_no_other() {
    let mut server = Server::start(&[]).await;
    let (knows, starts) = (gateway(&server).await, gateway(&server).await);
    let agreed = guard(&knows).agree(&knows.store).await;
    agreed.expect("redis is there");
    let common = salt(&knows).await;
    server.kill();
    let refused = guard(&starts).agree(&starts.store).await;
    refused.expect_err("redis is not there");
    assert_ne!(salt(&starts).await, common);
    // It has lost all: who knows it puts it back.
    server.restart().await;
    server.ask(&["FLUSHALL"]).await;
    let back = guard(&knows).agree(&knows.store).await;
    back.expect("redis is there");
    starts.tasks.spawn(shared::agree(starts.clone()));
    eventually("it is the store's", || guard(&starts).has_agreed()).await;
    assert_eq!(salt(&starts).await, common);
    assert_eq!(salt(&knows).await, common);
    starts.tasks_end.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_gateway_has_put_there_first_holds_for_all() {
    let server = Server::start(&[]).await;
    let (first, second) = (gateway(&server).await, gateway(&server).await);
    guard(&first).agree(&first.store).await.expect("an answer");
    server.ask(&["FLUSHALL"]).await;
    guard(&second)
        .agree(&second.store)
        .await
        .expect("an answer");
    guard(&first).agree(&first.store).await.expect("an answer");
    assert_eq!(salt(&first).await, salt(&second).await);
}
