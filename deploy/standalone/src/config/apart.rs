//! Where this process listens: no two of its addresses may be one.
//!
//! Gossip counts as any other: it takes UDP and TCP.

use super::{Config, listener};
use crate::Tiers;
use gatemq_gateway::config::{self as gateway, Address};
use gatemq_node::config::Problem;
use std::fmt;

/// An address that this process listens on.
#[derive(Clone, Debug)]
pub struct Place {
    /// The key that it comes from.
    pub key: String,
    /// The address.
    pub address: Address,
}

/// All of them.
pub fn places(config: &Config, tiers: Tiers, gateway: &gateway::Config) -> Vec<Place> {
    let mut places = own(config, tiers, gateway);
    if config.is_clustered() {
        places.extend(of_cluster(config, tiers));
    }
    places
}

/// Two places that cannot both be had, the first ones.
pub fn meeting(places: &[Place]) -> Option<(&Place, &Place)> {
    let mut later = places.iter().enumerate();
    later.find_map(|(at, new)| {
        let known = places[..at]
            .iter()
            .find(|known| overlap(&known.address, &new.address));
        Some((known?, new))
    })
}

/// Looks for two that meet. The problem is that of the one that was set, if only one was.
pub(super) fn check(
    config: &Config,
    tiers: Tiers,
    gateway: &gateway::Config,
    is_set: impl Fn(&str) -> bool,
) -> Result<(), Problem> {
    let places = places(config, tiers, gateway);
    // Without a cluster its ports are nobody's, but they have to fit together.
    let of_cluster: Vec<Place> = of_cluster(config, tiers).collect();
    let Some((known, new)) = meeting(&places).or_else(|| meeting(&of_cluster)) else {
        return Ok(());
    };
    let (wrong, other) = match is_set(&known.key) && !is_set(&new.key) {
        true => (known, new),
        false => (new, known),
    };
    let mut what = format!(
        "{wrong} is the address of {} already: change one",
        other.key
    );
    if let Some(place) = [other, wrong].into_iter().find(|place| place.may_be_off()) {
        what.push_str(&format!(", or write {}: \"\"", place.key));
    }
    Err(Problem::new(wrong.key.clone(), what))
}

fn own(config: &Config, tiers: Tiers, gateway: &gateway::Config) -> Vec<Place> {
    let listeners = gateway.listeners.iter().filter(|_| tiers.gateway);
    let listeners = listener::keys(config).zip(listeners);
    let mut places: Vec<Place> = listeners
        .map(|(key, listener)| Place {
            key,
            address: listener.address.clone(),
        })
        .collect();
    places.extend(config.http.0.map(|http| Place {
        key: "http".to_owned(),
        address: Address::Socket(http),
    }));
    places
}

fn of_cluster(config: &Config, tiers: Tiers) -> impl Iterator<Item = Place> {
    let cluster = &config.cluster;
    let all = [
        ("cluster.gossip-port", cluster.gossip(), true),
        ("cluster.raft-port", cluster.raft(), tiers.control),
        (
            "cluster.grpc-port",
            cluster.peer(),
            tiers.gateway || tiers.bridge,
        ),
    ];
    let there = all.into_iter().filter(|(.., is_there)| *is_there);
    there.map(|(key, address, _)| Place {
        key: key.to_owned(),
        address: Address::Socket(address),
    })
}

/// Whether two addresses are one, or one of them is the other's port on all interfaces. Port 0 is
/// never the same twice.
fn overlap(one: &Address, other: &Address) -> bool {
    let (one, other) = match (one, other) {
        (Address::Socket(one), Address::Socket(other)) => (one, other),
        (one, other) => return one == other,
    };
    let is_everywhere = |address: &std::net::SocketAddr| address.ip().is_unspecified();
    // What is for IPv6 alone does not take the IPv4 port.
    let is_family = |wide: &std::net::SocketAddr, narrow: &std::net::SocketAddr| {
        is_everywhere(wide) && (wide.is_ipv6() || narrow.is_ipv4())
    };
    one.port() != 0
        && one.port() == other.port()
        && (one.ip() == other.ip() || is_family(one, other) || is_family(other, one))
}

// === impl Place ===

impl Place {
    /// Whether an empty text turns it off.
    fn may_be_off(&self) -> bool {
        !self.key.contains(['.', '['])
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Socket(address) => address.fmt(formatter),
            Address::Path(path) => path.display().fmt(formatter),
        }
    }
}
