//! Libraries and programs in C of `tests/soak`, for what Rust would need unsafe code for: built
//! when they are needed, once for each process.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::{LazyLock, Mutex, PoisonError},
};

use super::Unavailable;

/// What is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Native {
    /// The library that keeps what was synced apart: the disk that forgets.
    PowerCut,
    /// The library whose syncs fail or take their time.
    SickDisk,
    /// The library with a wall clock that is wrong.
    WrongClock,
    /// The program that delays what passes between two links.
    Lag,
}

impl Native {
    /// Where it is.
    ///
    /// # Errors
    ///
    /// There is no C compiler.
    pub fn path(self) -> Result<PathBuf, Unavailable> {
        static BUILT: LazyLock<Mutex<HashMap<Native, PathBuf>>> = LazyLock::new(Mutex::default);
        let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = built.get(&self) {
            return Ok(path.clone());
        }
        let path = self.build()?;
        built.insert(self, path.clone());
        Ok(path)
    }

    fn sources(self) -> &'static [&'static str] {
        match self {
            Self::PowerCut => &["powercut.c", "powercut_calls.c"],
            Self::SickDisk => &["sickdisk.c"],
            Self::WrongClock => &["wrongclock.c"],
            Self::Lag => &["lag.c"],
        }
    }

    fn build(self) -> Result<PathBuf, Unavailable> {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
        let (sources, place) = (tests.join("soak"), tests.join(".work/native"));
        let unavailable = |what: &str, error| Unavailable::new(format!("{what}: {error}"));
        fs::create_dir_all(&place).map_err(|error| unavailable("tests/.work", error))?;
        let name = match self {
            Self::PowerCut => "powercut.so",
            Self::SickDisk => "sickdisk.so",
            Self::WrongClock => "wrongclock.so",
            Self::Lag => "lag",
        };
        let flags: &[_] = match self {
            Self::Lag => &[],
            _ => &["-shared", "-fPIC"],
        };
        // Others may build the same at this moment.
        let own = place.join(format!("{}-{name}", process::id()));
        let output = Command::new("cc")
            .args(["-O2", "-Wall", "-pthread", "-fvisibility=hidden"])
            .args(flags)
            .arg("-o")
            .arg(&own)
            .args(self.sources().iter().map(|name| sources.join(name)))
            .output()
            .map_err(|error| unavailable("cc", error))?;
        // With a compiler it is our own mistake.
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{said}");
        let path = place.join(name);
        fs::rename(&own, &path).map_err(|error| unavailable("tests/.work", error))?;
        Ok(path)
    }
}
