//! Cutting the power: a process runs on a disk that forgets (`tests/soak/powercut.c`), and after
//! its kill the directory `data` in its folder has only what a sync had made safe.
//!
//! ```no_run
//! # use gatemq_tests::{Cluster, nemesis::disk::power::{self, Disk, Unsynced}};
//! let wrap = power::wrap(Disk::Honest).expect("there is a C compiler");
//! let cluster = Cluster::builder().control(1).gateways(1).wrap("c1", wrap).start();
//! let node = cluster.node("c1");
//! node.kill();
//! power::cut(node.folder(), Unsynced::Lost).expect("the data can be replaced");
//! node.restart();
//! ```

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use crate::{
    cluster::wrap::Wrap,
    history::Random,
    nemesis::{Native, Unavailable},
};

const PAGE: usize = 4096;

/// How the disk behaves.
#[derive(Clone, Copy, Debug)]
pub enum Disk {
    /// A sync takes 1 ms and is then done.
    Honest,
    /// A sync does nothing: a program with its fsync taken out.
    Deaf,
    /// A sync returns at once and is done this many milliseconds later: a program that
    /// acknowledges without waiting for its fsync.
    Late(u32),
}

/// What happens to a page that was written and not synced.
pub enum Unsynced<'a> {
    /// It is lost.
    Lost,
    /// Chance decides, page by page.
    Torn(&'a mut Random),
}

/// What a process has to be started under to run on this disk.
///
/// # Errors
///
/// The library cannot be built here.
pub fn wrap(disk: Disk) -> Result<Wrap, Unavailable> {
    let wrap = Wrap::default()
        .preload(&Native::PowerCut.path()?)
        .env("POWERCUT_DIR", "{dir}/data")
        .env("POWERCUT_SHADOW", "{dir}/shadow");
    Ok(match disk {
        Disk::Honest => wrap.env("POWERCUT_SYNC_US", "1000"),
        Disk::Deaf => wrap.env("POWERCUT_IGNORE_SYNC", "1"),
        Disk::Late(milliseconds) => wrap.env("POWERCUT_LATE_MS", milliseconds.to_string()),
    })
}

/// Puts what was durable in the place of the data of the process with this folder, which must be
/// dead.
///
/// # Errors
///
/// The files cannot be read or replaced.
pub fn cut(dir: &Path, mut unsynced: Unsynced<'_>) -> io::Result<()> {
    let (data, shadow, after) = (dir.join("data"), dir.join("shadow"), dir.join("after"));
    let root = identity(&data)?;
    let tree = Tree::read(&fs::read_to_string(shadow.join("names"))?);
    let live = live_files(&data)?;
    fs::create_dir(&after)?;
    let mut directories = vec![(root, after.clone())];
    while let Some((directory, place)) = directories.pop() {
        for (name, entry) in tree.entries(&directory) {
            let place = place.join(name);
            match entry {
                Entry::Directory(inode) => {
                    fs::create_dir(&place)?;
                    directories.push((inode.clone(), place));
                }
                Entry::File(inode) => {
                    let durable = shadow.join("inodes").join(inode);
                    if let (Unsynced::Torn(random), Some(live)) = (&mut unsynced, live.get(inode)) {
                        tear(&durable, live, random)?;
                    }
                    fs::hard_link(&durable, &place)?;
                }
            }
        }
    }
    fs::remove_dir_all(&data)?;
    fs::remove_dir_all(&shadow)?;
    fs::rename(&after, &data)
}

/// The durable names: of each directory's inode the entries.
#[derive(Debug, Default)]
struct Tree(BTreeMap<String, BTreeMap<String, Entry>>);

/// What a name stands for, by inode.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Directory(String),
    File(String),
}

impl Entry {
    /// From `S inode name` or `F inode name`.
    fn parse(text: &str) -> Option<(String, Self)> {
        let mut words = text.splitn(3, ' ');
        let (kind, inode, name) = (words.next()?, words.next()?, words.next()?);
        let entry = match kind {
            "S" => Self::Directory(inode.to_owned()),
            _ => Self::File(inode.to_owned()),
        };
        Some((name.to_owned(), entry))
    }
}

