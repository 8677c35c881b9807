//! `gatemq token`: a new token for the HTTP API, and what to write for it.

use std::ffi::OsString;

use clap::Command;
use gatemq_control_plane::api;

use crate::flags::{Refusal, refusal};

/// Makes one, and returns it; what to write for it is said on stderr, so that the token alone can be
/// put into a file.
pub(crate) fn answer(arguments: &[OsString]) -> Result<String, Refusal> {
    command()
        .try_get_matches_from(arguments.iter().skip(1))
        .map_err(|error| refusal(&error))?;
    let made = api::generate();
    let (token, sha256) = made.map_err(|why| Refusal::Wrong(format!("no token: {why}")))?;
    eprint!("{}", to_write(&sha256));
    Ok(token + "\n")
}

fn to_write(sha256: &str) -> String {
    format!(
        "# Give it to whoever is to show it (Authorization: Bearer TOKEN): it is stored nowhere.\n\
         # In the configuration of each node, with a name, and with a scope (viewer, operator, admin):\n\
         api:\n  tokens:\n  - {{name: NAME, sha256: {sha256}, scope: viewer}}\n"
    )
}

fn command() -> Command {
    Command::new("gatemq token").about(
        "Makes a token for the HTTP API: itself goes to stdout, what to write for it into the \
         configuration (api.tokens) to stderr",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer_to(arguments: &[&str]) -> Result<String, Refusal> {
        answer(&arguments.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn what_it_says_to_write_is_taken() {
        let yaml = to_write(&"ab".repeat(32));
        let tree: serde_yaml::Value = serde_yaml::from_str(&yaml).expect("YAML");
        let api: crate::config::Api = serde_yaml::from_value(tree["api"].clone()).expect("api");
        let tokens = api.all().expect("it is right");
        assert!(matches!(&*tokens, [token] if token.name == "NAME"));
    }

    #[test]
    fn each_token_is_another_one_and_nothing_is_said_beside_it() {
        let made = [(); 2].map(|()| answer_to(&["gatemq", "token"]).unwrap_or_default());
        assert!(made[0] != made[1] && made.iter().all(|token| token.trim().len() >= 32));
        assert!(made.iter().all(|token| token.lines().count() == 1));
        let with = |more| answer_to(&["gatemq", "token", more]);
        assert!(matches!(with("x"), Err(Refusal::Wrong(_))));
        assert!(matches!(with("--help"), Err(Refusal::Answer(help)) if help.contains("stdout")));
    }
}
