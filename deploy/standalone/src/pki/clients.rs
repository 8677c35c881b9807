//! `gatemq pki init --clients`, `client` and `server`: certificates by which clients and a broker know
//! one another. Their authority is another than that of nodes: whoever makes certificates for devices
//! must not be able to make a node.

use clap::{Arg, ArgAction, ArgMatches, Command};
use gatemq_node::credentials::cluster_of_authority;
use rcgen::SanType;

use super::folder::Folder;
use super::issue::{Authority, NameKind, other_name};
use super::{CA_CERTIFICATE, CA_KEY, days, dir_or, text};

/// The folder of the authority where no other is named.
pub(super) const DIR: &str = "clients";
/// X.520 has no longer common names.
const LONGEST_NAME: usize = 64;

/// Makes the authority.
pub(super) fn init(matches: &ArgMatches) -> Result<String, String> {
    let dir = dir_or(matches, DIR);
    let authority = Authority::of_clients()?;
    let mut folder = Folder::new(&dir);
    folder.public(CA_CERTIFICATE, authority.certificate());
    folder.secret(CA_KEY, authority.key());
    folder.write()?;
    let dir = dir.display();
    Ok(format!(
        "# {dir}/{CA_CERTIFICATE} says who is a client: `gatemq pki client NAME --dir {dir}` makes one,\n\
         # `gatemq pki server HOST --dir {dir}` what the broker shows them. Keep {dir}/{CA_KEY} where no\n\
         # broker is: whoever has it can be any client.\n"
    ))
}

/// Makes the certificate of a client.
pub(super) fn client(matches: &ArgMatches) -> Result<String, String> {
    let name = text(matches, "name");
    let others: [(&str, NameKind); 3] = [
        ("dns", SanType::DnsName),
        ("uri", SanType::URI),
        ("email", SanType::Rfc822Name),
    ];
    let others = others.into_iter().flat_map(|(option, kind)| {
        let names = matches.get_many::<String>(option).unwrap_or_default();
        names.map(move |name| other_name(kind, name))
    });
    let others = others.collect::<Result<Vec<_>, String>>()?;
    issue(matches, name, |authority| {
        authority.issue_client(name, others, days(matches))
    })?;
    let dir = dir_or(matches, DIR);
    let dir = dir.display();
    Ok(format!(
        "# {name} shows {dir}/{name}.crt with {dir}/{name}.key, and believes {dir}/{CA_CERTIFICATE}.\n\
         # A listener has it as the user {name} with\n\
         tls:\n  client-ca: {dir}/{CA_CERTIFICATE}\n  username: cn\n"
    ))
}

/// Makes the certificate of a broker.
pub(super) fn server(matches: &ArgMatches) -> Result<String, String> {
    let hosts = matches.get_many::<String>("host").unwrap_or_default();
    let hosts: Vec<&str> = hosts.map(String::as_str).collect();
    let name = hosts.first().copied().unwrap_or_default();
    issue(matches, name, |authority| {
        authority.issue_server(&hosts, days(matches))
    })?;
    let dir = dir_or(matches, DIR);
    let dir = dir.display();
    Ok(format!(
        "# What the broker shows to clients, which believe {dir}/{CA_CERTIFICATE}\n\
         tls-cert: {dir}/{name}.crt\ntls-key: {dir}/{name}.key\n"
    ))
}

/// Writes a certificate and its key, by a name that is one of files, too.
fn issue(
    matches: &ArgMatches,
    name: &str,
    make: impl FnOnce(&Authority) -> Result<(String, String), String>,
) -> Result<(), String> {
    if !is_name(name) {
        return Err(format!(
            "{name:?} is no name: write up to {LONGEST_NAME} of the letters a to z, digits, and . _ - @ :"
        ));
    }
    let dir = dir_or(matches, DIR);
    let (certificate, key) = (dir.join(CA_CERTIFICATE), dir.join(CA_KEY));
    if let Ok(cluster) = cluster_of_authority(&certificate) {
        return Err(format!(
            "{}: is the authority of the nodes of {cluster}: clients have another, which `gatemq pki \
             init --clients` makes",
            certificate.display()
        ));
    }
    let authority = Authority::read(&certificate, &key)?;
    let (certificate, key) = make(&authority)?;
    let mut folder = Folder::new(&dir);
    folder.public(&format!("{name}.crt"), certificate);
    folder.secret(&format!("{name}.key"), key);
    folder.write()
}

fn is_name(name: &str) -> bool {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@:".contains(&byte);
    let begins_well = name.bytes().next().is_some_and(|byte| byte != b'.');
    begins_well && name.len() <= LONGEST_NAME && name.bytes().all(is_of_name)
}

/// The command lines of both.
pub(super) fn commands(dir: &Arg, days: &Arg) -> [Command; 2] {
    let dir = dir
        .clone()
        .help("Folder of the authority of clients [default: clients]");
    let also = |name: &'static str, help: &'static str| {
        let option = Arg::new(name).long(name).value_name("NAME").help(help);
        option.action(ArgAction::Append)
    };
    let client = Command::new("client")
        .about("Makes the certificate of a client; its common name is NAME")
        .arg(Arg::new("name").value_name("NAME").required(true))
        .arg(also(
            "dns",
            "A DNS name that is in it, too; may be given several times",
        ))
        .arg(also("uri", "A URI that is in it, too"))
        .arg(also("email", "An e-mail address that is in it, too"))
        .arg(dir.clone())
        .arg(days.clone());
    let host = Arg::new("host").value_name("HOST").required(true);
    let server = Command::new("server")
        .about("Makes the certificate of a broker, as clients call it: host names and IP addresses")
        .arg(host.action(ArgAction::Append))
        .arg(dir)
        .arg(days.clone());
    [client, server]
}
