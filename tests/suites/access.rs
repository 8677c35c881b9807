//! Who may connect, and what they may do: every way by which a message could reach somebody who may
//! not have it, or come from somebody who may not send it.

mod connect;
mod groups;
mod http;
mod jwt;
mod owner;
mod redis;
mod reload;
mod scene;
mod sql;
mod start;
mod token;
mod topics;
mod web;
mod wills;
