//! What a ban names, in the one form in which it is agreed on and compared. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::state::{Ban, BanKind};

/// Bans that a cluster may have; of those as many may be of gateways.
pub const MOST: usize = 100_000;
/// As above.
pub const MOST_AUTOMATIC: usize = 10_000;
/// The longest reason, in bytes.
pub const REASON: usize = 1_024;
/// The longest name of who made a ban, in bytes.
pub const BY: usize = 256;
/// The longest client identifier or user name, in bytes: MQTT has no longer ones.
const NAME: usize = 65_535;

/// Addresses that begin alike; a single one, if all bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    is_v4: bool,
    /// How many bits count.
    n_bits: u8,
    /// The others are 0.
    bits: u128,
}

// === impl Prefix ===

impl Prefix {
    /// Reads `10.0.0.1`, `10.0.0.0/8`, `2001:db8::/32`.
    ///
    /// # Errors
    ///
    /// What is wrong, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (address, n_bits) = match text.split_once('/') {
            None => (text, None),
            Some((address, n_bits)) => (address, Some(n_bits)),
        };
        let address: IpAddr = address.parse().map_err(|_| {
            format!("{text:?} is no address, such as 10.0.0.1, 10.0.0.0/8 or fd00::/8")
        })?;
        let all = Self::of(address);
        let Some(n_bits) = n_bits else {
            return Ok(all);
        };
        let mapped = u32::from(all.is_v4 && address.is_ipv6()) * 96;
        let is_number = !n_bits.is_empty() && n_bits.bytes().all(|digit| digit.is_ascii_digit());
        let n_bits = n_bits.parse::<u32>().ok().filter(|_| is_number);
        let n_bits = n_bits.and_then(|n_bits| n_bits.checked_sub(mapped));
        let n_bits = n_bits.and_then(|n_bits| u8::try_from(n_bits).ok());
        let n_bits = n_bits
            .filter(|n_bits| *n_bits <= all.n_bits)
            .ok_or_else(|| {
                let most = u32::from(all.n_bits) + mapped;
                format!("{text:?}: behind / is the number of bits that count, {mapped} to {most}")
            })?;
        let prefix = all.shorten(n_bits);
        match prefix.bits == all.bits {
            true => Ok(prefix),
            false => Err(format!(
                "{text:?} has bits that do not count: write {prefix}"
            )),
        }
    }

    /// A single address. One of IPv4 is the same however it is written.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self {
                is_v4: true,
                n_bits: 32,
                bits: u128::from(address.to_bits()) << 96,
            },
            IpAddr::V6(address) => Self {
                is_v4: false,
                n_bits: 128,
                bits: address.to_bits(),
            },
        }
    }

    /// How many bits count.
    pub fn n_bits(&self) -> u8 {
        self.n_bits
    }

    /// The same with fewer bits that count.
    #[must_use]
    pub fn shorten(&self, n_bits: u8) -> Self {
        let mask = u128::MAX.checked_shl(128 - u32::from(n_bits)).unwrap_or(0);
        Self {
            is_v4: self.is_v4,
            n_bits,
            bits: self.bits & mask,
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_v4 {
            true => Ipv4Addr::from_bits((self.bits >> 96) as u32).fmt(f)?,
            false => Ipv6Addr::from_bits(self.bits).fmt(f)?,
        }
        match (self.is_v4, self.n_bits) {
            (true, 32) | (false, 128) => Ok(()),
            (_, n_bits) => write!(f, "/{n_bits}"),
        }
    }
}

// === checks ===

/// The value of a ban in the form in which it is agreed on.
///
/// # Errors
///
/// What is wrong with it, in words.
pub fn canonical(kind: BanKind, value: &str) -> Result<String, String> {
    if value.is_empty() {
        return Err("is empty: it would name nobody, or everybody".to_owned());
    }
    match kind {
        BanKind::Unspecified => Err("is of no kind".to_owned()),
        BanKind::Address => match Prefix::parse(value)? {
            Prefix { n_bits: 0, .. } => Err(format!("{value:?} would name everybody")),
            prefix => Ok(prefix.to_string()),
        },
        BanKind::ClientId | BanKind::User | BanKind::ClientIdPrefix => {
            match value.len() <= NAME && !value.contains('\0') {
                true => Ok(value.to_owned()),
                false => Err(format!(
                    "is no text that MQTT allows: at most {NAME} bytes, without U+0000"
                )),
            }
        }
    }
}

