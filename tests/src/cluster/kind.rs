//! Which tiers a process has, and the program that has them.

use std::{env, path::PathBuf, process::Command};

/// Which tiers a process has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `gatemq-control-plane`.
    Control,
    /// `gatemq-gateway`.
    Gateway,
    /// `gatemq`: both.
    Whole,
    /// `gatemq-bridge`.
    Bridge,
}

// === impl Kind ===

impl Kind {
    pub(super) fn has_control(self) -> bool {
        matches!(self, Self::Control | Self::Whole)
    }

    pub(super) fn has_gateway(self) -> bool {
        matches!(self, Self::Gateway | Self::Whole)
    }

    fn binary(self) -> &'static str {
        match self {
            Self::Control => "gatemq-control-plane",
            Self::Gateway => "gatemq-gateway",
            Self::Whole => "gatemq",
            Self::Bridge => "gatemq-bridge",
        }
    }

    /// What its certificate says it is, as `gatemq pki` takes it.
    pub(super) fn roles(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Gateway => "gateway",
            Self::Whole => "control,gateway",
            Self::Bridge => "bridge",
        }
    }
}

/// Makes certificates: `gatemq pki`, which has to succeed.
#[track_caller]
pub(super) fn pki(arguments: &[&str]) {
    let binary = binary(Kind::Whole).expect("the binary is there");
    let made = Command::new(binary).arg("pki").args(arguments).output();
    let made = made.expect("the binary runs");
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "pki {arguments:?}: {said}");
}

/// In the folder `GATEMQ_BIN_DIR`, or where cargo puts binaries: beside this executable, or beside
/// the `deps` directory that a test executable is in.
///
/// # Errors
///
/// It is not there.
pub fn binary(kind: Kind) -> Result<PathBuf, String> {
    let folder = match env::var_os("GATEMQ_BIN_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => {
            let executable = env::current_exe().map_err(|error| error.to_string())?;
            let mut folders = executable.ancestors().skip(1);
            let profile = folders.find(|folder| !folder.ends_with("deps"));
            profile
                .ok_or("this executable has no directory")?
                .to_owned()
        }
    };
    let path = folder.join(kind.binary());
    if path.is_file() {
        Ok(path)
    } else {
        Err(format!(
            "{} is missing: run `cargo build --workspace --bins` first, or set GATEMQ_BIN_DIR",
            path.display()
        ))
    }
}
