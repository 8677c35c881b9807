//! `/config`: settings that gateways take while they run, and who changed them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State as Shared;
use gatemq_node::settings::{self, SETTINGS};
use gatemq_proto::cluster::state::{Configure, command::Kind as Change};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::access::token::Scope;
use super::endpoint::Endpoint;
use super::extract::{Json as Body, Path, Query};
use super::page::{self, Page};
use super::problem::Problem;

/// A setting.
#[derive(Debug, Serialize, ToSchema)]
struct Setting {
    key: String,
    /// As in a configuration file; null if each node goes by what it was started with.
    value: Option<String>,
    /// What the node that answers was started with: in force at each node by its own start where
    /// nothing is set; null if that is not known.
    default: Option<String>,
    /// What it does, and whom a change reaches.
    what: &'static str,
    /// What it may be.
    expected: String,
    /// Who set it, and when, in Unix milliseconds; null if nobody has.
    by: Option<String>,
    at: Option<u64>,
}

/// A change that was made.
#[derive(Debug, Serialize, ToSchema)]
struct Entry {
    key: String,
    /// Null where it was taken back.
    value: Option<String>,
    /// Who says to have made it, and by which node's API.
    by: String,
    /// Unix milliseconds, by that node's clock.
    at: u64,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Put {
    /// A text, as in a configuration file, a number, true or false.
    value: Value,
    /// Who changes it, for the history.
    by: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
struct TakeBack {
    /// Who changes it, for the history.
    by: Option<String>,
}

/// A change is in force at a gateway when it has applied this index.
#[derive(Debug, Serialize, ToSchema)]
struct Changed {
    key: String,
    value: Option<String>,
    revision: u64,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Validation {
    /// Values by key: each a text, a number, true or false.
    settings: BTreeMap<String, Value>,
}

/// What came of a validation.
#[derive(Debug, Serialize, ToSchema)]
struct Validated {
    is_valid: bool,
    problems: Vec<Mistake>,
}

/// What is wrong with one value.
#[derive(Debug, Serialize, ToSchema)]
struct Mistake {
    key: String,
    what: String,
}

#[derive(Debug, Deserialize, IntoParams)]
struct Listing {
    /// How many, 1 to 1000; 100 if it is left out.
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// The longest name of who changes something, in bytes.
const BY: usize = 128;

pub(super) fn table() -> Vec<Endpoint> {
    vec![
        Endpoint::get(
            "/config",
            "listSettings",
            "All settings that may change while the cluster runs",
            list,
        )
        .answers_page::<Setting>("In the order of their keys"),
        Endpoint::get(
            "/config/history",
            "listChanges",
            "The last 1000 changes of settings",
            history,
        )
        .query::<Listing>()
        .answers_page::<Entry>("The newest first"),
        Endpoint::post(
            "/config/validate",
            "validateSettings",
            "Says whether values could be set, and sets nothing",
            validate,
        )
        .needs(Scope::Viewer)
        .body::<Validation>()
        .answers::<Validated>("Whether they could"),
        Endpoint::put(
            "/config/{key}",
            "setSetting",
            "Sets a setting, everywhere",
            put,
        )
        .body::<Put>()
        .answers::<Changed>("It is set")
        .fails(&[503, 504]),
        Endpoint::delete(
            "/config/{key}",
            "takeBackSetting",
            "Takes a setting back: each node goes by what it was started with",
            take_back,
        )
        .says(
            "A setting that is not set stays so, and the answer is the same: 200, with the value \
             null. Then nothing is added to the history.",
        )
        .query::<TakeBack>()
        .answers::<Changed>("It is not set, or not any more")
        .fails(&[503, 504]),
    ]
}

// === handlers ===

async fn list(Shared(api): Shared<Arc<Api>>) -> Json<Page<Setting>> {
    let state = api.consensus.state();
    let set: BTreeMap<&str, &Configure> = state
        .settings()
        .in_force()
        .map(|change| (&*change.key, change))
        .collect();
    let items = SETTINGS.iter().map(|setting| {
        let change = set.get(setting.key);
        Setting {
            key: setting.key.to_owned(),
            value: change.and_then(|change| change.value.clone()),
            default: api.started_with.get(setting.key).cloned(),
            what: setting.what,
            expected: setting.kind.expected(),
            by: change.map(|change| change.by.clone()),
            at: change.map(|change| change.at),
        }
    });
    Json(Page::whole(items.collect()))
}

async fn history(
    Shared(api): Shared<Arc<Api>>,
    Query(listing): Query<Listing>,
) -> Result<Json<Page<Entry>>, Problem> {
    let limit = page::limit(listing.limit)? as usize;
    let after = page::read_cursor(listing.cursor.as_deref())?;
    let state = api.consensus.state();
    let newest_first = state.settings().history().rev();
    let mut rest = newest_first.peekable();
    if !after.is_empty() {
        // What has been forgotten since is at the end, where nothing follows.
        while rest.next().is_some_and(|change| place(change) != after) {}
    }
    let mut items = Vec::new();
    let mut next = None;
    while items.len() < limit
        && let Some(change) = rest.next()
    {
        let is_last = items.len() + 1 == limit && rest.peek().is_some();
        next = is_last.then(|| page::write_cursor(&place(change)));
        items.push(Entry {
            key: change.key.clone(),
            value: change.value.clone(),
            by: change.by.clone(),
            at: change.at,
        });
    }
    Ok(Json(Page { items, next }))
}

async fn validate(Body(validation): Body<Validation>) -> Json<Validated> {
    let wrong = validation.settings.iter().filter_map(|(key, value)| {
        let problem = check(key, &text(value)).err()?;
        Some(Mistake {
            key: problem.key,
            what: problem.what,
        })
    });
    let problems: Vec<_> = wrong.collect();
    Json(Validated {
        is_valid: problems.is_empty(),
        problems,
    })
}

async fn put(
    Shared(api): Shared<Arc<Api>>,
    Path(key): Path<String>,
    Body(put): Body<Put>,
) -> Result<Json<Changed>, Problem> {
    let value = text(&put.value);
    check(&key, &value).map_err(|problem| Problem::bad_setting(&problem))?;
    api.configure(key, Some(value), put.by).await
}

async fn take_back(
    Shared(api): Shared<Arc<Api>>,
    Path(key): Path<String>,
    Query(by): Query<TakeBack>,
) -> Result<Json<Changed>, Problem> {
    // A key of a newer version, or of an older one, may be there, and has to go somehow.
    let is_set = api.consensus.state().settings().value(&key).is_some();
    if !is_set {
        settings::find(&key).map_err(|problem| Problem::bad_setting(&problem))?;
    }
    api.configure(key, None, by.by).await
}

// === private ===

impl Api {
    async fn configure(
        &self,
        key: String,
        value: Option<String>,
        by: Option<String>,
    ) -> Result<Json<Changed>, Problem> {
        let who = by.unwrap_or_default();
        if who.len() > BY || who.chars().any(char::is_control) {
            let detail = format!("by is a text of at most {BY} bytes, without control characters");
            return Err(Problem::bad_request(detail));
        }
        let by = match &*who {
            "" => format!("api of {}", self.name),
            who => format!("{who}, by the api of {}", self.name),
        };
        let change = Configure {
            key: key.clone(),
            value: value.clone(),
            by,
            at: now(),
        };
        let revision = self.propose(Change::Configure(change)).await?;
        tracing::info!(key, value, revision, "setting changed by the API");
        Ok(Json(Changed {
            key,
            value,
            revision,
        }))
    }
}

/// A value as it would stand in a file; what could not stand there is refused with it.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn check(key: &str, text: &str) -> Result<(), gatemq_node::config::Problem> {
    settings::find(key)?.read(text).map(drop)
}

/// Where an entry is in the history, as far as one can tell.
fn place(change: &Configure) -> String {
    format!("{}\n{}\n{:?}", change.at, change.key, change.value)
}

/// The wall clock, in Unix milliseconds.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
