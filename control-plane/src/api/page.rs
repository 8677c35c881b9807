//! Pages of long lists: as many as are asked for, and where the next page begins.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::Problem;

/// One page.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Page<T> {
    /// What is on it.
    pub(super) items: Vec<T>,
    /// The `cursor` of the next page; null on the last one.
    pub(super) next: Option<String>,
}

/// How much is on a page that does not say.
const USUAL: u32 = 100;
/// How much there may be at most.
const MOST: u32 = 1000;

impl<T> Page<T> {
    /// All there is.
    pub(super) fn whole(items: Vec<T>) -> Self {
        Self { items, next: None }
    }
}

/// How much is to be on a page.
///
/// # Errors
///
/// Nothing, or too much.
pub(super) fn limit(asked: Option<u32>) -> Result<u32, Problem> {
    match asked.unwrap_or(USUAL) {
        limit @ 1..=MOST => Ok(limit),
        _ => Err(Problem::bad_request(format!("limit is 1 to {MOST}"))),
    }
}

/// What is given as `next`: nobody should read it.
pub(super) fn write_cursor(last: &str) -> String {
    URL_SAFE_NO_PAD.encode(last)
}

/// Behind what a page begins; empty for the first one.
///
/// # Errors
///
/// It is no `next` of an earlier page.
pub(super) fn read_cursor(cursor: Option<&str>) -> Result<String, Problem> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor.unwrap_or_default());
    let text = bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok());
    text.ok_or_else(|| Problem::bad_request("cursor has to be `next` of an earlier page"))
}
