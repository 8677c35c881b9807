//! `gatemq acl check`: what a file of users lets a client do, and which rule says so.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command, value_parser};
use gatemq_gateway::acl::{Action, Client, File, Verdict};
use gatemq_proto::topic::{Bounds, Filter};

use crate::flags::{Refusal, refusal};

/// Judges what is asked, and returns a line for each action.
pub(crate) fn answer(arguments: &[OsString]) -> Result<String, Refusal> {
    let given = command()
        .try_get_matches_from(arguments.iter().skip(1))
        .map_err(|error| refusal(&error))?;
    let check = given.subcommand_matches("check");
    check.map_or_else(|| Ok(String::new()), look_up)
}

fn look_up(given: &ArgMatches) -> Result<String, Refusal> {
    let text = |name| given.get_one::<String>(name).map_or("", String::as_str);
    let path = given.get_one::<PathBuf>("file").cloned();
    let file = File::read(&path.unwrap_or_default());
    let file = file.map_err(|error| Refusal::Wrong(error.to_string()))?;
    let username = given.get_one::<String>("user").map(String::as_str);
    let address = given.get_one::<IpAddr>("address").copied();
    let topic = text("topic");
    let filter = Filter::parse(topic, Bounds::NONE)
        .map_err(|error| Refusal::Wrong(format!("--topic {topic:?}: {error}")))?;
    let Some(client) = file.client(text("client"), username, address) else {
        return Ok("deny (not let in: a client id is somebody else's)\n".to_owned());
    };
    let is_name = filter.share.is_none() && !topic.contains(['+', '#']);
    let publish = is_name.then(|| client.judge(Action::Publish, topic));
    let subscribe = client.judge(Action::Subscribe, filter.filter);
    Ok(report(&client, publish, subscribe))
}

fn report(client: &Client<'_>, publish: Option<Verdict>, subscribe: Verdict) -> String {
    let mut lines = String::new();
    if !client.is_known {
        lines += "not a user of the file: judged as one whom another source lets in\n";
    }
    let publish = publish.map(|verdict| format!("publish: {verdict}\n"));
    lines + &publish.unwrap_or_default() + &format!("subscribe: {subscribe}\n")
}

fn command() -> Command {
    let flag = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let check = Command::new("check")
        .about("What a client may do with a topic, or with all topics of a filter")
        .arg(
            flag("file", "FILE", "The file of users and rules")
                .required(true)
                .value_parser(value_parser!(PathBuf)),
        )
        .arg(flag("topic", "TOPIC", "A topic, or a filter to subscribe to").required(true))
        .arg(flag("user", "NAME", "The client's user name"))
        .arg(flag("client", "ID", "Its client id"))
        .arg(flag("address", "IP", "Where it comes from").value_parser(value_parser!(IpAddr)));
    Command::new("gatemq acl")
        .about("Questions about rules; no broker is asked")
        .subcommand_required(true)
        .subcommand(check)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
password-hash: plain
users:
- {username: ann, password: x}
- {username: root, password: x, superuser: true}
- {client-id: pump-7, password: x}
rules:
- {deny: all, topics: [a/secret/#, b]}
- {allow: publish, topics: [a/%c], clients: [pump-*]}
- {allow: all, topics: [a/#, $SYS/#], users: [ann]}
";

    fn check(more: &str, expected: &str) {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(&file, FILE).expect("it is written");
        let mut line: Vec<OsString> = ["gatemq", "acl", "check", "--file"].map(Into::into).into();
        line.push(file.path().into());
        line.extend(more.split(' ').map(Into::into));
        let said = match answer(&line) {
            Ok(said) | Err(Refusal::Answer(said) | Refusal::Wrong(said)) => said,
        };
        assert_eq!(said.trim_end().replace('\n', "; "), expected, "{more}");
    }

    #[test]
    fn it_says_which_rule_decides() {
        let (by, none) = ("allow (rules[2])", "deny (no rule speaks of it)");
        check(
            "--user ann --topic a/b",
            &format!("publish: {by}; subscribe: {by}"),
        );
        check(
            "--user ann --topic a/secret/x",
            "publish: deny (rules[0]); subscribe: deny (rules[0])",
        );
        check("--user ann --topic a/+", "subscribe: allow (rules[2])");
        check(
            "--user ann --topic $share/g/a/+",
            "subscribe: allow (rules[2])",
        );
        check("--user ann --topic #", &format!("subscribe: {none}"));
        let own = format!("publish: deny (the broker's own topic); subscribe: {by}");
        check("--user ann --topic $SYS/x", &own);
        let all = "publish: allow (superuser); subscribe: allow (superuser)";
        check("--user root --topic b", all);
        let pump = format!("publish: allow (rules[1]); subscribe: {none}");
        check("--client pump-7 --topic a/pump-7", &pump);
        // Its user name counts for nothing.
        check("--client pump-7 --user zed --topic a/pump-7", &pump);
    }

    #[test]
    fn it_says_who_is_not_of_the_file() {
        let stranger = "not a user of the file: judged as one whom another source lets in; ";
        let none = "publish: deny (no rule speaks of it); subscribe: deny (no rule speaks of it)";
        check("--user zed --topic a/b", &format!("{stranger}{none}"));
        let posing = "deny (not let in: a client id is somebody else's)";
        check("--user ann --client pump-7 --topic a/b", posing);
    }

    #[test]
    fn what_is_wrong_is_one_line() {
        check(
            "--topic a/#/b",
            "--topic \"a/#/b\": wildcard # is not alone in the last level",
        );
        for line in [&["gatemq", "acl"][..], &["gatemq", "acl", "check"]] {
            let line: Vec<OsString> = line.iter().map(Into::into).collect();
            assert!(matches!(answer(&line), Err(Refusal::Wrong(_))), "{line:?}");
        }
    }
}
