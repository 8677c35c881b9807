//! Every kind of listener: TCP, TLS, WebSocket, Unix socket, PROXY protocol, limits; and what
//! the process does around them: command line, drain, HTTP. The first four modules are the
//! clients' side of each transport, which the suite `bad_input` uses too.

pub(crate) mod authority;
pub(crate) mod http_client;
pub(crate) mod tls_client;
pub(crate) mod ws_client;

mod command_line;
mod connection_limits;
mod drain;
mod http;
pub(crate) mod json;
mod kinds;
mod logs;
mod proxy;
mod publish_rates;
mod reload;
mod revoked;
pub(crate) mod tls;
mod websocket;
