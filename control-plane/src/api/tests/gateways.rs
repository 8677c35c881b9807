//! What gateways are asked for.

use axum::http::StatusCode;
use gatemq_proto::cluster::state::fence;
use serde_json::{Value, json};

use super::fixture::{Cluster, Desk, client, fields};

#[tokio::test]
async fn members_are_told_with_who_does_not_answer() {
    let cluster = Cluster::start().await;
    let clients = vec![client("a", true), client("b", false)];
    let desk = Desk {
        clients,
        ..Desk::default()
    };
    let (incarnation, _) = cluster.serve("g1", desk).await;
    cluster.register_gone("g2").await;
    let told = cluster.get("/members").await;
    assert_eq!(fields(&told["items"], "name"), ["c1", "g1", "g2"]);
    assert_eq!(
        fields(&told["items"], "kind"),
        ["control", "gateway", "gateway"]
    );
    assert_eq!(
        fields(&told["items"], "state"),
        ["voter", "active", "unreachable"]
    );
    assert_eq!(fields(&told["items"], "n_connected"), ["null", "1", "null"]);
    assert_eq!(told["unreachable"], json!(["g2"]));
    assert_eq!(told["items"][0]["is_leader"], true);
    // A node without a gateway has an HTTP server, too.
    assert_eq!(told["items"][0]["addresses"]["http"], "127.0.0.1:9");
    assert_eq!(told["items"][1]["number"], incarnation);
    let shown = cluster.get("/members/g1").await;
    assert_eq!(fields(&shown["items"], "name"), ["g1"]);
}

#[tokio::test]
async fn a_gateway_is_drained_and_removed() {
    let cluster = Cluster::start().await;
    let (incarnation, desk) = cluster.serve("g1", Desk::default()).await;
    let alone = cluster.ask("POST", "/members/g1/drain?over=9", None).await;
    assert_eq!(
        alone.body,
        json!({"name": "g1", "n_clients": 3, "has_other": false})
    );
    cluster.register_gone("g2").await;
    let answer = cluster.ask("POST", "/members/g1/drain", None).await;
    assert_eq!(answer.body["has_other"], true);
    let over: Vec<u64> = desk
        .drained
        .lock()
        .iter()
        .map(|request| request.over)
        .collect();
    assert_eq!(over, [9_000, 5_000]);
    let shown = cluster.get("/members/g1").await;
    assert_eq!(shown["items"][0]["state"], "draining");
    let gone = cluster.ask("POST", "/members/g2/drain", None).await;
    assert_eq!(gone.status, StatusCode::SERVICE_UNAVAILABLE, "{gone:?}");

    let removed = cluster.ask("DELETE", "/members/g1", None).await;
    let expected = json!({"name": "g1", "kind": "gateway", "number": incarnation});
    assert_eq!(removed.body, expected);
    let state = cluster.control.consensus().state();
    let fenced = state.member(incarnation).map(|member| member.fenced());
    // Nothing is left of it once nobody has to adopt anything.
    assert!(
        matches!(fenced, None | Some(Some(fence::Why::Removed))),
        "{fenced:?}"
    );
}

#[tokio::test]
async fn a_node_is_joined() {
    let cluster = Cluster::start().await;
    let body = json!({"address": "127.0.0.1:7946"});
    let answer = cluster.ask("POST", "/members", Some(body.clone())).await;
    assert_eq!((answer.status, answer.body), (StatusCode::OK, body));
}

#[tokio::test]
async fn a_session_that_a_gateway_does_not_end_is_not_said_to_have_ended() {
    let cluster = Cluster::start().await;
    let desk = Desk {
        clients: vec![client("a", true)],
        is_old: true,
        ..Desk::default()
    };
    cluster.serve("g1", desk).await;
    let answer = cluster.ask("DELETE", "/clients/a?session=true", None).await;
    assert_eq!(answer.status, StatusCode::CONFLICT, "{answer:?}");
}

