//! From an accepted socket to a connection with a session: CONNECT and CONNACK.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use gatemq_node::seeded_bug::{Bug, is_seeded};
use parking_lot::Mutex;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use super::admission::check;
use super::authenticate::{Caller, Failure, identify};
use super::event::{Beginning, tell_of_begin};
use super::reauthenticate::Authentication;
use super::refusal::Refusal;
use super::silence::KeepAlive;
use super::stream::Stream;
use super::throttle::Throttle;
use super::time_limit::TimeLimit;
use super::unread::Unread;
use super::waiting::AtOnce;
use super::{Connection, captured, replay};
use crate::auth::Guard;
use crate::auth::password::scram::Mechanism;
use crate::broker::Broker;
use crate::cluster::moves::Before;
use crate::config::{ClientName, Rates};
use crate::lifecycle::{Claim, Claimed};
use crate::listen::certificate::NoName;
use crate::proto::mqtt::{self, ConnAck, Connect, Frame, Packet, Qos, Reason, Version};
use crate::rate::Meter;
use crate::session::End;
use crate::session::link::{Aliases, Link, Socket};
use crate::turn::Turn;
use crate::will::Will;

/// What the listener knows of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// The client's address: the one that a PROXY header named, if there was one.
    pub(crate) address: Option<IpAddr>,
    /// Its port there, if that is known.
    pub(crate) port: Option<u16>,
    /// The listener that it came to, by transport and address.
    pub(crate) listener: Arc<str>,
    pub(crate) allow_anonymous: bool,
    /// What its certificate says of who it is, where that counts.
    pub(crate) named: Option<Result<Named, NoName>>,
}

/// A client whose certificate has its user name.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) username: String,
    pub(crate) terms: ClientName,
}

/// A socket before there is a connection.
pub(crate) struct Accepted {
    pub(crate) stream: Stream,
    pub(crate) socket: Option<Arc<Socket>>,
    pub(crate) peer: Peer,
    /// How fast all clients of the listener may publish, and each of them.
    pub(crate) listener: Option<Arc<Mutex<Meter>>>,
    pub(crate) client_publish: Rates,
    /// When its CONNECT must be there.
    pub(crate) deadline: Instant,
}

/// Bytes read before it is known how long the CONNECT is.
const FIRST: usize = 512;

/// The terms on which a CONNECT was accepted.
struct Terms {
    version: Version,
    is_clean: bool,
    keep_alive: u16,
    /// Session expiry that the CONNECT asked for, in seconds.
    asked_expiry: u32,
    wants_problem_information: bool,
    window: usize,
    maximum_packet_size: usize,
    aliases: u16,
    /// Until when the client is let in, in Unix seconds.
    let_in_until: Option<u64>,
    mechanism: Option<Mechanism>,
}

impl Connection {
    /// Takes the CONNECT, answers it, and returns the connection if it was accepted.
    pub(crate) async fn open(broker: Arc<Broker>, mut accepted: Accepted) -> Option<Box<Self>> {
        let receiving = receive(&broker, &mut accepted.stream);
        let (refusal, connect) = match tokio::time::timeout_at(accepted.deadline, receiving).await {
            Err(_) => (Refusal::silent("no CONNECT in time"), Vec::new()),
            Ok(Err(refusal)) => (refusal, Vec::new()),
            Ok(Ok((mut connect, total))) => {
                let ahead = connect.split_off(total);
                let mut caller = Caller {
                    stream: &mut accepted.stream,
                    socket: accepted.socket.as_deref(),
                    ahead,
                    deadline: accepted.deadline,
                    maximum_packet_size: usize::MAX,
                };
                match claim(&broker, &connect, &accepted.peer, &mut caller).await {
                    Err(refusal) => (refusal, connect),
                    Ok((terms, claimed, connack)) => {
                        let unread = Unread::from(&*caller.ahead);
                        drop((connect, caller));
                        return Some(begin(&broker, accepted, &terms, &claimed, &connack, unread));
                    }
                }
            }
        };
        refusal.carry_out(&broker, accepted, &connect).await;
        None
    }
}

