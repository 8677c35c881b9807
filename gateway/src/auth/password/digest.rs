//! The hash functions that stored passwords are made with.

use hmac::{Hmac, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::{Sha256, Sha512};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Digest {
    Md5,
    Sha1,
    Sha256,
    Sha512,
}

impl Digest {
    pub(super) fn output_size(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// Of the parts, one after the other.
    pub(super) fn of(self, parts: &[&[u8]]) -> Vec<u8> {
        fn run<D: sha2::Digest>(parts: &[&[u8]]) -> Vec<u8> {
            let mut state = D::new();
            parts.iter().for_each(|part| state.update(part));
            state.finalize().to_vec()
        }
        match self {
            Self::Md5 => run::<Md5>(parts),
            Self::Sha1 => run::<Sha1>(parts),
            Self::Sha256 => run::<Sha256>(parts),
            Self::Sha512 => run::<Sha512>(parts),
        }
    }

    /// HMAC.
    pub(super) fn keyed(self, key: &[u8], message: &[u8]) -> Vec<u8> {
        const ANY_LENGTH: &str = "HMAC takes keys of any length";
        macro_rules! run {
            ($digest:ty) => {
                Hmac::<$digest>::new_from_slice(key)
                    .expect(ANY_LENGTH)
                    .chain_update(message)
                    .finalize()
                    .into_bytes()
                    .to_vec()
            };
        }
        match self {
            Self::Md5 => run!(Md5),
            Self::Sha1 => run!(Sha1),
            Self::Sha256 => run!(Sha256),
            Self::Sha512 => run!(Sha512),
        }
    }

    /// PBKDF2 over HMAC, `size` bytes of it.
    pub(super) fn stretched(self, given: &[u8], salt: &[u8], rounds: u32, size: usize) -> Vec<u8> {
        let mut output = vec![0; size];
        match self {
            Self::Md5 => pbkdf2::pbkdf2_hmac::<Md5>(given, salt, rounds, &mut output),
            Self::Sha1 => pbkdf2::pbkdf2_hmac::<Sha1>(given, salt, rounds, &mut output),
            Self::Sha256 => pbkdf2::pbkdf2_hmac::<Sha256>(given, salt, rounds, &mut output),
            Self::Sha512 => pbkdf2::pbkdf2_hmac::<Sha512>(given, salt, rounds, &mut output),
        }
        output
    }
}
