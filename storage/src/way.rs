//! The choice of an engine: its names in the configuration, and opening the one that is chosen.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use crate::{Engine, Error, Fjall, Memory, Redb};

/// An engine to keep data in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Way {
    /// In memory, gone with the process.
    #[default]
    Memory,
    /// In one file, a copy-on-write tree.
    Redb,
    /// In a directory of files, a log-structured merge tree.
    Fjall,
}

/// A name that is no engine's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no storage engine is called {0:?}: use memory, redb or fjall")]
pub struct UnknownWay(String);

/// Opens the engine in a directory, which is created if need be.
///
/// The directory remembers its engine: opening it with another one is an error. The engine
/// `memory` leaves the directory alone.
pub fn open(way: Way, dir: &Path) -> Result<Arc<dyn Engine>, Error> {
    Ok(match way {
        Way::Memory => Arc::new(Memory::new()),
        Way::Redb => Arc::new(Redb::open(dir)?),
        Way::Fjall => Arc::new(Fjall::open(dir)?),
    })
}

// === impl Way ===

impl Way {
    /// All engines, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Memory, Self::Redb, Self::Fjall];

    /// The name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redb => "redb",
            Self::Fjall => "fjall",
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Way {
    type Err = UnknownWay;

    /// Reads a name, or a name or number that comqtt gave to an engine of the same kind.
    fn from_str(text: &str) -> Result<Self, UnknownWay> {
        match text.trim().to_ascii_lowercase().as_str() {
            "memory" | "0" => Ok(Self::Memory),
            "redb" | "bolt" | "1" => Ok(Self::Redb),
            "fjall" | "badger" | "2" => Ok(Self::Fjall),
            _ => Err(UnknownWay(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_and_numbers() {
        for (number, way) in Way::ALL.into_iter().enumerate() {
            assert_eq!(way.to_string().parse(), Ok(way));
            assert_eq!(number.to_string().parse(), Ok(way));
        }
        assert_eq!("bolt".parse(), Ok(Way::Redb));
        assert_eq!(" Badger ".parse(), Ok(Way::Fjall));
        assert_eq!("sled".parse::<Way>(), Err(UnknownWay("sled".to_owned())));
    }
}
