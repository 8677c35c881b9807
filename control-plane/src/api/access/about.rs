//! What a request is about that its path does not say, for the log: the handler tells it as soon as it
//! knows, so that it is there whatever comes of the request.

use std::sync::{Arc, OnceLock};

/// A place for it: an extension of each request that was let in.
#[derive(Clone, Debug, Default)]
pub(in crate::api) struct About(Arc<OnceLock<String>>);

/// The most that a line of the log has of what a caller has made up, in bytes.
const LONGEST: usize = 256;

impl About {
    /// It is about this.
    pub(in crate::api) fn say(&self, what: &str) {
        self.0.get_or_init(|| shorten(what.to_owned()));
    }

    /// What was said of it, if anything was.
    pub(super) fn said(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }
}

/// A text as it is in a line: the beginning of one that is too long.
pub(super) fn shorten(mut text: String) -> String {
    if text.len() > LONGEST {
        text.truncate(text.floor_char_boundary(LONGEST));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_first_counts_and_is_not_too_long() {
        let about = About::default();
        assert_eq!(about.said(), None);
        let handle = |about: About| about.say(&"é".repeat(1_000));
        handle(about.clone());
        about.say("something else");
        let said = about.said().expect("it was said");
        assert!(said.len() <= LONGEST + '…'.len_utf8(), "{}", said.len());
        assert!(said.starts_with("éé") && said.ends_with("é…"));
        assert_eq!(shorten("pump-7".to_owned()), "pump-7");
    }
}
