//! Who is kept out.
//!
//! Bans come from the control plane with the rest of its state, and stay as they were while it is
//! not reached. A CONNECT is looked at before any password is; when a ban comes, the connections that
//! it speaks of end. [`table`] finds bans (pure), [`ends`] ends connections.

mod ends;
mod table;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use self::table::Table;
pub(crate) use self::table::Whom;
use crate::clock::wall_millis;
use crate::proto::cluster::state::{Ban, BanKind};
use crate::proto::mqtt::Reason;

pub(crate) use self::ends::run;

/// What a client that is kept out is told.
pub(crate) const BANNED: (Reason, &str) = (Reason::Banned, "the client is banned");

/// All bans that a gateway knows.
#[derive(Debug, Default)]
pub(crate) struct Bans {
    table: RwLock<Table>,
    /// Whether there are any: mostly there are none.
    is_any: AtomicBool,
    news: Mutex<News>,
    told: Notify,
}

/// A change of the bans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Ban(Ban),
    Unban(BanKind, String),
    /// All there are, and no others.
    All(Vec<Ban>),
}

/// Whose connections have to be looked at.
#[derive(Debug, Default)]
struct News {
    client_ids: Vec<Box<str>>,
    is_everybody: bool,
}

/// Client identifiers that are looked for one by one; with more, everybody is looked at.
const ONE_BY_ONE: usize = 1_024;

impl Bans {
    /// Takes a change in: from here on nobody gets in whom it keeps out. Who is in is ended by
    /// [`run`].
    pub(crate) fn change(&self, change: Change) {
        let mut news = News::default();
        let mut table = self.table.write();
        match change {
            Change::Ban(ban) => {
                match ban.kind() {
                    BanKind::ClientId => news.client_ids.push(ban.value.as_str().into()),
                    _ => news.is_everybody = true,
                }
                table.set(&ban);
            }
            Change::Unban(kind, value) => table.unset(kind, &value),
            Change::All(bans) => {
                news.is_everybody = !bans.is_empty();
                *table = Table::default();
                bans.iter().for_each(|ban| table.set(ban));
            }
        }
        self.is_any.store(!table.is_empty(), Ordering::Release);
        drop(table);
        if news.is_everybody || !news.client_ids.is_empty() {
            self.news.lock().add(news);
            self.told.notify_one();
        }
    }

    /// Whether somebody is kept out now.
    pub(crate) fn has(&self, whom: &Whom<'_>) -> bool {
        self.is_any.load(Ordering::Acquire) && self.table.read().has(whom, wall_millis())
    }

    /// Looks at an address, before anything else of a client is.
    ///
    /// # Errors
    ///
    /// What the client is told.
    pub(crate) fn check_address(
        &self,
        address: Option<IpAddr>,
    ) -> Result<(), (Reason, &'static str)> {
        self.check(&Whom {
            address,
            ..Whom::default()
        })
    }

    /// Looks at the names that a client gives.
    ///
    /// # Errors
    ///
    /// What the client is told.
    pub(crate) fn check_names(
        &self,
        client_id: &str,
        username: Option<&str>,
    ) -> Result<(), (Reason, &'static str)> {
        self.check(&Whom {
            client_id,
            usernames: [username, None],
            ..Whom::default()
        })
    }

    fn check(&self, whom: &Whom<'_>) -> Result<(), (Reason, &'static str)> {
        match self.has(whom) {
            true => Err(BANNED),
            false => Ok(()),
        }
    }
}

impl News {
    fn add(&mut self, more: Self) {
        self.is_everybody |= more.is_everybody;
        self.client_ids.extend(more.client_ids);
        if self.is_everybody || self.client_ids.len() > ONE_BY_ONE {
            (self.is_everybody, self.client_ids) = (true, Vec::new());
        }
    }
}
