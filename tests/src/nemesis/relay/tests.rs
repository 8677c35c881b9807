//! The relay against a server that sends back what it gets.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use super::{Direction, Fault, Relay};
use crate::{eventually, history::Random};

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(10);

/// A server that sends back what it gets, as long as the tests run.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut reader = stream.try_clone().expect("a second handle");
                let mut writer = stream;
                let _ended = std::io::copy(&mut reader, &mut writer);
                let _ended = writer.shutdown(Shutdown::Write);
            });
        }
    });
    address
}

fn start() -> Relay {
    Relay::start(echo()).expect("a port is free")
}

fn connect(relay: &Relay) -> TcpStream {
    let stream = TcpStream::connect(relay.address()).expect("it listens");
    stream.set_read_timeout(Some(LONG)).expect("a timeout");
    stream.set_nodelay(true).expect("no delay");
    stream
}

/// Sends it and gets it back; the time that took.
#[track_caller]
fn round(stream: &mut TcpStream, text: &[u8]) -> Duration {
    let start = Instant::now();
    stream.write_all(text).expect("it can be sent");
    let mut back = vec![0; text.len()];
    stream.read_exact(&mut back).expect("it comes back");
    assert_eq!(back, text);
    start.elapsed()
}

#[track_caller]
fn nothing_comes(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(SHORT)).expect("a timeout");
    let kind = stream.read(&mut [0]).expect_err("nothing comes").kind();
    assert!(
        matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "{kind:?}"
    );
    stream.set_read_timeout(Some(LONG)).expect("a timeout");
}

#[test]
fn bytes_and_ends_pass_as_they_are() {
    let relay = start();
    let mut stream = connect(&relay);
    let text: Vec<_> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let mut writer = stream.try_clone().expect("a second handle");
    let sent = text.clone();
    let sending = thread::spawn(move || {
        writer.write_all(&sent).expect("it can be sent");
        writer.shutdown(Shutdown::Write).expect("it can be ended");
    });
    let mut back = Vec::new();
    stream.read_to_end(&mut back).expect("the end comes, too");
    assert!(back == text, "{} of {} bytes", back.len(), text.len());
    sending.join().expect("all was sent");
    eventually!(relay.n_open() == 0);
}

#[test]
fn a_delay_has_its_time_and_its_jitter_and_keeps_the_order() {
    let relay = Relay::listen(([127, 0, 0, 1], 0), echo(), Random::new(7)).expect("a port");
    let mut stream = connect(&relay);
    round(&mut stream, b"before");
    assert_eq!(relay.n_hit(), 0);
    let (time, jitter) = (Duration::from_millis(100), Duration::from_millis(50));
    relay.set(Fault::delay(time, jitter));
    assert!(round(&mut stream, b"both ways") >= 2 * time);
    assert!(relay.n_hit() >= 2);
    for number in 0..20_u8 {
        stream.write_all(&[number]).expect("it can be sent");
        crate::pause(Duration::from_millis(2));
    }
    let mut back = [0; 20];
    stream.read_exact(&mut back).expect("it comes back");
    assert!(back.is_sorted(), "{back:?}");
    relay.set(Fault::delay(Duration::from_secs(100), Duration::ZERO));
    stream.write_all(b"late").expect("it can be sent");
    nothing_comes(&mut stream);
    relay.set(Fault::None); // what waits need wait no longer
    stream.read_exact(&mut [0; 4]).expect("it comes back");
    relay.set_one(Direction::Down, Fault::delay(time, Duration::ZERO));
    assert!(round(&mut stream, b"one way") >= time);
}

#[test]
fn what_is_stalled_is_kept_and_bounded() {
    let relay = start();
    let mut stream = connect(&relay);
    relay.set_one(Direction::Down, Fault::Stall);
    stream.write_all(b"kept").expect("it can be sent");
    nothing_comes(&mut stream);
    relay.set_one(Direction::Up, Fault::Stall);
    relay.set_one(Direction::Down, Fault::None);
    let mut back = [0; 4];
    stream.read_exact(&mut back).expect("it comes back");
    assert_eq!(&back, b"kept");
    // The sender is held up at last: 1 MiB here, and what the sockets hold.
    stream.set_write_timeout(Some(SHORT)).expect("a timeout");
    let mut n_sent = 0;
    while let Ok(count) = stream.write(&[7; 65_536]) {
        n_sent += count;
        assert!(n_sent < 64 << 20, "nothing bounds it");
    }
    relay.heal();
    let mut back = vec![0; n_sent];
    stream.read_exact(&mut back).expect("nothing is lost");
    assert!(back.iter().all(|byte| *byte == 7));
}

