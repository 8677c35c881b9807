//! Listening addresses as users write them: `ADDR:PORT`, `:PORT` for all interfaces, empty for off.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::str::FromStr;

/// Where to listen, if at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listen(pub Option<SocketAddr>);

/// Why a text is no listening address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an address: write ADDR:PORT (127.0.0.1:1883, [::1]:1883), :PORT for all \
     interfaces, or \"\" for off; host names are not resolved"
)]
pub struct NotAnAddress(String);

impl FromStr for Listen {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(Self(None));
        }
        let error = || NotAnAddress(text.to_owned());
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(error());
        };
        let port: u16 = port.parse().map_err(|_| error())?;
        match host {
            "" | "*" => Ok(Self(Some(SocketAddr::new(all_interfaces(), port)))),
            "localhost" => Ok(Self(Some(SocketAddr::new(
                Ipv4Addr::LOCALHOST.into(),
                port,
            )))),
            _ => text
                .parse()
                .map(|address| Self(Some(address)))
                .map_err(|_| error()),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |address| address.fmt(formatter))
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// `::` takes IPv4 too, but a machine (or container) without IPv6 has only `0.0.0.0`.
fn all_interfaces() -> IpAddr {
    match UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)) {
        Ok(_) => Ipv6Addr::UNSPECIFIED.into(),
        Err(_) => Ipv4Addr::UNSPECIFIED.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(text.parse::<Listen>().unwrap().to_string(), expected);
    }

    #[test]
    fn addresses_are_taken() {
        check("127.0.0.1:1883", "127.0.0.1:1883");
        check(" [::1]:0 ", "[::1]:0");
        check("localhost:1883", "127.0.0.1:1883");
        check("", "");
        let all = ":1883".parse::<Listen>().unwrap().0.unwrap();
        assert!(all.ip().is_unspecified() && all.port() == 1883);
        assert_eq!("*:1883".parse::<Listen>().unwrap().0, Some(all));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "1883",
            "broker.example:1883",
            "127.0.0.1",
            ":70000",
            "::1:1883",
            ":",
            "a:b:c",
        ] {
            let error = text.parse::<Listen>().unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("{text:?} is not an address")),
                "{error}"
            );
        }
    }
}
