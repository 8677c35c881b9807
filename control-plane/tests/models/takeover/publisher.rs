//! The gateway of the publisher: its table, and what is not answered yet.

use super::{Change, HOSTS, Leg, Message, State, Takeover, Without};

impl State {
    /// Whom the table names.
    fn targets(&self) -> [bool; HOSTS] {
        let mut targets = [false; HOSTS];
        for change in &self.log[..usize::from(self.followed)] {
            match change {
                Change::Add(at) => targets[*at] = true,
                Change::Remove(at) => targets[*at] = false,
            }
        }
        targets
    }

    pub(super) fn route(&mut self, number: usize) {
        self.messages[number] = Message::UnderWay {
            legs: [Leg::None; HOSTS],
            routed_at: 0,
        };
        self.send(number);
    }

    /// To all whom the table names now; not where it is on its way already.
    fn send(&mut self, number: usize) {
        let (targets, followed) = (self.targets(), self.followed);
        if let Message::UnderWay { legs, routed_at } = &mut self.messages[number] {
            *routed_at = followed;
            for (leg, is_target) in legs.iter_mut().zip(targets) {
                if is_target && matches!(leg, Leg::None | Leg::Safe) {
                    *leg = Leg::Road;
                }
            }
        }
    }

    /// A gateway has the message, or gives it back: then it is routed again.
    pub(super) fn answer(&mut self, number: u8, at: usize, is_safe: bool) {
        let Message::UnderWay { legs, .. } = &mut self.messages[usize::from(number)] else {
            return;
        };
        match is_safe {
            true if legs[at] == Leg::Storing => legs[at] = Leg::Safe,
            false if legs[at] != Leg::None => {
                legs[at] = Leg::None;
                self.send(usize::from(number));
            }
            _ => {}
        }
    }

    /// The next change of the table. Of a node that is gone all comes back that it has not answered.
    pub(super) fn follow(&mut self) {
        let change = self.log[usize::from(self.followed)];
        self.followed += 1;
        let Change::Remove(at) = change else {
            return;
        };
        if !self.hosts[at].is_fenced {
            return; // it wants no more, and answers what it has been sent
        }
        for number in 0..self.messages.len() as u8 {
            let Message::UnderWay { legs, .. } = &self.messages[usize::from(number)] else {
                continue;
            };
            if matches!(legs[at], Leg::Road | Leg::Storing) {
                self.answer(number, at, false);
            }
        }
    }

    /// All have answered; but if somebody was added since it was routed, it goes there, too.
    pub(super) fn acknowledge(&mut self, model: &Takeover, number: usize) {
        let Message::UnderWay { routed_at, .. } = &self.messages[number] else {
            return;
        };
        let since = &self.log[usize::from(*routed_at)..usize::from(self.followed)];
        let is_news = since.iter().any(|change| matches!(change, Change::Add(_)));
        match is_news && model.has(Without::Again) {
            true => self.send(number),
            false => self.messages[number] = Message::Acknowledged,
        }
    }
}
