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

#[cfg(test)]
use std::hint::black_box;

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

/// Compares the password that a client gave with the stored one. `salt` is that of a column of its
/// own, if the scheme has one; empty if there is none.
///
/// Takes as long as the stored text asks for: connections use [`pool::Pool::verify`].
#[cfg(test)]
pub(crate) fn verify(
    scheme: &Scheme,
    stored: &str,
    salt: &[u8],
    given: &[u8],
) -> Result<Match, Malformed> {
    Ok(Stored::read(scheme, stored, salt)?.compare(given))
}

/// Costs what [`verify`] costs, for a user who is not there, and never matches: the time that a
/// refusal takes shall not tell which users exist.
///
/// Users of one source may have been hashed at different costs. `like` is the stored password of
/// any user of that source; without one, what is usual for the scheme is assumed.
#[cfg(test)]
pub(crate) fn decoy(scheme: &Scheme, like: Option<&str>, given: &[u8]) -> Match {
    // What nobody looks at would not have to be computed.
    let _ = black_box(Stored::decoy(scheme, like).compare(given));
    Match::No
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
