//! The section `api`: what callers of the HTTP API have to show.

use gatemq_control_plane::api;
use gatemq_node::config::Problem;
use gatemq_proto::topic::{Bounds, Filter};
use serde::{Deserialize, Serialize};

/// Access to `/api/v1`, and to what else HTTP shows.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "deploy/config/gatemq.yml explains each key")]
pub struct Api {
    pub token: String,
    pub token_file: String,
    pub tokens: Vec<ApiToken>,
    pub open_metrics: bool,
}

/// One of several tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "deploy/config/gatemq.yml explains each key")]
pub struct ApiToken {
    pub name: String,
    pub sha256: String,
    pub scope: String,
    pub expires: String,
    pub publish: Vec<String>,
}

/// A shorter token could be guessed.
const SHORTEST: usize = 16;

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the token.
        let mut shown = f.debug_struct("Api");
        shown
            .field("token_file", &self.token_file)
            .finish_non_exhaustive()
    }
}

impl Api {
    /// Whether there is any token.
    pub(super) fn has_tokens(&self) -> bool {
        !self.token.is_empty() || !self.token_file.is_empty() || !self.tokens.is_empty()
    }

    /// All tokens, as the API knows them. The one that has no name opens everything.
    ///
    /// # Errors
    ///
    /// One makes no sense, or its file cannot be read.
    pub fn all(&self) -> Result<Vec<api::Token>, Problem> {
        let one = self.token()?;
        let one = one.map(|text| api::Token::admin("api.token", &text));
        let mut all = self.read_tokens()?;
        all.extend(one);
        Ok(all)
    }

    /// Those with names.
    fn read_tokens(&self) -> Result<Vec<api::Token>, Problem> {
        let tokens = self.tokens.iter().enumerate();
        let all = tokens
            .map(|(at, token)| token.read(at))
            .collect::<Result<Vec<_>, _>>()?;
        for (at, token) in all.iter().enumerate() {
            if all[..at].iter().any(|known| known.name == token.name) {
                let what = format!("{:?} is there twice", token.name);
                return Err(Problem::new(format!("api.tokens[{at}].name"), what));
            }
            // Else a line that was copied gives one token the scope of another.
            if let Some(known) = all[..at].iter().find(|known| known.sha256 == token.sha256) {
                let what = format!("is that of {:?}: each token has its own", known.name);
                return Err(Problem::new(format!("api.tokens[{at}].sha256"), what));
            }
        }
        Ok(all)
    }

    /// The token, from wherever it is; `None` if there is to be none.
    pub fn token(&self) -> Result<Option<String>, Problem> {
        self.check()?;
        if self.token_file.is_empty() {
            return Ok(Some(self.token.clone()).filter(|token| !token.is_empty()));
        }
        let read = std::fs::read_to_string(&self.token_file);
        let token = read.map_err(|error| {
            let what = format!("{} cannot be read: {error}", self.token_file);
            Problem::new("api.token-file", what)
        })?;
        let token = token.trim();
        check(token, "api.token-file")?;
        Ok(Some(token.to_owned()))
    }

    /// Looks at what is written here, and not at the file.
    pub(super) fn check(&self) -> Result<(), Problem> {
        if !self.token.is_empty() && !self.token_file.is_empty() {
            let what = "is beside api.token: set one of them";
            return Err(Problem::new("api.token-file", what));
        }
        self.read_tokens()?;
        match self.token.is_empty() {
            true => Ok(()),
            false => check(&self.token, "api.token"),
        }
    }
}

impl ApiToken {
    /// One with every key set.
    pub(super) fn example() -> Self {
        Self {
            name: "dashboard".to_owned(),
            sha256: "0".repeat(64),
            scope: "operator".to_owned(),
            expires: "2030-01-01".to_owned(),
            publish: vec!["alarms/#".to_owned()],
        }
    }

    fn read(&self, at: usize) -> Result<api::Token, Problem> {
        let wrong = |key: &str, what: &str| Problem::new(format!("api.tokens[{at}].{key}"), what);
        if self.name.is_empty() {
            return Err(wrong("name", "is empty: say whose token it is"));
        }
        let sha256 = bytes(&self.sha256).ok_or_else(|| {
            let what = "is no SHA-256 of a token, 64 hexadecimal digits: `gatemq token` makes a \
                        token and prints it";
            wrong("sha256", what)
        })?;
        let scope = self.scope.parse().map_err(|()| {
            let what = format!("{:?} is none of viewer, operator, admin", self.scope);
            wrong("scope", &what)
        })?;
        let expires = match &*self.expires {
            "" => None,
            text => Some(date(text).ok_or_else(|| {
                let what = format!("{text:?} is no date such as 2030-01-31");
                wrong("expires", &what)
            })?),
        };
        for (number, filter) in self.publish.iter().enumerate() {
            let parsed = Filter::parse(filter, Bounds::NONE);
            if !parsed.is_ok_and(|parsed| parsed.share.is_none()) {
                let what = format!("{filter:?} is no topic filter, such as alarms/#");
                return Err(wrong(&format!("publish[{number}]"), &what));
            }
        }
        if scope == api::Scope::Viewer && !self.publish.is_empty() {
            let what = "is for the scopes operator and admin: a viewer publishes nothing";
            return Err(wrong("publish", what));
        }
        Ok(api::Token {
            name: self.name.clone(),
            sha256,
            scope,
            expires,
            publish: self.publish.clone().into(),
        })
    }
}

/// 64 hexadecimal digits.
fn bytes(text: &str) -> Option<[u8; 32]> {
    let is_hex = text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    let pair = |at: usize| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..32).map(pair).collect();
    bytes.filter(|_| is_hex)?.try_into().ok()
}

/// When a day (`2030-01-31`) begins in UTC, in Unix milliseconds.
fn date(text: &str) -> Option<u64> {
    let mut parts = text.split('-');
    let mut next = |n_digits| {
        let part = parts.next().filter(|part| part.len() == n_digits)?;
        let is_number = part.bytes().all(|digit| digit.is_ascii_digit());
        part.parse::<u64>().ok().filter(|_| is_number)
    };
    let (year, month, day) = (next(4)?, next(2)?, next(2)?);
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let february = 28 + u64::from(is_leap(year));
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let before = months.get(..usize::try_from(month.checked_sub(1)?).ok()?)?;
    let is_day = (1..=*months.get(before.len())?).contains(&day);
    if parts.next().is_some() || year < 1970 || !is_day {
        return None;
    }
    let years = (1970..year).map(|year| 365 + u64::from(is_leap(year)));
    let days = years.sum::<u64>() + before.iter().sum::<u64>() + day - 1;
    Some(days * 86_400_000)
}

fn check(token: &str, key: &str) -> Result<(), Problem> {
    if token.len() < SHORTEST || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let what = format!(
            "a token is at least {SHORTEST} printable characters without spaces: make one with \
             `openssl rand -hex 32`"
        );
        return Err(Problem::new(key, what));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_begin_when_they_do() {
        for (text, seconds) in [
            ("1970-01-01", 0),
            ("2000-02-29", 951_782_400),
            ("2024-03-01", 1_709_251_200),
            ("2030-12-31", 1_924_905_600),
        ] {
            assert_eq!(date(text), Some(seconds * 1000), "{text}");
        }
        for wrong in [
            "2030-02-29",
            "2030-13-01",
            "2030-00-01",
            "2030-01-00",
            "2030-1-1",
            "2030-01-01T00:00",
            "1969-12-31",
            "+030-01-01",
            "soon",
        ] {
            assert_eq!(date(wrong), None, "{wrong}");
        }
    }
}