/// Reads until the CONNECT is whole. Returns all that was read, and the CONNECT's length.
async fn receive(broker: &Broker, stream: &mut Stream) -> Result<(Vec<u8>, usize), Refusal> {
    let limits = &broker.config.limits;
    let maximum = limits.maximum_connect_size.min(limits.maximum_packet_size);
    let mut bytes = Vec::with_capacity(FIRST);
    loop {
        let n_bytes = match stream.read_buf(&mut bytes).await {
            Ok(n_bytes) => n_bytes,
            Err(error) => return Err(Refusal::silent(error.to_string())),
        };
        if n_bytes == 0 {
            return Err(Refusal::silent("closed before CONNECT"));
        }
        if bytes[0] >> 4 != 1 {
            return Err(Refusal::silent("the first packet is not CONNECT")); // [MQTT-3.1.0-1]
        }
        match mqtt::frame(Version::V5, &bytes, maximum) {
            Ok(Frame::Complete { total, .. }) => return Ok((bytes, total)),
            Ok(Frame::Incomplete { .. }) => {}
            Err(error) => return Err(refuse_malformed(&bytes, &error)),
        }
        // The buffer grows with what has arrived, never with what a length announces.
        bytes.reserve(bytes.len().min(16 * 1024));
    }
}

/// What a CONNECT that cannot be read is told: a reason code if it says that it speaks 5.0.
fn refuse_malformed(bytes: &[u8], error: &mqtt::Error) -> Refusal {
    let why = error.to_string();
    match (announced_version(bytes), error.reason()) {
        (Some(Version::V5), reason) => Refusal::told(Version::V5, reason, why, usize::MAX),
        // [MQTT-3.1.2-2] of 3.1.1: return code 1
        (_, Reason::UnsupportedProtocolVersion) => Refusal::told(
            Version::V311,
            Reason::UnsupportedProtocolVersion,
            why,
            usize::MAX,
        ),
        _ => Refusal::silent(why),
    }
}

/// The version that a damaged CONNECT names, if it is 5.0 or above.
fn announced_version(bytes: &[u8]) -> Option<Version> {
    let header = 1
        + bytes
            .iter()
            .skip(1)
            .take(4)
            .position(|byte| byte & 0x80 == 0)?
        + 1;
    let level = bytes
        .get(header..)?
        .strip_prefix(b"\x00\x04MQTT")?
        .first()?;
    (*level >= 5 && *level < 0x80).then_some(Version::V5)
}

