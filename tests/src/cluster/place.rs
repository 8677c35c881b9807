//! Where a process of a test is: its address, and the network that it sees.

use std::net::{Ipv4Addr, SocketAddr};

/// An address of this machine, in its own network or in a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    address: Ipv4Addr,
    namespace: Option<String>,
}

impl Place {
    /// In a namespace of this name, which `ip netns` knows.
    pub fn in_namespace(address: Ipv4Addr, namespace: impl Into<String>) -> Self {
        Self {
            address,
            namespace: Some(namespace.into()),
        }
    }

    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// One of its ports.
    pub fn port(&self, port: u16) -> SocketAddr {
        (self.address, port).into()
    }

    /// Whether it is in the machine's own network.
    pub fn is_usual(&self) -> bool {
        self.namespace.is_none()
    }

    /// The words before a command that make it run there, under the id that it is started with.
    pub fn entry(&self) -> Vec<String> {
        // `ip netns exec` would hide /sys, where the product finds its memory limit.
        let enter = |name| {
            let file = format!("--net=/run/netns/{name}");
            ["nsenter", &file, "--"].map(str::to_owned).into()
        };
        self.namespace.as_deref().map_or_else(Vec::new, enter)
    }
}

impl Default for Place {
    /// 127.0.0.1.
    fn default() -> Self {
        Self {
            address: Ipv4Addr::LOCALHOST,
            namespace: None,
        }
    }
}
