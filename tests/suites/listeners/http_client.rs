//! The client's side of plain HTTP/1.1: one request, one answer.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use gatemq_tests::Broker;

/// An HTTP answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The status code; 0 when the server closed without one.
    pub(crate) status: u16,
    /// Status line and headers.
    pub(crate) head: String,
    /// The body, of which a chunked encoding is left in place.
    pub(crate) body: String,
}

/// Asks for a path.
#[track_caller]
pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    send(address, request.as_bytes())
}

/// Sends these bytes and reads to the end.
#[track_caller]
pub(crate) fn send(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).expect("the HTTP listener takes connections");
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("a timeout can be set");
    // A server may refuse before it has read everything.
    let _refused = stream.write_all(request);
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Answer {
        status: status.unwrap_or(0),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

/// How often a limit was reached, by the broker's metrics.
#[track_caller]
pub(crate) fn n_hits(broker: &Broker, limit: &str) -> u64 {
    let name = format!("gateway_limits_hit_total{{limit=\"{limit}\"}} ");
    let body = get(broker.http(), "/metrics").body;
    let found = body.lines().find_map(|line| line.strip_prefix(&name));
    let found = found.unwrap_or_else(|| panic!("{name} is not in {body}"));
    found.parse().expect("a number")
}
