//! Topic names, filters and matching.

use proptest::prelude::*;

use super::*;

const BOUNDS: Bounds = Bounds {
    levels: 8,
    length: MAX_LENGTH,
};

const NINE: Bounds = Bounds {
    levels: 9,
    ..BOUNDS
};

fn filter(text: &str) -> Result<(Option<&str>, &str), Error> {
    Filter::parse(text, BOUNDS).map(|filter| (filter.share, filter.filter))
}

#[test]
fn mqtt_4_7_3_1_names_have_a_character() {
    assert_eq!(validate_name("", BOUNDS), Err(Error::Empty));
    assert_eq!(filter(""), Err(Error::Empty));
    for name in [
        "a",
        "/",
        " ",
        "a/b",
        "/a",
        "a/",
        "//",
        "$SYS/x",
        "\u{e4}/\u{1f980}",
    ] {
        assert_eq!(validate_name(name, BOUNDS), Ok(()), "{name}");
        assert_eq!(filter(name), Ok((None, name)));
    }
}

#[test]
fn mqtt_4_7_0_1_names_have_no_wildcard() {
    for name in ["#", "+", "a/#", "a/+/b", "a+", "a#b"] {
        assert_eq!(validate_name(name, BOUNDS), Err(Error::Wildcard), "{name}");
    }
}

#[test]
fn mqtt_4_7_3_2_no_null_nor_other_control_or_non_character() {
    for character in (0..=0x10_FFFF).filter_map(char::from_u32) {
        let code = u32::from(character);
        let expected = match code {
            0..=0x1F | 0x7F..=0x9F => Err(Error::ControlCharacter),
            0xFDD0..=0xFDEF => Err(Error::NonCharacter),
            _ if code & 0xFFFF >= 0xFFFE => Err(Error::NonCharacter),
            0x23 | 0x2B => Err(Error::Wildcard),
            _ => Ok(()),
        };
        let text = character.to_string();
        assert_eq!(validate_name(&text, BOUNDS), expected, "U+{code:04X}");
        if expected != Err(Error::Wildcard) {
            assert_eq!(filter(&text).map(|_| ()), expected, "U+{code:04X}");
        }
    }
}

#[test]
fn mqtt_4_7_3_3_at_most_65535_bytes() {
    let long = "a".repeat(MAX_LENGTH);
    assert_eq!(validate_name(&long, BOUNDS), Ok(()));
    assert_eq!(
        validate_name(&(long.clone() + "a"), BOUNDS),
        Err(Error::TooLong)
    );
    assert_eq!(filter(&(long.clone() + "a")), Err(Error::TooLong));
    assert_eq!(filter(&format!("$share/g/{long}")), Err(Error::TooLong));
}

#[test]
fn the_bound_on_the_length_counts_the_share_too() {
    let bounds = Bounds {
        length: 12,
        ..BOUNDS
    };
    assert_eq!(validate_name("abcdefghijkl", bounds), Ok(()));
    assert_eq!(validate_name("abcdefghijklm", bounds), Err(Error::TooLong));
    assert!(Filter::parse("$share/g/abc", bounds).is_ok());
    assert_eq!(Filter::parse("$share/g/abcd", bounds), Err(Error::TooLong));
}

#[test]
fn counts_levels_without_the_share() {
    let eight = "a/b/c/d/e/f/g/h";
    assert_eq!(validate_name(eight, BOUNDS), Ok(()));
    assert_eq!(
        filter(&format!("$share/group/{eight}")),
        Ok((Some("group"), eight))
    );
    let nine = format!("{eight}/");
    assert_eq!(validate_name(&nine, BOUNDS), Err(Error::TooManyLevels));
    assert_eq!(filter(&nine), Err(Error::TooManyLevels));
    assert_eq!(
        filter(&format!("$share/group/{nine}")),
        Err(Error::TooManyLevels)
    );
    assert_eq!(validate_name(&"/".repeat(MAX_LENGTH), Bounds::NONE), Ok(()));
    assert_eq!(filter(&"/".repeat(MAX_LENGTH)), Err(Error::TooManyLevels));
    assert_eq!(levels("/").collect::<Vec<_>>(), ["", ""]);
}

#[test]
fn mqtt_4_7_1_1_hash_is_alone_in_the_last_level() {
    for text in ["#", "a/#", "/#", "+/#", "a/b/#"] {
        assert_eq!(filter(text), Ok((None, text)));
    }
    for text in ["a#", "#a", "#/a", "a/#/b", "##", "#/", "a/b#", "+#", "#+"] {
        assert_eq!(filter(text), Err(Error::MisplacedHash), "{text}");
    }
}

#[test]
fn mqtt_4_7_1_2_plus_has_a_level_to_itself() {
    for text in ["+", "+/a", "a/+", "a/+/b", "+/+", "/+", "+/"] {
        assert_eq!(filter(text), Ok((None, text)));
    }
    for text in ["a+", "+a", "a/b+/c", "++", "a/+b"] {
        assert_eq!(filter(text), Err(Error::MisplacedPlus), "{text}");
    }
}

