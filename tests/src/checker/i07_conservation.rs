//! I7, conservation: each message is a transfer between two accounts, which follows from its name.
//! In the books of each subscriber an account has moved at least what was accepted and at most what
//! was accepted or is unknown. Source: the bank account test of the project's fault plan.
//!
//! The books are kept as an application would: what comes with QoS 1 is entered once for each name,
//! because it may come again; what comes with QoS 2 or 0 is entered each time. So a loss and a
//! repeat do not make up for one another, but in the same account with the same amount. It is the
//! second opinion on I1 and I3, by sums instead of names.
//!
//! Books are checked of subscribers that drained and whose sessions did not end, and that are no
//! members of a group. Replays of retained messages are not entered.

use super::{Picture, Verdict, Violation};
use crate::history::Uid;

const N_ACCOUNTS: usize = 16;

/// What a message moves, from one account to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Transfer {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) amount: u64,
}

/// What went into and out of each account.
type Books = [[u64; N_ACCOUNTS]; 2];

// === impl Transfer ===

impl Transfer {
    /// The one of this message: always the same.
    pub(super) fn of(uid: &Uid) -> Self {
        let mut hash: u64 = 0xCBF2_9CE4_8422_2325;
        let texts = [uid.publisher.as_bytes(), uid.topic.as_bytes()];
        let bytes = texts.concat().into_iter().chain(uid.seq.to_be_bytes());
        for byte in bytes {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
        let part = |shift: u32, limit: u64| (hash >> shift) % limit;
        let account = |shift| usize::try_from(part(shift, 16)).expect("below 16");
        Self {
            from: account(8),
            to: account(24),
            amount: 1 + part(32, 997),
        }
    }

    fn enter(self, books: &mut Books) {
        books[0][self.from] += self.amount;
        books[1][self.to] += self.amount;
    }
}

pub(super) fn judge(picture: &Picture<'_>, verdict: &mut Verdict) {
    let empty = Books::default();
    let n_clients = picture.clients.len();
    let mut least = vec![empty; n_clients];
    let mut most = least.clone();
    let mut ledger = least.clone();
    for message in &picture.messages {
        let transfer = Transfer::of(message.uid);
        for (client, _) in picture.matching(&message.uid.topic) {
            let mut subscriptions = picture.subscriptions_to(&message.uid.topic, client);
            let is_drained = message.accepted < picture.clients[client].drained;
            if !message.was_refused() {
                transfer.enter(&mut most[client]);
            }
            if is_drained && !message.is_will && subscriptions.any(|it| it.owes(message)) {
                transfer.enter(&mut least[client]);
            }
        }
    }
    for receipt in picture.receipts.iter().filter(|it| !it.retain) {
        let is_repeat = receipt.qos == 1 && receipt.again.is_some();
        if let Some(uid) = receipt.uid.filter(|_| !is_repeat) {
            Transfer::of(uid).enter(&mut ledger[receipt.client]);
        }
    }
    for (number, client) in picture.clients.iter().enumerate() {
        let is_member = client.subscriptions.iter().any(|it| it.is_shared);
        let is_whole = client.drained.is_some()
            && client
                .subscriptions
                .iter()
                .all(|it| it.session_end.is_none());
        let has_subscribed = !client.subscriptions.is_empty();
        if is_member || !is_whole || !has_subscribed {
            continue;
        }
        let all = (0..2).flat_map(|side| (0..N_ACCOUNTS).map(move |account| (side, account)));
        let wrong = all.map(|(side, account)| {
            let of = |books: &[Books]| books[number][side][account];
            (account, of(&ledger), of(&least), of(&most))
        });
        let mut wrong = wrong.filter(|(_, ledger, least, most)| ledger < least || ledger > most);
        if let Some((account, ledger, least, most)) = wrong.next() {
            verdict.violations.push(Violation::Unbalanced {
                account,
                ledger,
                least,
                most,
                client: client.name.clone(),
            });
        }
    }
}
