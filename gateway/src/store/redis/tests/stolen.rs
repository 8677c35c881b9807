//! A session that another store on the same Redis takes by force, and that no cluster knows of.

use gatemq_storage::Batch;

use super::fixture::{Rig, Server, append, claim, eventually};
use super::gateway::{connect, field, gateway};

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_of_ours_has_is_given_up() {
    let server = Server::start(&[]).await;
    let broker = gateway(server.config()).await;
    let ours = connect(&broker, "c").await.expect("redis is there").session;
    let other = Rig::open(server.config()).await;
    let mut theirs = claim("c", 9);
    (theirs.principal, theirs.force) = (None, Some((ours.number, 1)));
    let taken = other.take(&theirs).await;
    assert_eq!((taken.number, taken.epoch), (ours.number, 2));
    assert_eq!(field(&server, "c", "trail").await, "1");

    let mut batch = Batch::default();
    append(&mut batch, ours.number, [1]);
    let is_safe = broker.store.make_safe(batch).await;
    assert!(!is_safe.expect("it is judged"));
    assert!(ours.outbound.lock().is_moved());
    eventually("it is given up", || ours.outbound.lock().is_stolen()).await;
    eventually("its routes go", || ours.life.lock().is_ended).await;
    assert_eq!(field(&server, "c", "trail").await, "");
    assert_eq!(field(&server, "c", "owner").await, "9", "it is theirs");
    assert!(other.seqs(ours.number).await.is_empty());
}
