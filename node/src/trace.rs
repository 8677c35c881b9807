//! Traces of messages through the cluster: which are sampled, what their spans say, and how they get
//! to a collector, by OTLP over gRPC.
//!
//! In reading order: [`context`] is what travels with a message (W3C Trace Context), [`sampler`]
//! which ones are looked at (`budget`: of those that ask for it), [`span`] a piece of work on one, [`tracer`] where spans begin; and
//! [`export`] brings those that ended to the collector. A message that is not sampled costs a branch:
//! no clock, no allocation.

mod budget;
pub mod context;
mod export;
mod random;
pub mod sampler;
pub mod span;
pub mod tracer;

pub use context::Context;
pub use export::{Config, Exporter, StartError};
pub use sampler::Sampler;
pub use span::{Kind, Span, Value};
pub use tracer::{Parent, Tracer};
