//! Commands that scenarios give to the API of a control plane that is being disturbed. An answer may be
//! that it cannot be done now (503) or that nobody knows what became of it (504), or may not come: the
//! same command is given again then, for a bounded time. Only for commands that may be given twice.

use std::time::Duration;

use crate::{Node, patience::becomes_true};

/// For how long it is tried: an election, and a busy machine.
const LIMIT: Duration = Duration::from_secs(40);

/// What a node's API answered: status and body; nothing where it did not answer.
type Answer = Option<(u16, String)>;

/// What to make of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// It is done.
    Done,
    /// It may be another one's turn, or it may have been done: ask again.
    Again,
    /// It was refused, and would be again.
    Refused,
}

/// Gives a command until it is done.
///
/// # Errors
///
/// It is refused, or not done in time: what was answered last.
pub(super) fn until_done(asked: &Node, method: &str, path: &str) -> Result<(), String> {
    give(LIMIT, || asked.ask(method, path), next).map_err(|why| told(asked, method, path, &why))
}

/// Removes what has this path. What is not there any more (404) was removed by an attempt whose answer
/// was lost; where there was none, the node that is asked has not heard of it yet. That it may not go
/// now (409) is no last word.
///
/// # Errors
///
/// It is refused, or not done in time: what was answered last.
pub(super) fn until_gone(asked: &Node, path: &str) -> Result<(), String> {
    let mut is_open = false;
    let ask = || asked.ask("DELETE", path);
    let given = give(LIMIT, ask, |answer| next_of_removal(answer, &mut is_open));
    given.map_err(|why| told(asked, "DELETE", path, &why))
}

fn told(asked: &Node, method: &str, path: &str, why: &str) -> String {
    format!("{method} {path} at {}: {why}", asked.name())
}

fn next(answer: &Answer) -> Next {
    match answer {
        Some((200..=299, _)) => Next::Done,
        Some((503 | 504, _)) | None => Next::Again,
        Some(_) => Next::Refused,
    }
}

/// `is_open` is whether an earlier attempt may have done it.
fn next_of_removal(answer: &Answer, is_open: &mut bool) -> Next {
    match answer {
        Some((404, _)) if *is_open => Next::Done,
        Some((404 | 409, _)) => Next::Again,
        other => {
            let next = next(other);
            *is_open |= next == Next::Again;
            next
        }
    }
}

fn give(
    limit: Duration,
    mut ask: impl FnMut() -> Answer,
    mut next: impl FnMut(&Answer) -> Next,
) -> Result<(), String> {
    let mut last = (Next::Again, None);
    becomes_true(limit, || {
        let answer = ask();
        last = (next(&answer), answer);
        last.0 != Next::Again
    });
    match last {
        (Next::Done, _) => Ok(()),
        (Next::Refused, answer) => Err(format!("refused: {answer:?}")),
        (Next::Again, answer) => Err(format!("not done after {limit:?}: {answer:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of these answers, the last one for ever, and how many were needed; 0 is none.
    fn given(statuses: &[u16], next: impl FnMut(&Answer) -> Next) -> (bool, usize) {
        let mut n_asked = 0;
        let ask = || {
            let status = statuses[n_asked.min(statuses.len() - 1)];
            n_asked += 1;
            (status > 0).then(|| (status, String::new()))
        };
        let done = give(Duration::from_millis(100), ask, next);
        (done.is_ok(), n_asked)
    }

    #[test]
    fn what_is_undecided_is_asked_again_and_what_is_refused_is_not() {
        assert_eq!(given(&[200], next), (true, 1));
        assert_eq!(given(&[504, 503, 0, 200], next), (true, 4));
        assert_eq!(given(&[504, 400, 200], next), (false, 2));
        assert_eq!(given(&[409, 200], next), (false, 1));
        let (is_done, n_asked) = given(&[504], next);
        assert!(!is_done && (2..20).contains(&n_asked), "{n_asked}");
    }

    #[test]
    fn what_an_attempt_without_an_answer_removed_is_not_there_any_more() {
        let removed = |statuses: &[u16]| {
            let mut is_open = false;
            given(statuses, |answer| next_of_removal(answer, &mut is_open))
        };
        assert_eq!(removed(&[409, 504, 404]), (true, 3));
        assert_eq!(removed(&[0, 404]), (true, 2));
        assert_eq!(removed(&[404, 409, 200]), (true, 3));
        assert!(!removed(&[404]).0 && !removed(&[409, 404]).0);
    }
}
