//! Ports that a process can leave and come back to.
//!
//! Port 0 would give one from the range that the system also takes for outgoing connections: while
//! the process is away, a peer's next attempt to reach it may be given that very port.

use std::{
    net::{TcpListener, UdpSocket},
    ops::Range,
    process,
    sync::atomic::{AtomicU32, Ordering},
};

/// Below the range of outgoing connections, and clear of usual servers.
const RANGE: Range<u32> = 10_000..32_000;

/// A port of this machine that is free for TCP and UDP, and that no other call has given.
pub fn free() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n_ports = RANGE.end - RANGE.start;
    // Test binaries that run at the same time begin at different places.
    let first = process::id().wrapping_mul(1_009);
    for _ in 0..n_ports {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = RANGE.start + first.wrapping_add(step) % n_ports;
        let port = u16::try_from(port).expect("the range is one of ports");
        let address = ("127.0.0.1", port);
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return port;
        }
    }
    panic!("no port of {RANGE:?} is free");
}
