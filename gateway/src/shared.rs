//! Sessions that several gateways share, in Redis: what is different from a store of one's own.
//!
//! In reading order: [`turnstile`] lets one at a time bring a session here, [`claim`] is how a
//! connection gets one that may be another gateway's ([`release`] asks that one, [`reserved`] keeps
//! what is here meanwhile, [`takeover`] is the end of it, [`refusals`] is what the log says where
//! there is none), [`mod@adopt`] how those of a gateway that is gone get here, [`arrival`] how they
//! get into memory, [`known`] when those who had them before may forget them, [`owned`] the sessions
//! that this gateway has by number, [`moved`] those that it has no more, [`judge`] what a commit says
//! that was refused in part, [`exchange`] publishes of QoS 2, [`pages`] queues that are read by and
//! by, [`remains`] what an ended session left, [`retained`] messages that every gateway reads,
//! [`wills`] those that are on their way, [`mod@hold`] what says whose the store is,
//! [`secret`] what all of them have in common that nobody else knows, [`time`] what time it is.

mod adopt;
mod arrival;
mod claim;
mod exchange;
mod hold;
mod judge;
mod known;
mod moved;
mod owned;
mod pages;
mod refusals;
mod release;
mod remains;
mod reserved;
mod retained;
mod secret;
mod takeover;
mod time;
mod turnstile;
mod wills;

pub(crate) use adopt::adopt;
pub(crate) use hold::hold;
pub(crate) use owned::Owned;
pub(crate) use refusals::{Refusals, tell as tell_refusals};
pub(crate) use retained::{Reading, sweep};
pub(crate) use secret::agree;
pub(crate) use time::keep_time;
pub(crate) use turnstile::Turnstile;
pub(crate) use wills::UnderWay;
