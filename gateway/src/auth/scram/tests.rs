//! Exchanges: that of RFC 7677, those of a client of the tests, and what is refused.

use proptest::prelude::*;

use super::*;
use crate::auth::password::pool::{Limits, Pool};
use crate::auth::password::scheme::Scheme;
use crate::auth::password::scram::Mechanism;
use crate::auth::password::{self, Match};

/// `pencil`, with the salt of RFC 7677, as PostgreSQL writes it.
const PENCIL: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
    WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

fn pencil() -> Secret {
    Secret::find(&Scheme::Auto, PENCIL, Mechanism::Sha256).expect("it is one")
}

/// An exchange with the nonces of RFC 7677.
fn of_the_rfc() -> Exchange {
    let first = First::read(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO").expect("it is one");
    assert_eq!(first.username, "user");
    let (mut exchange, _) = Exchange::begin(&first, pencil(), [0; NEW_NONCE]);
    exchange.nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".to_owned();
    exchange.said = format!(
        "n=user,r=rOprNGfwEbeRWgbNEkqO,r={},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        exchange.nonce
    );
    exchange
}

const LAST: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
    p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

#[test]
fn the_exchange_of_rfc_7677() {
    let said = of_the_rfc().finish(LAST.as_bytes());
    let signature = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
    assert_eq!(said, Ok(signature.to_owned()));
}

#[test]
fn the_servers_first_message_has_both_nonces_the_salt_and_the_rounds() {
    let first = First::read(b"y,,n=user,r=abc,x=y").expect("it is one");
    let (exchange, said) = Exchange::begin(&first, pencil(), [0; NEW_NONCE]);
    let nonce = "abcAAAAAAAAAAAAAAAAAAAAAAAA";
    assert_eq!(said, format!("r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"));
    assert_eq!(exchange.header, STANDARD.encode("y,,"));
    assert_ne!(random(), random());
}

#[test]
fn what_differs_in_a_letter_is_no_proof() {
    for (what, with) in [
        ("p=d", "p=e"),
        ("biws", "eSws"),
        ("hNlF$k0", "hNlF$k1"),
        ("hNlF$k0", "hNlF$k"),
        ("hNlF$k0", "hNlF$k0,x=y"),
        ("VQ=", "VQ==="),
        ("dVQ=", ""),
        (",p=", ",q="),
        ("c=biws,", ""),
        ("c=biws", "c=biws,m=x"),
        ("c=biws", "c="),
        ("c=biws", "c=cD10bHMtdW5pcXVlLCw="),
    ] {
        let last = LAST.replacen(what, with, 1);
        assert_ne!(last, LAST);
        let said = of_the_rfc().finish(last.as_bytes());
        assert!(said.is_err(), "{last}");
    }
    let said = of_the_rfc().finish(format!("{LAST}\0").as_bytes());
    assert!(said.is_err());
}

#[test]
fn first_messages_that_are_none() {
    for message in [
        "",
        "n",
        "n,,",
        "n,,n=,r=abc",
        "n,,n=user",
        "n,,n=user,r=",
        "n,,n=user,r=a b",
        "n,,n=user,r=\u{e4}",
        "n,,r=abc,n=user",
        "n,,n=user,r=abc,m=x",
        "n,,m=x,n=user,r=abc",
        "n,,n=user,r=abc,",
        "n,,n=us=er,r=abc",
        "n,,n=us=2cer,r=abc",
        "n,,n=us=2,r=abc",
        "n,,n=us=",
        "n,,n=a\u{7},r=abc",
        "n,a=root,n=user,r=abc",
        "p=tls-unique,,n=user,r=abc",
        "p=tls-exporter,,n=user,r=abc",
        "x,,n=user,r=abc",
        "N,,n=user,r=abc",
        ",,n=user,r=abc",
        "n,n=user,r=abc",
    ] {
        assert!(First::read(message.as_bytes()).is_err(), "{message:?}");
    }
    let long = format!("n,,n=user,r={}", "x".repeat(LONGEST_NONCE + 1));
    assert!(First::read(long.as_bytes()).is_err());
    assert!(First::read(&[b'x'; LONGEST + 1]).is_err());
    assert!(First::read(b"n,,n=\xFF,r=abc").is_err());
}

#[test]
fn user_names_are_read_as_they_are_meant() {
    for (written, meant) in [
        ("ann", "ann"),
        ("a=2Cb=3Dc", "a,b=c"),
        ("=3D2C", "=2C"),
        ("\u{2168}", "IX"),
        ("a\u{ad}b", "ab"),
        ("a\u{a0}b", "a b"),
    ] {
        assert_eq!(username(written).as_deref(), Some(meant), "{written:?}");
    }
}

#[tokio::test]
async fn what_is_made_for_a_password_is_good_for_both_ways() {
    let pool = Pool::new(Limits::default());
    for mechanism in [Mechanism::Sha256, Mechanism::Sha512] {
        let make = || password::scram_text("b\u{fc}cher".as_bytes(), mechanism);
        let text = make().expect("it can be one");
        assert!(text.starts_with(&format!("{}$4096:", mechanism.name())));
        assert_ne!(Ok(text.clone()), make(), "each has its salt");
        let verify = async |given: &str| {
            let verifying = pool.verify(&Scheme::Auto, &text, b"", given.as_bytes());
            verifying.await.expect("it can be compared")
        };
        assert_eq!(verify("b\u{fc}cher").await, Match::Yes);
        assert_eq!(verify("bu\u{308}cher").await, Match::Yes, "the same text");
        for wrong in ["bucher", "", "b\u{fc}cher\0", "b\u{fc}cher "] {
            assert_eq!(verify(wrong).await, Match::No, "{wrong:?}");
        }
        assert!(
            !password::needs_rehash(&text),
            "it would be good for one way only"
        );
        let of_other = [Mechanism::Sha256, Mechanism::Sha512]
            .map(|it| Secret::find(&Scheme::Auto, &text, it).is_some());
        assert_eq!(of_other.iter().filter(|is_one| **is_one).count(), 1);
        assert!(Secret::find(&Scheme::Plain, &text, mechanism).is_none());
    }
    for odd in ["", "a\u{7}", "a\0b", "\u{e000}"] {
        assert!(
            password::scram_text(odd.as_bytes(), Mechanism::Sha256).is_err(),
            "{odd:?}"
        );
    }
    assert!(password::scram_text(b"\xFF", Mechanism::Sha256).is_err());
}

#[test]
fn stored_texts_that_are_none() {
    let check = |text: &str| password::check(&Scheme::Auto, text, b"");
    assert_eq!(check(PENCIL), Ok(()));
    for (what, with) in [
        ("$4096", "$4095"),
        ("$4096", "$0"),
        ("$4096", "$+4096"),
        ("$4096", "$1000001"),
        ("$4096", "$99999999999"),
        ("$4096:", "$4096$"),
        ("SHA-256", "SHA-512"),
        ("SHA-256", "SHA-1"),
        ("W22ZaJ0SNY7soEsUEjb6gQ==", ""),
        ("W22ZaJ0SNY7soEsUEjb6gQ==", "!"),
        ("4qY=", ""),
        ("2dU=", "2dU"),
    ] {
        let text = PENCIL.replacen(what, with, 1);
        assert!(check(&text).is_err(), "{text}");
    }
}

#[test]
fn a_decoy_is_the_same_each_time_and_looks_like_any_other() {
    let of = |mechanism, key: &[u8], name| Secret::decoy(mechanism, key, name);
    let ann = of(Mechanism::Sha256, b"key", "ann");
    assert_eq!(ann, of(Mechanism::Sha256, b"key", "ann"));
    let (salt, rounds) = ann.salt_and_rounds();
    assert_eq!((salt.len(), rounds), (16, 4096));
    for other in [
        of(Mechanism::Sha256, b"key", "bob"),
        of(Mechanism::Sha256, b"other", "ann"),
        of(Mechanism::Sha512, b"key", "ann"),
    ] {
        assert_ne!(salt, other.salt_and_rounds().0);
    }
}

proptest! {
    #[test]
    fn whatever_a_client_says_does_no_harm(first: Vec<u8>, last: Vec<u8>) {
        let _ = First::read(&first).map(|it| it.username);
        prop_assert!(of_the_rfc().finish(&last).is_err());
    }

    #[test]
    fn whatever_a_message_looks_like_does_no_harm(
        first in "[npyx]?(=[a-z])?,(a=[a-z]*)?,(m=x,)?n=[a-z=,23CD\\PC]{0,20},r=[ -~]{0,20}",
        last in "c=[a-zA-Z0-9+/=]{0,20},r=[ -~]{0,20}(,[a-z]=[a-z])?,p=[a-zA-Z0-9+/=]{0,60}",
    ) {
        if let Ok(first) = First::read(first.as_bytes()) {
            prop_assert!(!first.username.is_empty() && !first.nonce.contains(','));
            let (exchange, said) = Exchange::begin(&first, pencil(), [7; NEW_NONCE]);
            prop_assert!(said.starts_with("r="));
            prop_assert!(exchange.finish(last.as_bytes()).is_err());
        }
        prop_assert!(of_the_rfc().finish(last.as_bytes()).is_err());
    }
}
