//! How many sessions one user may have.

use gatemq_tests::{Broker, Client, Connect, wire::Connack};

use crate::listeners::http_client::n_hits;

const QUOTA_EXCEEDED: u8 = 0x97;
const USERS: &str = "
password-hash: plain
unrestricted: true
users:
- {username: ann, password: ann}
- {username: bob, password: bob}
- {client-id: pump, password: pump}
";

fn start(storage: &str) -> Broker {
    Broker::builder()
        .storage(storage)
        .file("users.yml", USERS)
        .config(
            "auth: {sources: [{type: file, path: '{dir}/users.yml'}]}\n\
             limits: {max-sessions-per-user: 2}\n",
        )
        .start()
}

/// A client of a user, whose password is its name.
fn attempt(broker: &Broker, name: &str, connect: Connect) -> (Client, Connack) {
    Client::attempt(broker, &connect.username(name).password(name))
}

#[track_caller]
fn enters(broker: &Broker, name: &str, connect: Connect) -> Client {
    let (client, connack) = attempt(broker, name, connect);
    assert_eq!(connack.code, 0, "{name} is let in");
    client
}

#[track_caller]
fn is_refused(broker: &Broker, name: &str, connect: Connect) {
    let code = if connect.level == 5 {
        QUOTA_EXCEEDED
    } else {
        3
    };
    let (mut client, connack) = attempt(broker, name, connect);
    assert_eq!(connack.code, code, "{name} is refused");
    client.expect_closed();
}

#[test]
fn a_user_has_so_many_sessions_connected_or_not() {
    let broker = start("memory");
    let mut first = enters(&broker, "ann", Connect::new(5, "a1"));
    let second = enters(&broker, "ann", Connect::persistent(4, "a2"));
    second.disconnect();
    for level in [3, 4, 5] {
        is_refused(&broker, "ann", Connect::new(level, "a3"));
    }
    first.ping();
    // Others have theirs, and who is known by its client identifier has its own.
    let _bob = enters(&broker, "bob", Connect::new(5, "b1"));
    let connect = Connect::new(5, "pump").password("pump");
    assert_eq!(Client::attempt(&broker, &connect).1.code, 0);
    // What is there may be taken up, taken over, and replaced.
    enters(&broker, "ann", Connect::persistent(4, "a2")).disconnect();
    let mut again = enters(&broker, "ann", Connect::new(5, "a1"));
    again.ping();
    // Each session that ends makes room.
    enters(&broker, "ann", Connect::new(4, "a2")).disconnect();
    let _third = enters(&broker, "ann", Connect::new(5, "a3"));
    is_refused(&broker, "ann", Connect::new(5, "a4"));
    assert_eq!(n_hits(&broker, "max-sessions-per-user"), 4);
}

#[test]
fn sessions_count_that_an_earlier_run_has_left() {
    let broker = start("redb");
    enters(&broker, "ann", Connect::persistent(4, "a1")).disconnect();
    enters(&broker, "ann", Connect::persistent(4, "a2")).disconnect();
    broker.terminate();
    broker.restart();
    is_refused(&broker, "ann", Connect::new(5, "a3"));
    enters(&broker, "ann", Connect::new(4, "a1")).disconnect();
    enters(&broker, "ann", Connect::new(5, "a3")).disconnect();
}

#[test]
fn clients_that_come_at_once_get_no_more() {
    let broker = start("memory");
    let comes = |number: usize| {
        let connect = Connect::new(5, format!("a{number}"));
        let connect = connect.username("ann").password("ann");
        let mut client = Client::connect_tcp(broker.tcp());
        client.set_level(5);
        client.send(&connect.bytes());
        client
    };
    let mut coming: Vec<_> = (0..20).map(comes).collect();
    let codes = coming
        .iter_mut()
        .map(|client| client.recv().connack(5).code);
    let n_inside = codes.filter(|code| *code == 0).count();
    assert_eq!(n_inside, 2);
}