impl Tree {
    /// Reads the log of names.
    fn read(log: &str) -> Self {
        let mut tree = Self::default();
        let mut listing: Option<(&str, BTreeMap<String, Entry>)> = None;
        // A line without its end was being written at the cut.
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        for line in whole.lines() {
            let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
            match kind {
                "N" => {
                    let (directory, entry) = rest.split_once(' ').expect("an entry follows");
                    let (name, entry) = Entry::parse(entry).expect("a whole entry");
                    tree.add(directory, name, entry);
                }
                "D" => listing = Some((rest, BTreeMap::new())),
                "E" => {
                    let (directory, entries) = listing.take().expect("a listing begins with D");
                    tree.0.insert(directory.to_owned(), entries);
                }
                _ => {
                    let (_, entries) = listing.as_mut().expect("a listing begins with D");
                    entries.extend(Entry::parse(line));
                }
            }
        }
        tree
    }

    /// A name that became durable with what it stands for. A directory that has a durable name
    /// keeps it until its parent is synced; of a file only the new name stays.
    fn add(&mut self, directory: &str, name: String, entry: Entry) {
        let mut everywhere = self.0.values().flat_map(BTreeMap::values);
        if matches!(entry, Entry::Directory(_)) && everywhere.any(|known| *known == entry) {
            return;
        }
        let entries = self.0.entry(directory.to_owned()).or_default();
        entries.retain(|_, known| *known != entry);
        entries.insert(name, entry);
    }

    fn entries(&self, directory: &str) -> impl Iterator<Item = (&String, &Entry)> {
        self.0.get(directory).into_iter().flatten()
    }
}

/// The files that are there, by inode.
fn live_files(data: &Path) -> io::Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    let mut directories = vec![data.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                directories.push(path);
            } else {
                found.insert(identity(&path)?, path);
            }
        }
    }
    Ok(found)
}

/// The name that the library has for an inode.
fn identity(path: &Path) -> io::Result<String> {
    let metadata = fs::metadata(path)?;
    let birth = metadata.created()?.duration_since(UNIX_EPOCH);
    let birth = birth.map_err(io::Error::other)?;
    let (seconds, nanoseconds) = (birth.as_secs(), birth.subsec_nanos());
    Ok(format!("{}.{seconds}.{nanoseconds}", metadata.ino()))
}

/// Lets some of the pages that differ reach the disk after all.
fn tear(durable: &Path, live: &Path, random: &mut Random) -> io::Result<()> {
    let durable = fs::File::options().read(true).write(true).open(durable)?;
    let live = fs::File::open(live)?;
    let length = live.metadata()?.len();
    if random.once_in(2) && length > durable.metadata()?.len() {
        durable.set_len(length)?;
    }
    let end = durable.metadata()?.len().min(length);
    let (mut old, mut new) = ([0; PAGE], [0; PAGE]);
    let mut start = 0;
    while start < end {
        let count = usize::try_from(end - start).map_or(PAGE, |left| left.min(PAGE));
        durable.read_exact_at(&mut old[..count], start)?;
        live.read_exact_at(&mut new[..count], start)?;
        if old[..count] != new[..count] && random.once_in(2) {
            durable.write_all_at(&new[..count], start)?;
        }
        start += u64::try_from(PAGE).expect("64-bit machine");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(tree: &Tree, directory: &str) -> Vec<String> {
        tree.entries(directory)
            .map(|(name, _)| name.clone())
            .collect()
    }

    #[test]
    fn names_are_durable_when_they_or_their_directory_were_synced() {
        let added = Tree::read("N r S d below\nN d F 1 new\n");
        assert_eq!(names(&added, "r"), ["below"]);
        // A file that was renamed and then synced has its new name only.
        let renamed = Tree::read("N r F 1 old\nN r F 1 new\n");
        assert_eq!(names(&renamed, "r"), ["new"]);
        // A directory that was renamed has its old name until the parent is synced.
        let log = "N r S d old\nN r S d new\nN d F 1 file\n";
        assert_eq!(names(&Tree::read(log), "r"), ["old"]);
        let synced = Tree::read(&format!("{log}D r\nS d new\nE\n"));
        assert_eq!(names(&synced, "r"), ["new"]);
        assert_eq!(names(&synced, "d"), ["file"]);
        // What was being written at the cut is not there.
        let half = Tree::read("N r F 1 file\nD r\nF 2 other\n");
        assert_eq!(names(&half, "r"), ["file"]);
        assert_eq!(
            names(&Tree::read("N r F 1 file\nN r F 2 oth"), "r"),
            ["file"]
        );
    }
}