#[tokio::test]
async fn clients_of_all_gateways_are_one_list() {
    let cluster = Cluster::start().await;
    for (name, own) in [("g1", ["a", "c", "e"]), ("g2", ["b", "c", "d"])] {
        let desk = Desk {
            clients: own.map(|it| client(it, name == "g2")).into(),
            ..Desk::default()
        };
        cluster.serve(name, desk).await;
    }
    let mut seen = Vec::new();
    let mut path = "/clients?limit=2".to_owned();
    loop {
        let page = cluster.get(&path).await;
        let ids = fields(&page["items"], "client_id").into_iter();
        seen.extend(
            ids.zip(fields(&page["items"], "node"))
                .map(|(id, node)| id + &node),
        );
        match page["next"].as_str() {
            Some(next) => path = format!("/clients?limit=2&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["ag1", "bg2", "cg1", "cg2", "dg2", "eg1"]);
    assert_eq!(cluster.list("/clients?search=d", "client_id").await, ["d"]);

    let shown = cluster.get("/clients/c").await;
    assert_eq!(shown["node"], "g2", "where it is connected");
    assert_eq!(fields(&shown["subscriptions"], "filter"), ["a/#"]);
    let ended = cluster.ask("DELETE", "/clients/c", None).await;
    let of = |client_id: &str, node: &str, was_connected: bool, session_ended: bool| {
        json!({
            "client_id": client_id,
            "node": node,
            "was_connected": was_connected,
            "session_ended": session_ended,
        })
    };
    assert_eq!(ended.body, of("c", "g2", true, false));
    let away = cluster.ask("DELETE", "/clients/a", None).await;
    assert_eq!(away.status, StatusCode::CONFLICT);
    // With its session whoever is not connected, too.
    for (path, expected) in [
        ("/clients/a?session=true", of("a", "g1", false, true)),
        ("/clients/d?session=true", of("d", "g2", true, true)),
        ("/clients/d?session=false", of("d", "g2", true, false)),
    ] {
        let ended = cluster.ask("DELETE", path, None).await;
        assert_eq!(ended.body, expected, "{path}");
    }
    let nobody = cluster.ask("DELETE", "/clients/x?session=true", None).await;
    assert_eq!(nobody.status, StatusCode::NOT_FOUND);
    let nobody = cluster.ask("GET", "/clients/x", None).await;
    assert_eq!(nobody.status, StatusCode::NOT_FOUND);

    cluster.register_gone("g3").await;
    let told = cluster.get("/clients").await;
    assert_eq!(told["unreachable"], json!(["g3"]));
    let unknown = cluster.ask("GET", "/clients/x", None).await;
    assert_eq!(
        unknown.status,
        StatusCode::SERVICE_UNAVAILABLE,
        "g3 may know it"
    );
}

#[tokio::test]
async fn a_message_is_published_by_a_gateway_that_is_there() {
    let cluster = Cluster::start().await;
    cluster.register_gone("c1").await; // the one of this process, asked first
    let (_, desk) = cluster.serve("g1", Desk::default()).await;
    let body = json!({
        "topic": "a/b", "payload_base64": "AAE=", "qos": 1, "retain": true, "message_expiry": 9,
        "user_properties": [["k", "v"]],
    });
    let answer = cluster.ask("POST", "/publish", Some(body)).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(
        (&answer.body["node"], &answer.body["reason_code"]),
        (&json!("g1"), &json!(0))
    );
    let published = desk.published.lock().clone();
    let [message] = published.as_slice() else {
        panic!("{published:?}");
    };
    assert_eq!((&*message.topic, &*message.payload), ("a/b", &[0, 1][..]));
    assert_eq!(
        (message.qos, message.retain, message.is_text),
        (1, true, false)
    );
    assert_eq!(message.message_expiry, Some(9));
    let wrong = json!({"topic": "a", "payload": "x", "payload_base64": "AAE="});
    let answer = cluster.ask("POST", "/publish", Some(wrong)).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_message_that_is_not_taken_is_told() {
    let cluster = Cluster::start().await;
    let body = || Some(json!({"topic": "a"}));
    let answer = cluster.ask("POST", "/publish", body()).await;
    assert_eq!(answer.body["type"], "urn:gatemq:problem:unavailable");
    let desk = Desk {
        reason: 0x97,
        ..Desk::default()
    };
    cluster.serve("g1", desk).await;
    let answer = cluster.ask("POST", "/publish", body()).await;
    assert_eq!(answer.body["type"], "urn:gatemq:problem:not-taken");
    let detail = answer.body["detail"].as_str().expect("a text");
    assert!(detail.contains("Quota exceeded (0x97)"), "{detail}");
}

#[tokio::test]
async fn figures_are_summed_where_a_sum_says_something() {
    let cluster = Cluster::start().await;
    for (name, n_clients) in [("g1", 2), ("g2", 3)] {
        let desk = Desk {
            clients: vec![client("x", true); n_clients],
            ..Desk::default()
        };
        cluster.serve(name, desk).await;
    }
    cluster.register_gone("g3").await;
    let told = cluster.get("/stats").await;
    assert_eq!(told["total"], json!({"clients_total": 5, "filters": 7}));
    assert_eq!(fields(&told["nodes"], "name"), ["g1", "g2"]);
    assert_eq!(told["nodes"][0]["figures"]["uptime"], 5);
    assert_eq!(told["unreachable"], json!(["g3"]));
    assert_ne!(told["nodes"][0]["incarnation"], Value::Null);
}
