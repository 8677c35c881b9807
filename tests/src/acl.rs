//! Files of users and rules, as the tests write them, and a second opinion on what they say.
//!
//! [`oracle`] is the opinion, [`random`] makes files, clients and topics from a seed.

pub mod oracle;
pub mod random;

use std::fmt::Write;
use std::net::IpAddr;

/// What a client does with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It sends a message.
    Publish,
    /// It gets one, or asks for it.
    Subscribe,
}

/// A file as it is written.
#[derive(Clone, Debug)]
pub struct File {
    /// Their passwords are their names, or their client ids where they have none.
    pub users: Vec<User>,
    /// `None` is `unrestricted: true`.
    pub rules: Option<Vec<Rule>>,
}

/// A user as it is written.
#[derive(Clone, Debug)]
pub struct User {
    /// What it is known by.
    pub username: Option<String>,
    /// What it is known by without a name; with one it needs both.
    pub client_id: Option<String>,
    /// Whether it may do everything.
    pub is_superuser: bool,
}

/// A rule as it is written.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Allow, or deny.
    pub allow: bool,
    /// One of the two, or both.
    pub actions: Vec<Action>,
    /// Filters, with placeholders.
    pub topics: Vec<String>,
    /// Names and beginnings of names; `None` is everybody.
    pub users: Option<Vec<String>>,
    /// The same of client ids.
    pub clients: Option<Vec<String>>,
    /// Networks: an address and how many of its bits count.
    pub addresses: Option<Vec<(IpAddr, u8)>>,
}

/// A client as it was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// One that it has proved.
    pub username: Option<String>,
    /// Its client id.
    pub client_id: String,
    /// Where it comes from.
    pub address: Option<IpAddr>,
    /// Whether it may do everything.
    pub is_superuser: bool,
}

impl File {
    /// As whom a client comes in that gives the right password; `None` if not at all.
    pub fn who(&self, username: Option<&str>, id: &str, address: Option<IpAddr>) -> Option<Who> {
        let is_its = |user: &User| user.client_id.as_deref() == Some(id);
        let named = |user: &&User| username.is_some() && user.username.as_deref() == username;
        let nameless = |user: &&User| user.username.is_none() && is_its(user);
        let mut users = self.users.iter();
        let user = users.clone().find(named).or(users.clone().find(nameless))?;
        let is_right = match user.client_id {
            Some(_) => is_its(user),
            None => !users.any(is_its),
        };
        is_right.then(|| Who {
            username: user.username.clone(),
            client_id: id.to_owned(),
            address,
            is_superuser: user.is_superuser,
        })
    }

    /// The YAML of it.
    pub fn yaml(&self) -> String {
        let mut text = "password-hash: plain\nusers:\n".to_owned();
        for user in &self.users {
            let name = user.username.as_ref().map(|name| ("username", name));
            let client = user.client_id.as_ref().map(|id| ("client-id", id));
            let password = name.or(client).map(|(_, name)| ("password", name));
            let fields = [name, client, password].into_iter().flatten();
            let fields = fields.map(|(key, value)| format!("{key}: {}", quoted(value)));
            let fields = fields.collect::<Vec<_>>().join(", ");
            let superuser = user.is_superuser;
            add(
                &mut text,
                &format!("- {{{fields}, superuser: {superuser}}}"),
            );
        }
        let Some(rules) = &self.rules else {
            return text + "unrestricted: true\n";
        };
        text += if rules.is_empty() {
            "rules: []\n"
        } else {
            "rules:\n"
        };
        for rule in rules {
            let actions = match *rule.actions {
                [Action::Publish] => "publish",
                [Action::Subscribe] => "subscribe",
                _ => "all",
            };
            let effect = if rule.allow { "allow" } else { "deny" };
            let topics = list(&rule.topics);
            let mut line = format!("- {{{effect}: {actions}, topics: {topics}");
            let addresses = rule.addresses.as_ref().map(|all| {
                let all = all.iter().map(|(at, n_bits)| format!("{at}/{n_bits}"));
                all.collect::<Vec<_>>()
            });
            for (key, names) in [
                ("users", &rule.users),
                ("clients", &rule.clients),
                ("addresses", &addresses),
            ] {
                if let Some(names) = names {
                    line += &format!(", {key}: {}", list(names));
                }
            }
            add(&mut text, &(line + "}"));
        }
        text
    }
}

fn add(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("a string takes everything");
}

fn list(texts: &[String]) -> String {
    let all = texts.iter().map(|text| quoted(text));
    format!("[{}]", all.collect::<Vec<_>>().join(", "))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
