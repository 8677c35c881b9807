//! Too little of what the machine has: descriptors, memory, processor time.

mod busy;
mod descriptors;
mod memory;

pub use busy::Busy;
pub use descriptors::Descriptors;
pub use memory::Memory;
