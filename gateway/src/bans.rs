//! Who is kept out.
//!
//! Bans come from the control plane with the rest of its state, and stay as they were while it is
//! not reached; from a file ([`mod@file`]); and from this gateway itself, of clients that come and go again
//! and again ([`flapping`]). A CONNECT is looked at before any password is; when a ban comes, the
//! connections that it speaks of end. [`table`] finds bans (pure), [`ends`] ends connections.

mod ends;
mod file;
mod flapping;
mod table;

use std::net::IpAddr;
use std::ops::Add;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use self::table::Table;
pub(crate) use self::table::{Counts, Whom};
use crate::auth::FileError;
use crate::clock::wall_millis;
use crate::config;
use crate::proto::cluster::state::{Ban, BanKind};
use crate::proto::mqtt::Reason;

pub(crate) use self::ends::run;
pub(crate) use self::flapping::Flapping;

/// What a client that is kept out is told.
pub(crate) const BANNED: (Reason, &str) = (Reason::Banned, "the client is banned");

/// All bans that a gateway knows.
#[derive(Debug, Default)]
pub(crate) struct Bans {
    tables: RwLock<Tables>,
    /// Whether there are any: mostly there are none.
    is_any: AtomicBool,
    news: Mutex<News>,
    told: Notify,
}

/// Who has made a ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The control plane.
    Agreed,
    /// The file.
    Listed,
    /// This gateway.
    Own,
}

#[derive(Debug, Default)]
struct Tables {
    agreed: Table,
    listed: Table,
    /// Client identifiers alone.
    own: Table,
}

/// A change of the bans of a source.
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

/// Bans of its own that a gateway has at most: beyond, nobody else is banned for flapping until some
/// are over.
const MOST_OWN: usize = 10_000;
/// Client identifiers that are looked for one by one; with more, everybody is looked at.
const ONE_BY_ONE: usize = 1_024;

// === impl Bans ===

impl Bans {
    /// Those of a configuration.
    ///
    /// # Errors
    ///
    /// The file cannot be used.
    pub(crate) fn open(config: &config::Bans) -> Result<Self, FileError> {
        let bans = Self::default();
        if let Some(path) = &config.file {
            bans.change(Source::Listed, Change::All(file::read(path)?));
        }
        Ok(bans)
    }

    /// Reads the file again, if there is one. What cannot be used is logged, and the old stays in
    /// force.
    pub(crate) fn reload(&self, config: &config::Bans) {
        let Some(path) = &config.file else { return };
        match file::read(path) {
            Ok(bans) => {
                self.change(Source::Listed, Change::All(bans));
                self.tell(config, "bans read again");
            }
            Err(error) => tracing::error!(%error, "the bans that were known stay in force"),
        }
    }

    /// Says in the log how many the file has, if there is one.
    pub(crate) fn tell(&self, config: &config::Bans, what: &'static str) {
        let Some(path) = &config.file else { return };
        let counts = self.tables.read().listed.count(wall_millis());
        tracing::info!(
            file = &*path.to_string_lossy(),
            client_ids = counts.client_ids,
            client_id_prefixes = counts.client_id_prefixes,
            usernames = counts.usernames,
            addresses = counts.addresses,
            "{what}"
        );
    }

    /// How many are in force, of all sources.
    pub(crate) fn count(&self) -> Counts {
        let (tables, now) = (self.tables.read(), wall_millis());
        let counts = tables.all().map(|table| table.count(now));
        counts.into_iter().fold(Counts::default(), Add::add)
    }

    /// Takes a change in: from here on nobody gets in whom it keeps out. Who is in is ended by
    /// [`run`].
    pub(crate) fn change(&self, source: Source, change: Change) {
        let mut news = News::default();
        let mut tables = self.tables.write();
        if let (Source::Agreed, Change::Unban(kind, value)) = (source, &change) {
            // Whoever takes a ban back means that of the gateway that asked for it, too.
            tables.own.unset(*kind, value);
        }
        let table = tables.of(source);
        if source == Source::Own && table.n_client_ids() >= MOST_OWN {
            table.forget_over(wall_millis());
            if table.n_client_ids() >= MOST_OWN {
                return;
            }
        }
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
        self.is_any.store(!tables.is_empty(), Ordering::Release);
        drop(tables);
        if news.is_everybody || !news.client_ids.is_empty() {
            self.news.lock().add(news);
            self.told.notify_one();
        }
    }

    /// Whether somebody is kept out now.
    pub(crate) fn has(&self, whom: &Whom<'_>) -> bool {
        self.is_any.load(Ordering::Acquire) && self.tables.read().has(whom, wall_millis())
    }

