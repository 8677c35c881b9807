//! Layered configuration: defaults < YAML file < environment < flags, into one typed structure.
//!
//! Each layer is a tree of keys that is checked against the schema as it is added, and kept beside
//! the others, so that an error found late (a range, two keys that contradict each other) still
//! names the file and line, the variable or the flag that the value came from. The schema is no
//! description of its own: it is [`Schema::example`] written out as YAML.

use serde::{Serialize, de::DeserializeOwned};
use serde_yaml::Value;
use std::collections::BTreeMap;
use std::fmt;

mod file;
mod key;
mod shape;
mod value;

pub use file::File;
pub use value::{Number, Period, Size};

/// What a configuration structure shows of itself.
pub trait Schema: Default + Serialize + DeserializeOwned {
    /// The defaults, with one element in every list: so it has every key there is.
    fn example() -> Self;
}

/// Layers on their way to a configuration; a later one overrides an earlier one, key by key.
pub struct Layers {
    schema: Value,
    layers: Vec<Layer>,
}

/// A configuration, and where each of its values came from.
#[derive(Debug)]
pub struct Loaded<T> {
    /// The configuration itself.
    pub config: T,
    sources: Sources,
}

/// Where each value came from; it outlives the structure that was built.
#[derive(Debug)]
struct Sources(Vec<Layer>);

#[derive(Debug)]
struct Layer {
    source: Source,
    tree: Value,
}

#[derive(Debug)]
enum Source {
    /// A file, with the file's own names for keys that were translated.
    File(File, BTreeMap<String, String>),
    /// A variable or flag, by its name.
    Named(String),
}

/// What is wrong with a key, before it is known where its value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, as in `limits.max-inflight` or `listeners[0].address`.
    pub key: String,
    /// What is wrong and what to do.
    pub what: String,
}

/// One line: source, key, what is wrong and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(String);

/// A key of a foreign schema that was translated into one of ours.
#[derive(Clone, Debug, PartialEq)]
pub struct Renamed {
    /// The key in the file.
    pub from: String,
    /// The key of our schema.
    pub to: String,
    /// Its value, in our terms.
    pub value: Value,
}

// === impl Layers ===

impl Layers {
    /// No layer yet: the defaults of `T`.
    pub fn new<T: Schema>() -> Self {
        // A schema that cannot be written as YAML shows as "unknown key" in the first test.
        let schema = serde_yaml::to_value(T::example()).unwrap_or(Value::Null);
        Self {
            schema,
            layers: Vec::new(),
        }
    }

    /// Adds all keys of a file.
    pub fn file(&mut self, file: File) -> Result<(), Error> {
        let tree = file.tree().clone();
        self.push(Source::File(file, BTreeMap::new()), &tree)
    }

    /// Adds what a file in a foreign schema means in ours.
    pub fn translated(&mut self, file: File, keys: Vec<Renamed>) -> Result<(), Error> {
        let mut tree = Value::Mapping(serde_yaml::Mapping::new());
        let mut names = BTreeMap::new();
        for Renamed { from, to, value } in keys {
            key::set(&mut tree, &to, value);
            names.insert(to, from);
        }
        self.push(Source::File(file, names), &tree)
    }

    /// Adds the variables whose name starts with `prefix`; `PREFIX_LIMITS_MAX_INFLIGHT` is the key
    /// `limits.max-inflight`.
    pub fn environment(
        &mut self,
        prefix: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), Error> {
        let names: BTreeMap<String, String> = key::leaves(&self.schema)
            .into_iter()
            .map(|key| {
                (
                    format!("{prefix}{}", key.to_uppercase().replace(['.', '-'], "_")),
                    key,
                )
            })
            .collect();
        for (variable, text) in variables {
            if !variable.starts_with(prefix) {
                continue;
            }
            let Some(key) = names.get(&variable) else {
                if is_service_link(&variable[prefix.len()..]) {
                    continue;
                }
                let hint = key::did_you_mean(&variable, names.keys());
                return Err(Error(format!("{variable}: no setting has this name{hint}")));
            };
            self.text(variable, key, &text)?;
        }
        Ok(())
    }

    /// Adds one flag, given as text for a key.
    pub fn flag(&mut self, flag: &str, key: &str, text: &str) -> Result<(), Error> {
        self.text(flag.to_owned(), key, text)
    }

    /// Merges the layers over the defaults.
    pub fn build<T: Schema>(self) -> Result<Loaded<T>, Error> {
        let mut merged = Value::Mapping(serde_yaml::Mapping::new());
        for layer in &self.layers {
            key::merge(&mut merged, &layer.tree);
        }
        let sources = Sources(self.layers);
        match serde_path_to_error::deserialize(&merged) {
            Ok(config) => Ok(Loaded { config, sources }),
            Err(error) => Err(sources.locate(&Problem {
                key: error.path().to_string(),
                what: error.inner().to_string(),
            })),
        }
    }

    fn text(&mut self, name: String, key: &str, text: &str) -> Result<(), Error> {
        let mut tree = Value::Mapping(serde_yaml::Mapping::new());
        key::set(
            &mut tree,
            key,
            shape::from_text(key::find(&self.schema, key), text),
        );
        self.push(Source::Named(name), &tree)
    }

    fn push(&mut self, source: Source, tree: &Value) -> Result<(), Error> {
        match shape::fit(&self.schema, tree, "") {
            Ok(tree) => {
                self.layers.push(Layer { source, tree });
                Ok(())
            }
            Err(problem) => Err(source.error(&problem)),
        }
    }
}

// === impl Loaded ===

impl<T> Loaded<T> {
    /// The error of a problem that was found in the built configuration.
    pub fn locate(&self, problem: &Problem) -> Error {
        self.sources.locate(problem)
    }

    /// Whether any layer sets this key.
    pub fn is_set(&self, key: &str) -> bool {
        self.sources
            .0
            .iter()
            .any(|layer| key::find(&layer.tree, key).is_some())
    }
}

impl Sources {
    /// Names the last layer that has the key, or the longest part of it.
    fn locate(&self, problem: &Problem) -> Error {
        let depth = |layer: &&Layer| key::depth(&layer.tree, &problem.key);
        match self
            .0
            .iter()
            .max_by_key(depth)
            .filter(|layer| depth(layer) > 0)
        {
            Some(layer) => layer.source.error(problem),
            None => Error(format!("{}: {}", problem.key, problem.what)),
        }
    }
}

impl Source {
    fn error(&self, Problem { key, what }: &Problem) -> Error {
        Error(match self {
            Self::File(file, names) => {
                let theirs = names.get(key).unwrap_or(key);
                format!("{}: {theirs}: {what}", file.place(theirs))
            }
            Self::Named(name) => format!("{name}: {key}: {what}"),
        })
    }
}

// === impl Problem ===

impl Problem {
    /// What is wrong with `key`.
    pub fn new(key: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            what: what.into(),
        }
    }

    /// The error of something that no layer has, such as a flag that is no setting.
    pub fn alone(&self) -> Error {
        Error(format!("{}: {}", self.key, self.what))
    }
}

// === impl Error ===

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.replace(['\n', '\r'], " "))
    }
}

impl std::error::Error for Error {}

/// Whether Kubernetes made a variable of this name, after its prefix, for a service that is called
/// as this program: those are in the environment of every container beside it.
fn is_service_link(name: &str) -> bool {
    let port = name
        .strip_prefix("SERVICE_PORT")
        .or(name.strip_prefix("PORT"));
    name == "SERVICE_HOST" || port.is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}

#[cfg(test)]
mod tests;
