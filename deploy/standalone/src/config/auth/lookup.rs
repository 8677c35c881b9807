//! What sources have in common that find users and rules by a key.

use gatemq_gateway::config as gateway;

use crate::config::choice::Choice;

/// Under what something is stored for a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Key {
    /// It is not asked for.
    None,
    /// Its user name.
    #[default]
    Username,
    /// Its client id.
    ClientId,
}

impl Choice for Key {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("username", Self::Username),
        ("client-id", Self::ClientId),
        ("none", Self::None),
    ];
}

impl From<Key> for gateway::Key {
    fn from(key: Key) -> Self {
        match key {
            Key::None => Self::None,
            Key::Username => Self::Username,
            Key::ClientId => Self::ClientId,
        }
    }
}
