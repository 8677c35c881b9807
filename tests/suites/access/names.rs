//! Names that mean something in a filter, and topics that belong to the broker: neither opens more
//! than the rules say. And where clients come from, by what a proxy says.

use gatemq_tests::{Broker, Client, Connect, Properties, Publish, unique};

use super::scene::{NOT_AUTHORIZED, builder, login, try_publish};

const TEMPLATES: &str = "
password-hash: plain
users:
- {username: '#', password: '#'}
- {username: '+', password: '+'}
- {username: a/b, password: a/b}
- {username: $SYS, password: $SYS}
- {username: '%u', password: '%u'}
- {username: ann, password: ann}
- {username: root, password: root, superuser: true}
rules:
- {allow: all, topics: ['home/%u/#', 'of/%c', '%u']}
- {allow: all, topics: ['#'], users: [ann]}
";

/// What clients of such names can get at: nothing of others', and nothing of their own.
#[test]
fn c8_a_name_that_means_something_opens_nothing() {
    let broker = builder(TEMPLATES).start();
    for name in ["#", "+", "a/b", "$SYS"] {
        let (mut client, _) = Client::connect(&broker, &login(5, name, name));
        let asked = [
            "#", "+", "home/#", "home/+/#", "home/a/b", "of/+", "of/a", "$SYS/#",
        ];
        let asked = asked.map(|filter| (filter, 1));
        let codes = client.subscribe_with(&Properties::new(), &asked).codes;
        assert_eq!(codes, vec![NOT_AUTHORIZED; asked.len()], "{name}");
        for topic in ["home/a/b", "home/x/y", "of/a/b", "of/x", "a/b", "x"] {
            let publish = Publish {
                qos: 1,
                ..Publish::new(topic, b"no")
            };
            let reason = try_publish(&mut client, publish).reason;
            assert_eq!(reason, NOT_AUTHORIZED, "{name} {topic}");
        }
    }
    // A name that looks like a placeholder is put in once, and is a name then.
    let id = unique("c");
    let (mut odd, _) = Client::connect(&broker, &login(5, &id, "%u"));
    let own = format!("of/{id}");
    let asked = [("home/%u/#", 1), (&*own, 1), ("home/ann/#", 1), ("%u", 1)];
    let codes = odd.subscribe_with(&Properties::new(), &asked).codes;
    assert_eq!(codes, [1, 1, NOT_AUTHORIZED, 1]);
}

#[test]
fn c10_topics_of_the_broker_are_nobodys() {
    let broker = builder(TEMPLATES).start();
    for user in ["ann", "root"] {
        let (mut client, _) = Client::connect(&broker, &login(5, &unique("c"), user));
        for topic in ["$SYS/a", "$SYS", "$CONTROL/a", "$share/g/a"] {
            let publish = Publish {
                qos: 1,
                ..Publish::new(topic, b"no")
            };
            let reason = try_publish(&mut client, publish).reason;
            assert_eq!(reason, NOT_AUTHORIZED, "{user} {topic}");
        }
    }
    // A rule for `#` gives none of them, on this machine neither.
    let (mut ann, _) = Client::connect(&broker, &login(5, &unique("ann"), "ann"));
    let asked = [("$SYS/#", 0), ("$x/#", 0), ("$share/g/$SYS/#", 0), ("#", 0)];
    let codes = ann.subscribe_with(&Properties::new(), &asked).codes;
    assert_eq!(codes, [NOT_AUTHORIZED, NOT_AUTHORIZED, NOT_AUTHORIZED, 0]);
    let (mut root, _) = Client::connect(&broker, &login(5, &unique("root"), "root"));
    root.publish("$x/a", b"not for #", 1);
    root.publish("x/a", b"for #", 1);
    assert_eq!(ann.receive().topic, "x/a");
    ann.expect_silence(50);
}

#[test]
fn c12_rules_go_by_the_address_that_a_listed_proxy_names() {
    let users = "
rules:
- {allow: all, topics: ['#'], addresses: [10.0.0.0/8]}
";
    let listeners = "allow-anonymous: true\nlisteners:\n\
        - {transport: tcp, address: '127.0.0.1:0', proxy-from: [127.0.0.1]}\n";
    let broker = Broker::builder()
        .args(["--tcp", ""])
        .file("users.yml", users)
        .config(format!(
            "{listeners}auth: {{sources: [{{type: file, path: '{{dir}}/users.yml'}}]}}\n"
        ))
        .start();
    for (from, code) in [("10.1.2.3", 1), ("11.1.2.3", NOT_AUTHORIZED)] {
        let mut client = Client::connect_tcp(broker.tcp());
        client.send(format!("PROXY TCP4 {from} 127.0.0.1 40000 1883\r\n").as_bytes());
        let connack = client.handshake(&Connect::new(5, unique("p")));
        assert_eq!(connack.code, 0, "{from}");
        let suback = client.subscribe_with(&Properties::new(), &[("a", 1)]);
        assert_eq!(suback.codes, [code], "{from}");
    }
}
