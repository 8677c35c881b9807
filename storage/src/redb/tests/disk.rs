//! A disk that forgets, at a power cut, what it was not told to sync.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use redb::StorageBackend;

/// What the disk was told to do.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Write(usize, Vec<u8>),
    SetLength(usize),
    Sync,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// What was there at the start.
    before: Vec<u8>,
    /// What a process sees.
    now: Vec<u8>,
    steps: Vec<Step>,
}

/// A small generator, so that a failure repeats.
pub(super) struct Random(pub(super) u64);

const SECTOR: usize = 512;

impl Disk {
    pub(super) fn steps(&self) -> usize {
        self.0.lock().steps.len()
    }

    /// Whether nothing was written after the last sync.
    pub(super) fn is_synced(&self) -> bool {
        let state = self.0.lock();
        let mut steps = state.steps.iter().rev();
        let last = steps.find(|step| !matches!(step, Step::SetLength(_)));
        matches!(last, Some(Step::Sync))
    }

    /// A disk with what is left if the power fails after a number of steps.
    pub(super) fn after_cut(&self, cut: usize, random: &mut Random) -> Self {
        let state = self.0.lock();
        let steps = &state.steps[..cut];
        let synced = steps.iter().rposition(|step| matches!(step, Step::Sync));
        let synced = synced.map_or(0, |position| position + 1);
        let mut left = state.before.clone();
        for (position, step) in steps.iter().enumerate() {
            match step {
                Step::Write(offset, data) => {
                    for (sector, data) in data.chunks(SECTOR).enumerate() {
                        let offset = offset + sector * SECTOR;
                        if position < synced || random.below(2) == 0 {
                            write(&mut left, offset, data);
                        }
                    }
                }
                Step::SetLength(length) => {
                    let grows = *length > left.len();
                    if grows || position < synced || random.below(2) == 0 {
                        left.resize(*length, 0);
                    }
                }
                Step::Sync => {}
            }
        }
        Self(Arc::new(Mutex::new(State {
            before: left.clone(),
            now: left,
            steps: Vec::new(),
        })))
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.0.lock();
        let range = offset as usize..offset as usize + out.len();
        let data = state.now.get(range).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(data);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.0.lock();
        state.now.resize(length as usize, 0);
        state.steps.push(Step::SetLength(length as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.lock().steps.push(Step::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock();
        write(&mut state.now, offset as usize, data);
        state
            .steps
            .push(Step::Write(offset as usize, data.to_vec()));
        Ok(())
    }
}

fn write(to: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if to.len() < end {
        to.resize(end, 0);
    }
    to[offset..end].copy_from_slice(data);
}

impl Random {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}
