//! Files that are damaged while nobody has them open: a bit that turned, a tail that is missing, pages
//! that were not written. Chance says where, before the zeros that a file may end with: there is
//! nothing to damage in those.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use crate::history::Random;

const PAGE: usize = 4096;

/// Turns one bit of a file. Where it is, in bytes from the beginning.
///
/// # Errors
///
/// The file has nothing but zeros, or cannot be changed.
pub fn turn_bit(path: &Path, random: &mut Random) -> io::Result<u64> {
    let bytes = fs::read(path)?;
    let at = somewhere(&bytes, random)?;
    let turned = bytes[at] ^ 1 << random.below(8);
    let at = u64::try_from(at).map_err(io::Error::other)?;
    File::options()
        .write(true)
        .open(path)?
        .write_all_at(&[turned], at)?;
    Ok(at)
}

/// Takes the end off a file. How long it is then, in bytes.
///
/// # Errors
///
/// The file has nothing but zeros, or cannot be changed.
pub fn tear_off(path: &Path, random: &mut Random) -> io::Result<u64> {
    let at = somewhere(&fs::read(path)?, random)?;
    let at = u64::try_from(at).map_err(io::Error::other)?;
    File::options().write(true).open(path)?.set_len(at)?;
    Ok(at)
}

/// Of the pages that hold a mark the last ones, at most half of them, are zeros then, as if they had
/// not been written. Where the first of these is, in bytes from the beginning.
///
/// # Errors
///
/// No page holds the mark, or the file cannot be changed.
pub fn cut_short(path: &Path, mark: &[u8], random: &mut Random) -> io::Result<u64> {
    let bytes = fs::read(path)?;
    let has_mark = |page: &[u8]| page.windows(mark.len()).any(|window| window == mark);
    let pages = bytes.chunks(PAGE).enumerate();
    let marked = pages.filter(|(_, page)| has_mark(page));
    let marked: Vec<_> = marked.map(|(number, _)| number * PAGE).collect();
    if marked.is_empty() {
        return Err(io::Error::other("no page holds the mark"));
    }
    let n_lost = 1 + random.below(marked.len().div_ceil(2));
    let lost = &marked[marked.len() - n_lost..];
    let file = File::options().write(true).open(path)?;
    for &start in lost {
        let end = bytes.len().min(start + PAGE);
        let at = u64::try_from(start).map_err(io::Error::other)?;
        file.write_all_at(&vec![0; end - start], at)?;
    }
    u64::try_from(lost[0]).map_err(io::Error::other)
}

/// A place before the zeros at the end.
fn somewhere(bytes: &[u8], random: &mut Random) -> io::Result<usize> {
    let last = bytes.iter().rposition(|byte| *byte != 0);
    let last = last.ok_or_else(|| io::Error::other("there is nothing in the file"))?;
    Ok(random.below(last + 1))
}

/// The files below a folder, in the order of their paths.
///
/// # Errors
///
/// It cannot be read.
pub fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.push(path),
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bit_turns_and_a_tail_goes() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("below/file");
        fs::create_dir(folder.path().join("below")).expect("a folder of its own");
        let before = [[1; 60], [0; 60]].concat();
        fs::write(&path, &before).expect("a folder of its own");
        let found = files(folder.path()).expect("it is there");
        assert_eq!(found, std::slice::from_ref(&path));
        let mut random = Random::new(3);
        let at = turn_bit(&path, &mut random).expect("it has bits");
        let bytes = fs::read(&path).expect("it is there");
        let pairs = bytes.iter().zip(&before);
        let n_turned: u32 = pairs.map(|(now, then)| (now ^ then).count_ones()).sum();
        assert_eq!((bytes.len(), n_turned), (120, 1));
        assert!(at < 60);
        let length = tear_off(&path, &mut random).expect("it has a tail");
        let left = fs::read(&path).expect("it is there");
        assert_eq!(left, bytes[..usize::try_from(length).expect("small")]);
        assert!(length < 60);
        fs::write(&path, [0; 100]).expect("a folder of its own");
        assert!(turn_bit(&path, &mut random).is_err());
    }

    #[test]
    fn the_last_pages_with_a_mark_are_lost() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("file");
        let page = |byte: u8, text: &[u8]| [text, &vec![byte; PAGE - text.len()]].concat();
        let pages: Vec<_> = (1..=8)
            .map(|number| page(number, if number % 2 == 0 { b"mark" } else { b"" }))
            .collect();
        let mut random = Random::new(5);
        for _ in 0..20 {
            fs::write(&path, pages.concat()).expect("a folder of its own");
            let at = cut_short(&path, b"mark", &mut random).expect("there is the mark");
            let at = usize::try_from(at).expect("small") / PAGE;
            let found = fs::read(&path).expect("it is there");
            for (number, (now, then)) in found.chunks(PAGE).zip(&pages).enumerate() {
                let is_lost = number % 2 == 1 && number >= at;
                assert_eq!(now == vec![0; PAGE], is_lost, "page {number}");
                assert_eq!(now == then, !is_lost, "page {number}");
            }
            assert!(at == 5 || at == 7, "at most half of them: {at}");
        }
        assert!(cut_short(&path, b"none", &mut random).is_err());
    }
}
