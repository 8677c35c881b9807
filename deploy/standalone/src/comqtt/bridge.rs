//! comqtt's bridge to Kafka: where its file is, and what that means as keys of `bridge`.

use gatemq_node::config::Problem;
#[cfg(feature = "bridge")]
use gatemq_node::config::{File, Renamed};
use serde_yaml::Value;
#[cfg(feature = "bridge")]
use std::path::Path;

/// The key of comqtt's file that says whether there is a bridge.
pub const WAY: &str = "bridge-way";
/// The key that says where it is described.
pub const PATH: &str = "bridge-path";

/// Where a comqtt file says that its bridge is described; `None` if it has none.
///
/// # Errors
///
/// If it has one that is not to be had here, or that is described nowhere.
pub fn file_of(tree: &Value) -> Result<Option<&str>, Problem> {
    match tree.get(WAY).map(Value::as_u64) {
        None | Some(Some(0)) => return Ok(None),
        Some(Some(1)) => {}
        Some(_) => return Err(Problem::new(WAY, "is not 0 (no bridge) or 1 (Kafka)")),
    }
    let path = tree.get(PATH).and_then(Value::as_str);
    match path.filter(|path| !path.is_empty()) {
        None => Err(Problem::new(PATH, "names no file of the bridge to Kafka")),
        path => Ok(path),
    }
}

/// A file of comqtt's bridge, in our terms.
#[cfg(feature = "bridge")]
pub struct Described {
    /// The file.
    pub file: File,
    /// Its keys under their new names.
    pub keys: Vec<Renamed>,
    /// What means something else here, or nothing.
    pub warnings: Vec<String>,
}

/// Reads such a file.
///
/// # Errors
///
/// What is wrong with it, and where.
#[cfg(feature = "bridge")]
pub fn read(path: &Path) -> Result<Described, String> {
    let file = File::read(path).map_err(|error| error.to_string())?;
    let text = serde_yaml::to_string(file.tree()).map_err(|error| error.to_string())?;
    let located = |line: String| {
        let (key, what) = line.split_once(": ").unwrap_or(("", &line));
        format!("{}: {key}: {what}", file.place(key))
    };
    let translation = gatemq_bridge::config::comqtt::translate(&text).map_err(located)?;
    let config = translation.config;
    let parts = [
        (
            "kafka-options",
            "bridge.kafka",
            serde_yaml::to_value(&config.kafka),
        ),
        ("rules", "bridge.rules", serde_yaml::to_value(&config.rules)),
    ];
    let keys = parts.into_iter().map(|(from, to, value)| {
        Ok(Renamed {
            from: from.to_owned(),
            to: to.to_owned(),
            value: value.map_err(|error: serde_yaml::Error| error.to_string())?,
        })
    });
    let keys = keys.collect::<Result<_, String>>()?;
    let warnings = translation.warnings.into_iter().map(located).collect();
    Ok(Described {
        file,
        keys,
        warnings,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(yaml: &str, expected: Result<Option<&str>, &str>) {
        let tree: Value = serde_yaml::from_str(yaml).unwrap();
        let found = file_of(&tree).map_err(|problem| problem.key);
        assert_eq!(found, expected.map_err(str::to_owned), "{yaml}");
    }

    #[test]
    fn a_file_is_named_where_there_is_a_bridge() {
        check("{}", Ok(None));
        check("{bridge-way: 0, bridge-path: a.yml}", Ok(None));
        check("{bridge-path: a.yml}", Ok(None));
        check("{bridge-way: 1, bridge-path: a.yml}", Ok(Some("a.yml")));
        check("{bridge-way: 1}", Err(PATH));
        check("{bridge-way: 1, bridge-path: ''}", Err(PATH));
        check("{bridge-way: 2, bridge-path: a.yml}", Err(WAY));
        check("{bridge-way: kafka}", Err(WAY));
    }
}
