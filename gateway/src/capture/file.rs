//! The files of traces, of the one thread that writes them.
//!
//! A file begins with the line that says which trace it is of: so it is gone on with after a restart,
//! and begun anew when another trace has got the name. It has a bound: the line that would go beyond it
//! is the last one's place, which says so, and then the trace is over here. Lines that found no room in
//! the queue or on the disk are told of by a line behind them. What is left of the disk is for
//! sessions: before it is so little that nothing is stored, nothing is written here.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::line::{About, Event};
use super::queue::{Queue, Work};
use super::tail::Tail;
use super::wanted::Wanted;
use crate::clock::{Clock, wall_millis};
use crate::proto::cluster::traces;

/// Bytes of a file.
pub(super) const MOST: u64 = 16 << 20;
/// Bytes of the disk that are for others: more than what is kept back where sessions are stored.
const RESERVE: u64 = 96 << 20;
/// What is behind the last line that had room.
const FULL: &str = "{\"event\":\"full\"}\n";
const SUFFIX: &str = ".jsonl";

/// Where they are, and which are open.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    node: Arc<str>,
    clock: Clock,
    open: HashMap<Box<str>, Open>,
    /// Whether the log says that nothing can be written.
    has_complained: bool,
}

#[derive(Debug)]
struct Open {
    wanted: Arc<Wanted>,
    file: File,
    /// Bytes that are in it, whole lines.
    length: u64,
    /// Lines that are not in it, how many, and how many lost ones they tell of.
    buffer: Vec<u8>,
    n_lines: u64,
    n_told: u64,
    is_full: bool,
}

/// Where the lines of a trace are.
pub(super) fn path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}{SUFFIX}"))
}

/// Writes until nothing more will come.
pub(super) fn run(mut files: Files, queue: &Queue) {
    while let Some(work) = queue.take() {
        let done = files.carry_out(work);
        if let Err(error) = &done
            && !files.has_complained
        {
            let folder = files.folder.display();
            tracing::warn!(%error, %folder, "what traces of clients see cannot be written");
        }
        files.has_complained = done.is_err();
    }
}

// === impl Files ===

impl Files {
    pub(super) fn new(folder: PathBuf, node: Arc<str>, clock: Clock) -> Self {
        Self {
            folder,
            node,
            clock,
            open: HashMap::new(),
            has_complained: false,
        }
    }

    /// Does all that can be done, and returns what was the matter first.
    fn carry_out(&mut self, work: Work) -> io::Result<()> {
        let mut done = work.kept.map_or(Ok(()), |kept| self.keep(&kept));
        for (wanted, line) in work.lines {
            let put = self.put(&wanted, &line);
            done = done.and(put);
        }
        let has_room = has_room(&self.folder);
        for open in self.open.values_mut() {
            open.tell_of_lost(&self.node);
            let flushed = open.flush(has_room);
            done = done.and(flushed);
        }
        done
    }

    /// Removes the files of traces that are not among these, and begins those that are not begun.
    fn keep(&mut self, kept: &[Arc<Wanted>]) -> io::Result<()> {
        let is_kept = |open: &Open| kept.iter().any(|kept| Arc::ptr_eq(kept, &open.wanted));
        self.open.retain(|_, open| is_kept(open));
        let mut done = self.remove_others(kept);
        let now = self.clock.now();
        for wanted in kept.iter().filter(|wanted| !wanted.is_over(now)) {
            if !self.open.contains_key(&wanted.name) {
                let opened = self.open(wanted).map(drop);
                done = done.and(opened);
            }
        }
        done
    }

    fn remove_others(&self, kept: &[Arc<Wanted>]) -> io::Result<()> {
        let found = match fs::read_dir(&self.folder) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut done = Ok(());
        for entry in found {
            let path = entry?.path();
            let file = path.file_name().and_then(|file| file.to_str());
            let name = file.and_then(|file| file.strip_suffix(SUFFIX));
            let Some(name) = name.filter(|name| traces::check_name(name).is_ok()) else {
                continue; // somebody else's
            };
            let kept = kept.iter().find(|kept| *kept.name == *name);
            if !kept.is_some_and(|kept| begins_with(&path, &kept.head)) {
                done = done.and(fs::remove_file(&path));
            }
        }
        done
    }

