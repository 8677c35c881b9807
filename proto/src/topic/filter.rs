//! A topic filter as a client subscribes to it, with or without `$share`.

use super::{Bounds, Error, check_text, levels};

/// A valid topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Filter<'a> {
    /// The share name of a shared subscription `[MQTT-4.8.2]`.
    pub share: Option<&'a str>,
    /// The filter that topics are matched with; without the `$share/…/` before it.
    pub filter: &'a str,
}

impl<'a> Filter<'a> {
    /// Reads a topic filter of a SUBSCRIBE or UNSUBSCRIBE. The bound on levels is for the filter
    /// that topics are matched with.
    ///
    /// # Errors
    ///
    /// If a wildcard is misplaced, `$share` is incomplete, or [`super::validate_name`] would
    /// refuse the text for anything but its wildcards.
    pub fn parse(text: &'a str, bounds: Bounds) -> Result<Self, Error> {
        let Some(shared) = text.strip_prefix("$share/") else {
            check_filter(text, bounds)?;
            return Ok(Self {
                share: None,
                filter: text,
            });
        };
        if text.len() > bounds.length.min(super::MAX_LENGTH) {
            return Err(Error::TooLong);
        }
        let (share, filter) = shared.split_once('/').unwrap_or((shared, ""));
        if share.is_empty() {
            return Err(Error::EmptyShareName); // [MQTT-4.8.2-1]
        }
        let scan = check_text(share, Bounds::NONE)?;
        if scan.plus || scan.hash {
            return Err(Error::WildcardInShareName); // [MQTT-4.8.2-2]
        }
        if filter.is_empty() {
            return Err(Error::NoSharedFilter);
        }
        check_filter(filter, bounds)?;
        Ok(Self {
            share: Some(share),
            filter,
        })
    }

    /// Whether the filter has a wildcard, so that it may match more than one topic.
    pub fn has_wildcard(&self) -> bool {
        self.filter.bytes().any(|byte| matches!(byte, b'+' | b'#'))
    }

    /// The levels of the filter that topics are matched with.
    pub fn levels(&self) -> std::str::Split<'a, char> {
        levels(self.filter)
    }

    /// Whether the filter matches a topic name.
    pub fn matches(&self, topic: &str) -> bool {
        super::matches(self.filter, topic)
    }
}

fn check_filter(filter: &str, bounds: Bounds) -> Result<(), Error> {
    let scan = check_text(filter, bounds)?;
    if !scan.plus && !scan.hash {
        return Ok(());
    }
    let mut levels = levels(filter).peekable();
    while let Some(level) = levels.next() {
        if level.contains('#') && (level != "#" || levels.peek().is_some()) {
            return Err(Error::MisplacedHash); // [MQTT-4.7.1-1]
        }
        if level.contains('+') && level != "+" {
            return Err(Error::MisplacedPlus); // [MQTT-4.7.1-2]
        }
    }
    Ok(())
}
