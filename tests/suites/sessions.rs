//! What a session keeps, for how long, and who owns it; beyond what the conformance suites ask.

mod endings;
mod exchanges;
mod expiry;
mod paging;
mod per_user;
mod restart;
mod shared;
mod shared_acks;
mod sys;
mod takeover;
mod wills;
