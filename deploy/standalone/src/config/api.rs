//! The section `api`: what callers of the HTTP API have to show.

use gatemq_node::config::Problem;
use serde::{Deserialize, Serialize};

/// Access to `/api/v1`.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "deploy/config/gatemq.yml explains each key")]
pub struct Api {
    pub token: String,
    pub token_file: String,
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
        match self.token.is_empty() {
            true => Ok(()),
            false => check(&self.token, "api.token"),
        }
    }
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
