//! Tasks without which the gateway cannot do what it promises: if one panics, the process ends
//! rather than go on without, acknowledging nothing.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use gatemq_node::fatal;
use tokio_util::task::TaskTracker;

use crate::broker::Broker;

/// Runs such a task.
pub(crate) fn watch_over(
    tasks: &TaskTracker,
    name: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) {
    // In the task itself: there may be one for each session.
    let task = AssertUnwindSafe(task).catch_unwind(); // nothing goes on with what it leaves
    tasks.spawn(async move {
        if task.await.is_err() {
            has_panicked(name);
        }
    });
}

impl Broker {
    /// Runs such a task until the gateway stops: somebody, or something that is stored, waits for it.
    pub(crate) fn see_to(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let stopped = self.tasks_end.clone();
        watch_over(&self.tasks, name, async move {
            tokio::select! {
                () = task => {}
                () = stopped.cancelled() => {}
            }
        });
    }
}

/// The end of the process, because of a task that panicked.
pub(crate) fn has_panicked(name: &str) -> ! {
    let why = format!("the task {name} of the gateway panicked");
    fatal::end(fatal::TASK_PANICKED, &why)
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::*;
    use crate::turn::Turn;

    #[tokio::test]
    #[ignore = "ends its process: the test below runs it in one of its own"]
    async fn a_task_panics() {
        let tasks = TaskTracker::new();
        watch_over(&tasks, "of a test", async { panic!("as told") });
        tokio::time::sleep(Duration::from_secs(20)).await;
    }

    #[tokio::test]
    #[ignore = "ends its process: the test below runs it in one of its own"]
    async fn a_turn_panics() {
        let broker = Broker::in_memory();
        let taking = tokio::spawn(async move {
            let mut turn = Turn::new(&broker);
            turn.has_taken = true;
            panic!("as told");
        });
        taking.await.expect_err("it panics");
    }

    /// Runs a test in a process of its own, which is ended for what has panicked.
    fn ends_because_of(name: &str, what: &str) {
        let program = std::env::current_exe().expect("this test has a program");
        let ended = Command::new(program)
            .args(["--ignored", "--exact", name, "--nocapture"])
            .output()
            .expect("it runs");
        assert_eq!(ended.status.code(), Some(fatal::TASK_PANICKED), "{name}");
        let said = String::from_utf8_lossy(&ended.stderr);
        let line = format!("gatemq: the task {what} of the gateway panicked: the process ends");
        assert_eq!(said.matches(&line).count(), 1, "{said}");
    }

    #[test]
    fn a_task_that_panics_ends_the_process_with_one_line() {
        ends_because_of("vital::tests::a_task_panics", "of a test");
    }

    #[test]
    fn a_turn_that_panics_when_something_counts_as_taken_does_too() {
        ends_because_of("vital::tests::a_turn_panics", "turn");
    }
}
