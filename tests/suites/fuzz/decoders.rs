//! Decoders of this process.

use gatemq_gateway::acl::File;
use gatemq_tests::mutate::for_a_while;

use super::packets;

#[path = "../../../proto/fuzz/bodies/decode.rs"]
mod decode;
#[path = "../../../proto/fuzz/bodies/topic.rs"]
mod topic;

const USERS: &str = "
password-hash: auto
users:
- {username: ann, password: ann}
- {client-id: pump-7, password: '$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA'}
- {username: root, password: root, superuser: true}
rules:
- {deny: all, topics: [secret/#, +/secret], users: [bob]}
- {allow: publish, topics: [up/%c, 'up/%u/#'], clients: [pump-*]}
- {allow: subscribe, topics: [public/#], addresses: [10.0.0.0/8]}
";

#[test]
fn any_bytes_as_packets() {
    let valid: Vec<Vec<u8>> = [3, 4, 5].into_iter().flat_map(packets::of).collect();
    for_a_while("packets", &valid, decode::decode_any);
}

#[test]
fn any_text_as_filter_and_topic() {
    let valid = [
        "a/+/c\na/b/c",
        "#\n$SYS/a",
        "$share/g/a/#\na",
        "+/+\n/",
        "\u{1F980}/#\n\u{1F980}",
    ];
    for_a_while(
        "topics",
        &valid.map(|text| text.as_bytes().to_vec()),
        |bytes| {
            topic::match_any(&String::from_utf8_lossy(bytes));
        },
    );
}

#[test]
fn any_text_as_a_file_of_users_and_rules() {
    for_a_while("users", &[USERS.as_bytes().to_vec()], |bytes| {
        let _wrong = File::parse(&String::from_utf8_lossy(bytes), "users.yml");
    });
}
