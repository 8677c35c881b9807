//! What is acknowledged is safe: nothing that the broker took over is lost, doubled, reordered or
//! made up, whatever ends the process.
//!
//! - `kill`: SIGKILL at random moments of a QoS 1 and QoS 2 stream;
//! - `state`: what else an acknowledgement promises (subscription, retained message, PUBREC);
//! - `power_cut`: SIGKILL, and then every write that was not synced is taken back. SIGKILL alone
//!   leaves the page cache, so this is what proves the fsync; with the fsync taken out the same
//!   scenario must turn red;
//! - `disk_full`: a small file system that somebody else fills, or the broker itself;
//! - `sync`: strace sees the sync between the PUBLISH and its PUBACK.
//!
//! `GATEMQ_KILL_ROUNDS=50` makes the runs longer, `GATEMQ_SEED=n` repeats one. The clients are
//! `gatemq_tests::traffic`, the judge `gatemq_tests::checker`.

mod disk_full;
mod kill;
mod power_cut;
mod scenario;
mod state;
mod sync;
