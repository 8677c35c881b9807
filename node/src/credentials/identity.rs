//! Who a node is to the others, as its certificate says it (pure).
//!
//! `gatemq://CLUSTER/ROLES/NODE`, for example `gatemq://prod/control+gateway/n1`: the only URI
//! among the certificate's names. Each identity is written in one way only, and in few characters:
//! what is compared needs no folding of case, no unescaping and no cutting.

use std::fmt;
use std::str::FromStr;

/// Who a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The name of the cluster, as whoever issued the certificate chose it.
    pub cluster: String,
    /// What the node may be.
    pub roles: Roles,
    /// Its name, as others know it from gossip.
    pub node: String,
}

/// What a node may be to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Part of the control plane.
    Control,
    /// Takes MQTT clients.
    Gateway,
    /// Connects another system.
    Bridge,
    /// No node: an operator's tool.
    Admin,
}

/// Any of them.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Roles(u8);

/// Why a text is no identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnIdentity {
    /// Its form.
    #[error("{0:?} is not gatemq://CLUSTER/ROLES/NODE")]
    Form(String),
    /// A name in it.
    #[error(
        "{0:?} is no name for a certificate: it has letters, digits and - . _ ~ only, at most \
         {LONGEST}, and no `..`"
    )]
    Name(String),
    /// What it is to be.
    #[error(
        "{0:?} are no roles: write control, gateway, bridge, admin in this order, each once, with \
         + between them"
    )]
    Roles(String),
}

/// Bytes of a name: as gossip has it.
const LONGEST: usize = 128;
const SCHEME: &str = "gatemq://";

// === impl Identity ===

impl Identity {
    /// An identity.
    ///
    /// # Errors
    ///
    /// What cannot stand in a certificate.
    pub fn new(cluster: &str, roles: Roles, node: &str) -> Result<Self, NotAnIdentity> {
        if let Some(wrong) = [cluster, node].into_iter().find(|name| !is_name(name)) {
            return Err(NotAnIdentity::Name(wrong.to_owned()));
        }
        if roles == Roles::default() {
            return Err(NotAnIdentity::Roles(String::new()));
        }
        Ok(Self {
            cluster: cluster.to_owned(),
            roles,
            node: node.to_owned(),
        })
    }
}

/// Files are named after nodes, too, so what leads to another folder is no name.
fn is_name(text: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    (1..=LONGEST).contains(&text.len())
        && text.bytes().all(is_good)
        && text != "."
        && !text.contains("..")
}

impl FromStr for Identity {
    type Err = NotAnIdentity;

    fn from_str(uri: &str) -> Result<Self, NotAnIdentity> {
        let parts = uri.strip_prefix(SCHEME).map(|rest| rest.split('/'));
        let parts: Vec<&str> = parts.into_iter().flatten().collect();
        let [cluster, roles, node] = parts[..] else {
            return Err(NotAnIdentity::Form(uri.to_owned()));
        };
        Self::new(cluster, roles.parse()?, node)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{SCHEME}{}/{}/{}",
            self.cluster, self.roles, self.node
        )
    }
}

// === impl Role ===

impl Role {
    const ALL: [Self; 4] = [Self::Control, Self::Gateway, Self::Bridge, Self::Admin];

    /// As certificates have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Gateway => "gateway",
            Self::Bridge => "bridge",
            Self::Admin => "admin",
        }
    }

    /// The role of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

// === impl Roles ===

impl Roles {
    /// Whether a role is among them.
    pub fn has(self, role: Role) -> bool {
        self.0 & (1 << role as u8) != 0
    }

    /// Whether all of some are.
    pub fn contains(self, some: Self) -> bool {
        self.0 & some.0 == some.0
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<T: IntoIterator<Item = Role>>(roles: T) -> Self {
        let bits = roles.into_iter().map(|role| 1 << role as u8);
        Self(bits.fold(0, |all, bit| all | bit))
    }
}

impl FromStr for Roles {
    type Err = NotAnIdentity;

    fn from_str(text: &str) -> Result<Self, NotAnIdentity> {
        let roles: Option<Self> = text.split('+').map(Role::named).collect();
        // In another order, or more than once, it would be another text for the same.
        roles
            .filter(|roles| roles.to_string() == text)
            .ok_or_else(|| NotAnIdentity::Roles(text.to_owned()))
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = Role::ALL.into_iter().filter(|role| self.has(*role));
        let names: Vec<&str> = own.map(Role::name).collect();
        formatter.write_str(&names.join("+"))
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Roles({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_read_as_it_is_written() {
        for text in [
            "gatemq://prod/gateway/g1",
            "gatemq://prod/control+gateway+bridge+admin/n-1.eu_west~2",
            "gatemq://P/admin/ops",
        ] {
            let identity: Identity = text.parse().expect("an identity");
            assert_eq!(identity.to_string(), text);
        }
        let identity: Identity = "gatemq://prod/control+gateway/n1".parse().unwrap();
        assert!(identity.roles.has(Role::Control) && identity.roles.has(Role::Gateway));
        assert!(!identity.roles.has(Role::Bridge) && !identity.roles.has(Role::Admin));
        assert_eq!((&*identity.cluster, &*identity.node), ("prod", "n1"));
    }

    #[test]
    fn nothing_else_is_one() {
        let long = format!("gatemq://c/gateway/{}", "n".repeat(129));
        for text in [
            "",
            "gatemq://",
            "gatemq://c/gateway",
            "gatemq://c/gateway/",
            "gatemq:///gateway/n",
            "gatemq://c//n",
            "gatemq://c/gateway/n/",
            "gatemq://c/gateway/n/x",
            "gatemq://c/gateway/n?x",
            "gatemq://c/gateway/n#x",
            "gatemq://u@c/gateway/n",
            "gatemq://c:1/gateway/n",
            "GATEMQ://c/gateway/n",
            "spiffe://c/gateway/n",
            " gatemq://c/gateway/n",
            "gatemq://c/gateway/n\n",
            "gatemq://c/gateway/n\0",
            "gatemq://c/gateway/n\0.evil",
            "gatemq://c/gateway/%6e",
            "gatemq://c/gateway/n\u{e9}",
            "gatemq://c/gateway/..",
            "gatemq://c/gateway/a..b",
            "gatemq://c/gateway/.",
            "gatemq://c/Gateway/n",
            "gatemq://c/gateway+control/n",
            "gatemq://c/gateway+gateway/n",
            "gatemq://c/gateway+/n",
            "gatemq://c/+gateway/n",
            "gatemq://c/gateway,control/n",
            "gatemq://c/root/n",
            &long,
        ] {
            assert!(text.parse::<Identity>().is_err(), "{text:?}");
        }
    }
}