    fn put(&mut self, wanted: &Arc<Wanted>, line: &str) -> io::Result<()> {
        let opened = match self.open.get_mut(&wanted.name) {
            Some(open) => Ok(open),
            None => self.open(wanted),
        };
        let open = opened.inspect_err(|_| _ = wanted.n_lost.fetch_add(1, Ordering::Relaxed))?;
        if Arc::ptr_eq(&open.wanted, wanted) {
            open.put(line); // nothing of a trace that another one has taken the place of
        }
        Ok(())
    }

    fn open(&mut self, wanted: &Arc<Wanted>) -> io::Result<&mut Open> {
        let mut folder = DirBuilder::new();
        folder.recursive(true).mode(0o700).create(&self.folder)?;
        let path = path(&self.folder, &wanted.name);
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        let mut file = options.open(&path)?;
        let tail = Tail::of(&mut file)?;
        let is_gone_on_with = begins_with(&path, &wanted.head);
        let length = if is_gone_on_with { tail.length } else { 0 };
        file.set_len(length)?;
        let mut open = Open {
            wanted: wanted.clone(),
            file,
            length,
            buffer: Vec::new(),
            n_lines: 0,
            n_told: 0,
            is_full: is_gone_on_with && tail.lines.ends_with(FULL.as_bytes()),
        };
        if open.is_full {
            wanted.end();
        }
        if !is_gone_on_with {
            open.put(&wanted.head);
        }
        let entry = self.open.entry(wanted.name.clone());
        Ok(entry.insert_entry(open).into_mut())
    }
}

// === impl Open ===

impl Open {
    fn put(&mut self, line: &str) {
        if self.is_full {
            return;
        }
        let length = self.length + (self.buffer.len() + line.len() + FULL.len()) as u64;
        self.is_full = length > MOST;
        let line = if self.is_full { FULL } else { line };
        self.buffer.extend_from_slice(line.as_bytes());
        self.n_lines += 1;
        if self.is_full {
            self.wanted.end(); // so that nobody makes lines for it
        }
    }

    fn tell_of_lost(&mut self, node: &str) {
        let n_lost = self.wanted.n_lost.swap(0, Ordering::Relaxed);
        if n_lost > 0 {
            self.n_told = n_lost;
            self.put(&lost(n_lost, node));
        }
    }

    fn flush(&mut self, has_room: bool) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let done = match has_room {
            true => self.file.write_all(&self.buffer),
            false => Err(io::ErrorKind::StorageFull.into()),
        };
        if done.is_ok() {
            self.length += self.buffer.len() as u64;
        } else {
            let n_lost = self.n_lines + self.n_told - u64::from(self.n_told > 0);
            self.wanted.n_lost.fetch_add(n_lost, Ordering::Relaxed);
            let _ = self.file.set_len(self.length); // half a line may be there
        }
        self.buffer.clear();
        (self.n_lines, self.n_told) = (0, 0);
        done
    }
}

// === pure, and looking ===

/// The line that tells of others that are not there.
pub(super) fn lost(n_lost: u64, node: &str) -> String {
    let event = Event::new("lost").with("lines", n_lost);
    event.into_line(&About::default(), wall_millis(), node)
}

fn begins_with(path: &Path, head: &str) -> bool {
    let mut beginning = vec![0; head.len()];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut beginning));
    read.is_ok() && beginning == head.as_bytes()
}

/// Whether there is more on the disk than has to be left, as far as that is known.
fn has_room(folder: &Path) -> bool {
    let Ok(stat) = rustix::fs::statvfs(folder) else {
        return true;
    };
    stat.f_bavail.saturating_mul(stat.f_frsize) >= RESERVE
}

#[cfg(test)]
mod tests;
