//! Passwords: is the one given the one stored?
//!
//! A source of users says by its [`scheme`] how the passwords that it stores are to be read. One
//! that cannot be read is an error and never matches, and so is one that would cost absurdly much
//! to compute: whoever may write to the source shall not stop the broker with it. Connections
//! verify through [`pool`], which bounds how much of the machine logins may take.
//!
//! Neither passwords nor keys are in what `Debug` shows or in the text of an error.

mod digest;
mod form;
pub(crate) mod pool;
pub(crate) mod scheme;
mod stored;

use scheme::Scheme;
pub(crate) use stored::Malformed;
use stored::{Function, NEW_COST, NEW_SALT, Stored};

/// What comparing a password with the stored one gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Match {
    Yes,
    No,
}

/// Whether a stored password can be read.
pub(crate) fn check(scheme: &Scheme, stored: &str, salt: &[u8]) -> Result<(), Malformed> {
    Stored::read(scheme, stored, salt).map(drop)
}

/// What to store for a new password: argon2id, with a salt of its own.
pub fn hash(given: &[u8]) -> String {
    let mut salt = vec![0; NEW_SALT];
    getrandom::fill(&mut salt).expect("the system has had random bytes since it started");
    let hash = Function::argon2id(NEW_COST, salt.clone()).compute(given);
    form::argon2id_text(NEW_COST, &salt, &hash)
}

/// Whether a stored password is weaker than what [`hash`] makes: to be hashed anew the next time
/// its user gives it.
pub(crate) fn needs_rehash(stored: &str) -> bool {
    !Stored::read(&Scheme::Auto, stored, b"").is_ok_and(|stored| stored.is_strong())
}

#[cfg(test)]
mod tests;
