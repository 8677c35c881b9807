//! What was said last, so that it is not judged again: a client sends to, and gets from, the same
//! topic many times in a row, and many clients under the same rules get the same message.

use std::sync::Arc;

use parking_lot::Mutex;

use super::rules::{Action, Effect, Names, Ruleset};

/// The longest topic that is kept, in bytes: there is a copy of it for each client.
const LONGEST: usize = 128;

/// The verdict on the topic that a client used last, for each action. It belongs to the client's
/// rights, which never change: others take their place.
#[derive(Debug, Default)]
pub(super) struct Lately {
    publish: Mutex<Option<Box<Said>>>,
    subscribe: Mutex<Option<Box<Said>>>,
}

#[derive(Debug)]
struct Said {
    topic: String,
    is_allowed: bool,
}

/// What rules that are the same for all say of those who get one message.
#[derive(Debug, Default)]
pub(crate) struct OfMessage(Option<(Arc<Ruleset>, Verdict)>);

/// The place of the first rule that speaks of it, and what that says.
type Verdict = Option<(u32, Effect)>;

// === impl Lately ===

impl Lately {
    /// What was said of this topic if it is the last one, or what is said now. Who finds somebody
    /// else here does not wait.
    pub(super) fn or_judge(
        &self,
        action: Action,
        topic: &str,
        judge: impl FnOnce() -> bool,
    ) -> bool {
        if topic.len() > LONGEST {
            return judge();
        }
        let said = match action {
            Action::Publish => &self.publish,
            Action::Subscribe => &self.subscribe,
        };
        let Some(mut said) = said.try_lock() else {
            return judge();
        };
        match &mut *said {
            Some(said) => {
                if said.topic != topic {
                    said.is_allowed = judge();
                    said.topic.clear();
                    said.topic.push_str(topic);
                }
                said.is_allowed
            }
            None => {
                let is_allowed = judge();
                *said = Some(Box::new(Said {
                    topic: topic.to_owned(),
                    is_allowed,
                }));
                is_allowed
            }
        }
    }
}

// === impl OfMessage ===

impl OfMessage {
    /// Whether something is known.
    pub(super) fn is_known(&self) -> bool {
        self.0.is_some()
    }

    /// What rules say of a client that is to get the message, whose topic is `topic` each time.
    pub(super) fn judge(&mut self, rules: &Arc<Ruleset>, topic: &str, names: Names<'_>) -> Verdict {
        if let Some((known, said)) = &self.0
            && Arc::ptr_eq(known, rules)
        {
            return *said;
        }
        let (said, is_for_all) = rules.judge_for_all(Action::Subscribe, topic, names);
        if is_for_all {
            self.0 = Some((rules.clone(), said));
        }
        said
    }
}

#[cfg(test)]
mod tests;
