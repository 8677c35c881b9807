//! Lets in who proves by SCRAM that it knows a password, in two steps with a message in between.
//!
//! Nobody learns from it who is a user here: one who is none, or has nothing stored for this
//! mechanism, or may not have this client id, is asked for a proof with a salt of its own that is the
//! same each time, and fails as one does who has a wrong password. Of those the one is told from the
//! others who was stored with other rounds than are usual. What the salts are made of is in
//! [`super::decoys`].

use std::net::IpAddr;
use std::sync::Arc;

use tokio::time::Instant;

use super::{Denied, For, Guard, TOO_OFTEN};
use crate::auth::backoff::Attempt;
use crate::auth::metrics::Outcome;
use crate::auth::password::scram::{self, Mechanism};
use crate::auth::scram::{Exchange, First, Flaw, random};
use crate::auth::{By, Identity, Known, Proof, Rights};
use crate::clock::Clock;
use crate::metrics::Limit;
use crate::proto::mqtt::Reason;

/// A client that begins.
pub(crate) struct Beginning<'a> {
    pub(crate) mechanism: Mechanism,
    /// Its first message.
    pub(crate) message: &'a [u8],
    pub(crate) client_id: &'a str,
    pub(crate) address: Option<IpAddr>,
    /// Who it has to be, where that is known.
    pub(crate) has_to_be: Option<&'a str>,
}

/// A client that was asked for its proof.
#[derive(Debug)]
pub(crate) struct Challenge {
    exchange: Exchange,
    /// Who knows it; `None` if it fails whatever it says.
    found: Option<(usize, Known)>,
    username: String,
    client_id: String,
    address: Option<IpAddr>,
    attempt: Attempt,
    /// Of the sources, when they were asked.
    pub(crate) generation: u64,
}

/// It is not told what was wrong.
const NOT_PROVED: Denied = Denied {
    reason: Reason::NotAuthorized,
    why: "no such user, or another password",
};

// === impl Beginning ===

impl Beginning<'_> {
    /// Who it says it is, if it says so in a way that can be read.
    pub(crate) fn username(&self) -> Option<String> {
        Self::username_in(self.message)
    }

    /// The same of a first message alone.
    pub(crate) fn username_in(message: &[u8]) -> Option<String> {
        let first = First::read(message).ok()?;
        Some(first.username)
    }
}

// === impl Guard ===

impl Guard {
    /// Asks a client for its proof. Returns what it is told, too.
    pub(crate) async fn challenge(
        &self,
        beginning: &Beginning<'_>,
        clock: &Clock,
    ) -> Result<(Challenge, String), Denied> {
        let Beginning {
            mechanism,
            client_id,
            address,
            ..
        } = *beginning;
        let first = First::read(beginning.message).map_err(denied)?;
        let username = &*first.username;
        let attempt = self.backoff.attempt(address, username);
        if self.backoff.must_wait(attempt, clock.now()) {
            self.metrics.limits_hit.inc(Limit::MaxFailures);
            return Err(TOO_OFTEN);
        }
        let _place = self.place(address)?;
        let generation = self.generation();
        let found = self.proof_of(client_id, username, mechanism).await?;
        let is_other = beginning.has_to_be.is_some_and(|name| name != username);
        let found = found.filter(|(place, ..)| {
            if is_other {
                self.count(*place, Outcome::Deny);
            }
            !is_other
        });
        // It is made for those who are there, too: they take no less time.
        let decoy = self.decoys.secret(mechanism, username);
        let (secret, found) = match found {
            Some((place, secret, known)) => (secret, Some((place, known))),
            None => (decoy, None),
        };
        let (exchange, answer) = Exchange::begin(&first, secret, random());
        let challenge = Challenge {
            exchange,
            found,
            username: username.to_owned(),
            client_id: client_id.to_owned(),
            address,
            attempt,
            generation,
        };
        Ok((challenge, answer))
    }

    /// Lets the client in if its last message has the proof. Returns what shows it that the server
    /// knows it.
    pub(crate) async fn conclude(
        &self,
        challenge: Challenge,
        message: &[u8],
        clock: &Clock,
    ) -> Result<(Arc<Rights>, String), Denied> {
        // It may have been asked many times before it failed for the first time.
        if self.backoff.must_wait(challenge.attempt, clock.now()) {
            self.metrics.limits_hit.inc(Limit::MaxFailures);
            return Err(TOO_OFTEN);
        }
        let said = challenge.exchange.finish(message);
        if let Some((place, _)) = &challenge.found {
            let outcome = match said {
                Ok(_) => Outcome::Allow,
                Err(_) => Outcome::Deny,
            };
            self.count(*place, outcome);
        }
        let (Some((place, known)), Ok(said)) = (challenge.found, said) else {
            self.backoff.fail(challenge.attempt, clock.now());
            return Err(NOT_PROVED);
        };
        self.backoff.succeed(challenge.attempt);
        let _place = self.place(challenge.address)?;
        let identity = Identity {
            by: By::Username,
            username: Some(challenge.username.into()),
            address: challenge.address,
            source: place,
            mark: known.mark,
            brought: None,
        };
        let (client_id, is_superuser) = (&challenge.client_id, known.is_superuser);
        let rights = self.rights(client_id, identity, is_superuser, For::Newcomer);
        Ok((rights.await?, said))
    }

    /// What the first source has that knows the user.
    async fn proof_of(
        &self,
        client_id: &str,
        username: &str,
        mechanism: Mechanism,
    ) -> Result<Option<(usize, scram::Secret, Known)>, Denied> {
        for (place, asked) in self.sources.iter().enumerate() {
            let began = Instant::now();
            let asking = asked.source.proof(client_id, username, mechanism);
            let answer = asked.ask(For::Newcomer, asking).await;
            let source = (place, asked.kind);
            self.metrics.time(source, began.elapsed());
            if let Some(outcome) = Outcome::of_proof(&answer) {
                self.metrics.count(source, outcome);
            }
            match answer? {
                Proof::Of(secret, known) => return Ok(Some((place, secret, known))),
                Proof::None => return Ok(None),
                Proof::Unknown => {}
            }
        }
        Ok(None)
    }

    /// What the source at this place has said comes to this, now that there is a proof or none.
    fn count(&self, place: usize, outcome: Outcome) {
        if let Some(asked) = self.sources.get(place) {
            self.metrics.count((place, asked.kind), outcome);
        }
    }
}

fn denied(flaw: Flaw) -> Denied {
    match flaw {
        Flaw::Message(why) => Denied { why, ..NOT_PROVED },
        Flaw::Wrong => NOT_PROVED,
    }
}
