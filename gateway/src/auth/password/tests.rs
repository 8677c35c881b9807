//! The vectors are of Python's hashlib, hmac, bcrypt, argon2-cffi and passlib, of `htpasswd` and of
//! `mosquitto_passwd`; unless they say otherwise, they are of the password "correct horse".

use proptest::prelude::*;

use super::digest::Digest;
use super::scheme::{Error, Mode, SaltPosition};
use super::*;

const RIGHT: &[u8] = b"correct horse";
const BCRYPT: &str = "$2b$05$10OJE9UY1F.N4D3eU8NUXOYGQA3zhPeUsmWW.zS0KDyvuz0nAqgWG";
const ARGON2ID: &str = "$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$\
    rk2Mi3E4dgRMg0fHaYaptWVZRKqs//6b6k3/nntqGJk";
const SMALL_ARGON2ID: &str = "$argon2id$v=19$m=64,t=1,p=2$MDEyMzQ1Njc$FJG2jQRaKAPmYT2Uy8mZ+Q";
const PBKDF2: &str = "$pbkdf2-sha256$i=100,l=32$MDEyMzQ1Njc4OWFiY2RlZg$\
    jFv3hht7uRixqMdKdjkASH0qpaB7Y6oFZhc+KxyeitI";
const MOSQUITTO: &str = "$7$101$hWNrKfcG9uDFpo8i$4h/Bo+QBQSXcP0i5119zlGDrklf80s20Bm8BiVDIMf7+\
    /vD4bP2DAtI9xqI5auRGEyWBpGRJd7GG8/617ccHeQ==";
const OLD_MOSQUITTO: &str = "$6$MDEyMzQ1Njc4OWFi$vMblpzgCS5oj2lUbBcEO+PGDOv2Ychcm2aCJlOM/97en/aLe\
    FXM5JAedC3UgjydjvghOxFalEDxmI0OHi3Vlsg==";

/// As connections do through the pool.
fn verify(scheme: &Scheme, stored: &str, salt: &[u8], given: &[u8]) -> Result<Match, Malformed> {
    Ok(Stored::read(scheme, stored, salt)?.compare(given))
}

fn decoy(scheme: &Scheme, like: Option<&str>, given: &[u8]) -> Match {
    let _ = Stored::decoy(scheme, like).compare(given);
    Match::No
}

fn scheme(mode: &str) -> Scheme {
    let mode = mode.parse().expect("there is such a mode");
    Scheme::new(mode, Some("a key"), SaltPosition::Disable).expect("it is complete")
}

fn salted(mode: &str, position: &str) -> Scheme {
    let mode = mode.parse().expect("there is such a mode");
    let position = position.parse().expect("there is such a position");
    Scheme::new(mode, None, position).expect("it is complete")
}

/// The password is right, and no other that is near it.
fn check(scheme: &Scheme, stored: &str, salt: &str, right: &[u8]) {
    let verify = |given: &[u8]| verify(scheme, stored, salt.as_bytes(), given);
    assert_eq!(verify(right), Ok(Match::Yes), "{scheme:?} {stored}");
    let longer = |with: &[u8]| [right, with].concat();
    for wrong in [
        longer(b" "),
        longer(b"\0"),
        [right, b"\0", right].concat(),
        b"other".to_vec(),
    ] {
        assert_eq!(
            verify(&wrong),
            Ok(Match::No),
            "{scheme:?} {stored} {wrong:?}"
        );
    }
    if let Some(shorter) = right.split_last().map(|(_, shorter)| shorter) {
        assert_eq!(verify(shorter), Ok(Match::No), "{scheme:?} {stored}");
        assert_eq!(verify(b""), Ok(Match::No), "{scheme:?} {stored}");
        assert_eq!(
            verify(&right.to_ascii_uppercase()),
            Ok(Match::No),
            "{scheme:?} {stored}"
        );
    }
}

const SHA512: &str = "56b698defedb5a435b634afe3320bbaf3fdcd920b6c503a446fc7b7a776b298d\
    479d1ba6a8b617808eb0bf579ce9a95d668347bcab7149085ac93cb27995197b";

