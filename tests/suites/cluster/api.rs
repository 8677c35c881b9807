//! `/api/v1` of a cluster of real processes: what operators and their tools ask.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use gatemq_tests::{Cluster, Connect, Node, cluster::Kind, patience::becomes_true, unique};
use serde_json::{Value, json};

/// How long anything may take until it is told of.
pub(super) const LIMIT: Duration = Duration::from_secs(20);
const TOKEN: &str = "0123456789abcdef0123";

/// Every operation there is.
const OPERATIONS: [&str; 34] = [
    "DELETE /bans/{kind}/{value}",
    "DELETE /bridge/rules/{name}",
    "DELETE /clients/{id}",
    "DELETE /config/{key}",
    "DELETE /members/{name}",
    "DELETE /traces/{name}",
    "GET /bans",
    "GET /bans/{kind}/{value}",
    "GET /bridge/rules",
    "GET /bridge/rules/{name}",
    "GET /clients",
    "GET /clients/{id}",
    "GET /cluster",
    "GET /cluster/hash",
    "GET /config",
    "GET /config/history",
    "GET /members",
    "GET /members/{name}",
    "GET /openapi.json",
    "GET /routes",
    "GET /routes/explain",
    "GET /stats",
    "GET /traces",
    "GET /traces/{name}",
    "POST /bans",
    "POST /config/validate",
    "POST /members",
    "POST /members/{name}/drain",
    "POST /publish",
    "POST /traces",
    "POST /traces/{name}/stop",
    "PUT /bridge/rules/{name}",
    "PUT /config/{key}",
    "GET /nothing",
];

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Value,
}

fn send(node: &Node, request: &str, headers: &str, body: Option<Value>) -> Answer {
    let (method, path) = request.split_once(' ').expect("a method and a path");
    let mut stream = TcpStream::connect(node.http()).expect("the node answers");
    stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let length = body.len();
    let text = format!(
        "{method} /api/v1{path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(text.as_bytes()).expect("it is read");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Answer {
        status: status.expect("a status"),
        head: head.to_lowercase(),
        body: serde_json::from_str(body).unwrap_or(Value::Null),
    }
}

#[track_caller]
pub(crate) fn ask(node: &Node, request: &str, body: Option<Value>) -> Value {
    let answer = send(node, request, "", body);
    assert_eq!(answer.status, 200, "{request}: {answer:?}");
    answer.body
}

/// What is refused is a problem with a detail and a hint; returns the detail.
#[track_caller]
pub(crate) fn refused(node: &Node, request: &str, body: Option<Value>, status: u16) -> String {
    let answer = send(node, request, "", body);
    assert_eq!(answer.status, status, "{request}: {answer:?}");
    assert!(
        answer
            .head
            .contains("content-type: application/problem+json")
    );
    for field in ["type", "title", "what_to_do"] {
        let text = answer.body[field].as_str();
        assert!(
            text.is_some_and(|text| !text.is_empty()),
            "{field}: {answer:?}"
        );
    }
    assert_eq!(answer.body["status"], status);
    answer.body["detail"].as_str().expect("a detail").to_owned()
}

/// The item with this value in a field.
#[track_caller]
fn item(list: &Value, field: &str, value: &str) -> Value {
    let items = list["items"].as_array().expect("items");
    let found = items.iter().find(|item| item[field] == value);
    found
        .unwrap_or_else(|| panic!("no {value} in {list}"))
        .clone()
}

/// All of a list, page by page.
fn pages(node: &Node, path: &str, field: &str) -> Vec<String> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let join = if path.contains('?') { '&' } else { '?' };
        let page = ask(node, &format!("GET {path}{join}limit=2{cursor}"), None);
        let items = page["items"].as_array().expect("items");
        assert!(items.len() <= 2);
        let texts = items.iter().map(|item| item[field].as_str());
        all.extend(texts.map(|text| text.expect("a text").to_owned()));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

fn start() -> Cluster {
    Cluster::builder().control(1).gateways(2).start()
}

