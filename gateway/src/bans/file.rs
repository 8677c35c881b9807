//! Bans in a file (YAML): read when the process starts, and again when it is told to. One that cannot
//! be read, that is empty, or of which an entry is no ban, is an error; while the process runs the old
//! ones stay in force. `bans: []` says that there are none. For a broker without a control plane, and for what is to hold before there is one.
//!
//! comqtt's blacklist is read, too (`auth: [{client, username, remote, allow: false}]`), as far as its
//! entries are bans: one that allows, or names two things at once, is an error, since what it means
//! depends on its place.

use std::path::Path;

use serde::Deserialize;

use crate::auth::FileError;
use crate::proto::cluster::bans;
use crate::proto::cluster::state::{Ban, BanKind};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    bans: Option<Vec<Entry>>,
    auth: Option<Vec<ComqttEntry>>,
}

/// One of the names, and why.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Entry {
    client_id: Option<String>,
    client_id_prefix: Option<String>,
    username: Option<String>,
    address: Option<String>,
    #[serde(default)]
    reason: String,
}

/// As comqtt has it: `""` and `*` are anybody, `abc*` is a beginning, a remote is `ADDRESS:PORT`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ComqttEntry {
    #[serde(default)]
    client: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    remote: String,
    #[serde(default)]
    allow: bool,
}

/// The bans of a file.
pub(super) fn read(path: &Path) -> Result<Vec<Ban>, FileError> {
    let name = || path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| FileError::Read(name(), error))?;
    parse(&text).map_err(|wrong| match wrong {
        Wrong::Form(error) => FileError::Form(name(), error),
        Wrong::Entry(what) => FileError::Wrong(name(), what),
    })
}

#[derive(Debug)]
enum Wrong {
    Form(serde_yaml::Error),
    Entry(String),
}

fn parse(text: &str) -> Result<Vec<Ban>, Wrong> {
    let written: Written = serde_yaml::from_str(text).map_err(Wrong::Form)?;
    if written.bans.is_none() && written.auth.is_none() {
        // A file that was cut short would let everybody in.
        let what = "has no bans: write `bans: []` if there are to be none";
        return Err(Wrong::Entry(what.to_owned()));
    }
    let own = written.bans.unwrap_or_default().into_iter();
    let own = own.map(Entry::read).enumerate();
    let own = own.map(|(at, ban)| ban.map_err(|what| format!("bans[{at}]: {what}")));
    let comqtt = written.auth.unwrap_or_default().into_iter();
    let comqtt = comqtt.map(ComqttEntry::read).enumerate();
    let comqtt = comqtt.map(|(at, ban)| ban.map_err(|what| format!("auth[{at}]: {what}")));
    let all: Result<Vec<Ban>, String> = own.chain(comqtt).collect();
    let all = all.map_err(Wrong::Entry)?;
    match all.len() <= bans::MOST {
        true => Ok(all),
        false => Err(Wrong::Entry(format!("has more than {} bans", bans::MOST))),
    }
}

impl Entry {
    fn read(self) -> Result<Ban, String> {
        let named = [
            (BanKind::ClientId, self.client_id),
            (BanKind::ClientIdPrefix, self.client_id_prefix),
            (BanKind::User, self.username),
            (BanKind::Address, self.address),
        ];
        let mut named = named.into_iter().filter_map(|(kind, it)| Some((kind, it?)));
        let (Some((kind, value)), None) = (named.next(), named.next()) else {
            let what = "names not just one of client-id, client-id-prefix, username and address";
            return Err(what.to_owned());
        };
        ban(kind, &value, self.reason)
    }
}

impl ComqttEntry {
    fn read(self) -> Result<Ban, String> {
        if self.allow {
            let what = "allows, and whom it allows depends on its place: only bans are read";
            return Err(what.to_owned());
        }
        let is_named = |text: &str| !text.is_empty() && text != "*";
        let named = [
            (BanKind::ClientId, self.client),
            (BanKind::User, self.username),
            (BanKind::Address, self.remote),
        ];
        let mut named = named.into_iter().filter(|(_, text)| is_named(text));
        let (Some((kind, value)), None) = (named.next(), named.next()) else {
            return Err("names not just one of client, username and remote".to_owned());
        };
        match (kind, value.strip_suffix('*')) {
            (BanKind::ClientId, Some(beginning)) => {
                ban(BanKind::ClientIdPrefix, beginning, String::new())
            }
            (BanKind::Address, Some(address)) => {
                let address = address.strip_suffix(':').unwrap_or(address);
                let address = address.trim_start_matches('[').trim_end_matches(']');
                ban(kind, address, String::new())
            }
            (BanKind::User, Some(_)) => Err("names a beginning of user names".to_owned()),
            _ => ban(kind, &value, String::new()),
        }
    }
}

