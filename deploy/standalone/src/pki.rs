//! `gatemq pki`: an authority for one cluster, and the certificates of its nodes; and another one for
//! clients (`clients.rs`).
//!
//! `init` makes all of it in a folder, `node` one certificate more. Nothing that is there is
//! written over. What a node needs of the folder is its own certificate and key and `ca.crt`;
//! `ca.key` stays with whoever adds nodes, and is of no use to a running cluster.

mod clients;
mod folder;
mod issue;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command};
use gatemq_node::credentials::{Identity, Role, Roles, cluster_of_authority};

use crate::flags::{Refusal, refusal};
use folder::Folder;
use issue::Authority;

/// Does what the command line behind `pki` says, and returns what is to be told.
///
/// # Errors
///
/// What is to be said instead.
pub(crate) fn run(arguments: &[OsString]) -> Result<String, Refusal> {
    let matches = command()
        .try_get_matches_from(&arguments[1..])
        .map_err(|error| refusal(&error))?;
    let done = match matches.subcommand() {
        Some(("init", matches)) if matches.get_flag("clients") => clients::init(matches),
        Some(("init", matches)) => init(matches),
        Some(("node", matches)) => add_node(matches),
        Some(("client", matches)) => clients::client(matches),
        Some(("server", matches)) => clients::server(matches),
        _ => Err("pki init, node, client or server: see --help".to_owned()),
    };
    done.map_err(Refusal::Wrong)
}

fn init(matches: &ArgMatches) -> Result<String, String> {
    let cluster = text(matches, "cluster");
    let nodes = matches.get_many::<String>("node").unwrap_or_default();
    let nodes = nodes.map(|node| {
        let (name, roles) = node
            .split_once(':')
            .ok_or_else(|| format!("{node:?} is no node: write NAME:ROLE or NAME:ROLE,ROLE"))?;
        identity(cluster, roles, name)
    });
    let nodes = nodes.collect::<Result<Vec<_>, String>>()?;
    let names: std::collections::BTreeSet<_> = nodes.iter().map(|node| &node.node).collect();
    if names.len() < nodes.len() {
        return Err("two nodes of one name: each has another".to_owned());
    }
    let authority = Authority::of_nodes(cluster)?;
    let mut folder = Folder::new(&dir(matches));
    folder.public(CA_CERTIFICATE, authority.certificate());
    folder.secret(CA_KEY, authority.key());
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|error| format!("no random numbers: {error}"))?;
    let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    folder.secret(GOSSIP_KEY, format!("{key}\n"));
    for node in &nodes {
        issue(&authority, node, days(matches), &mut folder)?;
    }
    folder.write()?;
    Ok(told(&dir(matches), &nodes, true))
}

fn add_node(matches: &ArgMatches) -> Result<String, String> {
    let dir = dir(matches);
    let (certificate, key) = (dir.join(CA_CERTIFICATE), dir.join(CA_KEY));
    let cluster = cluster_of_authority(&certificate).map_err(|error| error.to_string())?;
    let roles: Vec<&str> = matches
        .get_many::<String>("role")
        .unwrap_or_default()
        .map(String::as_str)
        .collect();
    let node = identity(&cluster, &roles.join(","), text(matches, "name"))?;
    let authority = Authority::read(&certificate, &key)?;
    let mut folder = Folder::new(&dir);
    issue(&authority, &node, days(matches), &mut folder)?;
    folder.write()?;
    Ok(told(&dir, &[node], false))
}

/// Roles are given in any order, and with commas.
fn identity(cluster: &str, roles: &str, name: &str) -> Result<Identity, String> {
    let given = roles.split(',').map(|role| {
        Role::named(role.trim())
            .ok_or_else(|| format!("{role:?} is no role: write control, gateway, bridge or admin"))
    });
    let roles = given.collect::<Result<Roles, String>>()?;
    Identity::new(cluster, roles, name).map_err(|error| error.to_string())
}

