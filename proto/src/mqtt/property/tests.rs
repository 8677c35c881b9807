//! Encoded property lists.

use proptest::prelude::*;

use super::*;
use crate::mqtt::{PublishProperties, Reason};

fn user(pairs: &[(&str, &str)]) -> UserPropertiesBuf {
    let mut properties = UserPropertiesBuf::new();
    for (name, value) in pairs {
        properties.push(name, value).expect("fits");
    }
    properties
}

#[test]
fn mqtt_3_1_3_10_user_properties_keep_their_order_and_may_repeat() {
    let pairs = [("b", "1"), ("a", ""), ("b", "1"), ("", "\u{e4}")];
    let buffer = user(&pairs);
    let properties = buffer.as_ref();
    assert_eq!(properties.iter().collect::<Vec<_>>(), pairs);
    assert_eq!((properties.len(), properties.is_empty()), (4, false));
    assert_eq!(UserPropertiesBuf::from(properties), buffer);
    assert_eq!(format!("{:?}", user(&[("k", "v")])), r#"[("k", "v")]"#);
    assert!(UserProperties::default().is_empty());
}

#[test]
fn user_properties_are_equal_by_their_pairs_alone() {
    let one = UserProperties::from_block(b"\x26\0\x01k\0\x01v\x01\x01").expect("valid");
    let other = UserProperties::from_block(b"\x01\0\x26\0\x01k\0\x01v").expect("valid");
    assert_eq!(one, other);
    assert_ne!(one, UserProperties::default());
    assert_ne!(
        user(&[("a", "b"), ("c", "d")]).as_ref(),
        user(&[("c", "d"), ("a", "b")]).as_ref()
    );
}

#[test]
fn user_properties_that_cannot_be_encoded_are_refused() {
    let mut properties = UserPropertiesBuf::new();
    let long = "a".repeat(65_535);
    assert!(properties.push(&long, &long).is_ok());
    let before = properties.clone();
    assert_eq!(
        properties.push("a", &(long + "a")).unwrap_err().to_string(),
        "User Property is longer than 65,535 bytes",
    );
    assert_eq!(
        properties.push("\0", "").unwrap_err().reason(),
        Reason::MalformedPacket
    );
    assert_eq!(properties, before);
}

#[test]
fn subscription_ids_of_every_length() {
    let ids = [
        1,
        127,
        128,
        16_383,
        16_384,
        2_097_151,
        2_097_152,
        268_435_455,
    ];
    let mut buffer = vec![9];
    let encoded = SubscriptionIds::encode(ids, &mut buffer);
    assert_eq!(encoded.iter().collect::<Vec<_>>(), ids);
    assert_eq!((encoded.len(), encoded.is_empty()), (8, false));
    let mut buffer = Vec::new();
    assert!(SubscriptionIds::encode([0, u32::MAX], &mut buffer).is_empty());
    let block = b"\x0B\x05\x01\x00\x0B\x06";
    assert_eq!(
        format!("{:?}", SubscriptionIds::from_block(block).expect("valid")),
        "[5, 6]"
    );
    assert!(SubscriptionIds::from_block(b"\x0B\x00").is_err());
}

const FORMAT: &[u8] = b"\x01\x01";
const EXPIRY: &[u8] = b"\x02\0\0\0\x09";
const CONTENT_TYPE: &[u8] = b"\x03\0\x01t";
const RESPONSE: &[u8] = b"\x08\0\x01r";
const CORRELATION: &[u8] = b"\x09\0\x02\0\xFF";
const SUBSCRIPTION: &[u8] = b"\x0B\x80\x01";
const ALIAS: &[u8] = b"\x23\0\x07";
const DELAY: &[u8] = b"\x18\0\0\0\x05";
const USER: &[u8] = b"\x26\0\x01k\0\x01v";

fn check_forwardable(entries: &[&[u8]], expected: &[&[u8]], copies: bool) {
    let block = entries.concat();
    let mut scratch = Vec::new();
    assert_eq!(forwardable(&block, &mut scratch), expected.concat());
    assert_eq!(scratch.capacity() > 0, copies);
}

#[test]
fn mqtt_3_3_2_17_forwards_what_must_not_be_altered() {
    let all = [FORMAT, CONTENT_TYPE, RESPONSE, CORRELATION, USER, USER];
    check_forwardable(&[], &[], false);
    check_forwardable(&all, &all, false);
    check_forwardable(&[EXPIRY, ALIAS, SUBSCRIPTION, DELAY], &[], false);
    check_forwardable(&[ALIAS, USER, FORMAT, EXPIRY], &[USER, FORMAT], false);
    check_forwardable(&[USER, ALIAS, FORMAT], &[USER, FORMAT], true);
    check_forwardable(&[DELAY, USER, EXPIRY, USER, DELAY], &[USER, USER], true);
}

#[test]
fn forwards_nothing_of_an_invalid_list() {
    check_forwardable(&[USER, b"\x7F"], &[], false);
    check_forwardable(&[USER, b"\x26\0\x01k\0\x05v"], &[], false);
    check_forwardable(&[USER, b"\x0B\xFF\xFF\xFF\xFF\x01"], &[], false);
}

proptest! {
    #[test]
    fn walking_garbage_ends(block in prop::collection::vec(any::<u8>(), 0..64)) {
        let user_properties = UserProperties::from_checked(&block);
        prop_assert!(user_properties.iter().count() <= user_properties.len());
        let _ = format!("{user_properties:?} {:?}", SubscriptionIds::from_checked(&block));
        let mut scratch = Vec::new();
        let forwarded = forwardable(&block, &mut scratch).to_vec();
        if PublishProperties::from_block(&block).is_ok() {
            let kept = PublishProperties::from_block(&forwarded).expect("part of a valid list");
            prop_assert_eq!(kept.message_expiry, None);
            prop_assert_eq!(kept.topic_alias, None);
            prop_assert!(kept.subscription_ids.is_empty());
        }
    }

    #[test]
    fn what_is_forwarded_reads_the_same(
        order in Just(vec![FORMAT, EXPIRY, CONTENT_TYPE, RESPONSE, CORRELATION, SUBSCRIPTION,
            SUBSCRIPTION, ALIAS, USER, USER]).prop_shuffle(),
        n_entries in 0..=10_usize,
    ) {
        let block = order.into_iter().take(n_entries).collect::<Vec<_>>().concat();
        let all = PublishProperties::from_block(&block).expect("valid");
        let mut scratch = Vec::new();
        let forwarded = forwardable(&block, &mut scratch);
        let kept = PublishProperties::from_block(forwarded).expect("valid");
        let expected = PublishProperties {
            block: forwarded,
            message_expiry: None,
            topic_alias: None,
            subscription_ids: SubscriptionIds::default(),
            ..all
        };
        prop_assert_eq!(kept, expected);
    }
}

#[test]
fn a_user_property_takes_the_place_of_all_of_its_name() {
    let before = b"\x01\x01\x26\0\x01k\0\x01v\x26\0\x01t\0\x01a\x26\0\x01t\0\x01b\x03\0\x01c";
    let after = with_user_property(before, "t", "new");
    let expected = b"\x01\x01\x26\0\x01k\0\x01v\x03\0\x01c\x26\0\x01t\0\x03new";
    assert_eq!(after, expected);
    let properties = UserProperties::from_block(&after).expect("valid");
    assert_eq!(
        properties.iter().collect::<Vec<_>>(),
        [("k", "v"), ("t", "new")]
    );
    assert_eq!(with_user_property(b"", "t", ""), b"\x26\0\x01t\0\0");
    assert_eq!(user_property(before, "t"), Some(&b"a"[..]), "the first");
    assert_eq!(user_property(before, "c"), None);
    assert_eq!(
        user_property(b"\x26\0\x01t\0\x05a", "t"),
        None,
        "half of one"
    );
}
