//! Who a client is: what it says of itself at CONNECT, and whether that is believed.

pub(crate) mod password;
