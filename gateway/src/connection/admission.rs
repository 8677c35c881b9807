//! Whether a client is let in: by what the broker takes at all, and by who it is.

use std::sync::Arc;

use super::handshake::Peer;
use super::publish;
use crate::auth::password::scram::Mechanism;
use crate::auth::rules::Action;
use crate::auth::{Credentials, Denied, Rights};
use crate::broker::Broker;
use crate::memory::Level;
use crate::metrics::Limit;
use crate::proto::cluster::bridges;
use crate::proto::mqtt::{Connect, Reason, Version};

/// Asks who the client is and what it may do; `None` where everybody may do everything.
pub(super) async fn admit(
    broker: &Broker,
    connect: &Connect<'_>,
    client_id: &str,
    peer: &Peer,
) -> Result<Option<Arc<Rights>>, Denied> {
    let Some(guard) = &broker.guard else {
        return Ok(None);
    };
    let named = match &peer.named {
        None => None,
        Some(Ok(named)) => Some(named),
        Some(Err(no_name)) => return Err(refused(no_name.why())),
    };
    // Before its password is compared.
    let username = named.map(|named| -> &str { &named.username });
    not_banned(broker, client_id, username)?;
    let rights = match named {
        Some(named) if !named.terms.needs_password => {
            let certifying = guard.certify(client_id, &named.username, peer.address);
            certifying.await?
        }
        _ => {
            // A user name of its own has no meaning where the certificate has one.
            let username = named.map_or(connect.login.username, |named| Some(&named.username));
            let credentials = Credentials {
                client_id,
                username,
                password: connect.login.password,
                address: peer.address,
            };
            let rights = guard.admit(&credentials, peer.allow_anonymous, &broker.clock);
            rights.await?
        }
    };
    if let Some(named) = named
        && named.terms.needs_password
        && !rights.is_of_user(&named.username)
    {
        return Err(refused(
            "the password is not that of the certificate's user",
        ));
    }
    may_be_here(broker, &rights, client_id, connect)?;
    Ok(Some(rights))
}

/// Whether a client of which it is known who it is may be here, with the will that it has.
pub(super) fn may_be_here(
    broker: &Broker,
    rights: &Rights,
    client_id: &str,
    connect: &Connect<'_>,
) -> Result<(), Denied> {
    // It may be known by another name than the one that it gave.
    not_banned(broker, client_id, rights.username())?;
    match &connect.will {
        Some(will) if !rights.allow(Action::Publish, will.topic) => {
            Err(refused("the client may not publish to its will's topic"))
        }
        _ => Ok(()),
    }
}

pub(super) fn not_banned(
    broker: &Broker,
    client_id: &str,
    username: Option<&str>,
) -> Result<(), Denied> {
    let checked = broker.bans.check_names(client_id, username);
    checked.map_err(|(reason, why)| Denied { reason, why })
}

pub(super) fn refused(why: &'static str) -> Denied {
    Denied {
        reason: Reason::NotAuthorized,
        why,
    }
}

/// Whether there is memory for this client: who has a session here takes little more, and its old
/// connection, if that is still there, gives back what it has.
fn has_memory_for(broker: &Broker, client_id: &str) -> bool {
    match broker.memory.level() {
        Level::Enough => true,
        Level::Tight => broker.registry.lock(client_id).find(client_id).is_some(),
        Level::Short => false,
    }
}

/// Whether the broker takes such a client at all.
pub(super) fn check(
    broker: &Broker,
    connect: &Connect<'_>,
    peer: &Peer,
) -> Result<(), (Reason, &'static str)> {
    let limits = &broker.config.limits;
    if broker.is_draining() {
        return Err((Reason::ServerUnavailable, "the broker is stopping"));
    }
    if !has_memory_for(broker, connect.client_id) {
        broker.metrics.limits_hit.inc(Limit::Memory);
        return Err((Reason::ServerBusy, "the broker is short of memory"));
    }
    if (connect.version as u8) < limits.minimum_protocol_version {
        return Err((
            Reason::UnsupportedProtocolVersion,
            "the protocol version is too old here",
        ));
    }
    let is_unknown = |method: &str| broker.guard.is_none() || Mechanism::named(method).is_none();
    if connect.authentication_method.is_some_and(is_unknown) {
        return Err((
            Reason::BadAuthenticationMethod, // [MQTT-4.12.0-1]
            "there is no such authentication method here",
        ));
    }
    if broker.guard.is_none() && !peer.allow_anonymous {
        return Err((
            Reason::NotAuthorized,
            "this listener takes no anonymous clients",
        ));
    }
    let needs_id = connect.version == Version::V31
        || (connect.version == Version::V311 && !connect.clean_start); // [MQTT-3.1.3-8] of 3.1.1
    if connect.client_id.is_empty() && needs_id {
        return Err((
            Reason::ClientIdentifierNotValid,
            "a client identifier is needed",
        ));
    }
    if bridges::is_bridge(connect.client_id) {
        return Err((
            Reason::ClientIdentifierNotValid,
            "only bridges are called so",
        ));
    }
    if let Some(Ok(named)) = &peer.named
        && named.terms.is_client_id
        && connect.client_id != named.username
    {
        return Err((
            Reason::ClientIdentifierNotValid,
            "the client identifier is not the name in the certificate",
        ));
    }
    let is_too_long = limits.server_keep_alive > 0 && connect.keep_alive > limits.server_keep_alive;
    if connect.version < Version::V5 && is_too_long {
        // Only 5.0 has a way to tell the client another keep alive.
        return Err((
            Reason::ClientIdentifierNotValid,
            "the keep alive is too long here",
        ));
    }
    let Some(will) = &connect.will else {
        return Ok(());
    };
    if will.qos > limits.maximum_qos {
        return Err((
            Reason::QosNotSupported,
            "the will's QoS is above the maximum",
        )); // [MQTT-3.2.2-12]
    }
    if will.retain && !limits.retain_available {
        return Err((Reason::RetainNotSupported, "the will is retained")); // [MQTT-3.2.2-13]
    }
    if broker.store.is_short() {
        return Err((
            Reason::QuotaExceeded,
            "there is no room on the disk for a will",
        ));
    }
    if publish::is_reserved(will.topic) {
        return Err((
            Reason::NotAuthorized,
            "clients may not publish to the will's topic",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;
    use crate::session::outbound::Outbound;
    use crate::session::{Life, Session};

    #[tokio::test]
    async fn who_has_a_session_may_come_back_while_memory_is_tight() {
        let mut broker = Broker::in_memory();
        Arc::get_mut(&mut broker).expect("nobody else's").memory = Memory::new(1_000);
        let session = Session::new(1, "known", Outbound::new(false), Life::default());
        broker.registry.lock("known").insert(Arc::new(session));
        for (used, known, new) in [(0, true, true), (800, true, false), (900, false, false)] {
            broker.memory.look(used);
            assert_eq!(has_memory_for(&broker, "known"), known, "{used}");
            assert_eq!(has_memory_for(&broker, "new"), new, "{used}");
            assert_eq!(has_memory_for(&broker, ""), new, "{used}");
        }
    }
}
