//! Single questions, where a Sentinel says who is to be asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use redis::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::fixture::Server;
use crate::store::redis::{Address, Asker, Config, Servers};

/// Says to everybody that the master is at a port, which may change.
async fn sentinel(master: Arc<AtomicU16>) -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let master = master.clone();
            tokio::spawn(async move {
                let mut asked = [0; 1024];
                while stream
                    .read(&mut asked)
                    .await
                    .is_ok_and(|n_bytes| n_bytes > 0)
                {
                    let port = master.load(Ordering::SeqCst).to_string();
                    let length = port.len();
                    let answer = format!("*2\r\n$9\r\n127.0.0.1\r\n${length}\r\n{port}\r\n");
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            });
        }
    });
    Address::parse(&format!("127.0.0.1:{port}"), 0).expect("an address")
}

/// It runs, and answers by what held before it was cut off.
#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_is_none_any_more_is_not_asked_for_ever() {
    let (old, new) = tokio::join!(Server::start(&[]), Server::start(&[]));
    old.ask(&["SET", "user", "old"]).await;
    new.ask(&["SET", "user", "new"]).await;
    let master = Arc::new(AtomicU16::new(old.port));
    let asker = Asker::new(Config::new(Servers::Sentinel {
        addresses: vec![sentinel(master.clone()).await],
        master: "gate".to_owned(),
    }));
    let mut get = redis::cmd("GET");
    get.arg("user");
    let ask = async || match asker.ask("user", &get).await.expect("an answer") {
        Value::BulkString(text) => String::from_utf8(text).expect("a text"),
        other => panic!("{other:?}"),
    };
    assert_eq!(ask().await, "old");
    master.store(new.port, Ordering::SeqCst);
    let deadline = Instant::now() + Duration::from_secs(30);
    while ask().await != "new" {
        assert!(Instant::now() < deadline, "it asks the old one still");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
