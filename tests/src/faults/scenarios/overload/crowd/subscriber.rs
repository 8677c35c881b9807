//! Somebody who takes what comes, and acknowledges it.

use std::{
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use tokio::{io::AsyncWriteExt, sync::watch};

use super::{PATIENCE, Shared, becomes, open, told};
use crate::{
    faults::scenarios::overload::client::Client,
    history::{self, Ending, Event, Name},
    traffic::Journal,
    unique,
    wire::{self, Packet, Properties, property},
};

pub(super) struct Subscriber {
    shared: Arc<Shared>,
    pub(super) client: Name,
    journal: Journal,
    connection: Client,
    /// It takes nothing until it is told to drain.
    is_asleep: bool,
}

/// Of all.
const LEVEL: u8 = 5;

// === impl Subscriber ===

impl Subscriber {
    /// Connects and subscribes.
    pub(super) async fn new(shared: &Arc<Shared>, filter: String) -> Result<Self, String> {
        let client = unique("sub");
        let mut journal = Journal::new(&client, &shared.history);
        let plan = &shared.plan;
        let mut connect = plan.connect(LEVEL, &client);
        if plan.is_stored {
            connect.properties = Properties::new().four(property::SESSION_EXPIRY_INTERVAL, 3600);
        }
        journal.connecting(plan.to, true);
        let named = |why: String| format!("{client} cannot subscribe: {why}");
        let mut connection = open(plan.to, &connect).await.map_err(named)?;
        journal.connected(connection.session_present);
        let (name, filter): (Name, Name) = (client.as_str().into(), filter.into());
        shared.history.record(Event::Subscribing {
            client: name.clone(),
            filter: filter.clone(),
            qos: 1,
        });
        let subscribed = connection.subscribe(LEVEL, &[(&filter, 1)]).await;
        subscribed.map_err(|error| named(error.to_string()))?;
        shared.history.record(Event::Subscribed {
            client: name.clone(),
            filter,
            qos: 1,
        });
        Ok(Self {
            shared: Arc::clone(shared),
            client: name,
            journal,
            connection,
            is_asleep: false,
        })
    }

    /// The same who takes nothing until it is told to drain.
    pub(super) fn asleep(self) -> Self {
        Self {
            is_asleep: true,
            ..self
        }
    }

    /// Takes what comes until it is told to drain, and all has come.
    pub(super) async fn run(mut self, mut draining: watch::Receiver<bool>) -> Result<(), String> {
        let shared = Arc::clone(&self.shared);
        let mut waking = draining.clone();
        let has_all = async {
            told(&mut draining).await;
            becomes(PATIENCE, || shared.has_all(&self.client)).await;
            // What comes twice would come now.
            tokio::time::sleep(Duration::from_millis(300)).await;
        };
        let number = self.journal.connection();
        let receiving = async {
            if self.is_asleep {
                told(&mut waking).await;
            }
            receive(&self.shared, &self.client, &mut self.connection, number).await
        };
        let ended = tokio::select! {
            () = has_all => Ok(()),
            Err(error) = receiving => Err(error),
        };
        if let Err(error) = ended {
            self.journal.disconnected(Ending::Cut);
            self.shared.tally.n_ended.fetch_add(1, Relaxed);
            return Err(format!("{} was cut off: {error}", &*self.client));
        }
        let client = self.client.clone();
        self.shared.history.record(Event::Drained { client });
        let _it_may_be_gone = self.connection.writer.write_all(&wire::disconnect()).await;
        self.journal.disconnected(Ending::Unclear);
        Ok(())
    }
}

async fn receive(
    shared: &Shared,
    client: &Name,
    connection: &mut Client,
    number: u32,
) -> io::Result<()> {
    let mut answers = Vec::new();
    loop {
        let packet = connection.reader.next().await?;
        answers.extend(take(shared, client, &packet, number)?);
        // One write for all that came at once.
        while let Some(packet) = connection.reader.buffered() {
            answers.extend(take(shared, client, &packet, number)?);
        }
        connection.writer.write_all(&answers).await?;
        answers.clear();
    }
}

/// What is answered.
fn take(shared: &Shared, client: &Name, packet: &Packet, connection: u32) -> io::Result<Vec<u8>> {
    if packet.kind != wire::PUBLISH {
        return Err(io::Error::other(ended(packet)));
    }
    let publish = packet.publish(LEVEL);
    let uid = history::decode(&publish.payload);
    if let Some(uid) = &uid {
        let due = shared.due(&uid.publisher, uid.seq);
        let late = due.map(|due| Instant::now().saturating_duration_since(due));
        shared.tally.delivered(late.unwrap_or_default());
    }
    shared.history.record(Event::Received {
        client: client.clone(),
        connection,
        topic: publish.topic.into(),
        uid,
        qos: publish.qos,
        dup: publish.dup,
        retain: publish.retain,
    });
    let id = publish.id.ok_or_else(|| io::Error::other("it has no id"))?;
    Ok(wire::ack(wire::PUBACK, id))
}

/// What a packet says that is no message: of a DISCONNECT the reason.
fn ended(packet: &Packet) -> String {
    match packet.kind {
        wire::DISCONNECT => {
            let told = packet.disconnect(wire::DISCONNECT);
            format!("DISCONNECT says {:#04x}", told.reason)
        }
        _ => format!("{packet:?} came"),
    }
}
