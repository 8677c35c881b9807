//! The end of a file of lines.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// Bytes that are looked at: more than the longest line has.
const MOST: u64 = 1 << 20;

/// What a file ends with.
pub(super) struct Tail {
    /// Whole lines, the newline of the last one with them.
    pub(super) lines: Vec<u8>,
    /// Bytes of the file up to the end of its last whole line.
    pub(super) length: u64,
}

// === impl Tail ===

impl Tail {
    pub(super) fn of(file: &mut File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let start = length.saturating_sub(MOST);
        file.seek(SeekFrom::Start(start))?;
        let mut lines = Vec::new();
        file.take(MOST).read_to_end(&mut lines)?;
        let newline = |byte: &u8| *byte == b'\n';
        lines.truncate(lines.iter().rposition(newline).map_or(0, |at| at + 1));
        let length = start + lines.len() as u64;
        if start > 0 {
            let half = lines.iter().position(newline).map_or(0, |at| at + 1);
            lines.drain(..half);
        }
        Ok(Self { lines, length })
    }
}

/// The last lines of a file, the oldest first; `None` if there is none that can be read.
pub(super) fn last_lines(path: &Path, n_lines: usize) -> Option<Vec<String>> {
    let tail = Tail::of(&mut File::open(path).ok()?).ok()?;
    let text = String::from_utf8_lossy(&tail.lines);
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(n_lines)..];
    Some(last.iter().map(|line| (*line).to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn half_a_line_is_none_at_either_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        assert_eq!(last_lines(&path, 5), None);
        fs::write(&path, "one\ntwo\nthree\nfo").expect("written");
        assert_eq!(last_lines(&path, 2).expect("lines"), ["two", "three"]);
        assert_eq!(last_lines(&path, 9).expect("lines").len(), 3);
        let tail = Tail::of(&mut File::open(&path).expect("a file")).expect("a tail");
        assert_eq!(tail.length, 14);
        let long = "x".repeat(MOST as usize - 2);
        fs::write(&path, format!("{long}\ntwo\n")).expect("written");
        assert_eq!(last_lines(&path, 9).expect("lines"), ["two"]);
        fs::write(&path, "half").expect("written");
        assert_eq!(last_lines(&path, 9).expect("lines").len(), 0);
    }
}
