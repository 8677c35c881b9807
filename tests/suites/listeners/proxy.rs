//! PROXY protocol, versions 1 and 2: the address in the header counts, from whom it may come.
//! What can be seen from outside is that the limit per address counts it.

use std::{net::SocketAddr, time::Duration};

use gatemq_tests::{Broker, Builder, Canary, Client, Connect, eventually, unique};

use super::{
    authority::Authority,
    tls_client::TlsClient,
    ws_client::{self, WebSocket},
};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Version 1, from this address.
fn v1(from: &str) -> Vec<u8> {
    format!("PROXY TCP4 {from} 198.51.100.1 40000 1883\r\n").into_bytes()
}

/// Version 2 with this command, family and content.
fn v2(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("a header is short");
    [
        SIGNATURE,
        &[0x20 | command, family],
        &length.to_be_bytes(),
        content,
    ]
    .concat()
}

/// Version 2, over TCP from this address.
fn v2_from(from: SocketAddr) -> Vec<u8> {
    match from {
        SocketAddr::V4(from) => {
            let ports = [from.port().to_be_bytes(), 1883_u16.to_be_bytes()].concat();
            v2(
                1,
                0x11,
                &[&from.ip().octets()[..], &[198, 51, 100, 1], &ports].concat(),
            )
        }
        SocketAddr::V6(from) => {
            let ports = [from.port().to_be_bytes(), 1883_u16.to_be_bytes()].concat();
            v2(
                1,
                0x21,
                &[&from.ip().octets()[..], &[0; 16], &ports].concat(),
            )
        }
    }
}

/// The types of TLV whose content is text: ALPN, authority, unique id, one of TLS with a version
/// and a common name in it, and a network namespace.
pub(super) const TEXTS: [u8; 5] = [0x01, 0x02, 0x05, 0x20, 0x30];

/// Version 2 from 192.0.2.7, with one TLV of this type and these bytes.
pub(super) fn v2_with(kind: u8, bytes: &[u8]) -> Vec<u8> {
    let tlv = |kind: u8, bytes: &[u8]| {
        let length = u16::try_from(bytes.len()).expect("a short TLV");
        [&[kind], &length.to_be_bytes()[..], bytes].concat()
    };
    let content = match kind {
        // One byte of flags and four of the verification's result come first.
        0x20 => [&[7, 0, 0, 0, 0][..], &tlv(0x21, bytes), &tlv(0x22, bytes)].concat(),
        _ => bytes.to_vec(),
    };
    let addresses = [192, 0, 2, 7, 198, 51, 100, 1, 0x9C, 0x40, 0x07, 0x5B];
    v2(1, 0x11, &[&addresses[..], &tlv(kind, &content)].concat())
}

fn broker(proxies: &str) -> Builder {
    Broker::builder().args(["--tcp", ""]).config(format!(
        "allow-anonymous: true\nlisteners:\n\
         - {{transport: tcp, address: '127.0.0.1:0', proxy-from: [{proxies}], \
         max-connections-per-address: 2}}\n"
    ))
}

/// Sends the header and a CONNECT; the client if it was let in.
fn enter(address: SocketAddr, header: &[u8]) -> Option<Client> {
    let mut client = Client::connect_tcp(address);
    let connect = Connect::new(4, unique("proxied"));
    client.send(&[header, &connect.bytes()].concat());
    let answer = client.recv_within(Duration::from_secs(5))?;
    (answer.connack(4).code == 0).then_some(client)
}

/// The same, where others of the address may still be on their way out.
#[track_caller]
fn enter_soon(address: SocketAddr, header: &[u8]) -> Client {
    let mut client = None;
    eventually!({
        client = enter(address, header);
        client.is_some()
    });
    client.expect("it was let in")
}

/// Two of an address are let in, the third is not, and another address is.
#[track_caller]
fn counts_the_address(address: SocketAddr, header: impl Fn(&str) -> Vec<u8>, one: &str, two: &str) {
    let first = enter(address, &header(one)).expect("the first of its address");
    let _second = enter(address, &header(one)).expect("the second of its address");
    assert!(enter(address, &header(one)).is_none(), "a third of {one}");
    let _other = enter(address, &header(two)).expect("the first of another address");
    first.disconnect();
    enter_soon(address, &header(one));
}

#[test]
fn version_1_names_the_client() {
    let broker = broker("127.0.0.0/8").start();
    counts_the_address(broker.tcp(), v1, "192.0.2.1", "192.0.2.2");
}

#[test]
fn version_1_over_ipv6() {
    let broker = broker("127.0.0.1/32").start();
    let header = |from: &str| format!("PROXY TCP6 {from} 2001:db8::1 40000 1883\r\n").into_bytes();
    counts_the_address(broker.tcp(), header, "2001:db8::2", "2001:db8::3");
}

#[test]
fn version_2_names_the_client() {
    let broker = broker("127.0.0.1/32").start();
    let header = |from: &str| v2_from(from.parse().expect("an address"));
    counts_the_address(broker.tcp(), header, "192.0.2.1:40000", "192.0.2.2:40000");
    counts_the_address(broker.tcp(), header, "[2001:db8::2]:4", "[2001:db8::3]:4");
}

#[test]
fn version_2_may_carry_more_than_addresses() {
    let broker = broker("127.0.0.1/32").start();
    let addresses = [
        &[192, 0, 2, 7, 198, 51, 100, 1][..],
        &[0x9C, 0x40, 0x07, 0x5B],
    ]
    .concat();
    // A TLV of an authority with bytes that are no UTF-8, and an unknown one.
    let more = [&[0x02, 0, 3, 0xED, 0xA0, 0x80][..], &[0xE7, 0, 1, 0]].concat();
    let header = v2(1, 0x11, &[addresses, more].concat());
    assert!(enter(broker.tcp(), &header).is_some());
}