#[test]
fn members_and_the_state_of_the_cluster() {
    let cluster = start();
    let node = cluster.node("c1");
    let members = ask(node, "GET /members", None);
    for (name, kind, state) in [("c1", "control", "voter"), ("g1", "gateway", "active")] {
        let member = item(&members, "name", name);
        assert_eq!(
            (&member["kind"], &member["state"]),
            (&json!(kind), &json!(state))
        );
        assert_eq!(member["version"], env!("CARGO_PKG_VERSION"));
        assert!(member["applied"].as_u64() > Some(0), "{member}");
        let http = cluster.node(name).http().to_string();
        assert_eq!(member["addresses"]["http"], http, "{member}");
    }
    let gateway = item(&members, "name", "g1");
    assert_eq!(gateway["has_lease"], true);
    assert_eq!(gateway["incarnation"], gateway["number"]);
    let shown = ask(node, "GET /members/g2", None);
    assert_eq!(shown["items"][0]["name"], "g2");
    assert!(refused(node, "GET /members/g9", None, 404).contains("g9"));
    let told = ask(node, "GET /cluster", None);
    assert_eq!(told["cluster_id"].as_str().map(str::len), Some(32));
    assert_eq!(
        (&told["leader"]["name"], &told["n_gateways"]),
        (&json!("c1"), &json!(2))
    );
    assert_eq!(told["voters"][0]["name"], "c1");
    // The only voter cannot go.
    refused(node, "DELETE /members/c1", None, 409);
}

/// A gateway that runs would only join anew.
#[test]
fn a_gateway_that_runs_is_removed_only_by_force() {
    let cluster = start();
    let node = cluster.node("c1");
    let incarnation = || ask(node, "GET /members/g1", None)["items"][0]["number"].clone();
    let before = incarnation();
    let answer = send(node, "DELETE /members/g1", "", None);
    assert_eq!(answer.status, 409, "{answer:?}");
    let hint = answer.body["what_to_do"].as_str().unwrap_or_default();
    assert!(hint.contains("stop its process") && hint.contains("force"));
    refused(node, "DELETE /members/g1?force=false", None, 409);
    assert_eq!(incarnation(), before);
    let mut client = cluster.node("g1").v5(&unique("there"));
    client.subscribe(&unique("filter"), 1);
    let removed = ask(node, "DELETE /members/g1?force=true", None);
    // It may come again: nobody has its session.
    client.expect_disconnect(0x89);
    assert_eq!(removed["number"], before);
    let is_back = becomes_true(LIMIT, || {
        let members = ask(node, "GET /members", None);
        let items = members["items"].as_array().expect("items").clone();
        items.iter().any(|item| {
            item["name"] == "g1" && item["number"] != before && item["state"] == "active"
        })
    });
    assert!(is_back, "{}", cluster.node("g1").log().tail(20));
    let n_refused = cluster.node("g1").log().count("filters refused");
    assert!(n_refused <= 2, "{}", cluster.node("g1").log().text());
    // One that has stopped needs nobody to remove it.
    cluster.node("g2").terminate();
    let is_gone = becomes_true(LIMIT, || {
        send(node, "GET /members/g2", "", None).status == 404
    });
    assert!(is_gone, "{}", ask(node, "GET /members", None));
}

#[test]
fn those_that_are_gone_are_told_of_until_nothing_is_left_of_them() {
    let mut cluster = Cluster::builder().control(3).gateways(1).start();
    cluster.wait_for_voters();
    let node = cluster.node("c1");
    cluster.node("c3").kill();
    // Its sessions have nobody to go to.
    let gateway = cluster.node("g1");
    let connect = Connect::persistent(5, unique("sub"));
    let mut client = gateway.connect(&connect).0;
    client.subscribe(&unique("kept"), 1);
    gateway.kill();
    let state = |name: &str| {
        let members = ask(node, "GET /members", None);
        item(&members, "name", name)
    };
    let is_missed = becomes_true(LIMIT, || {
        let control = state("c3");
        control["state"] == "unreachable" && control["unreachable_for"].as_u64() > Some(0)
    });
    assert!(is_missed, "{}", state("c3"));
    // Nobody is fenced while no gateway at all is heard of.
    let is_missed = becomes_true(LIMIT, || state("g1")["state"] == "unreachable");
    assert!(is_missed, "{}", state("g1"));
    assert_eq!(state("g1")["n_connected"], Value::Null);
    // A second one may not go while one is gone.
    let detail = refused(node, "DELETE /members/c2", None, 409);
    assert!(detail.contains("too few to go on"), "{detail}");
    // The log says so once, however often it is called.
    for node in cluster.controls() {
        let n_told = node
            .log()
            .count("a node of the control plane does not answer");
        assert!(n_told <= 2, "{}", node.log().text());
    }
    cluster.add(Kind::Gateway, "g2");
    let node = cluster.node("c1");
    let is_adopted = becomes_true(LIMIT, || {
        send(node, "GET /members/g1", "", None).status == 404
    });
    assert!(is_adopted, "{}", ask(node, "GET /members", None));
}