#[test]
fn plain_and_hex_passwords_of_comqtt() {
    let cases = [
        ("0", "plain", "correct horse"),
        ("2", "md5", "3cb4e732631f47e6eb961f34554b7cde"),
        ("3", "sha1", "2f9e53523b62abc141a2b4d6019d23cba835dbd0"),
        (
            "4",
            "sha256",
            "4104d36f8da2c254349f85836793ebe029e0c957063a34c91c2e9203187b5631",
        ),
        ("5", "sha512", SHA512),
        ("6", "hmac-sha1", "18be711af641ffcf0e5dd9308406aa700888d333"),
        (
            "7",
            "hmac-sha256",
            "016e117dc5b7a48dae8c380130a714a082d8908bfdb4c7fbea205c15d0452cf1",
        ),
        (
            "8",
            "hmac-sha512",
            "d3377792808767a4a5d3e198074186d1bb0a1560a63166633805e5d3279f9c42\
             852e9bc0d7c3a07a750fd3c605a426cdbde4e9918f19bb40617f9402301fb8f2",
        ),
    ];
    for (number, name, stored) in cases {
        check(&scheme(number), stored, "", RIGHT);
        check(&scheme(name), stored, "a salt that is not asked for", RIGHT);
        if name != "plain" {
            check(&scheme(name), &stored.to_uppercase(), "", RIGHT);
        }
    }
}

#[test]
fn hashes_with_the_salt_of_a_column() {
    let cases = [
        ("md5", "prefix", "52f36768c11844771e5f7ff576e2dba2"),
        ("md5", "suffix", "edf3863f78323b0ef4b0a008412eab5e"),
        ("sha1", "prefix", "d11dc5896bf42fb4320130682b5909d363bf770b"),
        ("sha1", "suffix", "6233b19e59f0f25213a6a8c6dedf9757d8d5ee8b"),
        (
            "sha256",
            "prefix",
            "869a1fa0609a1d15a5c3eb891428b7a6c8395b2ee10c4762e97ffca0ebe8c0b5",
        ),
        (
            "sha256",
            "suffix",
            "8a20677826351fcddb2a88d0c11867b9791797798e648b89ac09630c1802cb90",
        ),
        (
            "sha512",
            "prefix",
            "f95919efa0cefe2d53743cad99b75b01f4523396310290535290357040a29d28\
             7fa2747e0c742cf21fd535908025f8f8c869b0c9a9da4ac9d24314a49ceee3df",
        ),
        (
            "sha512",
            "suffix",
            "8ca3736463a9655f9dd796fdc283d4bbf1e502f593d8de354aea57a042ba708a\
             5ef241846da80530feb6cea6c4965ca0b838627bba9c4af6f462d59199c7eb11",
        ),
        ("sha512", "disable", SHA512),
    ];
    for (mode, position, stored) in cases {
        check(&salted(mode, position), stored, "pepper", RIGHT);
        let with_another = verify(&salted(mode, position), stored, b"paprika", RIGHT);
        let expected = if position == "disable" {
            Match::Yes
        } else {
            Match::No
        };
        assert_eq!(with_another, Ok(expected), "{mode} {position}");
    }
}

