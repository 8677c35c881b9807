//! Two clusters that were told of one Redis.

use super::fixture::*;

#[tokio::test]
async fn a_prefix_belongs_to_the_first_cluster_that_uses_it() {
    let server = Server::start(&[]).await;
    let first = Rig::open(server.config()).await;
    assert_eq!(
        first.store.move_in("first").await.expect("an answer"),
        "first"
    );
    let again = Rig::open(server.config()).await;
    assert_eq!(
        again.store.move_in("first").await.expect("an answer"),
        "first"
    );
    let second = Rig::open(server.config()).await;
    assert_eq!(
        second.store.move_in("second").await.expect("an answer"),
        "first"
    );
    let mut config = server.config();
    config.prefix = "elsewhere".to_owned();
    let apart = Rig::open(config).await;
    assert_eq!(
        apart.store.move_in("second").await.expect("an answer"),
        "second"
    );
    assert_eq!(server.keys().await, ["elsewhere:cluster", "gatemq:cluster"]);
}
