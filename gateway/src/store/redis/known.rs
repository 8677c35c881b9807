//! How an owner gets rid of a session that went to another one.
//!
//! Its routes stand in for those of the next owner until every gateway knows of these, so it stays
//! among what the earlier one owns, and in the session's *trail*, until the next one says so: should
//! the earlier one die meanwhile, its routes stay, too.

use super::layout::{OWNED, slice_of};
use super::reply::{self, Parts};
use super::{Error, Holder, RedisStore, script};

/// Which session every gateway knows to be where it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Here<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) number: u64,
    pub(crate) owner: u64,
    pub(crate) epoch: u64,
}

// === impl RedisStore ===

impl<T: Send + 'static> RedisStore<T> {
    /// Every gateway knows of the routes of a session here: those of its trail need not stand in for
    /// it any more. If it went on to another owner meanwhile, that one has to see to it.
    pub(crate) async fn made_known(&self, here: Here<'_>, trail: &[u64]) -> Result<(), Error> {
        let pool = &self.shared.pool;
        let slice = slice_of(here.client_id);
        let layout = &pool.layout;
        let make = |_| {
            let mut names = vec![layout.session(slice, here.client_id)];
            names.extend(trail.iter().map(|owner| layout.of(slice, OWNED, *owner)));
            let mut cmd = script::call(&pool.scripts.known, &names);
            cmd.arg(here.client_id).arg(here.number);
            cmd.arg(here.owner).arg(here.epoch).arg(trail);
            cmd
        };
        let slot = layout.slot_of_slice(slice);
        pool.request(slot, pool.deadline(), true, make).await?;
        Ok(())
    }

    /// Who has a session for which an earlier owner's routes still stand in, if they do: where it is
    /// the same owner again, those of what it had before do until it is here.
    pub(crate) async fn stands_in(
        &self,
        client_id: &str,
        number: u64,
        owner: u64,
    ) -> Result<Option<Holder>, Error> {
        let [known_number, holder, epoch, trail] = self.title_of(client_id).await?;
        let (holder, epoch) = (holder.parse().unwrap_or(owner), epoch.parse());
        let mut trail = trail.split(' ').map(str::parse);
        let stands_in = known_number == number.to_string()
            && (holder == owner || trail.any(|known| known == Ok(owner)));
        Ok(stands_in.then_some(Holder {
            owner: holder,
            number,
            epoch: epoch.unwrap_or_default(),
        }))
    }

    /// Who has the session of a client identifier, if there is one.
    pub(crate) async fn holder(&self, client_id: &str) -> Result<Option<Holder>, Error> {
        let [number, owner, epoch, _] = self.title_of(client_id).await?;
        let holder = |number| Holder {
            number,
            owner: owner.parse().unwrap_or_default(),
            epoch: epoch.parse().unwrap_or_default(),
        };
        Ok(number.parse().ok().map(holder))
    }

    /// The number of a session, its owner, its epoch and its trail, as they are stored.
    async fn title_of(&self, client_id: &str) -> Result<[String; 4], Error> {
        let pool = &self.shared.pool;
        let slice = slice_of(client_id);
        let make = |_| {
            let mut cmd = redis::cmd("HMGET");
            cmd.arg(pool.layout.session(slice, client_id));
            cmd.arg("number").arg("owner").arg("epoch").arg("trail");
            cmd
        };
        let slot = pool.layout.slot_of_slice(slice);
        let answer = pool.request(slot, pool.deadline(), false, make).await?;
        let parts: [redis::Value; 4] = reply::values(answer.list()?)?;
        Ok(parts.map(|part| part.text().unwrap_or_default()))
    }
}
