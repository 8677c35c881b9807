//! Who published what with which answer, who got what, and what is wrong with that.

use std::collections::{BTreeMap, BTreeSet};

use gatemq_tests::acl::{Action, File, Who, oracle};

/// What was published, to whom it has to come, and what has come wrongly.
#[derive(Default)]
pub(super) struct Ledger {
    messages: Vec<Message>,
    denied: BTreeSet<usize>,
    /// Actors and messages of QoS 1 and 2 that they have not got yet.
    due: BTreeSet<(usize, usize)>,
    /// Those of them that come because they are retained.
    due_again: BTreeSet<(usize, usize)>,
    /// Of a group: one of these actors has to get it.
    due_to_one: Vec<(BTreeSet<usize>, usize)>,
    /// By topic, the last one.
    retained: BTreeMap<String, usize>,
    /// Whether what a group gets has to come to a member that is here. Of several gateways one that
    /// is away may be given it, too, and gets it when it comes back: who is here is known on the
    /// others a little later.
    is_here_known: bool,
    pub(super) wrong: Vec<String>,
    pub(super) totals: Totals,
}

/// A message, which has its place in the ledger for a payload.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) publisher: Who,
}

/// How often each thing has happened.
#[derive(Debug, Default)]
pub(super) struct Totals(BTreeMap<&'static str, usize>);

/// All that is to happen in a run that shows something.
const KINDS: [&str; 13] = [
    "accepted",
    "refused",
    "granted",
    "not granted",
    "delivered",
    "retained",
    "queued",
    "shared",
    "aliased",
    "wills",
    "wills refused",
    "resumed",
    "unsubscribed",
];

/// A subscription as an actor has it.
#[derive(Clone, Debug)]
pub(super) struct Subscription {
    /// `$share/<group>/` and all.
    pub(super) asked: String,
    /// Without it.
    pub(super) filter: String,
    pub(super) is_shared: bool,
    pub(super) qos: u8,
}

/// An actor as the ledger sees it.
pub(super) struct Reader<'a> {
    pub(super) number: usize,
    pub(super) who: &'a Who,
    pub(super) is_here: bool,
    /// Those of its session.
    pub(super) subscriptions: &'a [Subscription],
    /// All that its session has ever had.
    pub(super) filters: &'a [String],
}

// === impl Totals ===

impl Totals {
    pub(super) fn count(&mut self, kind: &'static str, n: usize) {
        debug_assert!(KINDS.contains(&kind), "{kind}");
        *self.0.entry(kind).or_default() += n;
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (kind, n) in &other.0 {
            self.count(kind, *n);
        }
    }

    pub(super) fn of(&self, kind: &str) -> usize {
        self.0.get(kind).copied().unwrap_or_default()
    }

    pub(super) fn assert_much_happened(&self) {
        let missing = KINDS.iter().find(|kind| self.of(kind) == 0);
        assert_eq!(missing, None, "{self:?}");
    }
}

// === impl Ledger ===

impl Ledger {
    pub(super) fn new(is_here_known: bool) -> Self {
        Self {
            is_here_known,
            ..Self::default()
        }
    }

    /// The number of the next message, which is its payload.
    pub(super) fn next(&self) -> usize {
        self.messages.len()
    }