#[test]
fn settings_are_listed_set_and_taken_back() {
    let cluster = start();
    let node = cluster.node("c1");
    let key = "limits.max-inflight";
    let setting = item(&ask(node, "GET /config", None), "key", key);
    assert_eq!(setting["value"], Value::Null);
    assert!(setting["default"].is_string(), "{setting}");
    for (at, value) in [3, 5, 7].into_iter().enumerate() {
        let body = json!({"value": value, "by": format!("ada-{at}")});
        let set = ask(node, &format!("PUT /config/{key}"), Some(body));
        assert_eq!(set["value"], value.to_string());
    }
    let setting = item(&ask(node, "GET /config", None), "key", key);
    assert_eq!(setting["value"], "7");
    for wrong in [json!(0), json!("many"), json!([1]), Value::Null] {
        let body = json!({"value": wrong});
        let detail = refused(node, &format!("PUT /config/{key}"), Some(body), 400);
        assert!(detail.starts_with(key), "{detail}");
        assert!(
            detail.ends_with("is not a whole number from 1 to 65535"),
            "{detail}"
        );
    }
    let detail = refused(node, "PUT /config/tcp", Some(json!({"value": ":1"})), 400);
    assert!(detail.contains("no setting of this name"), "{detail}");
    let body = json!({"settings": {key: 9, "session.on-full": "explode"}});
    let validated = ask(node, "POST /config/validate", Some(body));
    assert_eq!(validated["is_valid"], false);
    assert_eq!(validated["problems"][0]["key"], "session.on-full");
    ask(node, &format!("DELETE /config/{key}?by=eve"), None);
    let by = pages(node, "/config/history", "by");
    let expected = ["eve", "ada-2", "ada-1", "ada-0"].map(|who| format!("{who}, by the api of c1"));
    assert_eq!(by, expected);
    // Gateways have heard of all of it.
    let has_heard = becomes_true(LIMIT, || {
        cluster.node("g1").log().count("settings of the cluster") >= 4
    });
    assert!(has_heard, "{}", cluster.node("g1").log().text());
}

#[test]
fn routes_and_whom_a_topic_reaches() {
    let cluster = start();
    let node = cluster.node("c1");
    let [one, two] = ["g1", "g2"].map(|name| cluster.node(name));
    let mut subscribers = [one, two].map(|node| node.v5(&unique("sub")));
    for (subscriber, filters) in subscribers
        .iter_mut()
        .zip([["a/+", "b"], ["a/#", "$share/g/a/b"]])
    {
        for filter in filters {
            subscriber.subscribe(filter, 1);
        }
    }
    let filters = pages(node, "/routes", "filter");
    assert_eq!(filters, ["$share/g/a/b", "a/#", "a/+", "b"]);
    assert_eq!(pages(node, "/routes?prefix=a", "filter"), ["a/#", "a/+"]);
    let told = ask(node, "GET /routes/explain?topic=a/b", None);
    assert_eq!(told["nodes"], json!(["g1", "g2"]));
    assert_eq!(told["groups"][0]["group"], "g");
    assert_eq!(told["groups"][0]["nodes"], json!(["g2"]));
    assert_eq!(told["n_filters"], 3);
    let told = ask(node, "GET /routes/explain?topic=nobody", None);
    assert_eq!(told["is_nobody"], true);
    refused(node, "GET /routes/explain?topic=a/%23", None, 400);
    refused(node, "GET /routes?limit=0", None, 400);
    refused(node, "GET /routes?colour=red", None, 400);
    // A filter counts once, however many gateways know it.
    let stats = ask(node, "GET /stats", None);
    let of_nodes = stats["nodes"].as_array().expect("nodes");
    let counts = of_nodes
        .iter()
        .map(|node| node["figures"]["filters"].clone());
    let most = counts.filter_map(|count| count.as_u64()).max();
    assert_eq!(stats["total"]["filters"].as_u64(), most);
    assert_eq!(stats["total"]["clients_connected"], 2, "{stats}");
    assert_eq!(stats["unreachable"], json!([]));
}

