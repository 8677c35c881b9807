//! Topic names and topic filters: what is valid, and what matches.
//!
//! Works on text alone. The gateway checks a filter here before the router sees it; the router's
//! trie is tested against [`matches()`], the plain form of the rules `[MQTT-4.7]`.
//!
//! Control characters and Unicode non-characters are refused. The standard leaves that to the
//! receiver `[MQTT-1.5.4]`; in a topic they serve nobody but an attacker of a log or a terminal.

mod filter;
mod matching;
mod text;

pub use filter::Filter;
pub use matching::matches;
pub(crate) use text::{Scan, scan};

/// The longest topic name or filter, in bytes `[MQTT-4.7.3-3]`.
pub const MAX_LENGTH: usize = u16::MAX as usize;

/// Bounds on topic names and filters, below those of the standard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How many levels there may be.
    pub levels: usize,
    /// How long the text may be, in bytes; of a shared subscription all of it.
    pub length: usize,
}

impl Bounds {
    /// No bounds but those of the standard.
    pub const NONE: Self = Self {
        levels: usize::MAX,
        length: MAX_LENGTH,
    };
}

/// What is wrong with a topic name or a topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No character at all `[MQTT-4.7.3-1]`.
    #[error("topic is empty")]
    Empty,
    /// More bytes than the caller, or [`MAX_LENGTH`], allows.
    #[error("topic is longer than the limit allows")]
    TooLong,
    /// More levels than the caller allows.
    #[error("topic has more levels than the limit allows")]
    TooManyLevels,
    /// A control character; U+0000 is one `[MQTT-4.7.3-2]`.
    #[error("topic contains a control character")]
    ControlCharacter,
    /// A Unicode non-character, such as U+FFFE.
    #[error("topic contains a unicode non-character")]
    NonCharacter,
    /// A wildcard in a topic name `[MQTT-4.7.1-1]`.
    #[error("topic name contains a wildcard")]
    Wildcard,
    /// `+` beside something else in its level `[MQTT-4.7.1-2]`.
    #[error("wildcard + does not have a level to itself")]
    MisplacedPlus,
    /// `#` anywhere but alone in the last level `[MQTT-4.7.1-1]`.
    #[error("wildcard # is not alone in the last level")]
    MisplacedHash,
    /// `$share//…` `[MQTT-4.8.2-1]`.
    #[error("share name is empty")]
    EmptyShareName,
    /// A share name with a wildcard `[MQTT-4.8.2-2]`.
    #[error("share name contains a wildcard")]
    WildcardInShareName,
    /// `$share/name` with no topic filter after it `[MQTT-4.8.2-2]`.
    #[error("shared subscription has no topic filter")]
    NoSharedFilter,
}

/// Checks a topic name: at least one character, no wildcard, no control or non-character, within
/// the bounds.
///
/// # Errors
///
/// The first of these that does not hold.
#[inline]
pub fn validate_name(text: &str, bounds: Bounds) -> Result<(), Error> {
    let scan = check_text(text, bounds)?;
    if scan.plus || scan.hash {
        return Err(Error::Wildcard);
    }
    Ok(())
}

/// The levels of a topic name or filter: what is between the slashes. `/` has two, both empty.
pub fn levels(text: &str) -> std::str::Split<'_, char> {
    text.split('/')
}

/// What holds for names and for filters.
#[inline]
fn check_text(text: &str, bounds: Bounds) -> Result<Scan, Error> {
    if text.is_empty() {
        return Err(Error::Empty);
    }
    if text.len() > bounds.length.min(MAX_LENGTH) {
        return Err(Error::TooLong);
    }
    let scan = scan(text);
    if scan.control {
        return Err(Error::ControlCharacter);
    }
    if scan.non_character {
        return Err(Error::NonCharacter);
    }
    if scan.slashes >= bounds.levels {
        return Err(Error::TooManyLevels);
    }
    Ok(scan)
}

#[cfg(test)]
mod tests;
