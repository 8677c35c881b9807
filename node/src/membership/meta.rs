//! What a node says of itself, in the few bytes that go along with every gossip about it.
//!
//! ```text
//! format 1 | roles 1 | flags 1 | cluster id 16, if flagged | incarnation 8 | token 8
//!          | control address | peer address | http address | version     (length 1, UTF-8)
//! ```
//! Integers are big-endian. Bytes behind the last field are of a later version and are ignored, as
//! are unknown roles and flags; a format that cannot be read that way gets another first byte.

use std::fmt;
use std::ops::BitOr;

#[cfg(test)]
mod tests;

/// Bytes of an encoded meta, at most: what the gossip carries.
pub const MAX_LEN: usize = 512;

/// What a node says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// What the node does.
    pub roles: Roles,
    /// The cluster that it belongs to, once it knows.
    pub cluster_id: Option<ClusterId>,
    /// Its incarnation; 0 if it has none yet.
    pub incarnation: u64,
    /// Tells one process from the next under the same name. [`Membership`](super::Membership)
    /// draws it at its start, and sets it whatever it is here.
    pub token: u64,
    /// Where its control plane answers, as `HOST:PORT`; empty if nowhere. So for the next two.
    pub control_address: String,
    /// Where it takes messages from other nodes.
    pub peer_address: String,
    /// Where it answers operators.
    pub http_address: String,
    /// The version of its program.
    pub version: String,
    /// Whether it is about to leave: do not count on it any more.
    pub is_leaving: bool,
}

/// The identity of a cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub [u8; 16]);

/// What a node does: any of three.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Roles(u8);

/// Why a meta cannot be gossiped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooLong {
    /// All of it.
    #[error(
        "what this node says of itself takes {0} bytes, and gossip carries {MAX_LEN}: shorten its \
         addresses or its version"
    )]
    Meta(usize),
    /// One of its texts.
    #[error("the {0} takes {1} bytes, and gossip carries 255: shorten it")]
    Text(&'static str, usize),
}

/// Why bytes are no meta.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// They end too soon.
    #[error("it ends within the {0}")]
    Truncated(&'static str),
    /// They are of a version that writes otherwise.
    #[error("it has the format {0}, which this version does not know")]
    Format(u8),
    /// A text is none.
    #[error("the {0} is not UTF-8")]
    Text(&'static str),
}

// === impl Meta ===

impl Meta {
    /// The bytes to gossip.
    ///
    /// # Errors
    ///
    /// If they are more than [`MAX_LEN`], or a text has more than 255.
    pub fn encode(&self) -> Result<Vec<u8>, TooLong> {
        let mut out = vec![FORMAT, self.roles.0, self.flags()];
        out.extend(self.cluster_id.iter().flat_map(|id| id.0));
        out.extend(self.incarnation.to_be_bytes());
        out.extend(self.token.to_be_bytes());
        let texts = [
            &self.control_address,
            &self.peer_address,
            &self.http_address,
            &self.version,
        ];
        for (name, text) in TEXTS.into_iter().zip(texts) {
            let n_bytes = u8::try_from(text.len()).map_err(|_| TooLong::Text(name, text.len()))?;
            out.push(n_bytes);
            out.extend(text.as_bytes());
        }
        match out.len() {
            0..=MAX_LEN => Ok(out),
            n_bytes => Err(TooLong::Meta(n_bytes)),
        }
    }

    /// What another node wrote.
    ///
    /// # Errors
    ///
    /// If it did not write a meta, or in a format of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let mut input = Input(bytes);
        let [format] = input.take("format")?;
        if format != FORMAT {
            return Err(Unreadable::Format(format));
        }
        let [roles, flags] = input.take("roles")?;
        let cluster_id = match flags & HAS_CLUSTER_ID {
            0 => None,
            _ => Some(ClusterId(input.take("cluster id")?)),
        };
        let incarnation = u64::from_be_bytes(input.take("incarnation")?);
        let token = u64::from_be_bytes(input.take("token")?);
        let [control, peer, http, version] = TEXTS;
        Ok(Self {
            roles: Roles(roles & Roles::ALL.0),
            cluster_id,
            incarnation,
            token,
            control_address: input.text(control)?,
            peer_address: input.text(peer)?,
            http_address: input.text(http)?,
            version: input.text(version)?,
            is_leaving: flags & IS_LEAVING != 0,
        })
    }

    fn flags(&self) -> u8 {
        let has_cluster_id = if self.cluster_id.is_some() {
            HAS_CLUSTER_ID
        } else {
            0
        };
        has_cluster_id | if self.is_leaving { IS_LEAVING } else { 0 }
    }
}

/// What is still to be read.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn take<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Unreadable> {
        let (taken, rest) = self
            .0
            .split_first_chunk()
            .ok_or(Unreadable::Truncated(what))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn text(&mut self, what: &'static str) -> Result<String, Unreadable> {
        let [n_bytes] = self.take(what)?;
        let (taken, rest) = self
            .0
            .split_at_checked(n_bytes.into())
            .ok_or(Unreadable::Truncated(what))?;
        self.0 = rest;
        let text = str::from_utf8(taken).map_err(|_| Unreadable::Text(what))?;
        Ok(text.to_owned())
    }
}

const FORMAT: u8 = 1;
const HAS_CLUSTER_ID: u8 = 1;
const IS_LEAVING: u8 = 2;
const TEXTS: [&str; 4] = ["control address", "peer address", "http address", "version"];

// === impl Roles ===

impl Roles {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Part of the control plane.
    pub const CONTROL: Self = Self(1);
    /// Takes MQTT clients.
    pub const GATEWAY: Self = Self(2);
    /// Bridges to another system.
    pub const BRIDGE: Self = Self(4);

    const ALL: Self = Self(7);

    /// Whether all of these are among them.
    pub fn contains(self, roles: Self) -> bool {
        self.0 & roles.0 == roles.0
    }
}

impl BitOr for Roles {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Self::CONTROL, "control"),
            (Self::GATEWAY, "gateway"),
            (Self::BRIDGE, "bridge"),
        ];
        let own = names.iter().filter(|(role, _)| self.contains(*role));
        let own: Vec<&str> = own.map(|(_, name)| *name).collect();
        match own.is_empty() {
            true => formatter.write_str("none"),
            false => formatter.write_str(&own.join(",")),
        }
    }
}

// === impl ClusterId ===

impl fmt::Display for ClusterId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}