#[test]
fn a_header_without_an_address_leaves_the_real_one() {
    let broker = broker("127.0.0.1/32").start();
    let headers = [b"PROXY UNKNOWN\r\n".to_vec(), v2(0, 0, &[]), v2(1, 0, &[])];
    for header in headers {
        enter_soon(broker.tcp(), &header);
    }
}

#[test]
fn the_header_may_come_byte_by_byte() {
    let broker = broker("127.0.0.1/32").start();
    for header in [
        v1("192.0.2.1"),
        v2_from("192.0.2.1:5".parse().expect("an address")),
    ] {
        let mut client = Client::connect_tcp(broker.tcp());
        for byte in header {
            client.send(&[byte]);
        }
        assert_eq!(client.handshake(&Connect::new(5, unique("slow"))).code, 0);
    }
}

#[test]
fn a_listed_proxy_must_send_a_header() {
    let broker = broker("127.0.0.1/32").start();
    assert!(
        enter(broker.tcp(), b"").is_none(),
        "a CONNECT without a header"
    );
}

#[test]
fn an_unlisted_address_is_taken_as_it_comes() {
    let broker = broker("10.0.0.0/8, '2001:db8::/32'").start();
    let first = enter(broker.tcp(), b"").expect("no header is needed");
    for header in [
        v1("10.1.1.1"),
        v2_from("10.1.1.1:5".parse().expect("an address")),
    ] {
        assert!(
            enter(broker.tcp(), &header).is_none(),
            "a header from a stranger is no MQTT"
        );
    }
    let _second = enter_soon(broker.tcp(), b"");
    assert!(
        enter(broker.tcp(), b"").is_none(),
        "the real address counts"
    );
    first.disconnect();
}

#[test]
fn broken_headers_end_in_a_closed_connection() {
    let broker = Broker::builder()
        .config(
            "allow-anonymous: true\nlisteners:\n\
             - {transport: ws, address: '127.0.0.1:0', proxy-from: [127.0.0.1/32]}\n\
             - {transport: tcp, address: '127.0.0.1:0', proxy-from: [127.0.0.1/32]}\n\
             limits: {connect-timeout: 2s}\n",
        )
        .start();
    let address = broker
        .listening("tcp")
        .pop()
        .expect("a listener")
        .parse()
        .expect("an address");
    let canary = Canary::start(&broker);
    let long_line = [b"PROXY TCP4 ".to_vec(), vec![b'1'; 4096]].concat();
    let headers = [
        b"PROXY TCP4 192.0.2.1\r\n".to_vec(),
        b"PROXY TCP4 999.0.2.1 198.51.100.1 1 2\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 198.51.100.1 1 99999\r\n".to_vec(),
        b"PROXY TCP9 192.0.2.1 198.51.100.1 1 2\r\n".to_vec(),
        b"PROXY \r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 198.51.100.1 40000 1883\n\n".to_vec(),
        long_line,
        v2(1, 0x11, &[192, 0, 2, 1]),
        v2(1, 0x21, &[0; 12]),
        v2(7, 0x11, &[0; 12]),
        [SIGNATURE, &[0x11, 0x11, 0, 12], &[0; 12]].concat(),
        [SIGNATURE, &[0x21, 0x11, 0xFF, 0xFF], &[0; 64]].concat(),
        b"\r\n\r\n\0\r\nQUIX\n\x21\x11\0\x0c".to_vec(),
    ];
    for header in headers {
        let mut client = Client::connect_tcp(address);
        client.send(&[header.clone(), Connect::new(5, unique("bad")).bytes()].concat());
        // Nothing may be answered: these bytes did not come from a client.
        let packets = client.until_closed();
        assert!(packets.is_empty(), "{header:02x?} led to {packets:?}");
    }
    canary.finish();
}

#[test]
fn a_header_stands_before_tls_and_websocket() {
    let authority = Authority::new("tests");
    let identity = authority.server();
    let broker = Broker::builder()
        .args(["--ws", ""])
        .file("cert.pem", identity.certificate_pem())
        .file("key.pem", identity.key_pem())
        .config(
            "allow-anonymous: true\nlisteners:\n\
             - {transport: ws, address: '127.0.0.1:0', proxy-from: [127.0.0.1/32]}\n\
             - transport: tls\n  address: '127.0.0.1:0'\n  proxy-from: [127.0.0.1/32]\n  \
             tls: {certificate: '{dir}/cert.pem', key: '{dir}/key.pem'}\n",
        )
        .start();

    let mut wire = ws_client::tcp(broker.ws());
    wire.write_all(&v1("192.0.2.1"))
        .expect("the listener reads");
    let socket = WebSocket::upgrade(wire, "/mqtt", Some("mqtt")).expect("the upgrade succeeds");
    let mut client = Client::over(Box::new(socket));
    assert_eq!(client.handshake(&Connect::new(5, unique("ws"))).code, 0);

    let mut stream = std::net::TcpStream::connect(broker.address("tls")).expect("it listens");
    let header = v2_from("192.0.2.1:5".parse().expect("an address"));
    std::io::Write::write_all(&mut stream, &header).expect("the listener reads");
    let wire = TlsClient::trusting(&authority)
        .shake_hands(stream)
        .expect("TLS follows");
    let mut client = Client::over(Box::new(wire));
    assert_eq!(client.handshake(&Connect::new(5, unique("tls"))).code, 0);
}
