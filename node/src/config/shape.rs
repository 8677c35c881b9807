//! Fits what was given to the shape of the schema: known keys, sections, lists, kinds of value.

use super::Problem;
use super::key::{did_you_mean, join};
use serde_yaml::{Mapping, Value};

/// The given tree in the schema's shape; an empty section is no section.
pub(super) fn fit(schema: &Value, given: &Value, key: &str) -> Result<Value, Problem> {
    match (schema, given) {
        (Value::Mapping(known), Value::Mapping(given)) => section(known, given, key),
        // What another program reads, and this one does not know.
        (Value::Null, _) => Ok(given.clone()),
        (Value::Mapping(_), Value::Null) => Ok(Value::Mapping(Mapping::new())),
        (_, Value::Null) => Err(Problem::new(
            key,
            "has no value: write one, or remove the line",
        )),
        (Value::Mapping(_), _) => Err(Problem::new(
            key,
            format!("{} is not a section: write its keys below it", show(given)),
        )),
        (Value::Sequence(example), Value::Sequence(items)) => {
            let fitted = items.iter().enumerate().map(|(index, item)| {
                let key = format!("{key}[{index}]");
                fit(like(example, item, &key)?, item, &key)
            });
            fitted.collect()
        }
        (Value::Sequence(_), _) => Err(Problem::new(
            key,
            format!("{} is not a list: write [ … ]", show(given)),
        )),
        (Value::Bool(_), Value::Bool(_)) => Ok(given.clone()),
        (Value::Bool(_), _) => Err(Problem::new(
            key,
            format!("{} is not true or false", show(given)),
        )),
        (Value::String(_), Value::Number(number)) => Ok(Value::String(number.to_string())),
        (Value::String(_), Value::String(_)) | (Value::Number(_), _) => Ok(given.clone()),
        _ => Err(Problem::new(
            key,
            format!("{} is not text: put it in quotes", show(given)),
        )),
    }
}

/// The example of the list's items that an item is like: where there are several, each has its own
/// `type`, unless they are plain values.
fn like<'a>(examples: &'a [Value], item: &Value, key: &str) -> Result<&'a Value, Problem> {
    let is_plain = examples.first().is_none_or(|example| !example.is_mapping());
    if is_plain || examples.len() == 1 {
        return Ok(examples.first().unwrap_or(&Value::Null));
    }
    let kind = item.get("type");
    let found = examples
        .iter()
        .find(|example| kind.is_some() && example.get("type") == kind);
    found.ok_or_else(|| {
        let kinds = examples.iter().filter_map(|example| example.get("type"));
        let kinds: Vec<&str> = kinds.filter_map(Value::as_str).collect();
        let given = kind.map_or_else(|| "nothing".to_owned(), show);
        let what = format!("{given} is not one of {}", kinds.join(", "));
        Problem::new(join(key, "type"), what)
    })
}

/// The value that a variable or flag means where the schema has `schema`.
pub(super) fn from_text(schema: Option<&Value>, text: &str) -> Value {
    match schema {
        Some(Value::String(_)) | None => Value::String(text.to_owned()),
        Some(Value::Sequence(example)) => match serde_yaml::from_str(text) {
            Ok(Value::Sequence(items)) => Value::Sequence(items),
            _ if matches!(example.first(), Some(Value::String(_))) => {
                let items = text
                    .split(',')
                    .map(str::trim)
                    .filter(|item| !item.is_empty());
                Value::Sequence(items.map(Value::from).collect())
            }
            _ => Value::String(text.to_owned()),
        },
        Some(_) => match serde_yaml::from_str(text) {
            Ok(value @ (Value::Bool(_) | Value::Number(_))) => value,
            _ => Value::String(text.to_owned()),
        },
    }
}

/// A value as it may stand in an error.
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text:?}"),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Null => "nothing".to_owned(),
        Value::Sequence(_) => "a list".to_owned(),
        Value::Mapping(_) => "a section".to_owned(),
        Value::Tagged(tagged) => format!("the tag {}", tagged.tag),
    }
}

fn section(known: &Mapping, given: &Mapping, key: &str) -> Result<Value, Problem> {
    let mut fitted = Mapping::new();
    for (name, value) in given {
        let text = name.as_str().map_or_else(|| show(name), str::to_owned);
        let key = join(key, &text);
        let Some(schema) = known.get(name) else {
            let hint = did_you_mean(&text, known.keys().filter_map(Value::as_str));
            return Err(Problem::new(key, format!("unknown key{hint}")));
        };
        fitted.insert(name.clone(), fit(schema, value, &key)?);
    }
    Ok(Value::Mapping(fitted))
}
