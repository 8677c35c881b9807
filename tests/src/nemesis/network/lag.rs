//! Delay of what passes between a node and the switch (`tests/soak/lag.c`): the node's port is
//! taken out of the switch, and a program carries what passes between it and a new one.
//!
//! The kernel's own means (netem) is missing on many machines, containers among them.

use std::{
    io::{BufRead, BufReader, Write},
    net::Ipv4Addr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::{
    Unavailable,
    command::ip,
    setup::{Setup, port},
};
use crate::nemesis::native::Native;

/// The program of one node. It ends with this process, by the end of its input.
#[derive(Debug)]
pub(super) struct Lag {
    child: Child,
    at: Ipv4Addr,
}

impl Lag {
    /// Begins to carry, without delay.
    pub(super) fn start(setup: &Setup, at: Ipv4Addr) -> Result<Self, Unavailable> {
        let program = Native::Lag.path()?;
        let (switch, own, [inner, outer]) = (setup.switch(), port(at), new_ports(at));
        let made = ip(&format!(
            "-n {switch} link add {inner} type veth peer name {outer}"
        ))
        .and_then(|()| ip(&format!("-n {switch} link set {outer} up")))
        .and_then(|()| ip(&format!("-n {switch} link set {own} nomaster")))
        .and_then(|()| setup.plug(&inner));
        made.map_err(Unavailable::new)?;
        let mut child = Command::new("nsenter")
            .arg(format!("--net=/run/netns/{switch}"))
            .arg("--")
            .arg(program)
            .args([&own, &outer])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| Unavailable::new(format!("nsenter: {error}")))?;
        let mut said = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        // Its end, if it ends; it waits for nothing before this.
        let read = BufReader::new(stdout).read_line(&mut said);
        let lag = Self { child, at };
        match read {
            Ok(_) if said == "ready\n" => Ok(lag),
            _ => Err(Unavailable::new("the program that delays does not start")),
        }
    }

    /// What passes to and from this address waits from now on.
    #[track_caller]
    pub(super) fn set(&mut self, peer: Ipv4Addr, time: Duration, jitter: Duration) {
        let (time, jitter) = (time.as_micros(), jitter.as_micros());
        let stdin = self.child.stdin.as_mut().expect("it is piped");
        let told = writeln!(stdin, "{peer} {time} {jitter}");
        told.expect("the program that delays runs");
    }

    /// The node is plugged into the switch again. What waited is lost.
    pub(super) fn end(self, setup: &Setup) {
        let (switch, [inner, _], at) = (setup.switch(), new_ports(self.at), self.at);
        drop(self);
        let mended = ip(&format!("-n {switch} link del {inner}"));
        let mended = mended.and_then(|()| setup.plug(&port(at)));
        mended.unwrap_or_else(|trouble| panic!("the switch: {trouble}"));
    }
}

impl Drop for Lag {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// In the switch, and beside it.
fn new_ports(at: Ipv4Addr) -> [String; 2] {
    let last = at.octets()[3];
    [format!("p{last}"), format!("q{last}")]
}
