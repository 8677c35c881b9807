//! `gatemq passwd`: what to write into a file of users for a password.

use std::ffi::OsString;
use std::io::Read;

use clap::{Arg, ArgAction, Command};
use gatemq_gateway::Scram;

use crate::flags::{Refusal, refusal};

/// The longest password that MQTT can carry, in bytes.
const LONGEST: u64 = u16::MAX as u64;

/// Reads a password up to the end of the first line of stdin, so that it is in no list of processes,
/// and returns what is to be stored for it.
pub(crate) fn answer(arguments: &[OsString]) -> Result<String, Refusal> {
    let given = command()
        .try_get_matches_from(arguments.iter().skip(1))
        .map_err(|error| refusal(&error))?;
    let flags = [
        ("scram-sha-256", Scram::Sha256),
        ("scram-sha-512", Scram::Sha512),
    ];
    let asked = flags.iter().find(|(flag, _)| given.get_flag(flag));
    store(asked.map(|(_, mechanism)| *mechanism), std::io::stdin()).map_err(Refusal::Wrong)
}

/// Reads a password and returns argon2id of it, with a salt of its own, or what SCRAM needs.
fn store(mechanism: Option<Scram>, input: impl Read) -> Result<String, String> {
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

fn command() -> Command {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .help(help)
            .action(ArgAction::SetTrue)
    };
    Command::new("gatemq passwd")
        .about(
            "Reads a password, one line, from its standard input, and prints what to write for it as \
             password of a user: argon2id, unless a flag asks for another form",
        )
        .arg(flag(
            "scram-sha-256",
            "What SCRAM-SHA-256 needs; with it the password can be sent, too",
        ))
        .arg(flag("scram-sha-512", "The same of SCRAM-SHA-512").conflicts_with("scram-sha-256"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer_to(input: &str) -> Result<String, String> {
        store(None, input.as_bytes())
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
        for (mechanism, begins) in [
            (Scram::Sha256, "SCRAM-SHA-256$4096:"),
            (Scram::Sha512, "SCRAM-SHA-512$4096:"),
        ] {
            let made = |input: &[u8]| store(Some(mechanism), input);
            let text = made(b"secret\n").expect("it is one");
            assert!(text.starts_with(begins) && text.ends_with("=\n"), "{text}");
            assert!(made(b"a\x07b").is_err() && made(b"a\xFFb").is_err());
        }
    }

    #[test]
    fn what_is_no_password_is_refused() {
        for input in ["", "\n", &"x".repeat(70_000)] {
            assert!(answer_to(input).is_err());
        }
    }

    #[test]
    fn it_takes_no_password_as_an_argument_and_says_what_it_does() {
        let given = |more| answer(&["gatemq", "passwd", more].map(OsString::from));
        assert!(matches!(given("secret"), Err(Refusal::Wrong(_))));
        assert!(matches!(given("--help"), Err(Refusal::Answer(help)) if help.contains("argon2id")));
    }
}
