//! A process of a test: its output is kept, and it ends with the test binary, however that ends.
//!
//! The watchdog is a shell that waits on a pipe: when the test binary is no more, the pipe closes
//! and the shell kills this one process, by its id.

use std::{
    fmt, fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::patience;

/// What processes wrote to standard output and standard error, over all the lives of a node.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<String>>);

/// A running process; dropping it kills it.
pub struct Process {
    child: Child,
    watchdog: Child,
    is_ready: Arc<AtomicBool>,
    /// They end with the process, once they have copied what it wrote.
    copying: Vec<JoinHandle<()>>,
}

/// Runs until our end of the pipe closes, whatever signal the terminal sends to all of us.
const WATCHDOG: &str = r#"
    trap '' HUP INT TERM
    read -r line
    kill -9 "$1"
    sleep 0.1
    rm -rf "$2"
"#;

// === impl Log ===

impl Log {
    /// Everything.
    pub fn text(&self) -> String {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The last lines.
    pub fn tail(&self, n_lines: usize) -> String {
        let text = self.text();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(n_lines)..].join("\n")
    }

    /// How many lines hold this text.
    pub fn count(&self, part: &str) -> usize {
        let text = self.text();
        text.lines().filter(|line| line.contains(part)).count()
    }

    /// How many lines there are.
    pub fn n_lines(&self) -> usize {
        self.count("")
    }

    pub(super) fn push(&self, line: &str) {
        let mut text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        text.push_str(line);
        text.push('\n');
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text())
    }
}

// === impl Process ===

impl Process {
    /// Runs the command. It is ready when a line of its standard output holds `ready`. The folder
    /// is removed if the test binary dies.
    pub fn spawn(
        mut command: Command,
        folder: &Path,
        log: &Log,
        ready: &'static str,
    ) -> Result<Self, String> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot run {:?}: {error}", command.get_program()))?;
        let watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "sh", &child.id().to_string()])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot run the watchdog: {error}"))?;
        let is_ready = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&is_ready);
        let stdout = copy_lines(child.stdout.take(), log.clone(), move |line| {
            if line.contains(ready) {
                flag.store(true, Ordering::Release);
            }
        });
        let stderr = copy_lines(child.stderr.take(), log.clone(), |_| {});
        Ok(Self {
            child,
            watchdog,
            is_ready,
            copying: vec![stdout, stderr],
        })
    }

    /// Waits for the line that says that it is ready, or says why it did not come.
    pub fn wait_until_ready(&mut self, limit: Duration) -> Result<(), String> {
        let mut ended = None;
        let is_decided = patience::becomes_true(limit, || {
            ended = self.child.try_wait().ok().flatten();
            ended.is_some() || self.is_ready.load(Ordering::Acquire)
        });
        match ended {
            Some(status) => Err(format!("it ended before it was ready: {status}")),
            None if is_decided => Ok(()),
            None => Err(format!("it was not ready within {limit:?}")),
        }
    }

    /// Its id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        // The child is not waited for yet, so that its id is still its own.
        kill_process(pid.expect("a process has an id"), signal).expect("a child can be signalled");
    }

    /// Waits for it to end by itself; `None` if it runs on. All that it wrote is in the log then.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let mut status = None;
        patience::becomes_true(limit, || {
            status = self.child.try_wait().expect("a child can be waited for");
            status.is_some()
        });
        if status.is_some() {
            for copying in self.copying.drain(..) {
                copying.join().expect("copying cannot fail");
            }
        }
        status
    }

    /// Resident memory in KiB.
    pub fn rss_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.expect("the process runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        number
            .and_then(|number| number.parse().ok())
            .expect("VmRSS is a number")
    }

    /// Processor time that it has used so far.
    pub fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid()));
        let stat = stat.expect("the process runs");
        // The name may have spaces; after it, utime and stime are the 12th and 13th fields.
        let fields = stat.rsplit_once(") ").map(|(_, fields)| fields);
        let fields = fields.into_iter().flat_map(str::split_whitespace);
        let ticks: u64 = fields
            .skip(11)
            .take(2)
            .map(|field| field.parse::<u64>().expect("a number of ticks"))
            .sum();
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The process first: it still holds its id, so that nobody else can be hit.
        let _already_gone = self.child.kill();
        let _status = self.child.wait();
        let _already_gone = self.watchdog.kill();
        let _status = self.watchdog.wait();
    }
}

fn copy_lines(
    from: Option<impl Read + Send + 'static>,
    log: Log,
    mut look: impl FnMut(&str) + Send + 'static,
) -> JoinHandle<()> {
    let from = from.expect("the stream is piped");
    thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            log.push(&line);
            look(&line);
        }
    })
}
