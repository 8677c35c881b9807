//! What travels with a message: which trace it belongs to, and the span that it comes from, as text
//! (`traceparent` of W3C Trace Context) and in 25 bytes.

use std::fmt;

/// The name of the user property, and of the header in Kafka.
pub const TRACEPARENT: &str = "traceparent";

/// A span, seen from what comes after it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Context {
    /// The trace; not all zeros.
    pub trace_id: [u8; 16],
    /// The span; not all zeros.
    pub span_id: [u8; 8],
    /// What `traceparent` says beside; bit 0: it is sampled.
    pub flags: u8,
}

// === impl Context ===

impl Context {
    /// Bytes of [`Self::to_bytes`].
    pub const LEN: usize = 25;
    /// The flag of those that are sampled.
    pub const SAMPLED: u8 = 1;

    /// Reads a `traceparent`; `None` if it is none that can be understood: then a trace begins anew.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let is_dash = |at: usize| bytes.get(at) == Some(&b'-');
        if !(is_dash(2) && is_dash(35) && is_dash(52)) {
            return None;
        }
        let [version] = hex(bytes.get(..2)?)?;
        // A later version may have more, behind another dash.
        let is_whole = bytes.len() == 55 || version > 0 && is_dash(55);
        if version == 0xff || !is_whole {
            return None;
        }
        let [flags] = hex(bytes.get(53..55)?)?;
        let context = Self {
            trace_id: hex(bytes.get(3..35)?)?,
            span_id: hex(bytes.get(36..52)?)?,
            flags: flags & Self::SAMPLED,
        };
        context.is_valid().then_some(context)
    }

    /// Trace, span and flags, one after the other.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [self.flags; Self::LEN];
        bytes[..16].copy_from_slice(&self.trace_id);
        bytes[16..24].copy_from_slice(&self.span_id);
        bytes
    }

    /// Reads [`Self::to_bytes`]; `None` for anything else.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::LEN] = bytes.try_into().ok()?;
        let context = Self {
            trace_id: bytes[..16].try_into().ok()?,
            span_id: bytes[16..24].try_into().ok()?,
            flags: bytes[24],
        };
        context.is_valid().then_some(context)
    }

    /// Whether who came before has sampled it.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & Self::SAMPLED != 0
    }

    /// The trace as it is written: 32 digits.
    #[must_use]
    pub fn trace(&self) -> impl fmt::Display + use<> {
        Hex(self.trace_id)
    }

    fn is_valid(&self) -> bool {
        self.trace_id != [0; 16] && self.span_id != [0; 8]
    }
}

impl fmt::Display for Context {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, span) = (Hex(self.trace_id), Hex(self.span_id));
        write!(out, "00-{trace}-{span}-{:02x}", self.flags)
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

// === private ===

struct Hex<const N: usize>([u8; N]);

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

/// Reads small hexadecimal digits; capital ones are not allowed.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    let (pairs, rest) = digits.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_read_is_written_the_same() {
        let context = Context::parse(GOOD).unwrap();
        assert!(context.is_sampled());
        assert_eq!(context.to_string(), GOOD);
        assert_eq!(context.trace().to_string(), GOOD[3..35]);
        assert_eq!(Context::from_bytes(&context.to_bytes()), Some(context));
        let unsampled = Context::parse(&GOOD.replace("-01", "-00")).unwrap();
        assert!(!unsampled.is_sampled());
    }

    #[test]
    fn a_later_version_may_have_more_and_flags_that_nobody_knows_are_left_out() {
        let later = GOOD.replace("00-4", "cc-4");
        for text in [later.clone(), later.clone() + "-more", later + "-"] {
            assert_eq!(Context::parse(&text), Context::parse(GOOD), "{text}");
        }
        let flags = Context::parse(&GOOD.replace("-01", "-ff")).unwrap().flags;
        assert_eq!(flags, 1);
    }

    #[test]
    fn what_is_malformed_is_none() {
        for text in [
            "",
            "00",
            &GOOD[..54],
            &format!("{GOOD}-more"),
            &format!("{GOOD} "),
            &GOOD.replace("00-4", "ff-4"),
            &GOOD.replace("00-4", "0g-4"),
            &GOOD.replace("4bf9", "4BF9"),
            &GOOD.replace("-00f0", "_00f0"),
            &GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &"ä".repeat(28),
            &GOOD.replace("00-4", "cc-4").replace("-01", "-01x"),
        ] {
            assert_eq!(Context::parse(text), None, "{text}");
        }
        let bytes = Context::parse(GOOD).unwrap().to_bytes();
        assert_eq!(Context::from_bytes(&bytes[1..]), None);
        assert_eq!(Context::from_bytes(&[0; 25]), None);
        assert_eq!(Context::from_bytes(b""), None);
    }
}
