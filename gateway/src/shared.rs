//! Sessions that several gateways share, in Redis: what is different from a store of one's own.
//!
//! In reading order: [`claim`] is how a connection gets a session that may be another gateway's,
//! [`owned`] the sessions that this gateway has by number, [`moved`] those that it has no more,
//! [`judge`] what a commit says that was refused in part, [`pages`] queues that are read by and
//! by, [`remains`] what an ended session left, [`retained`] messages that every gateway reads, [`wills`] those that are on
//! their way, [`mod@adopt`] the sessions of a gateway that is gone.

mod adopt;
mod claim;
mod exchange;
mod judge;
mod moved;
mod owned;
mod pages;
mod remains;
mod retained;
mod wills;

pub(crate) use adopt::adopt;
pub(crate) use claim::Turnstile;
pub(crate) use owned::Owned;
pub(crate) use retained::{Reading, sweep};
pub(crate) use wills::UnderWay;
