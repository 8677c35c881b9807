//! The sections `cluster` and `redis`: how this node finds the others, and where sessions are
//! that several gateways share.

mod tls;

pub use tls::NodeTls;

use gatemq_node::config::{Number, Period, Problem};
use gatemq_node::membership;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// How this node finds the others, and how they reach it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "deploy/config/gatemq.yml explains each key")]
pub struct Cluster {
    pub members: Members,
    pub bind_ip: Ip,
    pub advertise_ip: String,
    pub gossip_port: Number<0, 65535>,
    pub raft_port: Number<0, 65535>,
    pub grpc_port: Number<0, 65535>,
    pub raft_bootstrap: bool,
    pub control_size: Number<1, 7>,
    pub gossip_keys: Vec<String>,
    pub tls: NodeTls,
    pub allow_plaintext: bool,
    pub nodes_file_dir: String,
    pub subscribe_timeout: Period<100, 600_000>,
    pub bridge_wait: Period<0, 600_000>,
}

/// Where Redis is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "deploy/config/gatemq.yml explains each key")]
pub struct Redis {
    pub addr: Members,
    pub mode: super::Chosen<Mode>,
    pub master_name: String,
    pub username: String,
    pub password: String,
    pub sentinel_username: String,
    pub sentinel_password: String,
    pub tls: super::ServerTls,
    pub db: Number<0, 65535>,
    pub prefix: String,
    pub timeout: Period<100, 60_000>,
    pub wait_replicas: Number<0, 16>,
}

/// What kind of Redis it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// One server.
    #[default]
    Single,
    /// A server and its replicas, watched over by Sentinel.
    Sentinel,
    /// Redis Cluster.
    Cluster,
}

/// Addresses of other nodes; a flag or variable has commas between them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Members(pub Vec<String>);

/// An address without a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ip(pub IpAddr);

impl super::choice::Choice for Mode {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("single", Self::Single),
        ("sentinel", Self::Sentinel),
        ("cluster", Self::Cluster),
    ];
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            members: Members::default(),
            bind_ip: Ip([127, 0, 0, 1].into()),
            advertise_ip: String::new(),
            gossip_port: Number::new(7946),
            raft_port: Number::new(8946),
            grpc_port: Number::new(17946),
            raft_bootstrap: false,
            control_size: Number::new(3),
            gossip_keys: Vec::new(),
            tls: NodeTls::default(),
            allow_plaintext: false,
            nodes_file_dir: String::new(),
            subscribe_timeout: Period::new(10_000),
            bridge_wait: Period::new(10_000),
        }
    }
}

impl Default for Redis {
    fn default() -> Self {
        Self {
            addr: Members(vec!["127.0.0.1:6379".to_owned()]),
            mode: super::Chosen(Mode::Single),
            master_name: "mymaster".to_owned(),
            username: String::new(),
            password: String::new(),
            sentinel_username: String::new(),
            sentinel_password: String::new(),
            tls: super::ServerTls::default(),
            db: Number::new(0),
            prefix: "gatemq".to_owned(),
            timeout: Period::new(2_000),
            wait_replicas: Number::new(0),
        }
    }
}

impl Cluster {
    /// Whether this node is to be part of a cluster.
    pub fn is_wanted(&self) -> bool {
        self.raft_bootstrap || !self.members.0.is_empty()
    }

    /// Where gossip listens.
    pub fn gossip(&self) -> SocketAddr {
        self.socket(self.gossip_port.get().unwrap_or(0))
    }

    /// Where the control plane listens.
    pub fn raft(&self) -> SocketAddr {
        self.socket(self.raft_port.get().unwrap_or(0))
    }

    /// Where messages of other nodes are taken.
    pub fn peer(&self) -> SocketAddr {
        self.socket(self.grpc_port.get().unwrap_or(0))
    }

    /// How others reach a socket that was bound here.
    pub fn advertised(&self, bound: SocketAddr) -> String {
        match self.advertise_ip.is_empty() {
            true => bound.to_string(),
            false if self.advertise_ip.contains(':') => {
                format!("[{}]:{}", self.advertise_ip, bound.port())
            }
            false => format!("{}:{}", self.advertise_ip, bound.port()),
        }
    }

    /// How others reach its gossip, if that is not where it is bound.
    pub fn advertised_gossip(&self) -> Option<SocketAddr> {
        let address = self.advertise_ip.parse().ok()?;
        Some(SocketAddr::new(
            address,
            self.gossip_port.get().unwrap_or(0),
        ))
    }

