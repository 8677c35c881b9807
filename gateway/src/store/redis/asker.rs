//! Single questions, for those who have nothing stored here: no scripts are sent, so that whoever is
//! asked as may be somebody who may do nothing but read. A question is over within the timeout.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::{Cmd, Pipeline, Value};

use super::config::{Address, Config, Servers};
use super::connection::Connection;
use super::layout::slot_of;
use super::reply::{self, Trouble};
use super::route::Routes;

/// How often a question is asked: a connection may be one to a server that was started again, and
/// the next one to a node that has not the key any more.
const TRIES: usize = 3;

/// How long a master is believed to be one.
const BELIEVED: Duration = Duration::from_secs(5);

/// A question has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error("{0}")]
    Failed(String),
    /// Asking again would not help.
    #[error("{0}")]
    Refused(String),
}

/// The connections to the servers that were asked.
pub(crate) struct Asker {
    config: Config,
    routes: Mutex<Option<Known>>,
    seats: Mutex<HashMap<Address, Arc<Seat>>>,
}

/// Where the keys are, as far as is known.
#[derive(Clone)]
struct Known {
    routes: Arc<Routes>,
    /// When it was asked for.
    since: Instant,
}

/// The place of a connection; held by whoever connects.
type Seat = tokio::sync::Mutex<Option<Opened>>;

#[derive(Clone)]
struct Opened {
    /// Tells connections apart.
    id: u64,
    connection: Connection,
}

// === impl Asker ===

