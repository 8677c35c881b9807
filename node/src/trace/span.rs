//! A piece of work on a sampled message: it begins where it is made, and ends where it is dropped.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::context::Context;
use super::tracer::{Inner, Parent};

/// What a span is to the others of its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It answers somebody outside.
    Server,
    /// Work inside of a node.
    Internal,
    /// It waits for the answer of another node.
    Client,
    /// It gives a message to somebody outside.
    Producer,
    /// It has a message of another node.
    Consumer,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text; of a longer one the first 256 bytes.
    Text(Box<str>),
    /// A number.
    Number(i64),
    /// Yes or no.
    Flag(bool),
}

/// How long a text may be, in bytes. Topics and client ids are as long as clients like; what is kept of
/// thousands of spans, and sent at once, has to have a bound.
const LONGEST_TEXT: usize = 256;

/// A span that is going on. It is told to the collector when it is dropped.
#[derive(Debug)]
pub struct Span(Box<Open>);

#[derive(Debug)]
struct Open {
    tracer: Arc<Inner>,
    began: Instant,
    data: Option<Data>,
}

/// What is told of a span.
#[derive(Clone, Debug)]
pub(super) struct Data {
    pub(super) context: Context,
    pub(super) parent: Option<[u8; 8]>,
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) start: SystemTime,
    pub(super) took: Duration,
    pub(super) attributes: Vec<(&'static str, Value)>,
    pub(super) failure: Option<String>,
}

// === impl Span ===

impl Span {
    pub(super) fn begin(
        tracer: Arc<Inner>,
        (context, parent): (Context, Option<[u8; 8]>),
        name: &'static str,
        kind: Kind,
    ) -> Self {
        let data = Data {
            context,
            parent,
            name,
            kind,
            start: SystemTime::now(),
            took: Duration::ZERO,
            attributes: Vec::with_capacity(8),
            failure: None,
        };
        Self(Box::new(Open {
            tracer,
            began: Instant::now(),
            data: Some(data),
        }))
    }

    /// Says something about it.
    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        if let Some(data) = &mut self.0.data {
            data.attributes.push((name, value.into()));
        }
    }

    /// As [`Self::set`], while it is made.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.set(name, value);
        self
    }

    /// The work has failed.
    pub fn fail(&mut self, why: impl Into<String>) {
        if let Some(data) = &mut self.0.data {
            let mut why = why.into();
            why.truncate(why.floor_char_boundary(LONGEST_TEXT));
            data.failure = Some(why);
        }
    }

    /// It as what comes after it sees it.
    #[must_use]
    pub fn context(&self) -> Context {
        let data = self.0.data.as_ref();
        data.expect("it is there until it is dropped").context
    }

    /// What spans below it begin from; it may be kept longer than the span is open.
    #[must_use]
    pub fn parent(&self) -> Parent {
        Parent::new(self.0.tracer.clone(), self.context())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(mut data) = self.data.take() {
            data.took = self.began.elapsed();
            self.tracer.put(data);
        }
    }
}

// === impl Value ===

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text[..text.floor_char_boundary(LONGEST_TEXT)].into())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::from(number as u64)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}