    fn socket(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.bind_ip.0, port)
    }

    /// The keys of the gossip, decoded; the first one encrypts.
    pub fn keys(&self) -> Result<Vec<[u8; 32]>, Problem> {
        let decode = |text: &String| {
            let bytes = decode_hex(text)?;
            <[u8; 32]>::try_from(bytes).ok()
        };
        let keys: Option<Vec<_>> = self.gossip_keys.iter().map(decode).collect();
        keys.ok_or_else(|| {
            let what = "each key is 32 bytes as 64 hexadecimal digits: make one with \
                        `openssl rand -hex 32`";
            Problem::new("cluster.gossip-keys", what)
        })
    }

    /// Whether each value can be used.
    pub(super) fn check(&self) -> Result<(), Problem> {
        if !self.advertise_ip.is_empty() && !is_host(&self.advertise_ip) {
            let what = format!(
                "{:?} is no address or host name: write one, without a port",
                self.advertise_ip
            );
            return Err(Problem::new("cluster.advertise-ip", what));
        }
        self.tls.check()?;
        let keys = self.keys()?;
        let mut gossip = membership::Config::new("any", self.gossip());
        gossip.seeds.clone_from(&self.members.0);
        gossip.keys = keys.iter().copied().map(membership::Key).collect();
        gossip.advertise = self.advertised_gossip();
        gossip.check().map_err(|error| {
            let key = match error {
                membership::BadConfig::Advertise(_) => "cluster.advertise-ip",
                membership::BadConfig::Keys(_) => "cluster.gossip-keys",
                _ => "cluster.members",
            };
            Problem::new(key, error.to_string())
        })?;
        match self.control_size.get::<u32>() {
            Some(size) if size % 2 == 0 => {
                let what = format!(
                    "{size} is even: a control plane of {size} survives no more lost nodes than \
                     one of {}; write 1, 3, 5 or 7",
                    size - 1
                );
                Err(Problem::new("cluster.control-size", what))
            }
            _ => Ok(()),
        }
    }

    /// Other machines may reach the ports of the cluster without keys and certificates only where
    /// that was asked for.
    pub(super) fn check_reach(&self) -> Result<(), Problem> {
        let is_local = self.bind_ip.0.is_loopback();
        let lacks = match (self.gossip_keys.is_empty(), self.tls.is_given()) {
            (true, true) => Some(("gossip has no key", "cluster.gossip-keys")),
            (false, false) => Some(("gRPC has no TLS", "certificates (cluster.tls)")),
            (true, false) => Some((
                "gossip has no key and gRPC no TLS",
                "cluster.gossip-keys, and certificates (cluster.tls)",
            )),
            (false, true) => None,
        };
        if let (false, Some((lack, remedy)), false) = (is_local, lacks, self.allow_plaintext) {
            let what = format!(
                "{} is reached by other machines, and {lack}: give each node {remedy}; `gatemq pki \
                 init` makes them; or say that it is meant by --allow-plaintext (or \
                 cluster.allow-plaintext: true)",
                self.bind_ip.0
            );
            return Err(Problem::new("cluster.bind-ip", what));
        }
        if self.bind_ip.0.is_unspecified() && self.advertise_ip.is_empty() {
            let what = "is every address of this machine, and others need one to reach it: set \
                        cluster.advertise-ip";
            return Err(Problem::new("cluster.bind-ip", what));
        }
        Ok(())
    }
}

/// Whether others may be told to reach this node there.
fn is_host(text: &str) -> bool {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    text.parse::<IpAddr>().is_ok() || text.bytes().all(is_of_name)
}

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let pairs = digits.chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let list = Vec::<String>::deserialize(deserializer)?;
        let list: Vec<String> = list
            .iter()
            .map(|member| member.trim())
            .filter(|member| !member.is_empty())
            .map(str::to_owned)
            .collect();
        match list.iter().find(|member| !has_port(member)) {
            None => Ok(Self(list)),
            Some(wrong) => Err(serde::de::Error::custom(format!(
                "{wrong}: write HOST:PORT"
            ))),
        }
    }
}

fn has_port(member: &str) -> bool {
    let port = member.rsplit_once(':');
    port.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_has_a_port() {
        let members = |yaml: &str| serde_yaml::from_str::<Members>(yaml).map(|m| m.0);
        let expected = vec!["a:1".to_owned(), "[::1]:2".to_owned()];
        assert_eq!(members("[a:1, '[::1]:2']").unwrap(), expected);
        assert_eq!(members("['']").unwrap(), Vec::<String>::new());
        assert!(members("[a]").is_err() && members("[':1']").is_err());
    }

    #[test]
    fn an_even_control_plane_and_strange_keys_are_refused() {
        let check = |cluster: &Cluster| cluster.check().map_err(|problem| problem.key);
        let wrong = |key: &str| Err(key.to_owned());
        let mut cluster = Cluster::default();
        assert_eq!(check(&cluster), Ok(()));
        cluster.control_size = Number::new(2);
        assert_eq!(check(&cluster), wrong("cluster.control-size"));
        cluster = Cluster::default();
        cluster.gossip_keys = vec!["0f".repeat(31)];
        assert_eq!(check(&cluster), wrong("cluster.gossip-keys"));
    }

    #[test]
    fn beyond_this_machine_keys_and_certificates_are_wanted_or_plaintext_by_name() {
        let mut cluster = Cluster::default();
        assert_eq!(cluster.check_reach(), Ok(()), "on loopback nothing is");
        cluster.bind_ip = Ip([10, 0, 0, 1].into());
        let keys = vec!["0f".repeat(32)];
        let tls = NodeTls::example();
        for (gossip_keys, tls, lack) in [
            (
                Vec::new(),
                NodeTls::default(),
                "gossip has no key and gRPC no TLS:",
            ),
            (keys.clone(), NodeTls::default(), "and gRPC has no TLS:"),
            (Vec::new(), tls.clone(), "and gossip has no key:"),
        ] {
            let mut cluster = cluster.clone();
            (cluster.gossip_keys, cluster.tls) = (gossip_keys, tls);
            let refused = cluster.check_reach().expect_err(lack);
            assert_eq!(refused.key, "cluster.bind-ip");
            assert!(refused.what.contains(lack), "{}", refused.what);
            assert!(refused.what.contains("--allow-plaintext"));
            cluster.allow_plaintext = true;
            assert_eq!(cluster.check_reach(), Ok(()), "{lack}");
        }
        (cluster.gossip_keys, cluster.tls) = (keys, tls);
        assert_eq!(cluster.check_reach(), Ok(()));
    }
}
