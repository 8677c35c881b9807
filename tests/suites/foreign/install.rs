//! Gets what the clients need: from the machine's package manager where this may be asked, from
//! PyPI into `tests/.venv`, from npm below `tests/.work`.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::LazyLock,
};

/// Runs a command to its end; its output where it fails.
pub(super) fn run(command: &mut Command) -> Result<String, String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{:?}: {error}", command.get_program()))?;
    let text = |bytes| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        let trouble = [text(&output.stdout), text(&output.stderr)].join("\n");
        let program = command.get_program();
        Err(format!("{program:?}: {}: {trouble}", output.status))
    }
}

/// Whether a program can be found.
fn has(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", "command -v \"$1\"", "sh", program])
        .stdout(Stdio::null())
        .status();
    found.is_ok_and(|status| status.success())
}

/// Makes a program available, from this Debian package if it must be.
pub(super) fn program(program: &str, package: &str) -> Result<(), String> {
    if has(program) {
        return Ok(());
    }
    let install = "apt-get install -y --no-install-recommends \"$1\"";
    run(Command::new("sh").args(["-c", install, "sh", package]))
        .map_err(|trouble| format!("{program} is missing: {trouble}"))?;
    if has(program) {
        Ok(())
    } else {
        Err(format!("{package} has no {program}"))
    }
}

/// The interpreter of a virtual environment that has the clients.
pub(super) fn python() -> Result<&'static Path, &'static str> {
    static PYTHON: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
        let place = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv");
        let python = place.join("bin/python");
        let ready = || {
            let mut probe = Command::new(&python);
            run(probe.args(["-c", "import aiomqtt, gmqtt, paho.mqtt.client"])).is_ok()
        };
        if !ready() {
            program("python3", "python3")?;
            let create = || run(Command::new("python3").args(["-m", "venv"]).arg(&place));
            if create().is_err() {
                run(Command::new("apt-get").args(["install", "-y", "python3-venv"]))?;
                create()?;
            }
            let requirements = place.with_file_name("requirements.txt");
            let mut install = Command::new(&python);
            run(install
                .args(["-m", "pip", "install", "-q", "-r"])
                .arg(requirements))?;
        }
        if ready() {
            Ok(python)
        } else {
            Err("the clients are installed and cannot be imported".to_owned())
        }
    });
    PYTHON.as_deref().map_err(String::as_str)
}

/// The `node_modules` that has MQTT.js.
pub(super) fn node_modules() -> Result<PathBuf, String> {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join(".work/npm");
    let modules = place.join("node_modules");
    if !modules.join("mqtt/package.json").is_file() {
        program("npm", "npm")?;
        run(Command::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--prefix"])
            .arg(&place)
            .arg("mqtt@5"))?;
    }
    Ok(modules)
}
