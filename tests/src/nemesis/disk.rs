//! Disks that forget, fill up, fail, or take their time.

pub mod power;
pub mod sick;
pub mod small;

pub use sick::SickDisk;
pub use small::SmallDisk;
