//! Which server has which keys, asked of Sentinels and of the nodes of a Redis Cluster.

use redis::{Cmd, RedisConnectionInfo, Value};

use super::config::{Address, Config, Servers};
use super::connection::Connection;
use super::link::Link;
use super::reply::{self, Malformed, Parts, Trouble};

/// Where the keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Routes {
    /// All are there.
    One(Address),
    /// Slots from a first to a last, in order, with their masters.
    Slots(Vec<(u16, u16, Address)>),
}

// === impl Routes ===

impl Routes {
    /// The server that has a slot, if one has.
    pub(super) fn of(&self, slot: u16) -> Option<&Address> {
        match self {
            Self::One(address) => Some(address),
            Self::Slots(slots) => {
                let at = slots.partition_point(|(_, last, _)| *last < slot);
                let (first, _, address) = slots.get(at)?;
                (*first <= slot).then_some(address)
            }
        }
    }

    /// All servers, each once.
    pub(super) fn servers(&self) -> Vec<Address> {
        let mut servers = match self {
            Self::One(address) => vec![address.clone()],
            Self::Slots(slots) => slots.iter().map(|(_, _, server)| server.clone()).collect(),
        };
        servers.sort();
        servers.dedup();
        servers
    }

    /// Whether every slot has a server.
    pub(super) fn is_complete(&self) -> bool {
        let Self::Slots(slots) = self else {
            return true;
        };
        let mut next = 0_u32;
        for (first, last, _) in slots {
            if u32::from(*first) != next {
                return false;
            }
            next = u32::from(*last) + 1;
        }
        next == 16_384
    }

    /// Finds out where the keys are; `links` are connections to nodes of a Redis Cluster.
    pub(super) async fn find(config: &Config, links: &[Link]) -> Result<Self, Trouble> {
        match &config.servers {
            Servers::Single(address) => Ok(Self::One(address.clone())),
            Servers::Sentinel { addresses, master } => find_master(config, addresses, master).await,
            Servers::Cluster(addresses) => find_slots(config, links, addresses).await,
        }
    }
}

async fn find_master(
    config: &Config,
    addresses: &[Address],
    master: &str,
) -> Result<Routes, Trouble> {
    let mut ask = redis::cmd("SENTINEL");
    ask.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
    let mut trouble = Trouble::Later("there is no Sentinel to ask".to_owned());
    for address in addresses {
        match ask_server(address, &ask, config.sentinel_login(), config).await {
            Ok(Value::Nil) => {
                trouble = Trouble::Later(format!(
                    "{address} knows no master {master:?}: correct redis.master-name"
                ));
            }
            Ok(answer) => match master_of(answer) {
                Ok(address) => return Ok(Routes::One(address)),
                Err(Malformed) => {
                    trouble = Trouble::Later(format!("{address} is no Sentinel"));
                }
            },
            Err(error) => trouble = Trouble::Lost(format!("{address}: {}", error.text())),
        }
    }
    Err(trouble)
}

fn master_of(answer: Value) -> Result<Address, Malformed> {
    let [host, port] = reply::values(answer.list()?)?;
    Ok(Address {
        host: host.text()?.into(),
        port: u16::try_from(port.number()?).map_err(|_| Malformed)?,
    })
}

async fn find_slots(
    config: &Config,
    links: &[Link],
    addresses: &[Address],
) -> Result<Routes, Trouble> {
    let mut ask = redis::cmd("CLUSTER");
    ask.arg("SLOTS");
    let mut trouble = Trouble::Later("there is no node to ask".to_owned());
    for link in links {
        match link
            .send(&ask)
            .await
            .map(|slots| slots_of(slots, &link.address))
        {
            Ok(Ok(routes)) if routes.is_complete() => return Ok(routes),
            Ok(_) => trouble = incomplete(&link.address),
            Err(error) => trouble = error,
        }
    }
    for address in addresses {
        let answer = ask_server(address, &ask, config.login(), config).await;
        match answer.map(|slots| slots_of(slots, address)) {
            Ok(Ok(routes)) if routes.is_complete() => return Ok(routes),
            Ok(_) => trouble = incomplete(address),
            Err(error) => trouble = Trouble::Lost(format!("{address}: {}", error.text())),
        }
    }
    Err(trouble)
}

