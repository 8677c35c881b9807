//! What all nodes of a cluster wrote, also those that are not among its nodes: that were to fail, or that
//! were there for a while under the name of another one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::process::Log;

/// Logs with the names of whose they are, in the order in which these were made; clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Logs(Arc<Mutex<Vec<(String, Log)>>>);

// === impl Logs ===

impl Logs {
    /// A log for one more node.
    pub(super) fn add(&self, name: &str) -> Log {
        let log = Log::default();
        self.lock().push((name.to_owned(), log.clone()));
        log
    }

    /// The log of each node that has written something. Of those of one name the second is `c1-2`, and
    /// so on.
    pub(super) fn all(&self) -> Vec<(String, Log)> {
        let mut all: Vec<(String, Log)> = Vec::new();
        let mut n_before = HashMap::new();
        for (name, log) in &*self.lock() {
            if log.n_lines() == 0 {
                continue;
            }
            let number: &mut usize = n_before.entry(name.clone()).or_default();
            *number += 1;
            let name = match number {
                1 => name.clone(),
                _ => format!("{name}-{number}"),
            };
            all.push((name, log.clone()));
        }
        all
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(String, Log)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wrote_something_is_told_apart_from_others_of_the_same_name() {
        let logs = Logs::default();
        let [first, silent, second, other] = ["c1", "c1", "c1", "x"].map(|name| logs.add(name));
        for log in [&first, &second, &other] {
            log.push("thread panicked");
        }
        let names = || logs.all().into_iter().map(|(name, _)| name);
        assert!(names().eq(["c1", "c1-2", "x"]));
        silent.push("at last");
        assert_eq!(names().count(), 4);
    }
}
