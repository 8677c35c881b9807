//! What this node answers by itself: the cluster, settings, routes.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::fixture::{Cluster, fields};

#[tokio::test]
async fn a_setting_is_set_told_and_taken_back() {
    let cluster = Cluster::start().await;
    let key = "limits.max-queued-messages";
    let path = format!("/config/{key}");
    let put = async |value: Value| {
        let body = json!({"value": value, "by": "ada"});
        cluster.ask("PUT", &path, Some(body)).await
    };
    let set = put(json!(5)).await;
    assert_eq!(set.status, StatusCode::OK, "{set:?}");
    let state = cluster.control.consensus().state();
    assert_eq!(state.settings().value(key), Some("5"));
    assert_eq!(set.body["revision"], state.revision());
    let settings = cluster.get("/config").await;
    let items = settings["items"].as_array().expect("items");
    assert_eq!(items.len(), gatemq_node::settings::SETTINGS.len());
    let item = items
        .iter()
        .find(|item| item["key"] == key)
        .expect("it is listed");
    assert_eq!(item["value"], "5");
    assert_eq!(item["by"], "ada, by the api of c1");
    assert!(item["at"].as_u64().is_some_and(|at| at > 1_600_000_000_000));

    assert_eq!(item["default"], "1000", "what it was started with");

    for wrong in [
        json!("many"),
        json!(0),
        json!(-1),
        json!(1.5),
        json!([7]),
        json!(null),
    ] {
        let refused = put(wrong.clone()).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        let detail = refused.body["detail"].as_str().expect("a text");
        let names_it = detail.starts_with(key);
        let says_what_is_right = detail.ends_with("is not a whole number from 1 to 1000000000");
        assert!(names_it && says_what_is_right, "{wrong}: {detail}");
    }
    assert_eq!(put(json!("7")).await.status, StatusCode::OK);
    let back = cluster.ask("DELETE", &format!("{path}?by=eve"), None).await;
    assert_eq!(back.status, StatusCode::OK, "{back:?}");
    let state = cluster.control.consensus().state();
    assert_eq!(state.settings().value(key), None);

    let history = cluster.get("/config/history").await;
    assert_eq!(fields(&history["items"], "value"), ["null", "7", "5"]);
    assert_eq!(history["next"], Value::Null);
    let mut seen = Vec::new();
    let mut path = "/config/history?limit=1".to_owned();
    loop {
        let page = cluster.get(&path).await;
        seen.extend(fields(&page["items"], "value"));
        match page["next"].as_str() {
            Some(next) => path = format!("/config/history?limit=1&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["null", "7", "5"]);
}

#[tokio::test]
async fn what_is_not_set_is_taken_back_without_a_trace() {
    let cluster = Cluster::start().await;
    for key in ["limits.max-inflight", "log.level"] {
        for _ in 0..2 {
            let path = format!("/config/{key}");
            let answer = cluster.ask("DELETE", &path, None).await;
            assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
            assert_eq!(
                (&answer.body["key"], &answer.body["value"]),
                (&json!(key), &Value::Null)
            );
        }
    }
    assert!(cluster.list("/config/history", "key").await.is_empty());
    let unknown = cluster.ask("DELETE", "/config/no.such", None).await;
    assert_eq!(unknown.status, StatusCode::BAD_REQUEST, "{unknown:?}");
}

#[tokio::test]
async fn a_validation_sets_nothing() {
    let cluster = Cluster::start().await;
    let body = json!({"settings": {"log.level": "loud", "session.on-full": "reject", "x": 1}});
    let answer = cluster.ask("POST", "/config/validate", Some(body)).await;
    assert_eq!(answer.body["is_valid"], false);
    assert_eq!(fields(&answer.body["problems"], "key"), ["log.level", "x"]);
    let body = json!({"settings": {"session.queue-qos0": true}});
    let answer = cluster.ask("POST", "/config/validate", Some(body)).await;
    assert_eq!(answer.body["is_valid"], true);
    assert!(cluster.list("/config/history", "key").await.is_empty());
}

/// The number goes with the state of its revision, and with nothing else.
#[tokio::test]
async fn the_hash_is_of_the_state_at_its_revision() {
    let cluster = Cluster::start().await;
    let told = async || {
        let told = cluster.get("/cluster/hash").await;
        let state = cluster.control.consensus().state();
        assert_eq!(told["revision"], state.revision());
        let hash = told["hash"].as_str().expect("a text").to_owned();
        assert_eq!(hash, format!("{:016x}", state.hash()));
        hash
    };
    let before = told().await;
    assert_eq!(told().await, before);
    let one = cluster.register_gone("g1").await;
    cluster.route(one, &["a"]).await;
    assert_ne!(told().await, before);
}

#[tokio::test]
async fn pages_of_routes_have_each_filter_once_with_all_its_nodes() {
    let cluster = Cluster::start().await;
    let one = cluster.register_gone("g1").await;
    let two = cluster.register_gone("g2").await;
    cluster
        .route(one, &["a", "a/b", "b/+", "$share/g/a/#"])
        .await;
    cluster.route(two, &["a", "b/+", "c"]).await;
    let (mut filters, mut nodes) = (Vec::new(), Vec::new());
    let mut path = "/routes?limit=2".to_owned();
    loop {
        let page = cluster.get(&path).await;
        for item in page["items"].as_array().expect("items") {
            filters.push(item["filter"].as_str().expect("a text").to_owned());
            nodes.push(fields(&item["nodes"], "name").join("+"));
        }
        match page["next"].as_str() {
            Some(next) => path = format!("/routes?limit=2&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(filters, ["$share/g/a/#", "a", "a/b", "b/+", "c"]);
    assert_eq!(nodes, ["g1", "g1+g2", "g1", "g1+g2", "g2"]);
    assert_eq!(
        cluster.list("/routes?prefix=a", "filter").await,
        ["a", "a/b"]
    );
    assert_eq!(cluster.list("/routes?filter=c", "filter").await, ["c"]);
    assert!(cluster.list("/routes?filter=d", "filter").await.is_empty());
    let last = cluster.get("/routes?prefix=a&limit=2").await;
    assert_eq!(last["next"], Value::Null);
}

#[tokio::test]
async fn a_topic_is_explained() {
    let cluster = Cluster::start().await;
    let one = cluster.register_gone("g1").await;
    let two = cluster.register_gone("g2").await;
    let filters = [
        "a/b",
        "a/+",
        "a/#",
        "#",
        "+/b",
        "ab",
        "$share/g/+/b",
        "$share/h/c",
        "/b",
    ];
    cluster.route(one, &filters).await;
    cluster.route(two, &["a/b", "$share/g/+/b", "+"]).await;
    let explained = cluster.get("/routes/explain?topic=a/b").await;
    let expected = ["#", "$share/g/+/b", "+/b", "a/#", "a/+", "a/b"];
    assert_eq!(fields(&explained["filters"], "filter"), expected);
    assert_eq!(explained["n_filters"], 6);
    assert_eq!(explained["nodes"], json!(["g1", "g2"]));
    let group = json!([{"group": "g", "filter": "$share/g/+/b", "nodes": ["g1", "g2"]}]);
    assert_eq!(explained["groups"], group);
    let matching = async |topic: &str| {
        let explained = cluster.get(&format!("/routes/explain?topic={topic}")).await;
        fields(&explained["filters"], "filter")
    };
    assert_eq!(matching("a").await, ["#", "+", "a/#"]);
    assert_eq!(matching("/b").await, ["#", "$share/g/+/b", "+/b", "/b"]);
    assert_eq!(matching("c").await, ["#", "$share/h/c", "+"]);
    let nobody = cluster.get("/routes/explain?topic=$SYS/x").await;
    assert_eq!(nobody["is_nobody"], true);
}

#[tokio::test]
async fn the_cluster_is_told() {
    let cluster = Cluster::start().await;
    let gateway = cluster.register_gone("g1").await;
    cluster.route(gateway, &["a", "b"]).await;
    let told = cluster.get("/cluster").await;
    assert_eq!(told["cluster_id"].as_str().map(str::len), Some(32));
    assert_eq!(told["leader"]["name"], "c1");
    assert_eq!(fields(&told["voters"], "name"), ["c1"]);
    assert_eq!(
        (&told["n_gateways"], &told["n_routes"]),
        (&json!(1), &json!(2))
    );
    assert!(told["applied"].as_u64() >= Some(gateway));
    assert_eq!(told["control_size"], 1);
}
