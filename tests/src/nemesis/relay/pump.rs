//! One direction of a connection: a reader, a bounded queue, and a writer that makes the fault.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{ReadHalf, WriteHalf},
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use super::{Ending, Fault};
use crate::history::Random;

/// Bytes that are read at once.
const PIECE: usize = 16 * 1024;
/// Pieces that wait at most: 1 MiB.
const MOST: usize = 64;
/// What a rate lets through at once: its share of this part of a second.
const SHARES: u64 = 20;

/// What happens to a direction.
pub(super) struct Faults {
    pub(super) now: watch::Receiver<Fault>,
    /// How often one of them did something.
    pub(super) n_hit: Arc<AtomicUsize>,
}

/// Bytes that came at the same time.
struct Piece {
    bytes: Vec<u8>,
    came: Instant,
    /// How much of the jitter it gets, of 1,000.
    luck: u32,
}

/// What the writer knows of its fault.
struct Writer<'a> {
    to: WriteHalf<'a>,
    faults: Faults,
    /// Bytes that went on since the fault began.
    n_since: u64,
    /// When a rate lets the next ones through.
    free: Instant,
}

/// Carries bytes until there are no more; the error says how the connection is to end.
pub(super) async fn run(
    from: ReadHalf<'_>,
    to: WriteHalf<'_>,
    faults: Faults,
    random: Random,
) -> Result<(), Ending> {
    let (pieces, queue) = mpsc::channel(MOST);
    let writer = Writer {
        to,
        faults,
        n_since: 0,
        free: Instant::now(),
    };
    tokio::try_join!(fill(from, pieces, random), writer.empty(queue))?;
    Ok(())
}

async fn fill(
    mut from: ReadHalf<'_>,
    pieces: mpsc::Sender<Piece>,
    mut random: Random,
) -> Result<(), Ending> {
    let mut buffer = vec![0; PIECE];
    loop {
        let count = from.read(&mut buffer).await.map_err(|_| Ending::Reset)?;
        if count == 0 {
            return Ok(());
        }
        let piece = Piece {
            bytes: buffer[..count].to_vec(),
            came: Instant::now(),
            luck: u32::try_from(random.below(1_001)).expect("small"),
        };
        if pieces.send(piece).await.is_err() {
            return Ok(());
        }
    }
}

impl Writer<'_> {
    async fn empty(mut self, mut queue: mpsc::Receiver<Piece>) -> Result<(), Ending> {
        while let Some(piece) = queue.recv().await {
            self.write(&piece).await?;
        }
        // The end comes no sooner than bytes would.
        while self.fault() == Fault::Stall {
            self.changed().await?;
        }
        self.to.shutdown().await.map_err(|_| Ending::Reset)
    }

    async fn write(&mut self, piece: &Piece) -> Result<(), Ending> {
        let mut rest = &piece.bytes[..];
        while !rest.is_empty() {
            let fault = self.fault();
            let (until, most) = match fault {
                Fault::None => (piece.came, u64::MAX),
                Fault::Delay { time, jitter } => {
                    (piece.came + time + jitter * piece.luck / 1_000, u64::MAX)
                }
                Fault::Stall => {
                    self.hits();
                    self.changed().await?;
                    continue;
                }
                Fault::Rate(rate) => (self.free, (rate / SHARES).max(1)),
                Fault::CutAfter(n) | Fault::ResetAfter(n) if self.n_since >= n => {
                    self.hits();
                    return Err(match fault {
                        Fault::CutAfter(_) => Ending::Cut,
                        _ => Ending::Reset,
                    });
                }
                Fault::CutAfter(n) | Fault::ResetAfter(n) => (piece.came, n - self.n_since),
            };
            if until > Instant::now() {
                self.hits();
                tokio::select! {
                    () = sleep_until(until) => {}
                    changed = self.changed() => changed?,
                }
                continue;
            }
            let count = usize::try_from(most).map_or(rest.len(), |most| most.min(rest.len()));
            let (now, later) = rest.split_at(count);
            self.to.write_all(now).await.map_err(|_| Ending::Reset)?;
            self.passed(count);
            rest = later;
        }
        Ok(())
    }

    fn hits(&self) {
        self.faults.n_hit.fetch_add(1, Relaxed);
    }

    /// The fault as it is now.
    fn fault(&mut self) -> Fault {
        if self.faults.now.has_changed().unwrap_or(false) {
            self.n_since = 0;
        }
        *self.faults.now.borrow_and_update()
    }

    /// Waits until the fault is another one.
    async fn changed(&mut self) -> Result<(), Ending> {
        // The relay is gone.
        self.faults.now.changed().await.map_err(|_| Ending::Reset)?;
        self.n_since = 0;
        Ok(())
    }

    fn passed(&mut self, count: usize) {
        let count = u64::try_from(count).expect("64-bit machine");
        self.n_since += count;
        if let Fault::Rate(rate) = *self.faults.now.borrow() {
            let takes = Duration::from_micros(count * 1_000_000 / rate.max(1));
            self.free = Instant::now() + takes;
        }
    }
}