#[test]
fn mqtt_4_8_2_1_and_4_8_2_2_shared_subscriptions() {
    assert_eq!(filter("$share/g/t"), Ok((Some("g"), "t")));
    assert_eq!(filter("$share/g//"), Ok((Some("g"), "/")));
    assert_eq!(filter("$share/g/#"), Ok((Some("g"), "#")));
    assert_eq!(filter("$share/g/$share/h/t"), Ok((Some("g"), "$share/h/t")));
    assert_eq!(filter("$share//t"), Err(Error::EmptyShareName));
    assert_eq!(filter("$share/"), Err(Error::EmptyShareName));
    assert_eq!(filter("$share/+/t"), Err(Error::WildcardInShareName));
    assert_eq!(filter("$share/a#/t"), Err(Error::WildcardInShareName));
    assert_eq!(filter("$share/#"), Err(Error::WildcardInShareName));
    assert_eq!(filter("$share/g"), Err(Error::NoSharedFilter));
    assert_eq!(filter("$share/g/"), Err(Error::NoSharedFilter));
    assert_eq!(filter("$share/g/a#"), Err(Error::MisplacedHash));
    assert_eq!(filter("$share/\u{1}/t"), Err(Error::ControlCharacter));
    // Plain filters, however they look.
    for text in [
        "$SHARE/g/t",
        "$share",
        "$shared/g/t",
        "a/$share/g/t",
        "$queue/t",
    ] {
        assert_eq!(filter(text), Ok((None, text)));
    }
}

#[test]
fn knows_a_wildcard() {
    let has_wildcard = |text| Filter::parse(text, BOUNDS).expect("valid").has_wildcard();
    assert!(has_wildcard("a/+"));
    assert!(has_wildcard("$share/g/#"));
    assert!(!has_wildcard("$share/g/a"));
}

#[test]
fn mqtt_4_7_1_matches_as_in_the_examples_of_the_standard() {
    for (filter, topic, expected) in [
        ("sport/tennis/player1/#", "sport/tennis/player1", true),
        (
            "sport/tennis/player1/#",
            "sport/tennis/player1/ranking",
            true,
        ),
        (
            "sport/tennis/player1/#",
            "sport/tennis/player1/score/wimbledon",
            true,
        ),
        ("sport/#", "sport", true),
        ("#", "a/b/c", true),
        ("#", "/", true),
        ("sport/tennis/+", "sport/tennis/player1", true),
        ("sport/tennis/+", "sport/tennis/player1/ranking", false),
        ("sport/+", "sport", false),
        ("sport/+", "sport/", true),
        ("+/+", "/finance", true),
        ("/+", "/finance", true),
        ("+", "/finance", false),
        ("+/#", "a", true),
        ("a/b", "a/b", true),
        ("a/b", "a/b/c", false),
        ("a/b/c", "a/b", false),
        ("a", "A", false),
        ("/", "/", true),
        ("a", "a/", false),
        ("a/+/c", "a//c", true),
    ] {
        assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
    }
}

#[test]
fn mqtt_4_7_2_1_wildcards_do_not_match_dollar_topics_in_the_first_level() {
    for (filter, topic, expected) in [
        ("#", "$SYS", false),
        ("+", "$SYS", false),
        ("+/monitor/Clients", "$SYS/monitor/Clients", false),
        ("#", "$SYS/monitor", false),
        ("$SYS/#", "$SYS/monitor", true),
        ("$SYS/#", "$SYS", true),
        ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
        ("a/+", "a/$b", true),
        ("a/#", "a/$b", true),
    ] {
        assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
    }
}

/// The rules once more, by recursion over lists of levels.
fn matches_by_recursion(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) | ([], []) => true,
        ([first, filter @ ..], [level, topic @ ..]) if *first == "+" || first == level => {
            matches_by_recursion(filter, topic)
        }
        _ => false,
    }
}

proptest! {
    #[test]
    fn matches_like_the_recursive_definition(
        filter in "([ab+]|)(/([ab+]|)){0,4}(/#)?",
        topic in "([ab]|)(/([ab]|)){0,4}",
    ) {
        let expected = matches_by_recursion(
            &levels(&filter).collect::<Vec<_>>(),
            &levels(&topic).collect::<Vec<_>>(),
        );
        prop_assert_eq!(matches(&filter, &topic), expected);
    }

    #[test]
    fn a_valid_name_is_a_filter_that_matches_itself_alone(
        name in "[a-c/$]{1,6}",
        other in "[a-c/$]{1,6}",
    ) {
        prop_assume!(!name.starts_with("$share/"));
        prop_assert_eq!(validate_name(&name, NINE), Ok(()));
        let filter = Filter::parse(&name, NINE).expect("a name is a filter");
        prop_assert!(filter.matches(&name));
        prop_assert_eq!(filter.matches(&other), name == other);
    }

    #[test]
    fn scans_like_one_character_at_a_time(text in "([a-z/]{0,40}|[+#\0\x7f\u{85}\u{fdd0}\u{e4}/]){0,4}") {
        let non_character = |character| matches!(character, '\u{fdd0}'..='\u{fdef}');
        let expected = Scan {
            slashes: text.matches('/').count(),
            plus: text.contains('+'),
            hash: text.contains('#'),
            control: text.contains(char::is_control),
            non_character: text.contains(non_character),
        };
        prop_assert_eq!(scan(&text), expected);
    }

    #[test]
    fn any_text_is_taken_or_refused(text in ".*", levels: usize, length: usize) {
        let bounds = Bounds { levels, length };
        let _ = validate_name(&text, bounds);
        if let Ok(filter) = Filter::parse(&text, bounds) {
            prop_assert!(filter.levels().count() <= levels);
            prop_assert!(text.len() <= length);
            prop_assert_eq!(filter.has_wildcard(), validate_name(filter.filter, Bounds::NONE).is_err());
        }
    }
}
