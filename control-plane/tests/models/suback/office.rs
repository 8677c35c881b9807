//! The leader, its log and its book: `control-plane/src/leases.rs`.

use super::{Age, Beat, Entry, State, Suback, Without};

impl State {
    pub(super) fn revision(&self) -> u8 {
        self.log.len() as u8
    }

    /// Returns its index.
    pub(super) fn commit(&mut self, entry: Entry) -> u8 {
        self.log.push(entry);
        self.revision()
    }

    /// When an incarnation was fenced, or another one of its gateway came.
    fn fenced_at(&self, incarnation: u8) -> Option<u8> {
        let Some(Entry::Register(number)) = self.log.get(usize::from(incarnation) - 1).copied()
        else {
            return None;
        };
        let later = (incarnation + 1..).zip(self.log.iter().skip(usize::from(incarnation)));
        let mut fences = later.filter(|(_, entry)| {
            **entry == Entry::Fence(incarnation) || **entry == Entry::Register(number)
        });
        fences.next().map(|(index, _)| index)
    }

    /// A beat arrives: `Leases::beat` and `decide`.
    pub(super) fn hear(&mut self, model: &Suback, number: usize) {
        let gateway = &mut self.gateways[number];
        let (incarnation, Some(beat)) = (gateway.incarnation, gateway.beat.take()) else {
            return;
        };
        if let Some(fenced_at) = self.fenced_at(incarnation) {
            if beat.applied >= fenced_at {
                self.office.counted.remove(&incarnation);
            }
            return;
        }
        let office = &mut self.office;
        let has_all = beat.applied >= office.watermark || !model.has(Without::CatchUp);
        if has_all && beat.applied >= office.floor {
            office.counted.insert(incarnation, beat);
            self.gateways[number].confirmed = Some(beat.age);
        } else if let Some(counted) = office.counted.get_mut(&incarnation) {
            counted.applied = beat.applied;
        }
    }

    /// Its lease has run out by the leader's clock, too.
    pub(super) fn discount(&mut self, model: &Suback, incarnation: u8) {
        let counted = &mut self.office.counted;
        let is_over = counted
            .get(&incarnation)
            .is_some_and(|it| it.age == Age::Over);
        if is_over || !model.has(Without::Margin) {
            counted.remove(&incarnation);
        }
    }

    /// Another leader opens its book: `Leases::new`.
    pub(super) fn elect(&mut self, model: &Suback) {
        self.left -= 1;
        let index = self.commit(Entry::Other);
        self.office.floor = if model.has(Without::Floor) { index } else { 0 };
        self.office.watermark = 0;
        self.office.counted.clear();
        if !model.has(Without::Members) {
            return;
        }
        let registered = (1..).zip(&self.log);
        for (incarnation, _) in registered.filter(|(_, it)| matches!(it, Entry::Register(_))) {
            // It waits until nothing that an earlier leader confirmed gives a lease any more.
            let gateway = self
                .gateways
                .iter()
                .find(|it| it.incarnation == incarnation);
            let may_believe =
                gateway.is_some_and(|it| it.has_lease || it.confirmed == Some(Age::Fresh));
            let age = if may_believe { Age::Fresh } else { Age::Over };
            self.office
                .counted
                .insert(incarnation, Beat { applied: 0, age });
        }
    }

    /// The least that anybody who counts has applied; never back.
    pub(super) fn raise(&mut self) {
        let least = self.office.counted.values().map(|it| it.applied).min();
        let least = least.unwrap_or(u8::MAX).min(self.revision());
        self.office.watermark = self.office.watermark.max(least);
        self.told = self.told.max(self.office.watermark);
    }
}