/// Looks at a ban that is to be agreed on.
///
/// # Errors
///
/// Which of its fields is wrong, and why.
pub fn check(ban: &Ban) -> Result<(), (&'static str, String)> {
    let kind = BanKind::try_from(ban.kind).unwrap_or_default();
    if kind == BanKind::Unspecified {
        return Err(("kind", "is none that this version knows".to_owned()));
    }
    let value = canonical(kind, &ban.value).map_err(|what| ("value", what))?;
    if value != ban.value {
        return Err(("value", format!("is written {value}")));
    }
    for (name, text, most) in [("reason", &ban.reason, REASON), ("by", &ban.by, BY)] {
        if text.len() > most || text.chars().any(char::is_control) {
            let what = format!("is a text of at most {most} bytes, without control characters");
            return Err((name, what));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_prefix(text: &str, expected: &str) {
        let read = Prefix::parse(text).map(|prefix| prefix.to_string());
        assert_eq!(read.as_deref(), Ok(expected), "{text}");
    }

    #[test]
    fn a_prefix_has_one_form() {
        check_prefix("10.1.2.3", "10.1.2.3");
        check_prefix("10.1.2.3/32", "10.1.2.3");
        check_prefix("::ffff:10.1.2.3", "10.1.2.3");
        check_prefix("::ffff:10.0.0.0/104", "10.0.0.0/8");
        check_prefix("10.0.0.0/8", "10.0.0.0/8");
        check_prefix("0.0.0.0/0", "0.0.0.0/0");
        check_prefix("2001:DB8:0::/32", "2001:db8::/32");
        check_prefix("::1/128", "::1");
        check_prefix("::/0", "::/0");
    }

    #[test]
    fn what_is_no_prefix_is_told_and_how_it_is_written() {
        for (text, told) in [
            ("10.0.0.256", "is no address"),
            ("host.example", "is no address"),
            ("", "is no address"),
            ("10.0.0.0/33", "0 to 32"),
            ("10.0.0.0/", "0 to 32"),
            ("10.0.0.0/+8", "0 to 32"),
            ("::1/129", "0 to 128"),
            ("::ffff:10.0.0.0/95", "96 to 128"),
            ("10.1.2.3/8", "write 10.0.0.0/8"),
            ("2001:db8::1/32", "write 2001:db8::/32"),
        ] {
            let error = Prefix::parse(text).expect_err(text);
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn addresses_of_a_prefix_are_it_when_they_are_as_short() {
        let has = |prefix: &str, address: &str| {
            let prefix = Prefix::parse(prefix).expect("a prefix");
            let address = Prefix::of(address.parse().expect("an address"));
            address.n_bits() >= prefix.n_bits() && address.shorten(prefix.n_bits()) == prefix
        };
        assert!(has("10.0.0.0/8", "10.255.0.1") && !has("10.0.0.0/8", "11.0.0.1"));
        assert!(has("10.0.0.0/8", "::ffff:10.0.0.1"));
        assert!(has("0.0.0.0/0", "1.2.3.4") && !has("0.0.0.0/0", "::1"));
        assert!(has("::/0", "fd00::1") && !has("::/0", "1.2.3.4"));
        assert!(has("fd00::/8", "fdff::1") && !has("fd00::/9", "fdff::1"));
    }

    #[test]
    fn a_field_that_is_wrong_is_named() {
        let ban = |kind: BanKind, value: &str, reason: &str| {
            let (value, reason) = (value.to_owned(), reason.to_owned());
            let kind = kind.into();
            check(&Ban {
                kind,
                value,
                reason,
                ..Ban::default()
            })
        };
        let field = |checked: Result<(), (&'static str, String)>| checked.err().map(|it| it.0);
        assert_eq!(ban(BanKind::User, "eve", "why not"), Ok(()));
        assert_eq!(field(ban(BanKind::Unspecified, "eve", "")), Some("kind"));
        assert_eq!(field(ban(BanKind::ClientId, "", "")), Some("value"));
        assert_eq!(field(ban(BanKind::ClientId, "a\0", "")), Some("value"));
        // Everybody is nobody in particular.
        for all in ["0.0.0.0/0", "::/0", "::ffff:0:0/96"] {
            assert_eq!(field(ban(BanKind::Address, all, "")), Some("value"));
        }
        assert_eq!(
            field(ban(BanKind::Address, "::ffff:1.2.3.4", "")),
            Some("value")
        );
        assert_eq!(
            field(ban(BanKind::User, "eve", &"x".repeat(1_025))),
            Some("reason")
        );
        assert_eq!(ban(BanKind::User, "eve", &"x".repeat(1_024)), Ok(()));
    }
}
