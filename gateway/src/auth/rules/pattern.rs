//! Levels of a rule's filter in which a client's names stand. Pure.

use std::borrow::Cow;

use super::Names;

/// A level with at least one name in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pattern(Box<[Piece]>);

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    Name(Name),
}

/// Whose name stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    User,
    Client,
}

// === impl Pattern ===

impl Pattern {
    /// Reads a level as it is written; without a name in it it is a text, which is returned as `Err`.
    pub(super) fn parse(level: &str) -> Result<Self, Cow<'_, str>> {
        if !level.contains('%') {
            return Err(level.into());
        }
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut rest = level;
        while let Some((before, after)) = rest.split_once('%') {
            text.push_str(before);
            let mut after_it = after.chars();
            let name = match after_it.next() {
                Some('u') => Name::User,
                Some('c') => Name::Client,
                _ => {
                    text.push('%');
                    rest = after.strip_prefix('%').unwrap_or(after);
                    continue;
                }
            };
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text).into()));
            }
            pieces.push(Piece::Name(name));
            rest = after_it.as_str();
        }
        text.push_str(rest);
        if pieces.is_empty() {
            return Err(text.into());
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text.into()));
        }
        Ok(Self(pieces.into()))
    }

    /// What is left of a topic or filter behind this level, and whether those whose names stand in it
    /// own what has them in it; `None` if it begins with something else. A name with `/` in it is
    /// several levels.
    pub(super) fn strip<'f>(
        &self,
        filter: &'f str,
        names: Names<'_>,
    ) -> Option<(Option<&'f str>, bool)> {
        let mut rest = filter;
        for piece in &self.0 {
            rest = rest.strip_prefix(piece.text(names))?;
        }
        let below = match rest.strip_prefix('/') {
            None if rest.is_empty() => None,
            None => return None,
            below => below,
        };
        // What was stripped is text: a wildcard of a filter is none.
        let has_wildcard = |name: &Name| name.of(names).contains(['+', '#']);
        (!self.names().any(has_wildcard)).then(|| (below, self.is_owner(names)))
    }

    /// Whether those whose names stand in it own what has them in it.
    pub(super) fn is_owner(&self, names: Names<'_>) -> bool {
        self.names().all(|name| {
            let value = name.of(names);
            !value.is_empty() && !value.starts_with('$') && !value.contains(['+', '#', '/'])
        })
    }

    /// Bytes, with names put in.
    pub(super) fn length(&self, names: Names<'_>) -> usize {
        self.0.iter().map(|piece| piece.text(names).len()).sum()
    }

    fn names(&self) -> impl Iterator<Item = &Name> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Name(name) => Some(name),
            Piece::Text(_) => None,
        })
    }
}

// === impl Piece ===

impl Piece {
    fn text<'a>(&'a self, names: Names<'a>) -> &'a str {
        match self {
            Self::Text(text) => text,
            Self::Name(name) => name.of(names),
        }
    }
}

// === impl Name ===

impl Name {
    fn of(self, names: Names<'_>) -> &str {
        match self {
            Self::User => names.username.unwrap_or_default(),
            Self::Client => names.client_id,
        }
    }
}

/// Looks for a `%` in a rule's filter that stands for nothing: what it was meant for would be in no
/// topic.
pub(crate) fn check_placeholders(filter: &str) -> Result<(), String> {
    let mut rest = filter;
    while let Some(at) = rest.find('%') {
        let mut after = rest[at + 1..].chars();
        match after.next() {
            Some('u' | 'c' | '%') => rest = after.as_str(),
            other => {
                let found: String = std::iter::once('%').chain(other).collect();
                return Err(format!(
                    "{found} stands for nothing: %u is the user name, %c the client id, and %% is %"
                ));
            }
        }
    }
    Ok(())
}