/// Decides about a CONNECT, and gets its session. Returns the CONNACK, too.
async fn claim(
    broker: &Arc<Broker>,
    packet: &[u8],
    peer: &Peer,
    caller: &mut Caller<'_>,
) -> Result<(Terms, Claimed, Vec<u8>), Refusal> {
    let limits = &broker.config.limits;
    let connect = match mqtt::decode(Version::V5, packet, &limits.decoding()) {
        Ok(Packet::Connect(connect)) => connect,
        Ok(_) => {
            return Err(Refusal::silent("the first packet is not CONNECT"));
        }
        Err(error) => return Err(refuse_malformed(packet, &error)),
    };
    let version = connect.version;
    let maximum_packet_size = connect
        .maximum_packet_size
        .map_or(usize::MAX, |size| size as usize);
    caller.maximum_packet_size = maximum_packet_size;
    let told =
        |(reason, why): (Reason, &str)| Refusal::told(version, reason, why, maximum_packet_size);
    broker.bans.check_address(peer.address).map_err(told)?;
    check(broker, &connect, peer).map_err(told)?;
    let assigned = connect.client_id.is_empty().then(|| assigned_id(broker));
    let client_id = assigned.as_deref().unwrap_or(connect.client_id);
    let names = (client_id, connect.login.username);
    broker.bans.check_names(names.0, names.1).map_err(told)?;
    let asked_expiry = match version {
        Version::V5 => connect.session_expiry.unwrap_or(0),
        _ if connect.clean_start => 0,
        _ => u32::MAX,
    };
    let generation = broker.guard.as_ref().map(Guard::generation);
    let identifying = identify(broker, &connect, client_id, peer, caller);
    let (rights, proof) = identifying.await.map_err(|failure| match failure {
        Failure::Denied(denied) => told((denied.reason, denied.why)),
        Failure::Violation(reason, why) => told((reason, &why)),
        Failure::Gone(why) => Refusal::silent(why),
    })?;
    let expiry = asked_expiry.min(limits.session_expiry);
    let principal = rights.as_ref().map(|rights| rights.principal());
    let author = rights.as_ref().map(|rights| rights.author());
    let let_in_until = rights.as_ref().and_then(|rights| rights.expires_at());
    let claim = Claim {
        client_id,
        principal: principal.as_deref(),
        clean_start: connect.clean_start,
        version,
        expiry,
    };
    let keep_alive = granted_keep_alive(broker, &connect);
    let mut connack = ConnAck::new(Reason::Success);
    if version == Version::V5 {
        connack.session_expiry = (expiry != asked_expiry).then_some(expiry);
        connack.receive_maximum = NonZeroU16::new(limits.receive_maximum);
        connack.maximum_qos = Some(limits.maximum_qos).filter(|qos| *qos < Qos::ExactlyOnce);
        connack.retain_available = (!limits.retain_available).then_some(false);
        connack.maximum_packet_size = Some(limits.maximum_packet_size);
        connack.assigned_client_id = assigned.as_deref(); // [MQTT-3.2.2-16]
        connack.topic_alias_maximum = limits.topic_alias_maximum;
        connack.wildcard_available = (!limits.wildcard_available).then_some(false);
        connack.subscription_ids_available = (!limits.subscription_ids_available).then_some(false);
        connack.shared_available = (!limits.shared_available).then_some(false);
        connack.server_keep_alive = (keep_alive != connect.keep_alive).then_some(keep_alive);
        let information = broker.config.session.response_information.as_deref();
        connack.authentication_method = connect.authentication_method;
        connack.authentication_data = proof.as_deref().map(str::as_bytes);
        connack.response_information = information.filter(|_| connect.request_response_information); // [MQTT-3.1.2-28]
    }
    let encoded = |connack: ConnAck<'_>| {
        let mut packet = Vec::with_capacity(64);
        mqtt::encode(&Packet::ConnAck(Box::new(connack)), version, &mut packet);
        packet
    };
    // Before the session is touched; whether there is one takes no room.
    if encoded(connack.clone()).len() > maximum_packet_size {
        // What the client must be told does not fit into what it takes [MQTT-3.1.2-24].
        let why = "the client takes no packet as long as its CONNACK";
        return Err(Refusal::silent(why));
    }
    let claimed = broker.claim(&claim).await.map_err(|no_session| {
        let is_down = broker.store.redis().is_some_and(|redis| redis.is_down());
        told(no_session.told()).summed_up_if(is_down)
    })?;
    claimed.session.rights.store(rights); // before anything is delivered to this connection
    broker.enter_session(&claimed.session, peer.address, names.1);
    if let Some(guard) = &broker.guard
        && generation != Some(guard.generation())
    {
        // What was said of it may not hold any more, and nobody else has looked at it since.
        broker.judge_session(guard, &claimed.session).await;
    }
    if caller.has_left().await {
        // It has not come back: its session, and the will of the connection before, wait on.
        broker.detach(&claimed.session, &End::Lost);
        return Err(Refusal::silent("the client left before it was let in"));
    }
    let will = connect.will.as_ref().map(|will| {
        let may_move = broker.store.redis().is_some();
        let origin = may_move.then(|| broker.new_origin());
        let whose = (client_id, author.as_deref().unwrap_or_default());
        Will::new(will, whose, claimed.session.number, origin)
    });
    broker.let_in(&claimed.session, will).await;
    connack.session_present =
        claimed.is_present || is_seeded(Bug::SessionPresentLies) && !connect.clean_start;
    let packet = encoded(connack);
    let receive_maximum = connect.receive_maximum.map_or(u16::MAX, NonZeroU16::get);
    let terms = Terms {
        version,
        is_clean: connect.clean_start,
        keep_alive,
        wants_problem_information: connect.request_problem_information,
        window: usize::from(receive_maximum.min(broker.settings.load().max_inflight)),
        // A packet that no client takes is never sent, whatever grows on its way through.
        maximum_packet_size: maximum_packet_size.min(mqtt::MAX_REMAINING_LENGTH as usize + 5),
        asked_expiry,
        aliases: connect.topic_alias_maximum.min(limits.topic_alias_out),
        let_in_until,
        mechanism: connect.authentication_method.and_then(Mechanism::named),
    };
    Ok((terms, claimed, packet))
}

