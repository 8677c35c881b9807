//! Programs that change networks, and what they say if they cannot.

use std::{
    io::Write,
    process::{Command, Stdio},
};

/// Runs it with this text as its input.
///
/// # Errors
///
/// It is not there, or it failed: what it said.
pub(super) fn run(words: &[&str], input: &str) -> Result<(), String> {
    let what = words.join(" ");
    let mut child = Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{what}: {error}"))?;
    let mut stdin = child.stdin.take().expect("it is piped");
    // Who does not read it fails anyhow.
    let _written = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output();
    let output = output.map_err(|error| format!("{what}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{what}: {} ({})", said.trim(), output.status))
}

/// Runs it in a namespace.
pub(super) fn run_in(namespace: &str, words: &[&str], input: &str) -> Result<(), String> {
    let file = format!("--net=/run/netns/{namespace}");
    run(&[&["nsenter", &file, "--"], words].concat(), input)
}

/// `ip`, with words that are separated by spaces.
pub(super) fn ip(words: &str) -> Result<(), String> {
    let words = words.split_whitespace();
    let words: Vec<_> = ["ip"].into_iter().chain(words).collect();
    run(&words, "")
}
