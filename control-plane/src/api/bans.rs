//! `/bans`: whom all gateways keep out.

use std::sync::Arc;

use axum::extract::State as Shared;
use axum::{Extension, Json};
use gatemq_proto::cluster::bans;
use gatemq_proto::cluster::state::{Ban as Agreed, BanKind, Unban, command::Kind as Change};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::access::about::About;
use super::access::guard::Caller;
use super::access::token::Scope;
use super::endpoint::Endpoint;
use super::extract::{Json as Body, Path, Query};
use super::page::{self, Page};
use super::problem::Problem;
use super::settings::now;

/// What a ban names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum What {
    /// One client identifier.
    ClientId,
    /// All client identifiers that begin like this.
    ClientIdPrefix,
    /// A user name: the one that a client gives, and the one that it is known by.
    Username,
    /// An address, or all of a prefix: 10.0.0.1, 10.0.0.0/8, fd00::/8.
    Address,
}

/// A ban.
#[derive(Debug, Serialize, ToSchema)]
struct Ban {
    kind: What,
    value: String,
    reason: String,
    /// Who made it, and by which node's API; or which gateway by itself.
    by: String,
    /// Since when, in Unix milliseconds.
    at: u64,
    /// Until when, in Unix milliseconds by the gateways' clocks; null for as long as it is there.
    until: Option<u64>,
    /// Whether a gateway made it by itself.
    is_automatic: bool,
}

/// The longest ban that is for a while, in seconds.
const LONGEST: u64 = 10 * 365 * 24 * 3_600;

/// A ban to be. It takes the place of one of the same kind and value.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Wanted {
    kind: What,
    value: String,
    /// At most 1024 bytes.
    #[serde(default)]
    reason: String,
    /// Until when, in Unix milliseconds; without it and `seconds` it stays.
    until: Option<u64>,
    /// For how long from now, instead: 1 to 315360000, ten years.
    #[schema(minimum = 1, maximum = 315360000)]
    seconds: Option<u64>,
}

/// A ban that was made. It is in force at a gateway when it has applied this index.
#[derive(Debug, Serialize, ToSchema)]
struct Banned {
    ban: Ban,
    revision: u64,
}

/// A ban that is there no more. Who it kept out may connect when a gateway has applied this index.
#[derive(Debug, Serialize, ToSchema)]
struct Unbanned {
    kind: What,
    value: String,
    /// Whether there was one, as far as this node knew.
    was_banned: bool,
    revision: u64,
}

#[derive(Debug, Deserialize, IntoParams)]
struct Listing {
    /// Only those of this kind.
    #[param(inline)]
    kind: Option<What>,
    /// How many, 1 to 1000; 100 if it is left out.
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

pub(super) fn table() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/bans", "listBans", "Whom all gateways keep out", list)
            .query::<Listing>()
            .answers_page::<Ban>(
                "In the order of kinds and values; none of which the time is over",
            ),
        Endpoint::get(
            "/bans/{kind}/{value}",
            "showBan",
            "The ban of just this kind and value",
            show,
        )
        .says("A / of an address prefix is written %2F.")
        .answers::<Ban>("The ban")
        .fails(&[404]),
        Endpoint::post(
            "/bans",
            "ban",
            "Keeps somebody out, everywhere: a client id, a user, an address",
            ban,
        )
        .needs(Scope::Operator)
        .says(
            "Connections that it speaks of end (0x8A) at every gateway, and their wills are not \
             published. Sessions stay, and are taken up again when the ban is gone.",
        )
        .body::<Wanted>()
        .answers::<Banned>("It is agreed on")
        .fails(&[409, 503, 504]),
        Endpoint::delete("/bans/{kind}/{value}", "unban", "Takes a ban back", unban)
            .needs(Scope::Operator)
            .says(
            "One that is not there is taken back all the same: the answer says so. A / of an address \
             prefix is written %2F.",
        )
            .answers::<Unbanned>("It is not there, or not any more")
            .fails(&[503, 504]),
    ]
}

// === handlers ===

async fn list(
    Shared(api): Shared<Arc<Api>>,
    Query(listing): Query<Listing>,
) -> Result<Json<Page<Ban>>, Problem> {
    let limit = page::limit(listing.limit)? as usize;
    let after = read_place(&page::read_cursor(listing.cursor.as_deref())?)?;
    let state = api.consensus.state();
    let now = now();
    let bans = state.settings().bans_after(after.0, &after.1);
    let mut rest = bans
        .filter(|ban| !is_over(ban, now))
        .filter_map(shown)
        .filter(|ban| listing.kind.is_none_or(|kind| kind == ban.kind))
        .peekable();
    let items: Vec<_> = rest.by_ref().take(limit).collect();
    let last = items.last().filter(|_| rest.peek().is_some());
    let next = last.map(|last| page::write_cursor(&write_place(last)));
    Ok(Json(Page { items, next }))
}

async fn show(
    Shared(api): Shared<Arc<Api>>,
    Path((kind, value)): Path<(What, String)>,
) -> Result<Json<Ban>, Problem> {
    let value = canonical(kind, &value)?;
    let state = api.consensus.state();
    let found = state.settings().find_ban(kind.agreed(), &value);
    let found = found.filter(|ban| !is_over(ban, now())).and_then(shown);
    found.map(Json).ok_or_else(|| {
        let detail = format!("{} {value:?} is not banned", kind.name());
        Problem::not_found(detail, "GET /api/v1/bans lists all bans")
    })
}