fn ban(kind: BanKind, value: &str, reason: String) -> Result<Ban, String> {
    let ban = Ban {
        kind: kind.into(),
        value: bans::canonical(kind, value)?,
        reason,
        ..Ban::default()
    };
    bans::check(&ban).map_err(|(field, what)| format!("its {field} {what}"))?;
    Ok(ban)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Vec<(BanKind, String)> {
        let bans = parse(text).expect(text).into_iter();
        bans.map(|ban| (ban.kind(), ban.value)).collect()
    }

    #[test]
    fn each_entry_is_a_ban() {
        let text = "
bans:
- {client-id: pump, reason: it is stolen}
- {client-id-prefix: bad-}
- {username: eve}
- {address: '::ffff:10.0.0.1'}
- {address: 10.0.0.0/8}
";
        let expected = [
            (BanKind::ClientId, "pump"),
            (BanKind::ClientIdPrefix, "bad-"),
            (BanKind::User, "eve"),
            (BanKind::Address, "10.0.0.1"),
            (BanKind::Address, "10.0.0.0/8"),
        ];
        assert_eq!(
            named(text),
            expected.map(|(kind, it)| (kind, it.to_owned()))
        );
    }

    #[test]
    fn none_are_written_down_as_none_and_an_empty_file_is_an_error() {
        for text in ["bans: []", "auth: []", "bans:\nauth: []"] {
            assert_eq!(named(text), [], "{text}");
        }
        for text in ["", "\n", "# nothing\n", "---\n", "{}", "bans:\n"] {
            match parse(text) {
                Err(Wrong::Entry(what)) => assert!(what.contains("`bans: []`"), "{text}: {what}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_blacklist_of_comqtt_is_read_as_far_as_it_has_bans() {
        let text = "
auth:
- {client: pump, allow: false}
- {client: 'bad-*', username: '*', remote: ''}
- {username: eve}
- {remote: '10.0.0.1:*'}
- {remote: '[::1]:*', allow: false}
";
        let expected = [
            (BanKind::ClientId, "pump"),
            (BanKind::ClientIdPrefix, "bad-"),
            (BanKind::User, "eve"),
            (BanKind::Address, "10.0.0.1"),
            (BanKind::Address, "::1"),
        ];
        assert_eq!(
            named(text),
            expected.map(|(kind, it)| (kind, it.to_owned()))
        );
    }

    #[test]
    fn an_entry_that_is_no_ban_is_named() {
        for (text, told) in [
            (
                "bans: [{username: eve}, {reason: x}]",
                "bans[1]: names not just one",
            ),
            (
                "bans: [{username: a, client-id: b}]",
                "bans[0]: names not just one",
            ),
            ("bans: [{address: 10.1.2.3/8}]", "write 10.0.0.0/8"),
            ("bans: [{username: ''}]", "bans[0]: is empty"),
            ("auth: [{client: a, allow: true}]", "auth[0]: allows"),
            ("auth: [{client: '*'}]", "auth[0]: names not just one"),
            (
                "auth: [{client: a, username: b}]",
                "auth[0]: names not just one",
            ),
            ("auth: [{username: 'a*'}]", "auth[0]: names a beginning"),
            ("auth: [{remote: '10.0.*'}]", "auth[0]: "),
        ] {
            match parse(text) {
                Err(Wrong::Entry(what)) => assert!(what.contains(told), "{text}: {what}"),
                other => panic!("{text}: {other:?}"),
            }
        }
        for text in [
            "bans: {}",
            "ban: []",
            "bans: [{user: eve}]",
            "auth: [{client: [a]}]",
        ] {
            assert!(matches!(parse(text), Err(Wrong::Form(_))), "{text}");
        }
    }
}
