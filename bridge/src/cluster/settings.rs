//! Which rules the cluster has set, from what the control plane tells: pure.

use std::collections::BTreeMap;

use gatemq_proto::cluster::bridges::RULES;
use gatemq_proto::cluster::state::{Command, Configure, Part, command, part};

/// The rules that are set, by name, each as it was written.
pub(super) type Texts = BTreeMap<String, String>;

/// What has been told of them.
#[derive(Debug, Default)]
pub(super) struct Settings {
    rules: Texts,
    /// The last change of them since all was told.
    revision: u64,
}

// === impl Settings ===

impl Settings {
    /// All is told anew.
    pub(super) fn begin(&mut self) {
        self.rules.clear();
        self.revision = 0;
    }

    /// Takes in a part of the state.
    pub(super) fn read(&mut self, part: &Part) {
        if let Some(part::Kind::Settings(settings)) = &part.kind {
            for change in &settings.history {
                self.configure(change);
            }
        }
    }

    /// Takes in a change.
    pub(super) fn apply(&mut self, revision: u64, command: &Command) {
        if let Some(command::Kind::Configure(change)) = &command.kind
            && self.configure(change)
        {
            self.revision = revision;
        }
    }

    /// The rules, and since which revision they are so; 0 for that by which all was told.
    pub(super) fn rules(&self) -> (&Texts, u64) {
        (&self.rules, self.revision)
    }

    /// Whether it is about rules.
    fn configure(&mut self, change: &Configure) -> bool {
        let Some(name) = change.key.strip_prefix(RULES) else {
            return false;
        };
        match &change.value {
            Some(text) => self.rules.insert(name.to_owned(), text.clone()),
            None => self.rules.remove(name),
        };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatemq_proto::cluster::state;

    fn set(key: &str, value: Option<&str>) -> Configure {
        Configure {
            key: key.to_owned(),
            value: value.map(str::to_owned),
            ..Configure::default()
        }
    }

    #[test]
    fn the_rules_that_are_set_are_known() {
        let mut settings = Settings::default();
        let history = vec![
            set("bridge.rules.a", Some("{}")),
            set("bridge.rules.b", Some("{}")),
            set("log.level", Some("info")),
            set("bridge.rules.a", None),
        ];
        let told = state::Settings {
            history,
            ..state::Settings::default()
        };
        let kind = Some(part::Kind::Settings(told));
        settings.read(&Part { kind });
        let names = |settings: &Settings| settings.rules().0.keys().cloned().collect::<Vec<_>>();
        assert_eq!(
            (names(&settings), settings.rules().1),
            (vec!["b".to_owned()], 0)
        );
        let apply = |settings: &mut Settings, revision, change| {
            let kind = Some(command::Kind::Configure(change));
            settings.apply(revision, &Command { kind });
        };
        apply(&mut settings, 10, set("log.level", None));
        assert_eq!(settings.rules().1, 0, "it is about something else");
        apply(&mut settings, 11, set("bridge.rules.c", Some("{}")));
        apply(&mut settings, 12, set("bridge.rules.b", None));
        assert_eq!(
            (names(&settings), settings.rules().1),
            (vec!["c".to_owned()], 12)
        );
        settings.begin();
        assert!(names(&settings).is_empty());
    }
}