async fn ban(
    Shared(api): Shared<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Extension(about): Extension<About>,
    Body(wanted): Body<Wanted>,
) -> Result<Json<Banned>, Problem> {
    about.say(&format!("{} {}", wanted.kind.name(), wanted.value));
    let by = format!("{}, by the api of {}", caller.name(), api.name);
    let ban = read(wanted, by, now())?;
    let answer = shown(&ban).ok_or_else(|| Problem::bad_request("kind: is none"))?;
    let revision = api.propose(Change::Ban(ban)).await?;
    tracing::info!(
        kind = answer.kind.name(),
        answer.value,
        answer.by,
        "banned by the API"
    );
    Ok(Json(Banned {
        ban: answer,
        revision,
    }))
}

async fn unban(
    Shared(api): Shared<Arc<Api>>,
    Extension(about): Extension<About>,
    Path((kind, value)): Path<(What, String)>,
) -> Result<Json<Unbanned>, Problem> {
    about.say(&format!("{} {value}", kind.name()));
    let value = canonical(kind, &value)?;
    let state = api.consensus.state();
    let known = state.settings().find_ban(kind.agreed(), &value);
    let was_banned = known.is_some_and(|ban| !is_over(ban, now()));
    let unban = Unban {
        kind: kind.agreed().into(),
        value: value.clone(),
        until: 0,
    };
    let revision = api.propose(Change::Unban(unban)).await?;
    if was_banned {
        tracing::info!(kind = kind.name(), value, "ban taken back by the API");
    }
    Ok(Json(Unbanned {
        kind,
        value,
        was_banned,
        revision,
    }))
}

// === pure ===

fn read(wanted: Wanted, by: String, now: u64) -> Result<Agreed, Problem> {
    let until = match (wanted.until, wanted.seconds) {
        (Some(_), Some(_)) => {
            return Err(Problem::bad_request("until and seconds exclude each other"));
        }
        (None, None) => 0,
        (Some(until), None) if until > now => until,
        (Some(_), None) => return Err(Problem::bad_request("until: is over already")),
        (None, Some(0)) => return Err(Problem::bad_request("seconds: is 0, which bans nobody")),
        (None, Some(seconds)) if seconds > LONGEST => {
            return Err(Problem::bad_request(format!(
                "seconds: at most {LONGEST}, ten years; leave it out for a ban that stays"
            )));
        }
        (None, Some(seconds)) => now.saturating_add(seconds * 1_000),
    };
    let ban = Agreed {
        kind: wanted.kind.agreed().into(),
        value: canonical(wanted.kind, &wanted.value)?,
        reason: wanted.reason,
        until,
        by,
        at: now,
        is_automatic: false,
    };
    bans::check(&ban).map_err(|(field, what)| Problem::bad_request(format!("{field}: {what}")))?;
    Ok(ban)
}

fn canonical(kind: What, value: &str) -> Result<String, Problem> {
    let read = bans::canonical(kind.agreed(), value);
    read.map_err(|what| Problem::bad_request(format!("value: {what}")))
}

/// `None` for one of a kind that this version does not know.
fn shown(ban: &Agreed) -> Option<Ban> {
    Some(Ban {
        kind: What::of(ban.kind())?,
        value: ban.value.clone(),
        reason: ban.reason.clone(),
        by: ban.by.clone(),
        at: ban.at,
        until: Some(ban.until).filter(|until| *until > 0),
        is_automatic: ban.is_automatic,
    })
}

fn is_over(ban: &Agreed, now: u64) -> bool {
    ban.until > 0 && ban.until <= now
}

fn write_place(ban: &Ban) -> String {
    format!("{}\n{}", i32::from(ban.kind.agreed()), ban.value)
}

/// Kind and value of the last ban of a page.
fn read_place(cursor: &str) -> Result<(i32, String), Problem> {
    if cursor.is_empty() {
        return Ok((0, String::new()));
    }
    let place = cursor.split_once('\n');
    let place = place.and_then(|(kind, value)| Some((kind.parse().ok()?, value.to_owned())));
    place.ok_or_else(|| Problem::bad_request("cursor has to be `next` of an earlier page"))
}

impl What {
    fn agreed(self) -> BanKind {
        match self {
            Self::ClientId => BanKind::ClientId,
            Self::ClientIdPrefix => BanKind::ClientIdPrefix,
            Self::Username => BanKind::User,
            Self::Address => BanKind::Address,
        }
    }

    fn of(kind: BanKind) -> Option<Self> {
        match kind {
            BanKind::Unspecified => None,
            BanKind::ClientId => Some(Self::ClientId),
            BanKind::ClientIdPrefix => Some(Self::ClientIdPrefix),
            BanKind::User => Some(Self::Username),
            BanKind::Address => Some(Self::Address),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::ClientId => "client_id",
            Self::ClientIdPrefix => "client_id_prefix",
            Self::Username => "username",
            Self::Address => "address",
        }
    }
}
