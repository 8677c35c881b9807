//! Where spans begin. It is off where there is no collector: then nothing is asked of anybody.

use std::fmt;
use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;

use super::budget::Budget;
use super::context::Context;
use super::random;
use super::sampler::Sampler;
use super::span::{Data, Kind, Span};

/// Begins spans; a clone is another handle.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<Arc<Inner>>);

/// A span as those below it see it.
#[derive(Clone)]
pub struct Parent {
    tracer: Arc<Inner>,
    context: Context,
}

pub(super) struct Inner {
    sampler: Sampler,
    /// What is left of the traces that publishers may ask for.
    asked: Budget,
    injects: bool,
    node: Box<str>,
    queue: mpsc::Sender<Data>,
    /// Spans that the collector did not get.
    pub(super) dropped: Counter,
}

// === impl Tracer ===

impl Tracer {
    /// One that samples nothing, ever.
    #[must_use]
    pub fn off() -> Self {
        Self(None)
    }

    pub(super) fn new(
        (sampler, asked): (Sampler, Budget),
        injects: bool,
        node: &str,
        queue: mpsc::Sender<Data>,
        dropped: Counter,
    ) -> Self {
        Self(Some(Arc::new(Inner {
            sampler,
            asked,
            injects,
            node: node.into(),
            queue,
            dropped,
        })))
    }

    /// Whether anything may be sampled.
    #[inline]
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Whether whoever comes after is told in the message itself.
    #[must_use]
    pub fn injects(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.injects)
    }

    /// Begins the first span of this cluster for a message, if it is sampled. What it came with is
    /// asked for only where that matters.
    #[inline]
    pub fn begin(
        &self,
        name: &'static str,
        kind: Kind,
        came_with: impl FnOnce() -> Option<Context>,
    ) -> Option<Span> {
        let inner = self.0.as_ref()?;
        let (trace_id, parent) = inner.sampler.sample(came_with(), || inner.asked.take())?;
        Some(inner.span(trace_id, parent, name, kind))
    }

    /// What spans below one of another node begin from, if that is sampled.
    #[inline]
    #[must_use]
    pub fn follow(&self, context: Context) -> Option<Parent> {
        let inner = self.0.as_ref().filter(|_| context.is_sampled())?;
        Some(Parent::new(inner.clone(), context))
    }
}

// === impl Inner ===

impl Inner {
    fn span(
        self: &Arc<Self>,
        trace_id: [u8; 16],
        parent: Option<[u8; 8]>,
        name: &'static str,
        kind: Kind,
    ) -> Span {
        let context = Context {
            trace_id,
            span_id: random::next_id(),
            flags: Context::SAMPLED,
        };
        let span = Span::begin(self.clone(), (context, parent), name, kind);
        span.with("gatemq.node", &*self.node)
    }

    /// Never waits: what the queue has no room for is counted.
    pub(super) fn put(&self, data: Data) {
        if self.queue.try_send(data).is_err() {
            self.dropped.inc();
        }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Tracer").finish_non_exhaustive()
    }
}

// === impl Parent ===

impl Parent {
    pub(super) fn new(tracer: Arc<Inner>, context: Context) -> Self {
        Self { tracer, context }
    }

    /// Begins a span below it.
    #[must_use]
    pub fn child(&self, name: &'static str, kind: Kind) -> Span {
        let Context {
            trace_id, span_id, ..
        } = self.context;
        self.tracer.span(trace_id, Some(span_id), name, kind)
    }

    /// Which span it is.
    #[must_use]
    pub fn context(&self) -> Context {
        self.context
    }
}

impl PartialEq for Parent {
    fn eq(&self, other: &Self) -> bool {
        self.context == other.context
    }
}

impl Eq for Parent {}

impl fmt::Debug for Parent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.context.fmt(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracer(room: usize) -> (Tracer, mpsc::Receiver<Data>, Counter) {
        let (queue, ended) = mpsc::channel(room);
        let dropped = Counter::default();
        let sampling = (Sampler::new(1.0), Budget::new(0));
        let tracer = Tracer::new(sampling, true, "n1", queue, dropped.clone());
        (tracer, ended, dropped)
    }

    #[test]
    fn spans_end_where_they_are_dropped_and_name_the_one_before() {
        let (tracer, mut ended, _) = tracer(8);
        let first = tracer.begin("publish", Kind::Server, || None).unwrap();
        let mut second = first.parent().child("route", Kind::Internal);
        second.fail("why");
        let context = first.context();
        let parent = first.parent();
        drop(first);
        assert_eq!(ended.try_recv().unwrap().parent, None);
        drop(second);
        let second = ended.try_recv().unwrap();
        assert_eq!(second.parent, Some(context.span_id));
        assert_eq!(second.context.trace_id, context.trace_id);
        assert_eq!(second.failure.as_deref(), Some("why"));
        drop(parent.child("later", Kind::Internal));
        assert_eq!(ended.try_recv().unwrap().parent, Some(context.span_id));
    }

    #[test]
    fn a_full_queue_and_one_that_is_gone_cost_spans_and_nothing_else() {
        let (tracer, ended, dropped) = tracer(1);
        for _ in 0..3 {
            drop(tracer.begin("publish", Kind::Server, || None));
        }
        assert_eq!(dropped.get(), 2);
        drop(ended);
        drop(tracer.begin("publish", Kind::Server, || None));
        assert_eq!(dropped.get(), 3);
    }

    #[test]
    fn one_that_is_off_asks_for_nothing() {
        let tracer = Tracer::off();
        let span = tracer.begin("publish", Kind::Server, || panic!("asked"));
        assert!(span.is_none() && !tracer.injects());
        let context = Context::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        assert_eq!(tracer.follow(context.unwrap()), None);
    }
}
