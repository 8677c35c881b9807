//! The rules to Kafka that are in force: those of the file, and over them those that the cluster has set
//! while it runs.
//!
//! A rule of the cluster takes the place of the file's of its name until it is taken back. Kafkas stay as
//! the file has them: where they are, and by which secrets they are reached, is for each machine.

use std::collections::BTreeMap;
use std::sync::Arc;

use gatemq_node::config::Problem;
use parking_lot::Mutex;
use serde_json::{Map, Value};

use crate::config::{Config, RuleConfig, check_name};
use crate::{Bridge, config};

/// What a bridge goes by.
pub struct Rules {
    file: Config,
    bridge: Arc<Bridge>,
    /// What the cluster has set, by name.
    set: Mutex<BTreeMap<String, RuleConfig>>,
    /// Changes are made one after the other.
    turn: Mutex<()>,
}

/// A rule that is there.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// As it is written.
    pub rule: RuleConfig,
    /// Whether the cluster has set it.
    pub is_set: bool,
}

// === impl Rules ===

impl Rules {
    /// Those of a file, which the bridge goes by already.
    #[must_use]
    pub fn new(file: Config, bridge: Arc<Bridge>) -> Self {
        Self {
            file,
            bridge,
            set: Mutex::default(),
            turn: Mutex::default(),
        }
    }

    /// The bridge that goes by them.
    pub(crate) fn bridge(&self) -> &Arc<Bridge> {
        &self.bridge
    }

    /// Goes by what the cluster has set, each rule under its name, from now on (blocking, but not for
    /// Kafka).
    ///
    /// # Errors
    ///
    /// One of them cannot be gone by: then nothing has changed.
    pub fn set(&self, texts: &BTreeMap<String, String>) -> Result<(), Problem> {
        let mut rules = BTreeMap::new();
        for (name, text) in texts {
            let rule = read(name, text).map_err(|problem| below(name, problem))?;
            rules.insert(name.clone(), rule);
        }
        let _turn = self.turn.lock();
        if *self.set.lock() == rules {
            return Ok(());
        }
        let (ways, parsed) = self.routes(&rules)?;
        let changed = self.bridge.change(ways, parsed);
        changed.map_err(|error| Problem::new("rules", error.to_string()))?;
        *self.set.lock() = rules;
        Ok(())
    }

    /// Says whether the cluster could set a rule, or take one back.
    ///
    /// # Errors
    ///
    /// Which key of it is wrong, and why.
    pub fn check(&self, name: &str, text: Option<&str>) -> Result<(), Problem> {
        let mut rules = self.set.lock().clone();
        match text {
            Some(text) => rules.insert(name.to_owned(), read(name, text)?),
            None => rules.remove(name),
        };
        let own = place(name);
        self.routes(&rules).map(drop).map_err(|problem| Problem {
            key: match problem.key.strip_prefix(&own) {
                Some(key) => key.trim_start_matches('.').to_owned(),
                None => problem.key,
            },
            ..problem
        })
    }

    /// All that are there, by name.
    #[must_use]
    pub fn list(&self) -> Vec<Listed> {
        let set = self.set.lock();
        let merged = self.merged(&set);
        let listed = merged.into_iter().map(|(_, rule)| Listed {
            is_set: set.contains_key(&rule.name),
            rule: rule.clone(),
        });
        let mut listed: Vec<_> = listed.collect();
        listed.sort_by(|one, other| one.rule.name.cmp(&other.rule.name));
        listed
    }

    fn routes(&self, set: &BTreeMap<String, RuleConfig>) -> Result<config::Routes, Problem> {
        let mut others = self.file.mqtt.iter().flat_map(|mqtt| &mqtt.to);
        if let Some(rule) = others.find(|rule| set.contains_key(&rule.name)) {
            let what = "a rule to another broker has this name in the bridge's file";
            return Err(Problem::new(format!("{}.name", place(&rule.name)), what));
        }
        self.file.routes(self.merged(set).into_iter())
    }

    /// Those of the file in their order, then others; each with its place.
    fn merged<'a>(
        &'a self,
        set: &'a BTreeMap<String, RuleConfig>,
    ) -> Vec<(String, &'a RuleConfig)> {
        let of_file = self.file.rules.iter().enumerate();
        let of_file = of_file.map(|(at, rule)| match set.get(&rule.name) {
            Some(set) => (place(&rule.name), set),
            None => (format!("rules[{at}]"), rule),
        });
        let is_new = |name: &&String| !self.file.rules.iter().any(|rule| rule.name == **name);
        let new = set.keys().filter(is_new);
        let new = new.filter_map(|name| Some((place(name), set.get(name)?)));
        of_file.chain(new).collect()
    }
}

// === private ===

fn place(name: &str) -> String {
    format!("rules.{name}")
}

fn below(name: &str, problem: Problem) -> Problem {
    Problem {
        key: format!("{}.{}", place(name), problem.key),
        ..problem
    }
}

/// A rule as JSON has it; the name may be left out.
fn read(name: &str, text: &str) -> Result<RuleConfig, Problem> {
    check_name(name).map_err(|what| Problem::new("name", what))?;
    let no_json = |error: serde_json::Error| Problem::new("rule", error.to_string());
    let mut json: Map<String, Value> = serde_json::from_str(text).map_err(no_json)?;
    json.entry("name").or_insert_with(|| name.into());
    let read: Result<RuleConfig, _> = serde_path_to_error::deserialize(Value::Object(json));
    let rule = read.map_err(|error| {
        let key = error.path().to_string();
        let key = if key == "." { "rule".to_owned() } else { key };
        Problem::new(key, error.into_inner().to_string())
    })?;
    match rule.name == name {
        true => Ok(rule),
        false => Err(Problem::new(
            "name",
            format!("is not {name:?}, under which it is set"),
        )),
    }
}

#[cfg(test)]
mod tests;