    /// A message was sent. `is_taken` is what its publisher was told, if it was told anything.
    pub(super) fn published(
        &mut self,
        file: &File,
        message: &Message,
        is_taken: Option<bool>,
        readers: &[Reader<'_>],
    ) {
        let uid = self.next();
        let is_allowed = oracle::allowed(file, &message.publisher, Action::Publish, &message.topic);
        if is_taken.is_some_and(|is_taken| is_taken != is_allowed) {
            let told = format!("publish: taken {is_taken:?}, allowed {is_allowed}");
            self.wrong.push(format!("{told}: {message:?}"));
        }
        let kind = if is_allowed { "accepted" } else { "refused" };
        self.totals.count(kind, 1);
        self.messages.push(message.clone());
        if !is_allowed {
            self.denied.insert(uid);
            return;
        }
        if message.retain
            && let Some(older) = self.retained.insert(message.topic.clone(), uid)
        {
            self.supersede(older);
        }
        if message.qos > 0 {
            self.expect(file, uid, message, readers);
        }
    }

    /// A retained message has been replaced: whoever was still to get it for its subscription gets
    /// the newer one, which is published to it, in its place.
    fn supersede(&mut self, older: usize) {
        let due = &mut self.due;
        self.due_again.retain(|(reader, uid)| {
            let is_older = *uid == older;
            if is_older {
                due.remove(&(*reader, older));
            }
            !is_older
        });
    }

    fn expect(&mut self, file: &File, uid: usize, message: &Message, readers: &[Reader<'_>]) {
        let mut groups: BTreeMap<&str, Vec<(usize, u8)>> = BTreeMap::new();
        for reader in readers {
            if !oracle::allowed(file, reader.who, Action::Subscribe, &message.topic) {
                continue;
            }
            for subscription in reader.subscriptions {
                let Subscription { qos, asked, .. } = subscription;
                if !oracle::matches(&subscription.filter, &message.topic) {
                    continue;
                }
                if !subscription.is_shared && *qos > 0 {
                    self.due.insert((reader.number, uid));
                }
                if subscription.is_shared && (reader.is_here || !self.is_here_known) {
                    let group = groups.entry(asked).or_default();
                    group.push((reader.number, *qos));
                }
            }
        }
        // A member of QoS 0 may lose what it has got.
        for members in groups.into_values() {
            if members.iter().all(|(_, qos)| *qos > 0) {
                let members = members.into_iter().map(|(number, _)| number);
                self.due_to_one.push((members.collect(), uid));
            }
        }
    }

    /// A filter was asked for.
    pub(super) fn subscribed(
        &mut self,
        file: &File,
        (reader, who): (usize, &Who),
        subscription: &Subscription,
        is_granted: bool,
    ) {
        let is_allowed = oracle::allowed(file, who, Action::Subscribe, &subscription.filter);
        if is_allowed != is_granted {
            let told = format!("subscribe: granted {is_granted}, allowed {is_allowed}");
            self.wrong
                .push(format!("{told}: {subscription:?} of {who:?}"));
        }
        let kind = if is_granted { "granted" } else { "not granted" };
        self.totals.count(kind, 1);
        if !is_granted || subscription.is_shared || subscription.qos == 0 {
            return;
        }
        for (topic, uid) in &self.retained {
            let is_due = self.messages[*uid].qos > 0
                && oracle::matches(&subscription.filter, topic)
                && oracle::allowed(file, who, Action::Subscribe, topic);
            if is_due {
                self.due.insert((reader, *uid));
                self.due_again.insert((reader, *uid));
            }
        }
    }

    /// A message has come.
    pub(super) fn delivered(
        &mut self,
        file: &File,
        reader: &Reader<'_>,
        topic: &str,
        payload: &[u8],
        is_retained: bool,
    ) {
        let uid = std::str::from_utf8(payload).ok();
        let uid = uid.and_then(|text| text.parse::<usize>().ok());
        let known = uid.and_then(|uid| Some((uid, self.messages.get(uid)?)));
        let Some((uid, message)) = known.filter(|(_, message)| message.topic == topic) else {
            let what = format!("{:?} has {payload:?} on {topic:?}", reader.who);
            return self
                .wrong
                .push(format!("delivered: nobody sent it: {what}"));
        };
        let mut complain = |what: &str| {
            let who = reader.who;
            self.wrong
                .push(format!("delivered: {what}: {message:?} to {who:?}"));
        };
        if !oracle::allowed(file, reader.who, Action::Subscribe, topic) {
            complain("it may not have it");
        }
        let is_asked = |filter: &String| oracle::matches(filter, topic);
        if !reader.filters.iter().any(is_asked) {
            complain("it has not asked for it");
        }
        if self.denied.contains(&uid) {
            complain("it was not to be published");
        }
        self.totals.count("delivered", 1);
        self.totals.count("retained", usize::from(is_retained));
        self.due.remove(&(reader.number, uid));
        self.due_again.remove(&(reader.number, uid));
        let n_due = self.due_to_one.len();
        self.due_to_one
            .retain(|(members, due)| *due != uid || !members.contains(&reader.number));
        self.totals.count("shared", n_due - self.due_to_one.len());
    }

    /// Whether a reader still has to get something.
    pub(super) fn is_owed(&self, reader: usize) -> bool {
        self.due.iter().any(|(number, _)| *number == reader)
    }

    /// Whether a reader still has to get what is retained: that is not kept for it when it leaves.
    pub(super) fn is_owed_again(&self, reader: usize) -> bool {
        self.due_again.iter().any(|(number, _)| *number == reader)
    }

    /// Whether a group still has to get something.
    pub(super) fn is_owed_to_groups(&self) -> bool {
        !self.due_to_one.is_empty()
    }

    /// Whether one that this reader belongs to has.
    pub(super) fn is_owed_to_a_group_of(&self, reader: usize) -> bool {
        self.due_to_one
            .iter()
            .any(|(members, _)| members.contains(&reader))
    }

    /// What groups of this reader have not got is not waited for any more, where another member that is
    /// away may have been given it.
    pub(super) fn forget_groups_of(&mut self, reader: usize) {
        if self.is_here_known {
            return;
        }
        self.due_to_one
            .retain(|(members, _)| !members.contains(&reader));
    }

    /// Other rules hold: what is denied by them does not come any more.
    pub(super) fn change(&mut self, file: &File, readers: &[Reader<'_>]) {
        let messages = &self.messages;
        self.due.retain(|(reader, uid)| {
            let topic = &messages[*uid].topic;
            oracle::allowed(file, readers[*reader].who, Action::Subscribe, topic)
        });
    }

    /// A session has ended, or its time to get something is over.
    pub(super) fn close(&mut self, reader: &Reader<'_>) {
        let (gone, kept) = std::mem::take(&mut self.due)
            .into_iter()
            .partition(|(number, _)| *number == reader.number);
        self.due = kept;
        self.due_again
            .retain(|(number, _)| *number != reader.number);
        let gone: BTreeSet<(usize, usize)> = gone;
        for (_, uid) in gone {
            let (message, who) = (&self.messages[uid], reader.who);
            self.wrong.push(format!("missing: {message:?} of {who:?}"));
        }
    }

    /// What no member of a group has got.
    pub(super) fn close_groups(&mut self) {
        for (members, uid) in std::mem::take(&mut self.due_to_one) {
            let message = &self.messages[uid];
            self.wrong
                .push(format!("missing in a group of {members:?}: {message:?}"));
        }
    }
}
