//! Scripted clients that log what they see: publishers that never give up, subscribers that leave,
//! cut and come back, each on whichever gateway takes it.

mod inflight;
pub mod journal;
pub mod link;
pub mod mortal;
pub mod probe;
pub mod publisher;
pub mod retained;
pub mod stream;
pub mod subscriber;

pub use journal::Journal;
pub use link::{Link, Route};
pub use probe::probe;
pub use retained::{Act, Register, Write};
pub use stream::Traffic;
pub use subscriber::Subscriber;