#[test]
fn an_end_waits_where_bytes_would() {
    let relay = start();
    let mut stream = connect(&relay);
    round(&mut stream, b"before");
    relay.set(Fault::Stall);
    stream.shutdown(Shutdown::Write).expect("it can be ended");
    nothing_comes(&mut stream);
    relay.heal();
    assert_eq!(stream.read(&mut [0]).expect("the end"), 0);
}

#[test]
fn a_rate_is_kept() {
    let relay = start();
    let mut stream = connect(&relay);
    relay.set_one(Direction::Up, Fault::Rate(20_000));
    let took = round(&mut stream, &[1; 10_000]);
    assert!(took >= Duration::from_millis(450), "{took:?}");
    relay.heal();
    round(&mut stream, &[1; 10_000]);
}

#[test]
fn connections_are_cut_and_new_ones_taken() {
    let relay = start();
    let (mut one, mut other) = (connect(&relay), connect(&relay));
    round(&mut one, b"one");
    round(&mut other, b"other");
    assert_eq!(relay.n_open(), 2);
    relay.set(Fault::Stall);
    // More than it reads: what a socket has unread when it is closed would make that an RST.
    one.set_write_timeout(Some(SHORT)).expect("a timeout");
    while one.write(&[0; 65_536]).is_ok() {}
    relay.cut();
    relay.heal();
    assert_eq!(one.read(&mut [0]).expect("FIN"), 0);
    assert_eq!(other.read(&mut [0]).expect("FIN"), 0);
    assert_eq!(relay.n_open(), 0);
    round(&mut connect(&relay), b"new");
}

#[test]
fn connections_are_reset_and_new_ones_taken() {
    let relay = start();
    let mut stream = connect(&relay);
    round(&mut stream, b"before");
    relay.reset();
    let error = stream.read(&mut [0]).expect_err("RST");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    round(&mut connect(&relay), b"new");
}

#[test]
fn connections_end_after_so_many_bytes() {
    let relay = start();
    let mut stream = connect(&relay);
    relay.set_one(Direction::Down, Fault::CutAfter(1_000));
    round(&mut stream, &[1; 100]);
    assert_eq!(relay.n_hit(), 0, "so much passes");
    relay.set_one(Direction::Down, Fault::CutAfter(1_000)); // anew
    stream.write_all(&[2; 5_000]).expect("it can be sent");
    let mut back = Vec::new();
    stream.read_to_end(&mut back).expect("FIN");
    assert_eq!((back.len(), relay.n_hit()), (1_000, 1));
    relay.heal();
    let mut stream = connect(&relay);
    relay.set_one(Direction::Up, Fault::ResetAfter(10));
    let mut back = [0; 10];
    stream.write_all(&[3; 10]).expect("it can be sent");
    stream.read_exact(&mut back).expect("the first ten pass");
    stream.write_all(&[3; 10]).expect("it can be sent");
    let error = stream.read(&mut back).expect_err("RST");
    assert_eq!(
        (error.kind(), relay.n_hit()),
        (ErrorKind::ConnectionReset, 2)
    );
}

#[test]
fn who_comes_is_refused_and_who_is_there_stays() {
    let relay = start();
    let mut stream = connect(&relay);
    round(&mut stream, b"before");
    relay.refuse();
    let error = TcpStream::connect(relay.address()).expect_err("nobody listens");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    round(&mut stream, b"meanwhile");
    relay.heal();
    round(&mut connect(&relay), b"after");
}

#[test]
fn a_target_that_is_not_there_is_an_rst() {
    let nobody = ([127, 0, 0, 1], crate::ports::free());
    let relay = Relay::start(nobody).expect("a port is free");
    let error = connect(&relay).read(&mut [0]).expect_err("RST");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    eventually!(relay.n_open() == 0);
}

#[test]
fn a_relay_that_goes_leaves_nothing_open() {
    let relay = start();
    let mut stream = connect(&relay);
    round(&mut stream, b"before");
    let address = relay.address();
    drop(relay);
    assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
    eventually!(TcpStream::connect(address).is_err());
}
