//! What a cluster for trying out has left is removed, and nothing else.

use super::fixture::Server;
use crate::config::{Redis, RedisMode};
use crate::store::redis::erase;

#[tokio::test(flavor = "multi_thread")]
async fn all_keys_of_a_prefix_go_and_no_others() {
    let server = Server::start(&[]).await;
    let script = "for n = 1, 1200 do redis.call('SET', ARGV[1] .. n, 'x') end";
    server.ask(&["EVAL", script, "0", "a-1[x]*:"]).await;
    let others = ["a-1", "a-12:x", "a-1:", "a-1[x]", "a-1x:9", "ba-1[x]*:1"];
    for other in others {
        server.ask(&["SET", other, "x"]).await;
    }
    let redis = Redis {
        addresses: vec![server.address().to_string()],
        mode: RedisMode::Single,
        username: String::new(),
        password: String::new(),
        sentinel_username: String::new(),
        sentinel_password: String::new(),
        tls: None,
        db: 0,
        prefix: "a-1[x]*".to_owned(),
        timeout: std::time::Duration::from_secs(5),
        wait_replicas: 0,
    };
    assert_eq!(erase(&redis).await, Ok(1200));
    assert_eq!(server.keys().await, others);
    assert_eq!(erase(&redis).await, Ok(0));
}
