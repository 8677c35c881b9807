//! How everything that runs is told to end.
//!
//! A [`Shutdown`] is a node of a tree: cancelling one cancels all below it. Signals cancel the
//! root: the first asks for an orderly end, the second ends the process at once. Whoever spawned
//! tasks waits for them.

use std::io;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

/// The right to end what is below it in the tree.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
}

/// Tells of each SIGHUP, which asks to read certificates again.
#[derive(Clone, Debug)]
pub struct Reload(watch::Receiver<u64>);

// === impl Shutdown ===

impl Shutdown {
    /// The root of a tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// One below this one.
    pub fn child(&self) -> Self {
        Self {
            token: self.token.child_token(),
        }
    }

    /// What a task watches to learn that it should end.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Waits until the end was asked for.
    pub fn requested(&self) -> WaitForCancellationFuture<'_> {
        self.token.cancelled()
    }

    /// Whether the end was asked for.
    pub fn is_requested(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Asks this one and all below it to end.
    pub fn request(&self) {
        self.token.cancel();
    }

    /// Ends on SIGTERM and SIGINT; a second one ends the process at once, with the exit code that
    /// a shell gives to a process killed by that signal.
    pub fn on_signals(&self) -> io::Result<Reload> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let (reload, reloads) = watch::channel(0);
        let token = self.token.clone();
        // Not tracked: it has to be there until the process is gone.
        tokio::spawn(async move {
            loop {
                let (name, code) = tokio::select! {
                    _ = interrupt.recv() => ("SIGINT", 130),
                    _ = terminate.recv() => ("SIGTERM", 143),
                    _ = hangup.recv() => {
                        reload.send_modify(|count| *count += 1);
                        continue;
                    }
                };
                if token.is_cancelled() {
                    std::process::exit(code);
                }
                tracing::info!(signal = name, "draining; a second signal ends at once");
                token.cancel();
            }
        });
        Ok(Reload(reloads))
    }
}

// === impl Reload ===

impl Reload {
    /// Waits for the next SIGHUP; several at once count as one. Cancel-safe.
    pub async fn requested(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Signal, getpid, kill_process};

    #[tokio::test]
    async fn a_child_ends_with_its_parent_but_not_the_other_way() {
        let root = Shutdown::new();
        let child = root.child();
        let other = root.child();
        child.request();
        assert!(child.token().is_cancelled() && !root.token().is_cancelled());
        root.request();
        other.requested().await;
    }

    #[tokio::test]
    async fn signals_reload_and_drain() {
        let root = Shutdown::new();
        let mut reload = root.on_signals().unwrap();
        kill_process(getpid(), Signal::HUP).unwrap();
        reload.requested().await;
        assert!(!root.token().is_cancelled());
        kill_process(getpid(), Signal::TERM).unwrap();
        root.requested().await;
    }
}
