//! `gatemq passwd`: what to write into a file of users for a password.

use std::ffi::OsString;
use std::io::Read;

use gatemq_gateway::Scram;

/// The longest password that MQTT can carry, in bytes.
const LONGEST: u64 = u16::MAX as u64;

/// Whether a command line asks for it: `gatemq passwd`.
pub(crate) fn is_asked_for(arguments: &[OsString]) -> bool {
    arguments.get(1).is_some_and(|first| first == "passwd")
}

/// Reads a password up to the end of the first line and returns what is to be stored for it:
/// argon2id, with a salt of its own, or what SCRAM needs where that is asked for
/// (`--scram-sha-256`, `--scram-sha-512`).
///
/// # Errors
///
/// What is wrong with what was given, in one line.
pub(crate) fn answer(arguments: &[OsString], input: impl Read) -> Result<String, String> {
    let mechanism = match arguments.get(2..).unwrap_or_default() {
        [] => None,
        [flag] if flag == "--scram-sha-256" => Some(Scram::Sha256),
        [flag] if flag == "--scram-sha-512" => Some(Scram::Sha512),
        _ => {
            return Err(
                "passwd takes --scram-sha-256, --scram-sha-512, or no arguments: it reads the \
                 password, one line, from its standard input, so that it is in no list of processes"
                    .to_owned(),
            );
        }
    };
    let mut given = Vec::new();
    let read = input.take(LONGEST + 2).read_to_end(&mut given);
    read.map_err(|error| format!("the password cannot be read: {error}"))?;
    let end = given.iter().position(|byte| *byte == b'\n');
    given.truncate(end.unwrap_or(given.len()));
    if given.last() == Some(&b'\r') {
        given.pop();
    }
    match given.len() as u64 {
        0 => Err("the password is empty".to_owned()),
        length if length > LONGEST => Err("the password is longer than MQTT can carry".to_owned()),
        _ => {
            let text = match mechanism {
                None => gatemq_gateway::hash_password(&given),
                Some(mechanism) => gatemq_gateway::scram_password(&given, mechanism)
                    .map_err(|error| error.to_string())?,
            };
            Ok(text + "\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer_to(input: &str) -> Result<String, String> {
        answer(&["gatemq".into(), "passwd".into()], input.as_bytes())
    }

    #[test]
    fn a_password_is_one_line_of_the_input() {
        for input in ["secret", "secret\n", "secret\r\nmore"] {
            let hash = answer_to(input).expect("it is one");
            assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$") && hash.ends_with('\n'));
        }
        assert_ne!(
            answer_to("secret"),
            answer_to("secret"),
            "each has its salt"
        );
    }

    #[test]
    fn what_scram_needs_is_made_where_that_is_asked_for() {
        for (flag, begins) in [
            ("--scram-sha-256", "SCRAM-SHA-256$4096:"),
            ("--scram-sha-512", "SCRAM-SHA-512$4096:"),
        ] {
            let arguments = ["gatemq", "passwd", flag].map(OsString::from);
            let text = answer(&arguments, &b"secret\n"[..]).expect("it is one");
            assert!(text.starts_with(begins) && text.ends_with("=\n"), "{text}");
            assert!(answer(&arguments, &b"a\x07b"[..]).is_err());
            assert!(answer(&arguments, &b"a\xFFb"[..]).is_err());
        }
    }

    #[test]
    fn what_is_no_password_is_refused() {
        for input in ["", "\n", &"x".repeat(70_000)] {
            assert!(answer_to(input).is_err());
        }
        let given = ["gatemq", "passwd", "secret"].map(OsString::from);
        assert!(answer(&given, &b""[..]).is_err_and(|line| !line.contains("secret")));
    }
}
