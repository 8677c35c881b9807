//! JSON, as far as a line of the log needs it: whether it is one object, and its fields. What is
//! read strictly here a collector of logs can read, too.

/// The names and raw values of a line that is one JSON object and nothing else.
pub(crate) fn fields(line: &str) -> Option<Vec<(String, String)>> {
    let (fields, rest) = object(line)?;
    rest.trim().is_empty().then_some(fields)
}

/// An object at the beginning, and what follows it.
fn object(text: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut rest = text.strip_prefix('{')?.trim_start();
    let mut fields = Vec::new();
    while !rest.starts_with('}') {
        if !fields.is_empty() {
            rest = rest.strip_prefix(',')?.trim_start();
        }
        let after_name = string(rest)?;
        let name = &rest[1..rest.len() - after_name.len() - 1];
        let value = after_name.trim_start().strip_prefix(':')?.trim_start();
        let after_value = skip(value)?;
        let raw = &value[..value.len() - after_value.len()];
        fields.push((name.to_owned(), raw.to_owned()));
        rest = after_value.trim_start();
    }
    Some((fields, &rest[1..]))
}

/// What follows the value at the beginning.
fn skip(text: &str) -> Option<&str> {
    match text.chars().next()? {
        '{' => object(text).map(|(_, rest)| rest),
        '[' => {
            let mut rest = text[1..].trim_start();
            let mut is_first = true;
            while !rest.starts_with(']') {
                if !is_first {
                    rest = rest.strip_prefix(',')?.trim_start();
                }
                rest = skip(rest)?.trim_start();
                is_first = false;
            }
            Some(&rest[1..])
        }
        '"' => string(text),
        _ => {
            let end = text.find([',', '}', ']']).unwrap_or(text.len());
            let word = text[..end].trim_end();
            let is_value = ["true", "false", "null"].contains(&word) || word.parse::<f64>().is_ok();
            is_value.then_some(&text[end..])
        }
    }
}

/// What follows the string at the beginning.
fn string(text: &str) -> Option<&str> {
    let mut chars = text.char_indices();
    if chars.next()?.1 != '"' {
        return None;
    }
    loop {
        match chars.next()? {
            (end, '"') => return Some(&text[end + 1..]),
            (_, '\\') => match chars.next()?.1 {
                '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't' => {}
                'u' => {
                    for _ in 0..4 {
                        chars
                            .next()
                            .filter(|(_, digit)| digit.is_ascii_hexdigit())?;
                    }
                }
                _ => return None,
            },
            (_, raw) if raw < ' ' => return None,
            _ => {}
        }
    }
}

#[test]
fn what_is_no_object_is_told() {
    assert!(fields(r#"{"a":1,"b":{"c":["d",null]},"e\u00e9\n":"\""}"#).is_some());
    let wrong = [
        "",
        "{",
        "{}x",
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1"b":2}"#,
        r#"{"a":"\x"}"#,
        "{\"a\":\"\x1B\"}",
        r#"{"a":"}"#,
        r#"{"a":1,}"#,
        "text",
    ];
    for line in wrong {
        assert!(fields(line).is_none(), "{line}");
    }
}