/// The keep alive in force, in seconds: the client's, or the server's where that is shorter.
fn granted_keep_alive(broker: &Broker, connect: &Connect<'_>) -> u16 {
    match broker.config.limits.server_keep_alive {
        0 => connect.keep_alive,
        // Before 5.0 it cannot be told, and is held to the same bound all the same.
        maximum if connect.keep_alive == 0 => maximum,
        maximum => connect.keep_alive.min(maximum), // [MQTT-3.2.2-21]
    }
}

/// A client identifier that nobody else has and nobody can guess.
fn assigned_id(broker: &Broker) -> String {
    use std::hash::BuildHasher;
    // Keyed with random numbers of the system, anew each time.
    let random = || std::hash::RandomState::new().hash_one(broker.store.new_number());
    format!("gatemq-{:016x}{:016x}", random(), random())
}

/// Gives the session its link, with the CONNACK in front of everything else.
fn begin(
    broker: &Arc<Broker>,
    accepted: Accepted,
    terms: &Terms,
    claimed: &Claimed,
    connack: &[u8],
    unread: Unread,
) -> Box<Connection> {
    let Claimed { session, epoch, .. } = claimed;
    let mut turn = Turn::new(broker);
    let mut link = Box::new(Link {
        epoch: *epoch,
        version: terms.version,
        address: accepted.peer.address,
        outbox: Default::default(),
        socket: accepted.socket,
        waker: None,
        is_dirty: false,
        is_writing: false,
        is_blocked: false,
        is_closing: false,
        is_paused: false,
        is_awaited: false,
        waits_for_lease: false,
        moved_at: turn.now,
        maximum_packet_size: terms.maximum_packet_size,
        window: terms.window,
        aliases: Aliases::new(terms.aliases),
        held: Vec::new(),
    });
    link.outbox.append_slice(connack);
    turn.tally.packets_out += 1;
    turn.tally.packets_in += 1;
    {
        let mut life = session.life.lock();
        life.attached_at = turn.now;
        life.address = accepted.peer.address;
        life.keep_alive = terms.keep_alive;
    }
    captured::tell(
        broker,
        &accepted.peer,
        &session.client_id,
        "connect",
        |event| {
            let event = event.with_some("username", session.username());
            let event = event.with("version", terms.version as u8);
            let event = event.with("clean_start", terms.is_clean);
            let event = event.with("session_present", claimed.is_present);
            event.with("keep_alive", terms.keep_alive)
        },
    );
    session.outbound.lock().attach(link);
    turn.pump(session);
    let beginning = Beginning {
        address: accepted.peer.address,
        port: accepted.peer.port,
        listener: &accepted.peer.listener,
        version: terms.version,
        is_clean: terms.is_clean,
    };
    tell_of_begin(session, &beginning, &mut turn);
    turn.finish(None);
    broker.announce_groups(session);
    broker.registry.count_connected();
    broker.metrics.connections_accepted.inc();
    tracing::debug!(
        client.id = &*session.client_id,
        peer = ?accepted.peer.address,
        version = ?terms.version,
        present = claimed.is_present,
        "connected"
    );
    Box::new(Connection {
        broker: broker.clone(),
        session: session.clone(),
        epoch: *epoch,
        version: terms.version,
        stream: accepted.stream,
        unread,
        has_more: false,
        aliases: Vec::new(),
        plan: None,
        replays: if claimed.is_present {
            replay::owed(broker, session)
        } else {
            Default::default()
        },
        sent: Vec::new(),
        has_more_to_replay: false,
        place: None,
        keep_alive: KeepAlive::new(terms.keep_alive),
        time_limit: terms.let_in_until.map(TimeLimit::new),
        authentication: terms.mechanism.map(Authentication::new),
        n_deferred: 0,
        n_tickets: 0,
        turn_deferred: 0,
        asked_expiry: terms.asked_expiry,
        wants_problem_information: terms.wants_problem_information,
        maximum_packet_size: terms.maximum_packet_size,
        needs_pump: false,
        held: None,
        before: Before::default(),
        at_once: AtOnce::default(),
        promise: None,
        unwritten: None,
        is_begun: false,
        is_ended_by_packet: false,
        is_detached: false,
        is_writing: false,
        patience: None,
        pause: None,
        absence: None,
        throttle: Throttle::of(broker, session, accepted.client_publish, accepted.listener),
    })
}
