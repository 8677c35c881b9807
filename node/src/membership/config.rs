//! What an operator sets, and the timing of the gossip.

use super::meta;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What an operator sets.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name of this node, unique in the cluster: see [`check_name`].
    pub name: String,
    /// Where to take gossip, by TCP and UDP; port 0 takes a free one.
    pub bind: SocketAddr,
    /// Where others reach it, if that is not where it is bound. If it is bound to all interfaces
    /// and this is `None`, it is the first private address of the machine.
    pub advertise: Option<SocketAddr>,
    /// Other members, as `HOST:PORT`, at most 256: any one that answers is enough. This node itself
    /// may be among them.
    pub seeds: Vec<String>,
    /// The keys that gossip is encrypted with, at most 16: the first is written with, all are read
    /// with. None: it is not encrypted.
    pub keys: Vec<Key>,
    /// Where the members are remembered for the next start, if anywhere.
    pub memory: Option<PathBuf>,
    /// How fast.
    pub timing: Timing,
}

/// A key for AES-256-GCM.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key(pub [u8; 32]);

/// How fast the gossip is. The default is for small machines that others steal time from: a process
/// that ends is noticed after 2 to 4 s; one that is merely stopped for up to 2 s is not suspected,
/// and one that comes back within another 1.5 s is not given up. A machine that vanishes, so that
/// even its refusal to connect is missing, is noticed after 4 to 6 s.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between one member that is asked whether it is alive and the next.
    pub probe_interval: Duration,
    /// How long an answer by UDP may take before others, and TCP, are tried. Below the interval.
    pub probe_timeout: Duration,
    /// How long anything by TCP may take: connecting, a probe, an exchange of all that is known.
    pub stream_timeout: Duration,
    /// How many intervals a suspect has to speak up; twice that while nobody else confirms it.
    pub suspicion_intervals: usize,
    /// Between rounds of gossip, while there is news.
    pub gossip_interval: Duration,
    /// Between exchanges of all that is known with one other member.
    pub exchange_interval: Duration,
    /// Between attempts to reach a seed while the cluster is not joined, at first; it doubles up to
    /// ten times this.
    pub retry_interval: Duration,
    /// Between attempts to reach seeds and remembered members that are no members, once the cluster
    /// is joined: what heals a cluster that was cut in two.
    pub rejoin_interval: Duration,
}

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadConfig {
    /// The name.
    #[error(
        "the node name {0:?} must have 1 to 128 bytes, and no blanks, control characters, `/`, `\\` or \
         `..`: files are named after it"
    )]
    Name(String),
    /// The address that others are told.
    #[error("the advertised address {0} leads nowhere: give an address and a port")]
    Advertise(SocketAddr),
    /// A seed.
    #[error("{0:?} is no member to join: write HOST:PORT")]
    Seed(String),
    /// The number of seeds.
    #[error("there are {0} members to join, and 256 are enough: name fewer")]
    Seeds(usize),
    /// The number of keys.
    #[error("there are {0} keys, and 16 are enough: remove those that nobody writes with")]
    Keys(usize),
    /// What the node says of itself.
    #[error(transparent)]
    Meta(#[from] meta::TooLong),
}

// === impl Config ===

impl Config {
    /// A node without seeds, keys or memory.
    pub fn new(name: &str, bind: SocketAddr) -> Self {
        Self {
            name: name.to_owned(),
            bind,
            advertise: None,
            seeds: Vec::new(),
            keys: Vec::new(),
            memory: None,
            timing: Timing::default(),
        }
    }

    /// Looks for what cannot work.
    ///
    /// # Errors
    ///
    /// The first thing found.
    pub fn check(&self) -> Result<(), BadConfig> {
        check_name(&self.name)?;
        let leads_nowhere =
            |address: &SocketAddr| address.ip().is_unspecified() || address.port() == 0;
        if let Some(address) = self.advertise.filter(leads_nowhere) {
            return Err(BadConfig::Advertise(address));
        }
        if let Some(seed) = self.seeds.iter().find(|seed| !is_host_and_port(seed)) {
            return Err(BadConfig::Seed(seed.clone()));
        }
        match (self.seeds.len(), self.keys.len()) {
            (n_seeds, _) if n_seeds > MAX_SEEDS => Err(BadConfig::Seeds(n_seeds)),
            (_, n_keys) if n_keys > MAX_KEYS => Err(BadConfig::Keys(n_keys)),
            _ => Ok(()),
        }
    }
}

/// Whether a node may have a name: 1 to 128 bytes, no blanks or control characters, and nothing
/// that leads to another folder.
///
/// # Errors
///
/// It may not.
pub fn check_name(name: &str) -> Result<(), BadConfig> {
    let is_bad = |character: char| {
        character.is_whitespace() || character.is_control() || matches!(character, '/' | '\\')
    };
    let is_good = (1..=MAX_NAME).contains(&name.len()) && !name.contains(is_bad);
    match is_good && !name.contains("..") && name != "." {
        true => Ok(()),
        false => Err(BadConfig::Name(name.to_owned())),
    }
}

/// Whether a text may be resolved to addresses.
pub(super) fn is_host_and_port(text: &str) -> bool {
    let parts = text.rsplit_once(':');
    parts.is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

// === impl Key ===

impl Key {
    /// What gossip is sealed with if there are no keys. Everybody knows it. To give a running
    /// cluster keys: install one everywhere, use it everywhere, and remove this one everywhere.
    pub const OPEN: Self = Self(*b"gatemq: gossip without a secret.");
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key(…)")
    }
}

// === impl Timing ===

impl Default for Timing {
    fn default() -> Self {
        Self {
            probe_interval: Duration::from_millis(500),
            probe_timeout: Duration::from_millis(400),
            stream_timeout: Duration::from_secs(2),
            suspicion_intervals: 3,
            gossip_interval: Duration::from_millis(100),
            exchange_interval: Duration::from_secs(10),
            retry_interval: Duration::from_millis(500),
            rejoin_interval: Duration::from_secs(10),
        }
    }
}

/// Bytes of a name.
pub(super) const MAX_NAME: usize = 128;
const MAX_SEEDS: usize = 256;
const MAX_KEYS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config::new("node-1", ([127, 0, 0, 1], 0).into())
    }

    #[test]
    fn what_cannot_work_is_named() {
        assert_eq!(config().check(), Ok(()));
        for name in [
            "",
            "a b",
            "a\n",
            "a/b",
            "a\\b",
            "..",
            ".",
            "a..b",
            "a\u{7f}",
            &"n".repeat(129),
        ] {
            let bad = Config {
                name: name.to_owned(),
                ..config()
            };
            let error = BadConfig::Name(name.to_owned());
            assert!(error.to_string().contains("`/`, `\\` or `..`"), "{error}");
            assert_eq!(bad.check(), Err(error));
        }
        for address in ["0.0.0.0:7946", "10.0.0.1:0"] {
            let address = address.parse().unwrap();
            let bad = Config {
                advertise: Some(address),
                ..config()
            };
            assert_eq!(bad.check(), Err(BadConfig::Advertise(address)));
        }
        for seed in ["host", "host:", ":7946", "host:0", "host:70000"] {
            let bad = Config {
                seeds: vec!["[::1]:7946".to_owned(), seed.to_owned()],
                ..config()
            };
            assert_eq!(bad.check(), Err(BadConfig::Seed(seed.to_owned())));
        }
    }

    #[test]
    fn keys_are_not_shown() {
        let shown = format!("{:?}", Key([0x5a; 32]));
        assert!(!shown.contains("90") && !shown.contains("5a"), "{shown}");
    }
}
