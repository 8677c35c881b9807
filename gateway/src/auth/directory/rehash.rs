//! Passwords that are stored weakly, hashed anew when their users give them.
//!
//! It is done behind a login that has succeeded, and never fails it. What is written is written only
//! where the user still is as it was found, so neither two logins at once nor an operator's change
//! are lost. Who was let in by the old form stays: the two are one password, which this gateway
//! remembers. Other gateways of a cluster do not know that, and let such a client log in again.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::{Directory, DirectorySource, User, mark_of};
use crate::auth::Unavailable;
use crate::auth::password;

/// Passwords that are remembered; beyond them all are forgotten, and their clients log in again.
const MAX: usize = 100_000;

/// What became of passwords: the mark of a new form, and that of the one before.
#[derive(Debug, Default)]
pub(super) struct Rehash {
    before: Mutex<HashMap<u64, u64>>,
}

// === impl Rehash ===

impl Rehash {
    /// Whether a form was made of another.
    pub(super) fn came_of(&self, new: u64, old: u64) -> bool {
        self.before.lock().get(&new) == Some(&old)
    }

    fn remember(&self, new: u64, old: u64) {
        let mut before = self.before.lock();
        if before.len() >= MAX {
            before.clear();
        }
        before.insert(new, old);
    }
}

// === impl DirectorySource ===

impl<D: Directory> DirectorySource<D> {
    /// The user as it is stored then; `given` is its password.
    pub(super) async fn hash_anew(&self, key: &str, user: User, given: &[u8]) -> User {
        let Some(rehash) = &self.rehash else {
            return user;
        };
        if !password::needs_rehash(&user.password) {
            return user;
        }
        let Ok(hash) = self.pool.hash(given).await else {
            return user; // too many log in at once: another time
        };
        match self.directory.replace(key, &user, &hash).await {
            Ok(true) => {
                rehash.remember(mark_of(&hash), mark_of(&user.password));
                User {
                    password: hash,
                    ..user
                }
            }
            Ok(false) | Err(Unavailable::Crowded | Unavailable::Refused) => user,
            Err(Unavailable::Unusable(why) | Unavailable::Failed(why)) => {
                self.complain(key, &format!("the password is not hashed anew: {why}"));
                user
            }
        }
    }
}
