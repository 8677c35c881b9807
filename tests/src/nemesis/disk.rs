//! Disks that forget, fill up, fail, take their time, or lose what they had.

pub mod damage;
pub mod power;
pub mod sick;
pub mod small;

pub use sick::SickDisk;
pub use small::SmallDisk;
