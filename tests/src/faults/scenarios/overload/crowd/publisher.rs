//! Somebody who publishes with QoS 1, by the clock. What a full window or a full socket keeps back
//! is sent when it can be, in order and at once.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use tokio::{
    io::AsyncWriteExt,
    net::tcp::OwnedWriteHalf,
    sync::{Semaphore, watch},
    time::{sleep, sleep_until},
};

use super::{HELD, PATIENCE, Shared, becomes, open, told};
use crate::{
    Publish,
    faults::scenarios::overload::client::{Client, Reader},
    history::{self, Ending, Event, Name, Uid},
    traffic::Journal,
    unique, wire,
};

/// QUOTA EXCEEDED.
const QUOTA: u8 = 0x97;
/// What may be written at once when the clock is late.
const AT_ONCE: usize = 64;

pub(super) struct Publisher {
    shared: Arc<Shared>,
    client: Name,
    topic: Name,
    journal: Journal,
    /// The connection that it came with.
    first: Option<Client>,
    seq: u64,
    last_id: u16,
}

/// What is unanswered on one connection.
struct Open {
    messages: Mutex<HashMap<u16, (Uid, Instant)>>,
    room: Semaphore,
    window: usize,
}

// === impl Publisher ===

impl Publisher {
    /// Connects.
    pub(super) async fn new(shared: &Arc<Shared>, topic: String) -> Result<Self, String> {
        let client = unique("pub");
        let mut publisher = Self {
            shared: Arc::clone(shared),
            journal: Journal::new(&client, &shared.history),
            client: client.into(),
            topic: topic.into(),
            first: None,
            seq: 0,
            last_id: 0,
        };
        publisher.first = Some(publisher.connect().await?);
        Ok(publisher)
    }

    async fn connect(&mut self) -> Result<Client, String> {
        let plan = &self.shared.plan;
        self.journal.connecting(plan.from, true);
        let client = open(plan.from, &plan.connect(plan.level, &self.client)).await;
        let client = client.map_err(|why| format!("{} is not let in: {why}", &*self.client))?;
        self.journal.connected(client.session_present);
        Ok(client)
    }

    /// Publishes until it is told to stop, and all is answered; on a new connection where one ends.
    pub(super) async fn run(
        mut self,
        offset: Duration,
        mut stopping: watch::Receiver<bool>,
    ) -> Result<(), String> {
        sleep(offset).await;
        let begin = self.shared.begins(&self.client);
        loop {
            let client = match self.first.take() {
                Some(client) => client,
                None => self.connect().await?,
            };
            let served = self.connection(client, begin, &mut stopping).await;
            if served.is_ok() {
                self.journal.disconnected(Ending::Orderly);
                return Ok(());
            }
            self.journal.disconnected(Ending::Cut);
            if *stopping.borrow() {
                return Ok(());
            }
            self.shared.tally.n_ended.fetch_add(1, Relaxed);
        }
    }

    async fn connection(
        &mut self,
        client: Client,
        begin: Instant,
        stopping: &mut watch::Receiver<bool>,
    ) -> io::Result<()> {
        let Client {
            reader,
            mut writer,
            receive_maximum,
            ..
        } = client;
        let window = match self.shared.plan.level {
            5 => self.shared.plan.window.min(receive_maximum),
            _ => self.shared.plan.window,
        };
        let unanswered = Arc::new(Open {
            messages: Mutex::default(),
            room: Semaphore::new(window),
            window,
        });
        let number = self.journal.connection();
        let hearing = hear(
            Arc::clone(&self.shared),
            reader,
            Arc::clone(&unanswered),
            number,
        );
        let saying = async {
            self.publish(&mut writer, begin, &unanswered, stopping)
                .await?;
            becomes(PATIENCE, || {
                unanswered.room.available_permits() == unanswered.window
            })
            .await;
            writer.write_all(&wire::disconnect()).await
        };
        tokio::select! {
            said = saying => said,
            ended = hearing => ended,
        }
    }

    /// Until it is told to stop.
    async fn publish(
        &mut self,
        writer: &mut OwnedWriteHalf,
        begin: Instant,
        unanswered: &Open,
        stopping: &mut watch::Receiver<bool>,
    ) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let mut bytes = Vec::new();
        while !*stopping.borrow() {
            let due = shared.due(&self.client, self.seq).unwrap_or(begin);
            if due > Instant::now() {
                tokio::select! {
                    () = sleep_until(due.into()) => {}
                    () = told(stopping) => break,
                }
            }
            let since = Instant::now();
            tokio::select! {
                room = unanswered.room.acquire() => room.map_err(io::Error::other)?.forget(),
                () = told(stopping) => break,
            }
            bytes.clear();
            self.next(unanswered, &mut bytes);
            // What is due by now, as far as there is room.
            for _ in 1..AT_ONCE {
                let is_due = shared
                    .due(&self.client, self.seq)
                    .is_none_or(|due| due <= Instant::now());
                match unanswered.room.try_acquire() {
                    Ok(room) if is_due => room.forget(),
                    _ => break,
                }
                self.next(unanswered, &mut bytes);
            }
            tokio::select! {
                written = writer.write_all(&bytes) => written?,
                () = async { told(stopping).await; sleep(PATIENCE).await } => break,
            }
            if since.elapsed() > HELD {
                shared.tally.n_held.fetch_add(1, Relaxed);
            }
        }
        Ok(())
    }

    /// Appends the next message.
    fn next(&mut self, unanswered: &Open, bytes: &mut Vec<u8>) {
        let (shared, seq) = (&self.shared, self.seq);
        self.seq += 1;
        let uid = Uid {
            publisher: self.client.clone(),
            topic: self.topic.clone(),
            seq,
        };
        let mut messages = unanswered.lock();
        while self.last_id == 0 || messages.contains_key(&self.last_id) {
            self.last_id = self.last_id.wrapping_add(1);
        }
        let payload = history::encode(&uid, shared.plan.payload);
        let publish = Publish::new(&self.topic, payload).qos(1, self.last_id);
        bytes.extend(publish.bytes(shared.plan.level));
        self.journal.sent(&uid, &publish);
        shared.tally.n_sent.fetch_add(1, Relaxed);
        messages.insert(self.last_id, (uid, Instant::now()));
    }
}

// === impl Open ===

impl Open {
    fn lock(&self) -> MutexGuard<'_, HashMap<u16, (Uid, Instant)>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes answers until the connection ends.
async fn hear(
    shared: Arc<Shared>,
    mut reader: Reader,
    unanswered: Arc<Open>,
    connection: u32,
) -> io::Result<()> {
    loop {
        let packet = reader.next().await?;
        if packet.kind != wire::PUBACK {
            return Err(io::Error::other(format!("{packet:?}")));
        }
        let ack = packet.ack(wire::PUBACK, shared.plan.level);
        let Some((uid, sent)) = unanswered.lock().remove(&ack.id) else {
            return Err(io::Error::other("an answer to nothing"));
        };
        let reason = ack.reason;
        if reason < 0x80 {
            shared.tally.answered(sent.elapsed());
            shared.history.record(Event::Accepted { uid, connection });
        } else {
            let refused = match reason {
                QUOTA => &shared.tally.n_shed,
                _ => &shared.tally.n_refused,
            };
            refused.fetch_add(1, Relaxed);
            shared.history.record(Event::Refused {
                uid,
                connection,
                reason,
            });
        }
        unanswered.room.add_permits(1);
    }
}