fn issue(
    authority: &Authority,
    node: &Identity,
    n_days: u16,
    folder: &mut Folder,
) -> Result<(), String> {
    let (certificate, key) = authority.issue(node, n_days)?;
    folder.public(&format!("{}.crt", node.node), certificate);
    folder.secret(&format!("{}.key", node.node), key);
    Ok(())
}

/// What goes where. The key of the gossip is not shown: terminals remember.
fn told(dir: &Path, nodes: &[Identity], is_new: bool) -> String {
    let dir = dir.display();
    let mut told = String::new();
    for node in nodes {
        let (name, roles) = (&node.node, node.roles);
        told.push_str(&format!(
            "# {name} ({roles}): copy {dir}/{CA_CERTIFICATE}, {dir}/{name}.crt and {dir}/{name}.key \
             there, and write into its configuration\n\
             node-name: {name}\n\
             cluster:\n  tls:\n    ca: {CA_CERTIFICATE}\n    cert: {name}.crt\n    key: {name}.key\n"
        ));
        told.push_str(&format!(
            "  gossip-keys: [\"…\"] # the line in {dir}/{GOSSIP_KEY}\n\n"
        ));
    }
    if is_new {
        told.push_str(&format!(
            "# Keep {dir}/{CA_KEY} where no node is: whoever has it can be any node. `gatemq pki node \
             NAME --role ROLE --dir {dir}` adds one.\n"
        ));
    }
    told
}

fn text<'a>(matches: &'a ArgMatches, name: &str) -> &'a str {
    matches.get_one::<String>(name).map_or("", String::as_str)
}

fn dir(matches: &ArgMatches) -> PathBuf {
    dir_or(matches, "pki")
}

fn dir_or(matches: &ArgMatches, usual: &str) -> PathBuf {
    let given = matches.get_one::<String>("dir");
    PathBuf::from(given.map_or(usual, String::as_str))
}

fn days(matches: &ArgMatches) -> u16 {
    matches.get_one::<u16>("days").copied().unwrap_or_default()
}

fn command() -> Command {
    let dir = Arg::new("dir")
        .long("dir")
        .value_name("FOLDER")
        .help("Folder of the authority [default: pki]");
    let days = Arg::new("days")
        .long("days")
        .value_name("N")
        .default_value("365")
        .value_parser(clap::value_parser!(u16).range(1..=3650))
        .help("How long certificates are good");
    let clients = clients::commands(&dir, &days);
    let init = Command::new("init")
        .about("Makes an authority, a key for gossip, and certificates of nodes")
        .arg(dir.clone())
        .arg(
            Arg::new("clients")
                .long("clients")
                .action(ArgAction::SetTrue)
                .conflicts_with_all(["cluster", "node", "days"])
                .help("Makes an authority of clients instead, in the folder clients"),
        )
        .arg(
            Arg::new("cluster")
                .long("cluster")
                .value_name("NAME")
                .required_unless_present("clients")
                .help("What the cluster is called; its nodes take no others"),
        )
        .arg(
            Arg::new("node")
                .long("node")
                .value_name("NAME:ROLES")
                .action(ArgAction::Append)
                .required_unless_present("clients")
                .help("A node and what it is: control, gateway, or both with a comma"),
        )
        .arg(days.clone());
    let node = Command::new("node")
        .about("Makes the certificate of one more node")
        .arg(Arg::new("name").value_name("NAME").required(true))
        .arg(
            Arg::new("role")
                .long("role")
                .value_name("ROLE")
                .action(ArgAction::Append)
                .required(true)
                .help("control, gateway, bridge or admin; may be given several times"),
        )
        .arg(dir)
        .arg(days);
    Command::new("gatemq pki")
        .bin_name("gatemq pki")
        .about("Certificates by which the nodes of a cluster, or clients and a broker, know one another")
        .subcommand_required(true)
        .subcommand(init)
        .subcommand(node)
        .subcommands(clients)
}

const CA_CERTIFICATE: &str = "ca.crt";
const CA_KEY: &str = "ca.key";
const GOSSIP_KEY: &str = "gossip.key";

#[cfg(test)]
mod tests;