    /// What the log says of the ban that keeps somebody out now, if there is one: what it names,
    /// where it is, and why. Each at most as long as `shown` makes it.
    pub(crate) fn told_of(
        &self,
        whom: &Whom<'_>,
        shown: impl Fn(&str) -> String,
    ) -> Option<String> {
        let (tables, now) = (self.tables.read(), wall_millis());
        let sources = ["of the cluster", "of the file", "of this gateway"];
        let mut all = tables.all().into_iter().zip(sources);
        all.find_map(|(table, source)| {
            let found = table.find(whom, now)?;
            let value = shown(&found.value.to_string());
            let reason = match found.reason {
                "" => String::new(),
                reason => format!(": {}", shown(reason)),
            };
            Some(format!("{} {value}, a ban {source}{reason}", found.kind))
        })
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

// === impl Tables ===

impl Tables {
    fn of(&mut self, source: Source) -> &mut Table {
        match source {
            Source::Agreed => &mut self.agreed,
            Source::Listed => &mut self.listed,
            Source::Own => &mut self.own,
        }
    }

    fn all(&self) -> [&Table; 3] {
        [&self.agreed, &self.listed, &self.own]
    }

    fn is_empty(&self) -> bool {
        self.all().iter().all(|table| table.is_empty())
    }

    fn has(&self, whom: &Whom<'_>, now: u64) -> bool {
        self.all().iter().any(|table| table.has(whom, now))
    }
}

// === impl News ===

impl News {
    fn add(&mut self, more: Self) {
        self.is_everybody |= more.is_everybody;
        self.client_ids.extend(more.client_ids);
        if self.is_everybody || self.client_ids.len() > ONE_BY_ONE {
            (self.is_everybody, self.client_ids) = (true, Vec::new());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ban(value: &str, until: u64) -> Ban {
        Ban {
            kind: BanKind::ClientId.into(),
            value: value.to_owned(),
            until,
            ..Ban::default()
        }
    }

    fn keeps_out(bans: &Bans, client_id: &str) -> bool {
        bans.check_names(client_id, None).is_err()
    }

    #[test]
    fn each_source_has_its_bans_and_taking_back_means_the_gateways_own_too() {
        let bans = Bans::default();
        for source in [Source::Agreed, Source::Listed, Source::Own] {
            bans.change(source, Change::Ban(ban("c", 0)));
        }
        let take_back = |source| {
            let unban = Change::Unban(BanKind::ClientId, "c".to_owned());
            bans.change(source, unban);
            keeps_out(&bans, "c")
        };
        assert!(take_back(Source::Listed));
        assert!(!take_back(Source::Agreed));
        bans.change(Source::Agreed, Change::Ban(ban("d", 0)));
        bans.change(Source::Own, Change::Ban(ban("e", 0)));
        bans.change(Source::Agreed, Change::All(Vec::new()));
        assert!(!keeps_out(&bans, "d") && keeps_out(&bans, "e"));
    }

    #[test]
    fn the_log_says_which_ban_keeps_somebody_out_and_where_it_is() {
        let bans = Bans::default();
        let reasoned = Ban {
            reason: "it is stolen".to_owned(),
            ..ban("c", 0)
        };
        bans.change(Source::Listed, Change::Ban(reasoned));
        bans.change(Source::Agreed, Change::Ban(ban("d", 0)));
        let told = |client_id: &str| {
            let whom = Whom {
                client_id,
                ..Whom::default()
            };
            bans.told_of(&whom, |text| text.chars().take(5).collect())
        };
        let listed = "client-id c, a ban of the file: it is";
        assert_eq!(told("c").as_deref(), Some(listed));
        let agreed = "client-id d, a ban of the cluster";
        assert_eq!(told("d").as_deref(), Some(agreed));
        assert_eq!(told("e"), None);
    }

    #[test]
    fn a_gateways_own_bans_are_bounded_and_make_room_when_they_are_over() {
        let bans = Bans::default();
        let lasting = wall_millis() + 3_600_000;
        for number in 0..MOST_OWN {
            let until = if number % 2 == 0 { 1 } else { lasting };
            bans.change(Source::Own, Change::Ban(ban(&number.to_string(), until)));
        }
        bans.change(Source::Own, Change::Ban(ban("more", lasting)));
        assert!(keeps_out(&bans, "more") && keeps_out(&bans, "1"));
        for number in MOST_OWN..2 * MOST_OWN {
            bans.change(Source::Own, Change::Ban(ban(&number.to_string(), lasting)));
        }
        assert_eq!(bans.tables.read().own.n_client_ids(), MOST_OWN);
    }
}
