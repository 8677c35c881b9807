//! Threads without which a bridge cannot do what it promises: if one panics, the process ends rather
//! than go on without, ready as ever and with nothing on its way.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, JoinHandle};

use gatemq_node::fatal;

/// Starts such a thread.
pub(crate) fn spawn(name: &'static str, body: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let body = AssertUnwindSafe(body); // nothing goes on with what it leaves
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            if catch_unwind(body).is_err() {
                let why = format!("the thread {name} of the bridge panicked");
                fatal::end(fatal::TASK_PANICKED, &why);
            }
        })
        .expect("a process that starts can start a thread")
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::mpsc::{Sender, channel};
    use std::time::Duration;

    use super::*;

    #[test]
    #[ignore = "ends its process: the test below runs it in one of its own"]
    fn a_thread_panics() {
        let (_tell, told) = channel::<()>();
        let _thread = spawn("of-a-test", || panic!("as told"));
        assert!(told.recv_timeout(Duration::from_secs(20)).is_ok());
    }

    #[test]
    fn a_thread_that_panics_ends_the_process_with_one_line() {
        let program = std::env::current_exe().expect("this test has a program");
        let ended = Command::new(program)
            .args(["--ignored", "--exact", "vital::tests::a_thread_panics"])
            .output()
            .expect("it runs");
        assert_eq!(ended.status.code(), Some(fatal::TASK_PANICKED));
        let said = String::from_utf8_lossy(&ended.stderr);
        let line = "gatemq: the thread of-a-test of the bridge panicked: the process ends";
        assert_eq!(said.matches(line).count(), 1, "{said}");
    }

    #[test]
    fn one_that_ends_ends_nothing() {
        let (tell, told): (Sender<()>, _) = channel();
        let thread = spawn("of-a-test", move || drop(tell));
        assert!(thread.join().is_ok());
        assert!(told.recv().is_err());
    }
}
