//! The namespaces and links of a network: made, found when they are left over, and removed.

use std::{
    fs::{self, File},
    net::Ipv4Addr,
    path::Path,
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use super::command::{ip, run_in};

/// Where the locked files are; only root can have networks.
const LOCKS: &str = "/run/gatemq-tests";
/// Where `ip netns` has them.
const NAMESPACES: &str = "/run/netns";
/// Networks that there can be at the same time: the third byte of their addresses.
const N_NETWORKS: u32 = 254;

/// The switch, and what is plugged into it. Dropping it removes all.
#[derive(Debug)]
pub(super) struct Setup {
    number: u8,
    /// Locked as long as it is open.
    _lock: File,
}

impl Setup {
    /// A switch with this process's address.
    pub(super) fn new() -> Result<Self, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        fs::create_dir_all(LOCKS).map_err(|error| format!("{LOCKS}: {error}"))?;
        remove_what_dead_runs_left();
        let first = process::id().wrapping_mul(7);
        for _ in 0..N_NETWORKS {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            let number = first.wrapping_add(step) % N_NETWORKS + 1;
            let number = u8::try_from(number).expect("254 at most");
            if let Some(lock) = take(number) {
                remove(number);
                let setup = Self {
                    number,
                    _lock: lock,
                };
                setup.make()?;
                return Ok(setup);
            }
        }
        Err("all networks are taken".to_owned())
    }

    fn make(&self) -> Result<(), String> {
        let (host, switch, address) = (self.host(), self.switch(), self.address(1));
        ip(&format!("netns add {switch}"))?;
        ip(&format!(
            "link add {host} type veth peer name host netns {switch}"
        ))?;
        ip(&format!("addr add {address}/24 dev {host}"))?;
        ip(&format!("link set {host} up"))?;
        ip(&format!("-n {switch} link add bridge type bridge"))?;
        ip(&format!("-n {switch} link set bridge up"))?;
        self.plug("host")
    }

    /// A namespace with one address.
    pub(super) fn add(&self, name: &str, address: Ipv4Addr) -> Result<(), String> {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(format!("{name:?} is no name of letters and digits"));
        }
        let (namespace, port, switch) = (self.namespace(name), port(address), self.switch());
        ip(&format!("netns add {namespace}"))?;
        ip(&format!(
            "link add eth0 netns {namespace} type veth peer name {port} netns {switch}"
        ))?;
        ip(&format!("-n {namespace} addr add {address}/24 dev eth0"))?;
        ip(&format!("-n {namespace} link set eth0 up"))?;
        ip(&format!("-n {namespace} link set lo up"))?;
        self.plug(&port)
    }

    /// Puts a link of the switch's namespace into the switch.
    pub(super) fn plug(&self, link: &str) -> Result<(), String> {
        let switch = self.switch();
        ip(&format!("-n {switch} link set {link} master bridge up"))
    }

    /// Replaces the switch's rules.
    pub(super) fn filter(&self, rules: &str) -> Result<(), String> {
        run_in(&self.switch(), &["nft", "-f", "-"], rules)
    }

    /// Limits what a node sends, and what it is sent, in kilobits a second.
    pub(super) fn limit(&self, name: &str, at: Ipv4Addr, kilobits: u32) -> Result<(), String> {
        // A tick's worth has to fit, and a whole packet.
        let burst = (kilobits / 8 * 10).max(16_000);
        let queue = format!("tbf rate {kilobits}kbit burst {burst} latency 400ms");
        for (namespace, link) in self.both_ends(name, at) {
            self.queue(&namespace, &format!("add dev {link} root {queue}"))?;
        }
        Ok(())
    }

    /// Takes the limit away, which has to be there.
    pub(super) fn unlimit(&self, name: &str, at: Ipv4Addr) -> Result<(), String> {
        for (namespace, link) in self.both_ends(name, at) {
            self.queue(&namespace, &format!("del dev {link} root"))?;
        }
        Ok(())
    }

    /// What sends to others, and what sends to the node.
    fn both_ends(&self, name: &str, address: Ipv4Addr) -> [(String, String); 2] {
        let own = (self.namespace(name), "eth0".to_owned());
        [own, (self.switch(), port(address))]
    }

    fn queue(&self, namespace: &str, words: &str) -> Result<(), String> {
        let words: Vec<_> = ["tc", "qdisc"]
            .into_iter()
            .chain(words.split(' '))
            .collect();
        run_in(namespace, &words, "")
    }

    /// The last byte is 1 for this process.
    pub(super) fn address(&self, last: u8) -> Ipv4Addr {
        [10, 77, self.number, last].into()
    }

    pub(super) fn namespace(&self, name: &str) -> String {
        format!("{}{name}", prefix(self.number))
    }

    /// The namespace of the switch; the hyphen makes it no node's.
    pub(super) fn switch(&self) -> String {
        self.namespace("the-switch")
    }

    /// The link with this process's address.
    fn host(&self) -> String {
        host(self.number)
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        remove(self.number);
    }
}

/// The link of the switch that leads to this address.
pub(super) fn port(address: Ipv4Addr) -> String {
    format!("n{}", address.octets()[3])
}

fn host(number: u8) -> String {
    format!("gmq{number}")
}

fn prefix(number: u8) -> String {
    format!("gmq{number}-")
}

/// The lock of a network, unless somebody has it.
fn take(number: u8) -> Option<File> {
    let path = Path::new(LOCKS).join(format!("network-{number}"));
    let file = File::options().create(true).append(true).open(path).ok()?;
    file.try_lock().ok()?;
    Some(file)
}

fn remove_what_dead_runs_left() {
    let mut numbers: Vec<_> = namespaces()
        .iter()
        .filter_map(|name| number(name))
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    for number in numbers {
        if let Some(_lock) = take(number) {
            remove(number);
        }
    }
}

/// Removes what there is of a network, whose lock we have.
fn remove(number: u8) {
    let prefix = prefix(number);
    let left = namespaces().into_iter();
    let left: Vec<_> = left.filter(|name| name.starts_with(&prefix)).collect();
    if !left.is_empty() {
        // At once; with its namespace it would go a little later.
        let _not_there = ip(&format!("link del {}", host(number)));
    }
    for namespace in left {
        if let Err(trouble) = ip(&format!("netns del {namespace}")) {
            eprintln!("{trouble}");
        }
    }
}

fn namespaces() -> Vec<String> {
    let entries = fs::read_dir(NAMESPACES).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.collect()
}

/// Which network a namespace belongs to, if it is one of ours.
fn number(namespace: &str) -> Option<u8> {
    let (number, _) = namespace.strip_prefix("gmq")?.split_once('-')?;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_network() {
        assert_eq!(number("gmq7-c1"), Some(7));
        assert_eq!(number("gmq254-the-switch"), Some(254));
        for other in ["gmq7", "gmq-c1", "gmq300-c1", "other7-c1"] {
            assert_eq!(number(other), None, "{other}");
        }
    }

    #[test]
    fn a_lock_is_for_one() {
        if fs::create_dir_all(LOCKS).is_err() {
            return crate::skip("a network's lock", LOCKS);
        }
        let lock = take(0).expect("nobody takes 0");
        assert!(take(0).is_none());
        drop(lock);
        assert!(take(0).is_some());
    }
}