#[test]
fn texts_that_say_what_they_are() {
    let cases = [
        ("bcrypt", BCRYPT),
        (
            "1",
            "$2a$05$V8lz.3Qjvthm2EGjWNwSTOhGDTyW4xx8acseN0uZUsro3An/qsfjK",
        ),
        (
            "bcrypt",
            "$2y$05$TNaZ4JAzNQC.o0I5nDr.FOvuLsuuJ2e7R7/N69fv2zjTpaAH57HOS",
        ),
        ("argon2id", ARGON2ID),
        ("argon2id", SMALL_ARGON2ID),
        // As mosquitto 2.1 makes it: no reader of PHC strings that keeps to their limits takes it.
        (
            "argon2id",
            "$argon2id$v=19$m=47104,t=1,p=1$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUm\
             JygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw$aVo1St5PsxylF7NjjIPOOE5jxNbeUNweT/LEl8ONyxYqiqfl\
             WO7BotCdzcmTPqR4fg0oMZSzDQFY9PDfbH+biw",
        ),
        ("pbkdf2", PBKDF2),
        (
            "pbkdf2",
            "$pbkdf2-sha512$i=100$MDEyMzQ1Njc4OWFiY2RlZg$/yFakMlDl2xIXcbIvCmwQ3f5b+vB2Ui5t7qa6qg\
             93Z6NvAdTkzlGNgvVQDGF+H9HWKVKWQEKRd6jq7U5b+vBag",
        ),
        (
            "pbkdf2",
            "$pbkdf2-sha256$29$//v/NDU2Nzg5YWJjZGVm$06PxaUkCypHHhB7KVdV7VcD9wmr4WrF5RYQL1WFEXPg",
        ),
        (
            "pbkdf2",
            "$pbkdf2-sha512$31$MDEyMzQ1Njc4OWFiY2RlZg$PXpyWI090XiFzK8rFUBcJbM0neTsyPDAaW46y5ULQg\
             45img.lv8e8bJGBJe/3VunBZsbsthYGOV5ILLWNAlezg",
        ),
        ("auto", MOSQUITTO),
        ("auto", OLD_MOSQUITTO),
    ];
    for (mode, stored) in cases {
        check(&scheme(mode), stored, "", RIGHT);
        check(&scheme("auto"), stored, "", RIGHT);
    }
}

#[test]
fn a_long_password_is_looked_at_whole_but_by_bcrypt() {
    let long = [b'x'; 200];
    let stored = "$7$101$/4/CbnBPS7ROIvJ4$Pb+ccYUiCLZMY/HIhWOYX2OOhQNUu7QyD7hA76hpkGKJKxXBD0xBe1oP\
        6elNWRo9w3hB4JUAcMaWi2XHO8p7jw==";
    check(&scheme("auto"), stored, "", &long);
    // Its first 72 bytes, as everywhere.
    let stored = "$2b$04$f3h.us4s0p8cpSc0zS7MUOqVWOihQgaZglZ39iJGdtpQB/Wp8ITRm";
    assert_eq!(
        verify(&scheme("bcrypt"), stored, b"", &long[..72]),
        Ok(Match::Yes)
    );
    assert_eq!(
        verify(&scheme("bcrypt"), stored, b"", &long),
        Ok(Match::Yes)
    );
    assert_eq!(
        verify(&scheme("bcrypt"), stored, b"", &long[..71]),
        Ok(Match::No)
    );
}