#[test]
fn clients_are_found_shown_and_disconnected() {
    let cluster = start();
    let node = cluster.node("c1");
    let name = unique("pump");
    let mut clients: Vec<_> = (0..5)
        .map(|number| {
            let gateway = cluster.gateways()[number % 2];
            gateway.v5(&format!("{name}-{number}"))
        })
        .collect();
    clients[3].subscribe("a/+", 1);
    let found = pages(node, &format!("/clients?search={name}"), "client_id");
    let expected: Vec<_> = (0..5).map(|number| format!("{name}-{number}")).collect();
    assert_eq!(found, expected);
    let shown = ask(node, &format!("GET /clients/{name}-3"), None);
    assert_eq!(
        (&shown["node"], &shown["protocol_version"]),
        (&json!("g2"), &json!(5))
    );
    assert_eq!(shown["subscriptions"][0]["filter"], "a/+");
    let gone = ask(node, &format!("DELETE /clients/{name}-3"), None);
    assert_eq!(gone["node"], "g2");
    clients[3].expect_disconnect(0x98);
    refused(node, "GET /clients/nobody", None, 404);
}

#[test]
fn a_message_is_published() {
    let cluster = start();
    let node = cluster.node("c1");
    let topic = unique("from-outside");
    let mut subscriber = cluster.node("g2").v5(&unique("sub"));
    subscriber.subscribe(&topic, 1);
    let body = json!({"topic": topic, "payload": "hello", "qos": 1});
    let published = ask(node, "POST /publish", Some(body));
    assert_eq!(
        (&published["reason_code"], &published["is_matched"]),
        (&json!(0), &json!(true))
    );
    assert_eq!(subscriber.receive().payload, b"hello");
    refused(node, "POST /publish", Some(json!({"topic": "a/+"})), 400);
    refused(node, "POST /publish", Some(json!({"topc": "a"})), 400);
}

/// SHA-256 of `viewer-token-of-tests` and `operator-token-of-tests`.
const VIEWER: &str = "892fc7aa65e575a919a76ff1661437e9fc50b9342d089f7f2442db95c4d0cdb6";
const OPERATOR: &str = "0e601db4f58daa30553034b71c145409ca4b0650706ca8ec955c33a7fdf20332";

/// Each token opens what its scope has, and each change is told of in the log.
#[test]
fn tokens_have_scopes_and_what_they_change_is_in_the_log() {
    let tokens = format!(
        "api: {{token: {TOKEN}, tokens: [{{name: looks, sha256: {VIEWER}, scope: viewer}}, \
         {{name: runs, sha256: {OPERATOR}, scope: operator}}]}}"
    );
    let cluster = Cluster::builder().setting(&tokens).control(1).start();
    let node = cluster.node("c1");
    let (viewer, operator) = ("viewer-token-of-tests", "operator-token-of-tests");
    for (token, request, status) in [
        (viewer, "GET /members", 200),
        (viewer, "DELETE /clients/c", 403),
        (operator, "DELETE /clients/c", 404),
        (operator, "DELETE /config/limits.max-inflight", 403),
        (TOKEN, "DELETE /config/limits.max-inflight", 200),
        (VIEWER, "GET /members?token=in-the-wrong-place", 401),
    ] {
        let header = format!("Authorization: Bearer {token}\r\n");
        let answer = send(node, request, &header, None);
        assert_eq!(answer.status, status, "{token}: {request}: {answer:?}");
    }
    let log = node.log();
    for (who, what, outcome) in [
        ("looks", "DELETE /api/v1/clients/c", 403),
        ("runs", "DELETE /api/v1/clients/c", 404),
        ("runs", "DELETE /api/v1/config/limits.max-inflight", 403),
        (
            "api.token",
            "DELETE /api/v1/config/limits.max-inflight",
            200,
        ),
        ("", "GET /api/v1/members?<hidden>", 401),
    ] {
        let line = format!("who=\"{who}\" what=\"{what}\" outcome={outcome} from=\"127.0.0.1:");
        let is_told = becomes_true(LIMIT, || log.count(&line) == 1);
        assert!(is_told, "{line}: {}", log.text());
    }
    assert_eq!(log.count(" audit: "), 5, "{}", log.text());
    assert_eq!(log.count(viewer) + log.count(operator), 0);
}

