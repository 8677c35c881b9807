//! `gatemq token`: a new token for the HTTP API, and what to write for it.

use std::ffi::OsString;

use gatemq_control_plane::api;

/// Whether a command line asks for it: `gatemq token`.
pub(crate) fn is_asked_for(arguments: &[OsString]) -> bool {
    arguments.get(1).is_some_and(|first| first == "token")
}

/// Makes one, and returns what is to be said.
///
/// # Errors
///
/// What is wrong with what was given, in one line.
pub(crate) fn answer(arguments: &[OsString]) -> Result<String, String> {
    if arguments.len() > 2 {
        return Err("token takes no arguments: name and scope are set where it is written".into());
    }
    let (token, sha256) = api::generate().map_err(|why| format!("no token: {why}"))?;
    Ok(format!(
        "{token}\n\n\
         # Give it to whoever is to show it (Authorization: Bearer TOKEN): it is stored nowhere.\n\
         # In the configuration of each node, with a name, and with a scope (viewer, operator, admin):\n\
         api:\n  tokens:\n  - {{name: NAME, sha256: {sha256}, scope: viewer}}\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer_to(arguments: &[&str]) -> Result<String, String> {
        answer(&arguments.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn what_it_says_to_write_is_taken() {
        let said = answer_to(&["gatemq", "token"]).expect("a token");
        let (_, yaml) = said.split_once("\n\n").expect("a token, and what to write");
        let tree: serde_yaml::Value = serde_yaml::from_str(yaml).expect("YAML");
        let api: crate::config::Api = serde_yaml::from_value(tree["api"].clone()).expect("api");
        let tokens = api.all().expect("it is right");
        assert!(matches!(&*tokens, [token] if token.name == "NAME"));
        assert_ne!(answer_to(&["gatemq", "token"]).expect("a token"), said);
        assert!(answer_to(&["gatemq", "token", "x"]).is_err());
    }
}