fn incomplete(address: &Address) -> Trouble {
    Trouble::Later(format!("{address} does not know of all slots"))
}

/// The slots as a node tells of them; a node without a name is the one that was asked.
fn slots_of(answer: Value, asked: &Address) -> Result<Routes, Malformed> {
    let mut slots = Vec::new();
    for range in answer.list()? {
        let mut range = range.list()?.into_iter();
        let mut next = || range.next().ok_or(Malformed);
        let mut slot = || u16::try_from(next()?.number()?).map_err(|_| Malformed);
        let (first, last) = (slot()?, slot()?);
        let mut master = next()?.list()?.into_iter();
        let mut next = || master.next().ok_or(Malformed);
        let host = match next()? {
            Value::Nil => String::new(),
            host => host.text()?,
        };
        let port = u16::try_from(next()?.number()?).map_err(|_| Malformed)?;
        let host = match &*host {
            "" | "?" => asked.host.clone(),
            host => host.into(),
        };
        slots.push((first, last, Address { host, port }));
    }
    slots.sort();
    Ok(Routes::Slots(slots))
}

/// Asks one question through a connection of its own.
async fn ask_server(
    address: &Address,
    ask: &Cmd,
    login: RedisConnectionInfo,
    config: &Config,
) -> Result<Value, Trouble> {
    let opened = Connection::open(address, login, config).await;
    let mut connection = opened.map_err(|error| error.trouble())?;
    let answer = connection.send_packed_command(ask).await;
    reply::value(answer.map_err(|error| Trouble::of_error(&error))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(first: i64, last: i64, host: &str, port: i64) -> Value {
        let master = Value::Array(vec![
            Value::BulkString(host.as_bytes().to_vec()),
            Value::Int(port),
            Value::BulkString(b"id".to_vec()),
        ]);
        Value::Array(vec![
            Value::Int(first),
            Value::Int(last),
            master.clone(),
            master,
        ])
    }

    #[test]
    fn slots_are_found_wherever_they_are() {
        let asked = Address::parse("asked:1", 1).expect("valid");
        let answer = Value::Array(vec![node(8000, 16_383, "b", 2), node(0, 7_999, "", 1)]);
        let routes = slots_of(answer, &asked).expect("well formed");
        assert!(routes.is_complete());
        for (slot, expected) in [
            (0, "asked:1"),
            (7_999, "asked:1"),
            (8_000, "b:2"),
            (16_383, "b:2"),
        ] {
            let found = routes.of(slot).map(ToString::to_string);
            assert_eq!(found.as_deref(), Some(expected), "{slot}");
        }
        assert_eq!(routes.servers().len(), 2);
    }

    #[test]
    fn a_hole_is_seen() {
        let asked = Address::parse("asked:1", 1).expect("valid");
        let answer = Value::Array(vec![node(0, 10, "a", 1), node(12, 16_383, "b", 2)]);
        let routes = slots_of(answer, &asked).expect("well formed");
        assert!(!routes.is_complete());
        assert_eq!(routes.of(11), None);
        assert_eq!(routes.of(12).map(|address| address.port), Some(2));
        // One beyond the last slot is no slot.
        let answer = Value::Array(vec![node(0, 65_535, "a", 1)]);
        let routes = slots_of(answer, &asked).expect("well formed");
        assert!(!routes.is_complete());
        assert!(slots_of(Value::Int(1), &asked).is_err());
        assert!(slots_of(Value::Array(vec![Value::Array(vec![])]), &asked).is_err());
    }
}
