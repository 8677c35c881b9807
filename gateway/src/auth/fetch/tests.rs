//! A server that behaves as badly as any, and what is made of it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// What a server does with a request.
pub(in crate::auth) enum Act {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Sends these, and then nothing, with the connection open.
    Hang(Vec<u8>),
}

/// A server, and what it has been asked.
pub(in crate::auth) struct Server {
    pub(in crate::auth) address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    n_connections: Arc<AtomicUsize>,
}

pub(in crate::auth) fn answer(status: &str, body: &str) -> Act {
    let length = body.len();
    Act::Send(format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes())
}

impl Server {
    /// One that acts as it is told for each request (its head and body).
    pub(in crate::auth) async fn start(act: impl Fn(&str) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (act, asked) = (Arc::new(act), Arc::new(Mutex::new(Vec::new())));
        let n_connections = Arc::new(AtomicUsize::new(0));
        let (log, count) = (asked.clone(), n_connections.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let (act, log) = (act.clone(), log.clone());
                tokio::spawn(async move {
                    while let Some(request) = receive(&mut stream).await {
                        let action = act(&request);
                        log.lock().unwrap().push(request);
                        match action {
                            Act::Send(bytes) => stream.write_all(&bytes).await.unwrap(),
                            Act::Hang(bytes) => {
                                stream.write_all(&bytes).await.unwrap();
                                std::future::pending::<()>().await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            address,
            asked,
            n_connections,
        }
    }

    pub(in crate::auth) fn url(&self, path: &str) -> Url {
        url(&format!("http://{}{path}", self.address)).unwrap()
    }

    pub(in crate::auth) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// One request, with its body.
async fn receive(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let head = head.to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1);
        let length = length.map_or(0, |rest| rest.lines().next().unwrap().parse().unwrap());
        if body.len() >= length {
            return Some(text);
        }
    }
}

pub(in crate::auth) fn config() -> Fetch {
    Fetch {
        timeout: Duration::from_millis(300),
        at_once: 2,
        ca_file: None,
        headers: vec![("x-key".to_owned(), "secret-7".to_owned())],
    }
}

fn fetcher() -> Fetcher {
    Fetcher::open(&config(), &[]).unwrap()
}

async fn fails(server: &Server) -> String {
    match fetcher().get(&server.url("/")).await {
        Err(Unavailable::Failed(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn urls_that_are_not_what_they_seem_are_not_taken() {
    for wrong in [
        "",
        "auth.example",
        "ftp://auth.example/",
        "file:///etc/passwd",
        "http://",
        "http://user:password@auth.example/",
        "http://auth.example/#a",
    ] {
        assert!(url(wrong).is_err(), "{wrong}");
    }
    let secret = url("https://auth.example/a?key=secret").unwrap();
    assert_eq!(shown(&secret), "https://auth.example/a");
}

#[test]
fn headers_are_looked_at_and_not_shown() {
    let with = |name: &str, value: &str| {
        let headers = vec![(name.to_owned(), value.to_owned())];
        let config = Fetch {
            headers,
            ..config()
        };
        assert!(!format!("{config:?}").contains("secret"));
        Fetcher::open(&config, &[])
    };
    let shown = format!("{:?}", with("Authorization", "Bearer secret").unwrap());
    assert!(!shown.contains("secret"), "{shown}");
    for (name, value) in [
        ("", "a"),
        ("a b", "a"),
        ("a\r\nb", "a"),
        ("a", "secret\r\nb: c"),
        ("a", "secret\0"),
        ("Host", "secret"),
        ("content-length", "1"),
    ] {
        let error = with(name, value).unwrap_err();
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn authorities_that_cannot_be_read_are_an_error() {
    let folder = std::env::temp_dir();
    for (file, says) in [
        (folder.join("gatemq-none.pem"), "gatemq-none.pem"),
        ("/dev/null".into(), "has no certificate"),
    ] {
        let config = Fetch {
            ca_file: Some(file),
            ..config()
        };
        let error = Fetcher::open(&config, &[]).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
}

#[tokio::test]
async fn names_are_encoded_whatever_is_in_them() {
    let server = Server::start(|_| answer("200 OK", "1")).await;
    let name = "a&b=c d#/?%0a\r\nX-Injected: 1\u{e4}\"\\";
    let fields = [("username", name), ("clientid", "#")];
    let (fetcher, url) = (fetcher(), server.url("/auth?key=1"));
    for carriage in [Carriage::Query, Carriage::Form, Carriage::Json] {
        let heard = fetcher.ask(&url, carriage, &fields);
        assert_eq!(heard.await.unwrap().status, 200);
    }
    let [query, form, json] = &server.asked()[..] else {
        panic!("three questions");
    };
    for request in [query, form, json] {
        assert!(!request.contains("\nX-Injected"), "{request}");
        assert!(request.contains("x-key: secret-7"), "{request}");
    }
    let encoded =
        "username=a%26b%3Dc+d%23%2F%3F%250a%0D%0AX-Injected%3A+1%C3%A4%22%5C&clientid=%23";
    assert!(
        query.starts_with(&format!("GET /auth?key=1&{encoded} HTTP/1.1\r\n")),
        "{query}"
    );
    assert!(form.starts_with("POST /auth?key=1 HTTP/1.1\r\n"), "{form}");
    assert!(form.contains("content-type: application/x-www-form-urlencoded"));
    assert!(form.ends_with(encoded), "{form}");
    assert!(json.contains("content-type: application/json"));
    let (_, body) = json.split_once("\r\n\r\n").unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body, serde_json::json!({"username": name, "clientid": "#"}));
}

#[tokio::test]
async fn connections_are_used_again() {
    let server = Server::start(|_| answer("200 OK", "1")).await;
    let fetcher = fetcher();
    for _ in 0..3 {
        fetcher.get(&server.url("/")).await.unwrap();
    }
    assert_eq!(server.asked().len(), 3);
    assert_eq!(server.n_connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let server = Server::start(|request| match request.starts_with("GET /1 ") {
        true => answer("302 Found\r\nLocation: /2", ""),
        false => answer("200 OK", "1"),
    })
    .await;
    let heard = fetcher().get(&server.url("/1")).await.unwrap();
    assert_eq!(heard.status, 302);
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn an_answer_that_does_not_come_whole_is_none() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n";
    for begun in ["", "HTTP/1.1 200", head] {
        let server = Server::start(move |_| Act::Hang(begun.into())).await;
        let why = fails(&server).await;
        assert!(why.contains("no answer within"), "{begun:?}: {why}");
    }
    for nonsense in ["\r\n\r\n\r\n", "SSH-2.0-x\r\n", "HTTP/1.1 abc\r\n\r\n"] {
        fails(&Server::start(move |_| Act::Send(nonsense.into())).await).await;
    }
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = url(&format!(
        "http://{}/?password=secret",
        gone.local_addr().unwrap()
    ))
    .unwrap();
    drop(gone);
    let Err(Unavailable::Failed(why)) = fetcher().get(&at).await else {
        panic!("nobody is there");
    };
    assert!(!why.contains("secret"), "{why}");
}

#[tokio::test]
async fn an_answer_has_a_bound() {
    let of = |length: usize| answer("200 OK", &"x".repeat(length));
    let server = Server::start(move |_| of(LONGEST)).await;
    let heard = fetcher().get(&server.url("/")).await.unwrap();
    assert_eq!(heard.body.len(), LONGEST);
    let server = Server::start(move |_| of(LONGEST + 1)).await;
    assert!(fails(&server).await.contains("longer"));
    // One that does not say how long it is, and does not end.
    let chunks = "10000\r\n".to_owned() + &"x".repeat(0x10000) + "\r\n1\r\nx\r\n";
    let server = Server::start(move |_| {
        Act::Hang(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}").into())
    });
    assert!(fails(&server.await).await.contains("longer"));
    // Nor do its headers.
    let server = Server::start(move |_| {
        let headers = "X-Y: z\r\n".repeat(100_000);
        Act::Hang(format!("HTTP/1.1 200 OK\r\n{headers}").into())
    });
    fails(&server.await).await;
}

#[tokio::test]
async fn so_many_wait_and_no_more() {
    let server = Server::start(|_| Act::Hang(Vec::new())).await;
    let (fetcher, url) = (Arc::new(fetcher()), server.url("/"));
    let n_places = 2 + 2 * WAITING;
    let asking: Vec<_> = (0..n_places + 10)
        .map(|_| {
            let (fetcher, url) = (fetcher.clone(), url.clone());
            tokio::spawn(async move { fetcher.get(&url).await })
        })
        .collect();
    let begun = std::time::Instant::now();
    let mut n_crowded = 0;
    for asking in asking {
        match asking.await.unwrap() {
            Err(Unavailable::Crowded) => n_crowded += 1,
            Err(Unavailable::Failed(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(n_crowded >= 10, "{n_crowded}");
    assert!(begun.elapsed() < 10 * config().timeout);
    assert_eq!(fetcher.slots.available_permits(), 2);
}
