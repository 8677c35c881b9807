//! Keys such as `listeners[0].address`, and the trees that they lead through.

use serde_yaml::{Mapping, Value};

/// One step of a key: a name in a section, or a place in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    Name(&'a str),
    Index(usize),
}

/// The steps of a key, outermost first.
pub(super) fn steps(key: &str) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    for part in key.split('.').filter(|part| !part.is_empty()) {
        let (name, indices) = part.split_once('[').unwrap_or((part, ""));
        if !name.is_empty() {
            steps.push(Step::Name(name));
        }
        let indices = indices
            .split('[')
            .filter_map(|index| index.trim_end_matches(']').parse().ok());
        steps.extend(indices.map(Step::Index));
    }
    steps
}

/// The key of `name` in the section `section`.
pub(super) fn join(section: &str, name: &str) -> String {
    if section.is_empty() {
        name.to_owned()
    } else {
        format!("{section}.{name}")
    }
}

/// The value of a key.
pub(super) fn find<'a>(tree: &'a Value, key: &str) -> Option<&'a Value> {
    steps(key).into_iter().try_fold(tree, step)
}

/// How many steps of the key the tree has.
pub(super) fn depth(tree: &Value, key: &str) -> usize {
    let mut here = Some(tree);
    let walk = steps(key).into_iter().map_while(|next| {
        here = here.and_then(|tree| step(tree, next));
        here
    });
    walk.count()
}

/// Sets a key whose steps are all names, making the sections on its way.
pub(super) fn set(tree: &mut Value, key: &str, value: Value) {
    let mut here = tree;
    for name in key.split('.') {
        if !here.is_mapping() {
            *here = Value::Mapping(Mapping::new());
        }
        let Value::Mapping(section) = here else {
            return;
        };
        here = section.entry(name.into()).or_insert(Value::Null);
    }
    *here = value;
}

/// Lays one tree over another: sections are joined, everything else is replaced.
pub(super) fn merge(below: &mut Value, above: &Value) {
    match (below, above) {
        (Value::Mapping(below), Value::Mapping(above)) => {
            for (name, value) in above {
                merge(below.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (below, above) => *below = above.clone(),
    }
}

/// The keys of all values that are no sections.
pub(super) fn leaves(tree: &Value) -> Vec<String> {
    fn walk(tree: &Value, key: &str, found: &mut Vec<String>) {
        let Value::Mapping(section) = tree else {
            found.push(key.to_owned());
            return;
        };
        for (name, value) in section {
            walk(value, &join(key, name.as_str().unwrap_or_default()), found);
        }
    }
    let mut found = Vec::new();
    walk(tree, "", &mut found);
    found
}

/// `; did you mean …?` if a known name is near, else nothing.
pub(super) fn did_you_mean(name: &str, known: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let near = |known: &str| {
        let similar = strsim::jaro_winkler(
            &name.replace('_', "-").to_lowercase(),
            &known.replace('_', "-").to_lowercase(),
        );
        (similar >= 0.85).then_some(similar)
    };
    known
        .into_iter()
        .filter_map(|known| {
            near(known.as_ref()).map(|similar| (similar, known.as_ref().to_owned()))
        })
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, known)| format!("; did you mean {known}?"))
        .unwrap_or_default()
}

fn step<'a>(tree: &'a Value, step: Step<'_>) -> Option<&'a Value> {
    match step {
        Step::Name(name) => tree.get(name),
        Step::Index(index) => tree.get(index),
    }
}