/// What is in no path is in the log all the same, whatever comes of the request; and never as lines of
/// its own, nor at any length.
#[test]
fn the_log_says_whom_and_what_a_change_was_about() {
    let cluster = Cluster::builder().control(1).start();
    let node = cluster.node("c1");
    let long = "t".repeat(20_000);
    let pump = json!({"kind": "client_id", "value": "pump-7"});
    let broken = json!({"kind": "address", "value": "no\r\naddress"});
    let mut n_attempts = BTreeMap::new();
    for (request, body, status, about) in [
        ("POST /bans", pump, 200, "client_id pump-7"),
        ("POST /bans", broken, 400, r"address no\r\naddress"),
        (
            "DELETE /bans/address/10.0.0.0%2F8",
            Value::Null,
            200,
            "address 10.0.0.0/8",
        ),
        ("POST /publish", json!({"topic": "a/b"}), 503, "topic a/b"),
        ("POST /publish", json!({"topic": long}), 503, "topic ttt"),
        ("DELETE /members/nobody", Value::Null, 404, "member nobody"),
        (
            "POST /members/nobody/drain",
            Value::Null,
            404,
            "member nobody",
        ),
        (
            "DELETE /clients/pump%207",
            Value::Null,
            404,
            "client_id pump 7",
        ),
    ] {
        // On a busy machine a leader may have to be found first; each attempt is in the log.
        let mut answer = None;
        let has_leader = || {
            *n_attempts.entry(about).or_insert(0) += 1;
            let found = answer.insert(send(node, request, "", Some(body.clone())));
            found.body["type"] != "urn:gatemq:problem:no-leader"
        };
        assert!(becomes_true(LIMIT, has_leader), "{request}: no leader");
        let answer = answer.expect("an attempt was made");
        assert_eq!(answer.status, status, "{request}: {answer:?}");
    }
    let log = node.log();
    for (about, expected) in &n_attempts {
        let line = format!(" about=\"{about}");
        assert!(
            becomes_true(LIMIT, || log.count(&line) == *expected),
            "{line}, {expected} times: {}",
            log.text()
        );
    }
    assert_eq!(log.count(" audit: "), n_attempts.values().sum::<usize>());
    let longest = log.text().lines().map(str::len).max();
    assert!(longest < Some(2_000), "{longest:?}");
}

/// What is documented is there, what is there is documented, and without the token it is closed.
#[test]
fn the_document_lists_what_there_is_and_the_token_opens_it() {
    let cluster = Cluster::builder()
        .setting(&format!("api: {{token: {TOKEN}}}"))
        .control(1)
        .start();
    let node = cluster.node("c1");
    for headers in ["", "Authorization: Bearer wrong-wrong-wrong\r\n"] {
        let answer = send(node, "GET /members", headers, None);
        assert_eq!(answer.status, 401, "{answer:?}");
        assert!(
            answer.head.contains("www-authenticate: bearer"),
            "{answer:?}"
        );
    }
    let header = format!("Authorization: Bearer {TOKEN}\r\n");
    let document = send(node, "GET /openapi.json", &header, None);
    assert_eq!(document.status, 200);
    let paths = document.body["paths"].as_object().expect("paths");
    let documented: BTreeSet<String> = paths
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().expect("methods").keys();
            methods.map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    let expected = OPERATIONS.iter().filter(|it| !it.contains("nothing"));
    assert_eq!(documented, expected.map(|it| (*it).to_owned()).collect());
    for operation in OPERATIONS {
        let asked = operation.replace(['{', '}'], "");
        let answer = send(node, &asked, &header, Some(json!({})));
        let detail = answer.body["detail"].as_str().unwrap_or_default();
        let is_nowhere = answer.status == 405 || detail.starts_with("there is nothing at");
        assert_eq!(
            is_nowhere,
            operation.contains("nothing"),
            "{operation}: {answer:?}"
        );
    }
}
