//! Listening addresses as users write them: `ADDR:PORT`, `:PORT` for all interfaces, empty for off.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
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
            "" | "*" => Ok(Self(Some(SocketAddr::new(ALL_INTERFACES, port)))),
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

/// Listens on an address by `bind`. `[::]` takes IPv4 too, but a machine (or container) without
/// IPv6 has only `0.0.0.0`: that is taken there.
pub fn bind<T>(address: SocketAddr, bind: impl Fn(SocketAddr) -> io::Result<T>) -> io::Result<T> {
    match bind(address) {
        Err(error) if is_all(address) && has_no_ipv6(&error) => {
            bind((Ipv4Addr::UNSPECIFIED, address.port()).into())
        }
        bound => bound,
    }
}

fn is_all(address: SocketAddr) -> bool {
    address.ip() == ALL_INTERFACES
}

fn has_no_ipv6(error: &io::Error) -> bool {
    // EAFNOSUPPORT has no kind of its own.
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

/// What `:PORT` means.
const ALL_INTERFACES: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

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
        check(":1883", "[::]:1883");
        check("*:1883", "[::]:1883");
    }

    #[test]
    fn all_interfaces_are_those_of_ipv4_where_there_is_no_other() {
        let without = |address: SocketAddr| match address.is_ipv6() {
            true => Err(io::Error::from_raw_os_error(97)),
            false => Ok(address.to_string()),
        };
        let taken = |text: &str| bind(text.parse().unwrap(), without).ok();
        assert_eq!(taken("[::]:1883").as_deref(), Some("0.0.0.0:1883"));
        assert_eq!(taken("0.0.0.0:1883").as_deref(), Some("0.0.0.0:1883"));
        assert_eq!(taken("[::1]:1883"), None);
        let in_use = |_| Err::<(), _>(io::Error::from(io::ErrorKind::AddrInUse));
        let error = bind("[::]:1883".parse().unwrap(), in_use).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
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