impl Asker {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            config,
            routes: Mutex::default(),
            seats: Mutex::default(),
        }
    }

    /// Where it asks, for people.
    pub(crate) fn name(&self) -> String {
        self.config.servers.to_string()
    }

    /// Sends a command about a key.
    pub(crate) async fn ask(&self, key: &str, cmd: &Cmd) -> Result<Value, AskError> {
        let mut used = None;
        let asking = self.ask_again(key, cmd, &mut used);
        let answer = tokio::time::timeout(self.config.timeout, asking).await;
        if answer.is_err() {
            // Its other end may be gone without a word.
            self.give_up(used.take()).await;
            *self.routes.lock() = None;
        }
        match answer {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(Trouble::Refused(why))) => Err(AskError::Refused(why)),
            Ok(Err(trouble)) => Err(AskError::Failed(trouble.text())),
            Err(_) => {
                let why = format!("no answer within {:?}", self.config.timeout);
                Err(AskError::Failed(why))
            }
        }
    }

    /// Sets a field of a hash, `(hash, field)`, if it still has a value; whether it had.
    pub(crate) async fn replace(
        &self,
        (hash, field): (&str, &str),
        from: &[u8],
        to: &[u8],
    ) -> Result<bool, AskError> {
        let replacing = self.replace_watched((hash, field), from, to);
        match tokio::time::timeout(self.config.timeout, replacing).await {
            Ok(Ok(was_done)) => Ok(was_done),
            Ok(Err(trouble)) => Err(AskError::Failed(trouble.text())),
            Err(_) => Err(AskError::Failed("no answer in time".to_owned())),
        }
    }

    /// Through a connection of its own: what is watched is watched for a connection.
    async fn replace_watched(
        &self,
        (hash, field): (&str, &str),
        from: &[u8],
        to: &[u8],
    ) -> Result<bool, Trouble> {
        let server = self.server(hash).await?;
        let mut connection = self.open(&server).await?;
        let mut look = redis::pipe();
        look.cmd("WATCH").arg(hash);
        look.cmd("HGET").arg(hash).arg(field);
        let found = send(&mut connection, &look).await?;
        if found != Value::BulkString(from.to_vec()) {
            return Ok(false);
        }
        let mut set = redis::pipe();
        set.cmd("MULTI");
        set.cmd("HSET").arg(hash).arg(field).arg(to);
        set.cmd("EXEC");
        // Nothing is done, and nil is the answer, if anything of the hash has changed meanwhile.
        Ok(send(&mut connection, &set).await? != Value::Nil)
    }

    async fn ask_again(
        &self,
        key: &str,
        cmd: &Cmd,
        used: &mut Option<(Address, u64)>,
    ) -> Result<Value, Trouble> {
        let mut asked = None;
        let mut tries = 1;
        loop {
            let trouble = match self.attempt(key, cmd, asked.take(), used).await {
                Ok(value) => return Ok(value),
                Err(trouble) => trouble,
            };
            match &trouble {
                Trouble::Lost(_) | Trouble::Moved(_) => {
                    self.give_up(used.take()).await;
                    *self.routes.lock() = None;
                }
                Trouble::Ask(address) => asked = Some(address.clone()),
                _ => return Err(trouble),
            }
            if tries == TRIES {
                return Err(trouble);
            }
            tries += 1;
        }
    }

    async fn attempt(
        &self,
        key: &str,
        cmd: &Cmd,
        asked: Option<Address>,
        used: &mut Option<(Address, u64)>,
    ) -> Result<Value, Trouble> {
        let is_asked = asked.is_some();
        let server = match asked {
            Some(server) => server,
            None => self.server(key).await?,
        };
        let mut opened = self.connection(&server).await?;
        *used = Some((server, opened.id));
        let mut pipeline = redis::pipe();
        if is_asked {
            pipeline.cmd("ASKING");
        }
        pipeline.add_command(cmd.clone());
        send(&mut opened.connection, &pipeline).await
    }

    /// Where the keys are. A master that was cut off from its Sentinels still answers, by what held
    /// before: they are asked now and then who it is.
    async fn routes(&self) -> Result<Arc<Routes>, Trouble> {
        let now = Instant::now();
        let may_be_cut_off = matches!(self.config.servers, Servers::Sentinel { .. });
        let is_old = |known: &Known| may_be_cut_off && now.duration_since(known.since) >= BELIEVED;
        let old = {
            let mut known = self.routes.lock();
            match &mut *known {
                Some(known) if is_old(known) => {
                    known.since = now; // one question is enough
                    Some(known.routes.clone())
                }
                Some(known) => return Ok(known.routes.clone()),
                None => None,
            }
        };
        let finding = Routes::find(&self.config, &[]);
        let found = match &old {
            None => finding.await?,
            // Without the Sentinels it goes on with what is known, and has time left for it.
            Some(old) => match tokio::time::timeout(self.config.timeout / 2, finding).await {
                Ok(Ok(found)) => found,
                Ok(Err(_)) | Err(_) => return Ok(old.clone()),
            },
        };
        let servers = found.servers();
        let routes = Arc::new(found);
        self.seats
            .lock()
            .retain(|server, _| servers.contains(server));
        *self.routes.lock() = Some(Known {
            routes: routes.clone(),
            since: now,
        });
        Ok(routes)
    }

    /// The server that has a key.
    async fn server(&self, key: &str) -> Result<Address, Trouble> {
        let routes = self.routes().await?;
        let slot = slot_of(hashed(key));
        let server = routes.of(slot).cloned();
        server.ok_or_else(|| Trouble::Later(format!("no node has slot {slot}")))
    }

    async fn connection(&self, server: &Address) -> Result<Opened, Trouble> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let seat = self.seats.lock().entry(server.clone()).or_default().clone();
        let mut seat = seat.lock().await;
        if let Some(opened) = &*seat {
            return Ok(opened.clone());
        }
        let opened = Opened {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            connection: self.open(server).await?,
        };
        Ok(seat.insert(opened).clone())
    }

    async fn open(&self, server: &Address) -> Result<Connection, Trouble> {
        let opened = Connection::open(server, self.config.login(), &self.config).await;
        opened.map_err(|error| error.trouble())
    }

    /// Reads the files of TLS again, for connections from now on.
    pub(crate) fn reload(&self) -> Result<(), String> {
        self.config.tls.as_ref().map_or(Ok(()), |tls| tls.reload())
    }

    async fn give_up(&self, used: Option<(Address, u64)>) {
        let Some((server, id)) = used else { return };
        let seat = self.seats.lock().get(&server).cloned();
        if let Some(seat) = seat {
            seat.lock().await.take_if(|opened| opened.id == id);
        }
    }
}

impl std::fmt::Debug for Asker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Asker").field(&self.config).finish()
    }
}

/// The answer to the last of some commands.
async fn send(connection: &mut Connection, commands: &Pipeline) -> Result<Value, Trouble> {
    let answers = connection.send_packed_commands(commands, 0, commands.len());
    let answers = answers.await.map_err(|error| Trouble::of_error(&error))?;
    reply::value(answers.into_iter().last().unwrap_or(Value::Nil))
}

/// What of a key decides its slot: all of it, or what is in its first braces, if there is anything.
fn hashed(key: &str) -> &str {
    let inner = key
        .split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'));
    match inner {
        Some((tag, _)) if !tag.is_empty() => tag,
        _ => key,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_of_a_client_decide_as_redis_says() {
        for (key, expected) in [
            ("acl:ann", "acl:ann"),
            ("acl:{ann}", "ann"),
            ("acl:{}x", "acl:{}x"),
            ("acl:{{a}}", "{a"),
            ("acl:}{a", "acl:}{a"),
            ("a{b}{c}", "b"),
        ] {
            assert_eq!(hashed(key), expected, "{key}");
        }
    }
}
