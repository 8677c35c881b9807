//! Subscriptions: what SUBSCRIBE, UNSUBSCRIBE and the ends of sessions make of them, what they owe
//! and what they explain.

use super::{Client, Message, Moment, Receipt, Subscription};
use crate::history::{self, Name};

// === impl Subscription ===

impl<'a> Subscription<'a> {
    fn new(name: &'a Name, asked: Moment) -> Self {
        let group = history::shared(name);
        Self {
            filter: group.map_or(name, |(_, filter)| filter),
            name,
            is_shared: group.is_some(),
            asked,
            granted: None,
            is_refused: false,
            degraded: None,
            unsubscribing: None,
            session_end: None,
            gone: None,
            session_over: None,
            is_unsubscribed: false,
        }
    }

    /// Whether the message must come by this subscription: it was granted with a QoS above 0
    /// before the message was first sent, and is still there; of those that were taken back, only
    /// what had been accepted before that is owed.
    pub(in crate::checker) fn owes(&self, message: &Message<'_>) -> bool {
        let Some(accepted) = message.accepted else {
            return false;
        };
        let is_since = self
            .granted
            .is_some_and(|(at, qos)| qos > 0 && at < message.first_sent);
        let is_until = |end: Option<Moment>| end.is_none_or(|end| accepted < end);
        is_since
            && message.qos > 0
            && !message.is_empty
            && self.session_end.is_none()
            && is_until(self.unsubscribing)
            && is_until(self.degraded)
    }

    /// Whether the message may come by this subscription at that moment: also when it is gone, if the
    /// message was sent before that. With the end of the session its queue is gone, too: what comes on
    /// a connection of a later session, opened then, must be another subscription's. On an earlier one
    /// there may be what was on its way.
    pub(in crate::checker) fn explains(
        &self,
        message: &Message<'_>,
        receipt: &Receipt<'_>,
        opened: Option<Moment>,
    ) -> bool {
        let is_gone = self.gone.is_some_and(|gone| gone < message.first_sent);
        let is_of_later_session = self
            .session_over
            .is_some_and(|over| opened.is_some_and(|opened| opened >= over));
        self.asked < receipt.at && !self.is_refused && !is_gone && !is_of_later_session
    }
}

// === impl Client ===

impl<'a> Client<'a> {
    /// Whether there is something that it may still have to receive.
    pub(in crate::checker) fn has_to_drain(&self) -> bool {
        let mut all = self.subscriptions.iter();
        all.any(|it| it.granted.is_some() && it.session_end.is_none() && it.gone.is_none())
    }

    pub(super) fn subscribing(&mut self, name: &'a Name, qos: u8, at: Moment) {
        if qos == 0 {
            self.degrade(name, at);
        }
        self.subscriptions.push(Subscription::new(name, at));
    }

    pub(super) fn subscribed(&mut self, name: &'a Name, qos: u8, at: Moment) {
        if qos == 0 {
            self.degrade(name, at);
        }
        self.answered(name, at).granted = Some((at, qos));
    }

    pub(super) fn subscribe_refused(&mut self, name: &'a Name, at: Moment) {
        self.answered(name, at).is_refused = true;
    }

    /// The subscription whose SUBACK this is; a new one, if no SUBSCRIBE was told of.
    fn answered(&mut self, name: &'a Name, at: Moment) -> &mut Subscription<'a> {
        let is_open = |it: &Subscription<'_>| {
            it.name == name && it.granted.is_none() && !it.is_refused && it.gone.is_none()
        };
        let found = self.subscriptions.iter().rposition(is_open);
        let place = found.unwrap_or_else(|| {
            self.subscriptions.push(Subscription::new(name, at));
            self.subscriptions.len() - 1
        });
        &mut self.subscriptions[place]
    }

    fn degrade(&mut self, name: &Name, at: Moment) {
        for it in self.subscriptions.iter_mut().filter(|it| it.name == name) {
            it.degraded.get_or_insert(at);
        }
    }

    pub(super) fn unsubscribing(&mut self, name: &Name, at: Moment) {
        for it in self.subscriptions.iter_mut().filter(|it| it.name == name) {
            it.unsubscribing.get_or_insert(at);
        }
    }

    pub(super) fn unsubscribed(&mut self, name: &Name, at: Moment) {
        for it in self.subscriptions.iter_mut().filter(|it| it.name == name) {
            if it.gone.is_none() && it.unsubscribing.is_some() {
                it.gone = Some(at);
                it.is_unsubscribed = true;
            }
        }
    }

    /// The session ends, or, unless that is certain, may end.
    pub(super) fn session_ends(&mut self, at: Moment, is_certain: bool) {
        self.session_ends.push((at, is_certain));
        for it in &mut self.subscriptions {
            it.session_end.get_or_insert(at);
            if is_certain {
                it.gone.get_or_insert(at);
                it.session_over.get_or_insert(at);
            }
        }
    }
}
