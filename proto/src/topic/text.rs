//! One pass over a text for everything that a topic, a client identifier or a user name is
//! checked for.

/// What a text contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scan {
    /// How many `/` there are.
    pub(crate) slashes: usize,
    /// There is a `+`.
    pub(crate) plus: bool,
    /// There is a `#`.
    pub(crate) hash: bool,
    /// There is a control character: U+0000 to U+001F, U+007F to U+009F.
    pub(crate) control: bool,
    /// There is a Unicode non-character: U+FDD0 to U+FDEF, or the last two of a plane.
    pub(crate) non_character: bool,
}

/// Scans a text: bytes if it is ASCII, and once more by characters if it is not.
#[inline]
pub(crate) fn scan(text: &str) -> Scan {
    let (chunks, rest) = text.as_bytes().as_chunks();
    let mut found = [0; CHUNK];
    let mut slashes = 0;
    for chunk in chunks {
        slashes += scan_chunk(chunk, &mut found);
    }
    if !rest.is_empty() {
        let mut last = [FILLER; CHUNK];
        for (byte, padded) in rest.iter().zip(&mut last) {
            *padded = *byte;
        }
        slashes += scan_chunk(&last, &mut found);
    }
    let found = found.into_iter().fold(0, |all, bits| all | bits);
    let mut scan = Scan {
        slashes,
        plus: found & PLUS != 0,
        hash: found & HASH != 0,
        control: found & CONTROL != 0,
        non_character: false,
    };
    if found & BEYOND_ASCII != 0 {
        scan_beyond_ascii(text, &mut scan);
    }
    scan
}

/// Bytes that are looked at together: as many as every x86-64 and ARM64 has in a register.
const CHUNK: usize = 16;

/// A byte in which nothing is found.
const FILLER: u8 = b'a';

const PLUS: u8 = 1;
const HASH: u8 = 2;
const CONTROL: u8 = 4;
const BEYOND_ASCII: u8 = 0x80;

/// Adds to what is found at each place of a chunk, and counts the slashes. Without a branch, so
/// that the compiler makes vector instructions of it.
#[inline]
fn scan_chunk(chunk: &[u8; CHUNK], found: &mut [u8; CHUNK]) -> usize {
    for (&byte, found) in chunk.iter().zip(found) {
        let control = (byte < b' ') | (byte == 0x7F);
        *found |= (u8::from(byte == b'+') * PLUS)
            | (u8::from(byte == b'#') * HASH)
            | (u8::from(control) * CONTROL)
            | (byte & BEYOND_ASCII);
    }
    let slashes = chunk.iter().map(|byte| u8::from(*byte == b'/'));
    usize::from(slashes.sum::<u8>())
}

#[cold]
fn scan_beyond_ascii(text: &str, scan: &mut Scan) {
    for character in text.chars() {
        scan.control |= character.is_control();
        scan.non_character |= is_non_character(character);
    }
}

fn is_non_character(character: char) -> bool {
    let code = u32::from(character);
    (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE
}
