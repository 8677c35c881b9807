//! What is written is read again, and nothing else is.

use super::*;

fn full() -> Meta {
    Meta {
        roles: Roles::CONTROL | Roles::BRIDGE,
        cluster_id: Some(ClusterId(*b"0123456789abcdef")),
        incarnation: u64::MAX - 1,
        token: 0x0123_4567_89ab_cdef,
        control_address: "control.example:7701".to_owned(),
        peer_address: "[::1]:7702".to_owned(),
        http_address: "10.0.0.1:8080".to_owned(),
        version: "0.1.0-ä".to_owned(),
        is_leaving: true,
    }
}

#[test]
fn what_is_written_is_read() {
    for meta in [
        Meta::default(),
        full(),
        Meta {
            cluster_id: None,
            ..full()
        },
        Meta {
            is_leaving: false,
            http_address: String::new(),
            ..full()
        },
    ] {
        let bytes = meta.encode().unwrap();
        assert_eq!(Meta::decode(&bytes), Ok(meta));
    }
}

#[test]
fn the_bytes_do_not_change_from_version_to_version() {
    let meta = Meta {
        roles: Roles::GATEWAY,
        cluster_id: Some(ClusterId([7; 16])),
        incarnation: 5,
        token: 9,
        control_address: "a".to_owned(),
        version: "bc".to_owned(),
        ..Meta::default()
    };
    let mut expected = vec![1, 2, 1];
    expected.extend([7; 16]);
    expected.extend([0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 9]);
    expected.extend([1, b'a', 0, 0, 2, b'b', b'c']);
    assert_eq!(meta.encode().unwrap(), expected);
}

#[test]
fn a_meta_cut_at_any_byte_is_unreadable() {
    let bytes = full().encode().unwrap();
    for n_bytes in 0..bytes.len() {
        let cut = Meta::decode(&bytes[..n_bytes]);
        assert!(
            matches!(cut, Err(Unreadable::Truncated(_))),
            "{n_bytes}: {cut:?}"
        );
    }
}

#[test]
fn what_a_later_version_adds_is_ignored() {
    let mut bytes = full().encode().unwrap();
    bytes[1] |= 0x80;
    bytes[2] |= 0x80;
    bytes.extend([1, 2, 3]);
    assert_eq!(Meta::decode(&bytes), Ok(full()));
}

#[test]
fn other_formats_and_texts_that_are_none_are_errors() {
    let bytes = full().encode().unwrap();
    for format in [0, 2, 255] {
        let mut other = bytes.clone();
        other[0] = format;
        assert_eq!(Meta::decode(&other), Err(Unreadable::Format(format)));
    }
    let mut other = bytes;
    *other.last_mut().unwrap() = 0xff;
    assert_eq!(Meta::decode(&other), Err(Unreadable::Text("version")));
}

#[test]
fn the_bound_is_512_bytes() {
    let sized = |n_bytes: usize| Meta {
        control_address: "c".repeat(255),
        peer_address: "p".repeat(n_bytes - 278),
        ..Meta::default()
    };
    assert_eq!(sized(512).encode().unwrap().len(), 512);
    assert_eq!(sized(513).encode(), Err(TooLong::Meta(513)));
    let long = Meta {
        version: "v".repeat(256),
        ..Meta::default()
    };
    assert_eq!(long.encode(), Err(TooLong::Text("version", 256)));
}

#[test]
fn roles_are_named() {
    assert_eq!(Roles::NONE.to_string(), "none");
    let both = Roles::CONTROL | Roles::GATEWAY;
    assert_eq!(both.to_string(), "control,gateway");
    assert!(both.contains(Roles::GATEWAY) && !both.contains(Roles::BRIDGE | Roles::GATEWAY));
}
