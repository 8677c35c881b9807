//! Faults that are made on purpose reach what they are to reach: real clusters under the nemesis.

mod clock;
mod disk;
mod limits;
mod network;
