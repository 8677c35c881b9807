//! Files that are damaged while nobody has them open: a bit that turned, a tail that is missing.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use crate::history::Random;

/// Turns one bit of a file; chance says which. Where it is, in bytes from the beginning.
///
/// # Errors
///
/// The file is empty, or cannot be changed.
pub fn turn_bit(path: &Path, random: &mut Random) -> io::Result<u64> {
    let file = File::options().read(true).write(true).open(path)?;
    let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    if length == 0 {
        return Err(io::Error::other("an empty file has no bit"));
    }
    let at = u64::try_from(random.below(length)).map_err(io::Error::other)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    byte[0] ^= 1 << random.below(8);
    file.write_all_at(&byte, at)?;
    Ok(at)
}

/// Takes so many bytes off the end of a file, or all that it has.
///
/// # Errors
///
/// It cannot be changed.
pub fn tear_off(path: &Path, n_bytes: u64) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    let length = file.metadata()?.len();
    file.set_len(length.saturating_sub(n_bytes))
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
        fs::write(&path, [0; 100]).expect("a folder of its own");
        let found = files(folder.path()).expect("it is there");
        assert_eq!(found, std::slice::from_ref(&path));
        let mut random = Random::new(3);
        let at = turn_bit(&path, &mut random).expect("it has bits");
        let bytes = fs::read(&path).expect("it is there");
        let n_ones: u32 = bytes.iter().map(|byte| byte.count_ones()).sum();
        assert_eq!((bytes.len(), n_ones), (100, 1));
        assert_ne!(bytes[usize::try_from(at).expect("small")], 0);
        tear_off(&path, 30).expect("it is there");
        assert_eq!(fs::read(&path).expect("it is there"), bytes[..70]);
        tear_off(&path, 1_000).expect("it is there");
        assert!(turn_bit(&path, &mut random).is_err());
    }
}