#[test]
fn an_empty_password_matches_its_own_hash_and_an_empty_text_nothing() {
    let empty = [
        ("md5", "d41d8cd98f00b204e9800998ecf8427e"),
        ("sha1", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
        (
            "bcrypt",
            "$2b$04$3ygG1cFk59lvLsstbjogt.LcItznO2OOHsLx6OzHCYvqpgkGPyQ7a",
        ),
        (
            "argon2id",
            "$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$\
             YdvKnHDNdnx3UXOE4OXsgVckBvuq3gpvrMbEV3UYnbY",
        ),
    ];
    for (mode, stored) in empty {
        check(&scheme(mode), stored, "", b"");
    }
    for (_, mode) in Mode::ALL {
        for given in [&b""[..], RIGHT] {
            let compared = verify(&scheme(mode), "", b"", given);
            assert_eq!(compared, Err(Malformed::Empty), "{mode}");
        }
    }
}

#[test]
fn what_is_not_well_formed_is_an_error() {
    let bcrypt = |cost: &str| BCRYPT.replace("$05$", &format!("${cost}$"));
    let argon2id = |params: &str| SMALL_ARGON2ID.replace("m=64,t=1,p=2", params);
    let pbkdf2 = |params: &str| PBKDF2.replace("i=100,l=32", params);
    let mosquitto = |rounds: &str| MOSQUITTO.replace("101", rounds);
    let auto = [
        "correct horse".to_owned(),
        "3cb4e732631f47e6eb961f34554b7cde".to_owned(),
        "$".to_owned(),
        "$2$05$".to_owned(),
        "$2x$05$10OJE9UY1F.N4D3eU8NUXOYGQA3zhPeUsmWW.zS0KDyvuz0nAqgWG".to_owned(),
        "$argon2i$v=19$m=64,t=1,p=2$MDEyMzQ1Njc$FJG2jQRaKAPmYT2Uy8mZ+Q".to_owned(),
        "$argon2d$v=19$m=64,t=1,p=2$MDEyMzQ1Njc$FJG2jQRaKAPmYT2Uy8mZ+Q".to_owned(),
        "$1$salt$qJH7.N4xYta3aEG/dfqo/0".to_owned(),
        "$5$salt$Gcm6FsVtF/Qa77ZKD.iwsJlCVPY0XSMgLJL0Hnww/c1".to_owned(),
        format!(" {BCRYPT}"),
        format!("{BCRYPT}\n"),
        format!("{BCRYPT}$"),
        BCRYPT.replace('G', "é"),
        BCRYPT.replace('N', "-"),
        BCRYPT[..BCRYPT.len() - 1].to_owned(),
        bcrypt("03"),
        bcrypt("5"),
        bcrypt("005"),
        bcrypt("+5"),
        bcrypt(""),
        argon2id(""),
        argon2id("m=64"),
        argon2id("m=64,t=1"),
        argon2id("t=1,m=64,p=2"),
        argon2id("m=64,t=1,p=2,keyid=YQ"),
        argon2id("m=64,t=0,p=2"),
        argon2id("m=64,t=1,p=0"),
        argon2id("m=8,t=1,p=2"),
        argon2id("m=-64,t=1,p=2"),
        argon2id("m=99999999999,t=1,p=2"),
        SMALL_ARGON2ID.replace("v=19", "v=16"),
        SMALL_ARGON2ID.replace("v=19$", ""),
        SMALL_ARGON2ID.replace("MDEyMzQ1Njc", "MDEyMzQ1"),
        SMALL_ARGON2ID.replace("MDEyMzQ1Njc", ""),
        SMALL_ARGON2ID.replace("FJG2jQRaKAPmYT2Uy8mZ+Q", "FJG2"),
        SMALL_ARGON2ID.replace("FJG2jQRaKAPmYT2Uy8mZ+Q", ""),
        SMALL_ARGON2ID.replace("+Q", "*Q"),
        format!("{SMALL_ARGON2ID}$"),
        pbkdf2(""),
        pbkdf2("i="),
        pbkdf2("0"),
        pbkdf2("i=100,l=31"),
        pbkdf2("i=100,l="),
        pbkdf2("i=1e2"),
        PBKDF2.replace("-sha256", "-sha1"),
        PBKDF2.replace("-sha256", ""),
        PBKDF2.replace("MDEyMzQ1Njc4OWFiY2RlZg", ""),
        PBKDF2.replace("jFv3hht7uRixqMdKdjkASH0qpaB7Y6oFZhc+KxyeitI", "jFv3hht7"),
        mosquitto(""),
        mosquitto("0"),
        mosquitto("-1"),
        MOSQUITTO.replace("$101", ""),
        MOSQUITTO.replace("==", ""),
        MOSQUITTO.replace("hWNrKfcG9uDFpo8i", "hWNrKfcG9uDFpo8"),
        OLD_MOSQUITTO.replace("$6$", "$6$101$"),
        OLD_MOSQUITTO.replace("vMbl", ""),
        // crypt(3)'s, by its own alphabet and without padding.
        "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjlO/O817G3uBnIFNjnQJuesI68OTLiBFdcbYEdFCoE\
         OfaS35inz1"
            .to_owned(),
    ];
    for stored in auto {
        let compared = verify(&scheme("auto"), &stored, b"", RIGHT);
        assert!(
            matches!(compared, Err(Malformed::Unknown | Malformed::Form(_))),
            "{stored}"
        );
    }
    let other = [
        ("md5", "3cb4e732631f47e6eb961f34554b7cd"),
        ("md5", "3cb4e732631f47e6eb961f34554b7cdeaa"),
        ("md5", "3cb4e732631f47e6eb961f34554b7cdg"),
        ("md5", "3cb4e732631f47e6eb961f34554b7c€"),
        ("md5", " cb4e732631f47e6eb961f34554b7cde"),
        ("sha1", "3cb4e732631f47e6eb961f34554b7cde"),
        ("sha256", "2f9e53523b62abc141a2b4d6019d23cba835dbd0"),
        ("hmac-sha512", "2f9e53523b62abc141a2b4d6019d23cba835dbd0"),
        ("bcrypt", "correct horse"),
        ("bcrypt", ARGON2ID),
        ("argon2id", BCRYPT),
        ("argon2id", PBKDF2),
        ("pbkdf2", MOSQUITTO),
        ("pbkdf2", ARGON2ID),
    ];
    for (mode, stored) in other {
        let compared = verify(&scheme(mode), stored, b"", RIGHT);
        assert!(
            matches!(compared, Err(Malformed::Form(_))),
            "{mode} {stored}"
        );
    }
}

#[test]
fn what_would_cost_too_much_is_not_computed() {
    let argon2id = |params: &str| ARGON2ID.replace("m=19456,t=2,p=1", params);
    let cases = [
        (BCRYPT.replace("$05$", "$17$"), "bcrypt"),
        (BCRYPT.replace("$05$", "$31$"), "bcrypt"),
        (BCRYPT.replace("$05$", "$99$"), "bcrypt"),
        (argon2id("m=262145,t=1,p=1"), "argon2id"),
        (argon2id("m=4294967295,t=1,p=1"), "argon2id"),
        (argon2id("m=1024,t=17,p=1"), "argon2id"),
        (argon2id("m=1024,t=1,p=17"), "argon2id"),
        (PBKDF2.replace("i=100", "i=5000001"), "pbkdf2"),
        (PBKDF2.replace("i=100,l=32", "4294967295"), "pbkdf2"),
        (MOSQUITTO.replace("101", "5000001"), "mosquitto"),
    ];
    for (stored, what) in cases {
        let compared = verify(&scheme("auto"), &stored, b"", RIGHT);
        assert_eq!(compared, Err(Malformed::TooCostly(what)), "{stored}");
    }
    // What is just allowed is read; it is not computed here.
    for stored in [
        BCRYPT.replace("$05$", "$16$"),
        argon2id("m=262144,t=16,p=16"),
        PBKDF2.replace("i=100", "i=5000000"),
        MOSQUITTO.replace("101", "5000000"),
    ] {
        assert!(
            Stored::read(&Scheme::Auto, &stored, b"").is_ok(),
            "{stored}"
        );
    }
}

#[test]
fn new_passwords_are_hashed_as_owasp_asks_and_each_has_a_salt_of_its_own() {
    let (one, two) = (hash(RIGHT), hash(RIGHT));
    assert!(one.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{one}");
    assert_ne!(one, two);
    check(&scheme("auto"), &one, "", RIGHT);
    check(&scheme("argon2id"), &two, "", RIGHT);
    assert!(!needs_rehash(&one));
}

#[test]
fn what_is_weaker_is_hashed_anew() {
    let argon2id = |params: &str| ARGON2ID.replace("m=19456,t=2,p=1", params);
    for strong in [
        "m=19456,t=2,p=1",
        "m=47104,t=1,p=1",
        "m=7168,t=5,p=1",
        "m=65536,t=3,p=4",
    ] {
        assert!(!needs_rehash(&argon2id(strong)), "{strong}");
    }
    for weak in [
        "m=19455,t=2,p=1",
        "m=19456,t=1,p=1",
        "m=7168,t=4,p=1",
        "m=4096,t=16,p=1",
    ] {
        assert!(needs_rehash(&argon2id(weak)), "{weak}");
    }
    let short_salt = ARGON2ID.replace("MDEyMzQ1Njc4OWFiY2RlZg", "MDEyMzQ1Njc");
    for weak in [
        BCRYPT,
        PBKDF2,
        MOSQUITTO,
        OLD_MOSQUITTO,
        &short_salt,
        "correct horse",
        "",
    ] {
        assert!(needs_rehash(weak), "{weak}");
    }
}

#[test]
fn a_decoy_never_matches_and_costs_what_others_of_the_source_do() {
    for (_, mode) in Mode::ALL
        .into_iter()
        .filter(|(mode, _)| *mode != Mode::Pbkdf2)
    {
        assert_eq!(decoy(&scheme(mode), None, b""), Match::No, "{mode}");
        assert_eq!(
            decoy(&scheme(mode), Some("not well-formed"), RIGHT),
            Match::No,
            "{mode}"
        );
    }
    for like in [BCRYPT, SMALL_ARGON2ID, PBKDF2, MOSQUITTO, OLD_MOSQUITTO] {
        assert_eq!(decoy(&Scheme::Auto, Some(like), RIGHT), Match::No, "{like}");
    }

    let function = |mode: &str, like| Stored::decoy(&scheme(mode), like).function;
    assert!(matches!(
        function("bcrypt", None),
        Function::Bcrypt { cost: 10, .. }
    ));
    assert!(matches!(
        function("bcrypt", Some(BCRYPT)),
        Function::Bcrypt { cost: 5, .. }
    ));
    assert!(matches!(
        function("pbkdf2", None),
        Function::Pbkdf2 {
            rounds: 600_000,
            ..
        }
    ));
    assert!(matches!(
        function("auto", Some(MOSQUITTO)),
        Function::Pbkdf2 { rounds: 101, .. }
    ));
    assert!(matches!(
        function("auto", None),
        Function::Argon2id { cost: NEW_COST, .. }
    ));
    assert!(matches!(
        function("auto", Some("?")),
        Function::Argon2id { cost: NEW_COST, .. }
    ));
}

#[test]
fn modes_have_the_names_and_numbers_of_comqtt() {
    for (number, (mode, name)) in Mode::ALL.into_iter().enumerate() {
        assert_eq!(name.parse(), Ok(mode));
        let by_number = if number < 9 {
            Ok(mode)
        } else {
            Err(Error::UnknownMode)
        };
        assert_eq!(number.to_string().parse::<Mode>(), by_number);
    }
    for unknown in ["", "00", "-1", "9", "MD5", "argon2i", "hmac"] {
        assert_eq!(
            unknown.parse::<Mode>(),
            Err(Error::UnknownMode),
            "{unknown}"
        );
    }
    assert_eq!(
        "both".parse::<SaltPosition>(),
        Err(Error::UnknownSaltPosition)
    );
}

#[test]
fn a_scheme_that_lacks_something_is_an_error() {
    let new = |mode, key, salt| Scheme::new(mode, key, salt).map(|_| ());
    for mode in [Mode::HmacSha1, Mode::HmacSha256, Mode::HmacSha512] {
        assert_eq!(new(mode, None, SaltPosition::Disable), Err(Error::NoKey));
        assert_eq!(
            new(mode, Some(""), SaltPosition::Disable),
            Err(Error::NoKey)
        );
        assert_eq!(
            new(mode, Some("k"), SaltPosition::Prefix),
            Err(Error::SaltHasNoPlace)
        );
    }
    for mode in [
        Mode::Plain,
        Mode::Bcrypt,
        Mode::Argon2id,
        Mode::Pbkdf2,
        Mode::Auto,
    ] {
        assert_eq!(
            new(mode, None, SaltPosition::Suffix),
            Err(Error::SaltHasNoPlace)
        );
    }
}

#[test]
fn neither_keys_nor_passwords_are_shown() {
    let key = "the key of all";
    let scheme = Scheme::new(Mode::HmacSha256, Some(key), SaltPosition::Disable).expect("complete");
    assert_eq!(
        format!("{scheme:?}"),
        "Keyed { digest: Sha256, key: Key(..) }"
    );
    for stored in ["$2b$secret", "$argon2id$secret", "$7$secret", "secret"] {
        for mode in ["auto", "md5"] {
            let error = verify(&self::scheme(mode), stored, b"", b"secret").expect_err("malformed");
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("secret"), "{shown}");
        }
    }
}

/// One of each, at the least cost.
fn functions(salt: [u8; 16]) -> [Function; 7] {
    let cost = stored::Argon2Cost {
        memory: 16,
        passes: 1,
        lanes: 1,
    };
    let hashed = |position| Function::hashed(Digest::Sha1, position, &salt);
    let Ok(Scheme::Keyed { digest, key }) =
        Scheme::new(Mode::HmacSha1, Some("a key"), SaltPosition::Disable)
    else {
        unreachable!("it is what was asked for");
    };
    let salt = salt.to_vec();
    [
        hashed(SaltPosition::Disable),
        hashed(SaltPosition::Prefix),
        hashed(SaltPosition::Suffix),
        Function::Keyed { digest, key },
        Function::Bcrypt {
            cost: 4,
            salt: [7; 16],
        },
        Function::argon2id(cost, salt.clone()),
        Function::Pbkdf2 {
            digest: Digest::Sha512,
            rounds: 2,
            salt,
            size: 64,
        },
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn what_was_hashed_matches_and_nothing_else_does(
        salt: [u8; 16],
        right in prop::collection::vec(any::<u8>(), 0..70),
        other in prop::collection::vec(any::<u8>(), 0..70),
        flipped: prop::sample::Index,
    ) {
        let mut near = right.clone();
        if let Some(byte) = near.get_mut(flipped.index(right.len().max(1))) {
            *byte ^= 1;
        }
        let with_nul = [&right[..], b"\0"].concat();
        for function in functions(salt) {
            // These could not tell it from another.
            let is_blind = matches!(function, Function::Bcrypt { .. } | Function::Pbkdf2 { .. });
            let stored = Stored { expected: function.compute(&right), function };
            for given in [&right, &other, &near, &with_nul] {
                let is_right = *given == right && !(is_blind && right.contains(&0));
                let expected = if is_right { Match::Yes } else { Match::No };
                prop_assert_eq!(stored.compare(given), expected);
            }
        }
    }

    #[test]
    fn the_text_of_a_new_password_is_read_again(salt: [u8; 16], right: Vec<u8>) {
        let cost = stored::Argon2Cost { memory: 32, passes: 3, lanes: 2 };
        let made = Function::argon2id(cost, salt.to_vec());
        let text = form::argon2id_text(cost, &salt, &made.compute(&right));
        prop_assert_eq!(verify(&Scheme::Auto, &text, b"", &right), Ok(Match::Yes));
        prop_assert_eq!(verify(&Scheme::Auto, &text, &salt, b"another"), Ok(Match::No));
    }
}

proptest! {
    #[test]
    fn a_plain_password_matches_itself_and_nothing_else(right in ".+", other: String) {
        let expected = if other == right { Match::Yes } else { Match::No };
        prop_assert_eq!(verify(&Scheme::Plain, &right, b"", right.as_bytes()), Ok(Match::Yes));
        prop_assert_eq!(verify(&Scheme::Plain, &right, b"", other.as_bytes()), Ok(expected));
    }

    #[test]
    fn any_text_is_read_or_refused(text in r"\PC{0,100}") {
        for (_, mode) in Mode::ALL {
            let _ = Stored::read(&scheme(mode), &text, b"");
        }
    }

    #[test]
    fn a_text_with_one_character_changed_never_matches_by_chance(
        which in 0_usize..5,
        position: prop::sample::Index,
        with in prop::char::range(' ', '~'),
    ) {
        let text = [BCRYPT, SMALL_ARGON2ID, PBKDF2, MOSQUITTO, OLD_MOSQUITTO][which];
        let position = position.index(text.len());
        let mut changed = text.to_owned();
        changed.replace_range(position..=position, with.encode_utf8(&mut [0; 4]));
        // Where a cost grew, the reading of it is enough.
        let Ok(stored) = Stored::read(&Scheme::Auto, &changed, b"") else { return Ok(()) };
        let is_cheap = match stored.function {
            Function::Bcrypt { cost, .. } => cost < 6,
            Function::Argon2id { cost, .. } => cost.memory < 1_000,
            Function::Pbkdf2 { rounds, .. } => rounds < 1_000,
            Function::Scram { rounds, .. } => rounds < 10_000,
            Function::Hashed { .. } | Function::Keyed { .. } => true,
        };
        // The letter of bcrypt's version, bits behind its salt and its hash, and passlib's dot change
        // nothing.
        let is_the_same = changed.replace('.', "+") == text.replace('.', "+")
            || which == 0 && [2, 28, 59].contains(&position);
        if is_cheap && !is_the_same {
            prop_assert_eq!(stored.compare(RIGHT), Match::No, "{}", changed);
        }
    }
}
