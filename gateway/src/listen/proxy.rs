//! The PROXY protocol, versions 1 and 2: the header that a load balancer puts in front.
//!
//! Taken only from listed networks, where it is then required. Exactly the header is read:
//! what follows may be TLS.

use std::net::IpAddr;

use ppp::{v1, v2};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::config::Network;

/// Length of the longest header of version 1, with its line end.
const LONGEST_V1: usize = 107;
/// Longest header of version 2 that is taken; its extensions are not used.
const LONGEST_V2: usize = 4096;

/// Whether an address is in one of the networks.
pub(crate) fn is_listed(networks: &[Network], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}

impl Network {
    /// Whether an address is in the network. An IPv4 address mapped to IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let bits = |address: IpAddr| match address.to_canonical() {
            IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 32),
            IpAddr::V6(address) => (address.to_bits(), 128),
        };
        let (mine, width) = bits(self.address);
        let (other, other_width) = bits(address);
        let prefix = u32::from(self.prefix).min(width);
        let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
        width == other_width && mine & mask == other & mask
    }
}

/// Reads the header; returns the client's address, `None` where the header names none.
pub(crate) async fn read(stream: &mut TcpStream) -> Result<Option<IpAddr>, String> {
    let ended = |_| "closed before the end of the PROXY header".to_owned();
    let mut header = vec![0; 12];
    stream.read_exact(&mut header).await.map_err(ended)?;
    if header == v2::PROTOCOL_PREFIX {
        header.resize(16, 0);
        stream.read_exact(&mut header[12..]).await.map_err(ended)?;
        let length = usize::from(u16::from_be_bytes([header[14], header[15]]));
        if length > LONGEST_V2 {
            return Err(format!("a PROXY header of {length} bytes"));
        }
        header.resize(16 + length, 0);
        stream.read_exact(&mut header[16..]).await.map_err(ended)?;
        return source_v2(&header);
    }
    if !header.starts_with(b"PROXY ") {
        return Err("no PROXY header from an address that must send one".to_owned());
    }
    while !header.ends_with(b"\r\n") {
        if header.len() >= LONGEST_V1 {
            return Err("a PROXY header without an end".to_owned());
        }
        header.push(stream.read_u8().await.map_err(ended)?);
    }
    source_v1(&header)
}

fn source_v1(header: &[u8]) -> Result<Option<IpAddr>, String> {
    let header = v1::Header::try_from(header).map_err(|error| error.to_string())?;
    Ok(match header.addresses {
        v1::Addresses::Tcp4(addresses) => Some(addresses.source_address.into()),
        v1::Addresses::Tcp6(addresses) => Some(addresses.source_address.into()),
        v1::Addresses::Unknown => None,
    })
}

fn source_v2(header: &[u8]) -> Result<Option<IpAddr>, String> {
    let header = v2::Header::try_from(header).map_err(|error| error.to_string())?;
    Ok(match (header.command, header.addresses) {
        (v2::Command::Local, _) => None, // the balancer's own health check
        (_, v2::Addresses::IPv4(addresses)) => Some(addresses.source_address.into()),
        (_, v2::Addresses::IPv6(addresses)) => Some(addresses.source_address.into()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(network: &str, prefix: u8, address: &str, expected: bool) {
        let network = Network {
            address: network.parse().expect("an address"),
            prefix,
        };
        let address = address.parse().expect("an address");
        assert_eq!(
            network.contains(address),
            expected,
            "{address} in {network:?}"
        );
    }

    #[test]
    fn networks_contain_what_shares_their_leading_bits() {
        check("10.0.0.0", 8, "10.255.0.1", true);
        check("10.0.0.0", 8, "11.0.0.1", false);
        check("10.1.2.3", 32, "10.1.2.3", true);
        check("0.0.0.0", 0, "192.0.2.1", true);
        check("0.0.0.0", 0, "::1", false);
        check("::", 0, "fe80::1", true);
        check("fe80::", 10, "febf::1", true);
        check("10.0.0.0", 8, "::ffff:10.0.0.1", true);
    }

    #[test]
    fn sources_of_both_versions() {
        let v1 = b"PROXY TCP4 192.0.2.7 192.0.2.1 50000 1883\r\n";
        assert_eq!(source_v1(v1), Ok(Some(IpAddr::from([192, 0, 2, 7]))));
        assert_eq!(source_v1(b"PROXY UNKNOWN\r\n"), Ok(None));
        assert!(source_v1(b"PROXY TCP4 nowhere 192.0.2.1 1 2\r\n").is_err());
        let mut v2 = v2::PROTOCOL_PREFIX.to_vec();
        v2.extend([
            0x21, 0x11, 0, 12, 192, 0, 2, 7, 192, 0, 2, 1, 0xC3, 0x50, 7, 0x5B,
        ]);
        assert_eq!(source_v2(&v2), Ok(Some(IpAddr::from([192, 0, 2, 7]))));
        v2[12] = 0x20;
        assert_eq!(source_v2(&v2), Ok(None));
    }
}
