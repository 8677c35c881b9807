//! A YAML file, read once, that knows the line of each of its keys.
//!
//! `serde_yaml` gives places only in errors. So a key's line is found by reading the file again
//! with a reader that walks down to the key and fails there: what the parser then says holds for
//! block and flow style, quotes, anchors and comments alike.

use super::key::{Step, steps};
use super::{Error, Problem};
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_yaml::Value;
use std::fmt;
use std::path::Path;

/// A file's name, text and tree.
#[derive(Clone, Debug)]
pub struct File {
    name: String,
    text: String,
    tree: Value,
}

impl File {
    /// Reads and parses a file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(name, text),
            Err(error) => Err(Error(format!("{name}: cannot be read: {error}"))),
        }
    }

    /// Parses a text as the file `name`.
    pub fn parse(name: String, text: String) -> Result<Self, Error> {
        let tree = match serde_yaml::from_str(&text) {
            Ok(Value::Null) => Value::Mapping(serde_yaml::Mapping::new()),
            Ok(tree @ Value::Mapping(_)) => tree,
            Ok(_) => {
                return Err(Error(format!(
                    "{name}:1: is not a list of `key: value` lines"
                )));
            }
            Err(error) => {
                let line = error.location().map_or(1, |location| location.line());
                return Err(Error(format!(
                    "{name}:{line}: is not one YAML document: {error}"
                )));
            }
        };
        Ok(Self { name, text, tree })
    }

    /// The tree of all its keys.
    pub fn tree(&self) -> &Value {
        &self.tree
    }

    /// The error of a problem with one of its keys.
    pub fn error(&self, problem: &Problem) -> Error {
        let place = self.place(&problem.key);
        Error(format!("{place}: {}: {}", problem.key, problem.what))
    }

    /// `name:line` of a key, or of the nearest section around it that the file has.
    pub fn place(&self, key: &str) -> String {
        let steps = steps(key);
        let line = (0..=steps.len())
            .rev()
            .find_map(|n| self.line(&steps[..n]))
            .unwrap_or(1);
        format!("{}:{line}", self.name)
    }

    fn line(&self, steps: &[Step<'_>]) -> Option<usize> {
        let reader = serde_yaml::Deserializer::from_str(&self.text);
        let error = Walk(steps).deserialize(reader).err()?;
        Some(error.location()?.line())
    }
}

/// Reads a value down to the place that the steps lead to, and fails there.
struct Walk<'a>(&'a [Step<'a>]);

/// Reads a key, and fails if it is the last step.
struct Name<'a>(&'a [Step<'a>]);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the place")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        if self.0.is_empty() {
            return Err(de::Error::custom("here"));
        }
        while let Some(matches) = map.next_key_seed(Name(self.0))? {
            if matches {
                map.next_value_seed(Walk(&self.0[1..]))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Some((Step::Index(wanted), rest)) = self.0.split_first() else {
            return Err(de::Error::custom("here"));
        };
        for _ in 0..*wanted {
            list.next_element::<IgnoredAny>()?;
        }
        list.next_element_seed(Walk(rest))?;
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = bool;

    fn deserialize<D: de::Deserializer<'de>>(self, reader: D) -> Result<bool, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = bool;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<bool, E> {
        match self.0 {
            [Step::Name(wanted)] if *wanted == name => Err(E::custom("here")),
            [Step::Name(wanted), ..] => Ok(*wanted == name),
            _ => Ok(false),
        }
    }
}
