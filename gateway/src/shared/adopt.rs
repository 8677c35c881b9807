//! The sessions of a gateway that is gone: the control plane deals them out to those that are
//! left, slice by slice, and each takes its own.
//!
//! An adopted session waits for its client like any other: its subscriptions are in the table, its
//! queue goes on, its will is published when it is due. Only when every gateway knows of the new
//! routes is the control plane told, and the routes of the one that is gone may go.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::Broker;
use crate::session::Life;
use crate::store::redis::{Error, RedisStore, Taken};
use crate::store::{Ticket, keys};
use crate::turn::Turn;

/// Pause before something is asked for again that was not answered.
const PAUSE: Duration = Duration::from_millis(200);
/// How often it is looked whether every gateway knows of the routes.
const LOOK: Duration = Duration::from_millis(20);

/// Adopts the sessions that a gateway had in these slices; returns when every gateway knows of
/// their routes.
pub(crate) async fn adopt(broker: &Arc<Broker>, from: u64, slices: &[u32]) {
    let Some(redis) = broker.store.redis() else {
        return;
    };
    let mut n_adopted = 0;
    for slice in slices {
        let Ok(slice) = u16::try_from(*slice) else {
            continue;
        };
        loop {
            match adopt_slice(broker, redis, from, slice).await {
                Ok(n) => {
                    n_adopted += n;
                    break;
                }
                Err(error) => {
                    tracing::warn!(slice, %error, "sessions not adopted yet");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
    while broker
        .cluster
        .as_ref()
        .is_some_and(|cluster| cluster.n_unsettled() > 0)
    {
        tokio::time::sleep(LOOK).await;
    }
    tracing::info!(
        from,
        slices = slices.len(),
        sessions = n_adopted,
        "adopted the sessions of a gateway that is gone"
    );
}

async fn adopt_slice(
    broker: &Arc<Broker>,
    redis: &RedisStore<Ticket>,
    from: u64,
    slice: u16,
) -> Result<usize, Error> {
    let mut n_adopted = 0;
    let mut cursor = Some(0);
    while let Some(at) = cursor {
        let (client_ids, next) = redis.sessions_of(from, slice, at).await?;
        cursor = next;
        for client_id in client_ids {
            let now = broker.clock.now();
            let owner = broker.incarnation();
            let taken = redis
                .adopt(&client_id, from, owner, now, broker.window())
                .await?;
            if let Some(taken) = taken {
                take_in(broker, *taken, now);
                n_adopted += 1;
            }
        }
    }
    let mut cursor = Some(0);
    while let Some(at) = cursor {
        let (ended, next) = redis.ended_of(from, slice, at).await?;
        cursor = next;
        for (number, client_id) in ended {
            let owner = broker.incarnation();
            let left = redis.inherit(&client_id, number, from, owner).await?;
            if let Some(left) = left {
                broker.settle_ended(&client_id, left);
            }
        }
    }
    Ok(n_adopted)
}

/// Brings an adopted session into memory, as one whose connection has ended now, if it had one.
fn take_in(broker: &Arc<Broker>, taken: Taken, now: u64) {
    let Some(resumed) = taken.resumed else {
        return;
    };
    let record = resumed.record;
    let stored = resumed.stored.unwrap_or_default();
    let will = stored.will.clone().map(Arc::new);
    let detached_at = match record.detached_at {
        0 => now,
        detached_at => detached_at.min(now),
    };
    let life = Life {
        version: Some(record.version),
        expiry: record.expiry,
        detached_at,
        created_at: record.created_at,
        will,
        ..Life::default()
    };
    let session = broker.bring_in(taken.number, taken.epoch, &record, stored, life);
    let mut turn = Turn::new(broker);
    if record.expiry == 0 {
        // A clean session ends with its connection, and its gateway.
        broker.registry.lock(&session.client_id).remove(&session);
        broker.end_session(&session, &mut turn);
        turn.finish(None);
        return;
    }
    let mut life = session.life.lock();
    broker.set_timers(&session, &mut life);
    let mut record = record;
    record.detached_at = detached_at;
    record.sent_below = session.outbound.lock().sent_below();
    turn.batch
        .put(&keys::session(session.number), &record.store());
    drop(life);
    turn.finish(None);
}
