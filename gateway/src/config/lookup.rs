//! Servers that keep clients and rules, and how they are asked.

use std::time::Duration;

use super::Redis;

/// How a server is asked for users and rules, whatever it is.
#[derive(Clone)]
pub struct Lookup {
    /// By what users are found; [`Key::None`]: it is not asked who a client is.
    pub auth_by: Key,
    /// By what rules are found; [`Key::None`]: it is not asked what a client may do.
    pub acl_by: Key,
    /// How passwords are stored, by the names that the file of users has.
    pub password_hash: String,
    /// The key of the HMAC ways to store them.
    pub hash_key: String,
    /// Whether a password that is stored weakly is stored anew when its user gives it.
    pub rehash: bool,
    /// How long what it has said may hold for a client that is there.
    pub refresh: Duration,
}

/// Under what something is stored for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Under nothing.
    None,
    /// Under its user name.
    Username,
    /// Under its client id.
    ClientId,
}

/// Users and rules in Redis, as comqtt keeps them: users in one hash, by their key, as JSON with
/// `password` and `allow`; the rules of each in a hash of its own, by topic filter.
#[derive(Clone)]
pub struct RedisUsers {
    /// The server; what is said there of a prefix and of replicas has no meaning here.
    pub server: Redis,
    /// How it is asked.
    pub lookup: Lookup,
    /// The hash of users.
    pub auth_prefix: String,
    /// What the name of a hash of rules begins with; `:` and the key follow.
    pub acl_prefix: String,
}

impl RedisUsers {
    /// Looks for what cannot work, whether Redis is there or not.
    ///
    /// # Errors
    ///
    /// What is wrong, in words.
    pub fn check(&self) -> Result<(), String> {
        if self.auth_prefix.is_empty() || self.acl_prefix.is_empty() {
            return Err("the names of its hashes are empty".to_owned());
        }
        self.server.check()
    }
}

impl std::fmt::Debug for Lookup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the key.
        let mut shown = f.debug_struct("Lookup");
        shown
            .field("auth_by", &self.auth_by)
            .field("acl_by", &self.acl_by)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for RedisUsers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("RedisUsers");
        shown
            .field("server", &self.server)
            .field("lookup", &self.lookup)
            .field("auth_prefix", &self.auth_prefix)
            .field("acl_prefix", &self.acl_prefix)
            .finish()
    }
}
