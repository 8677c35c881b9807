//! What the switch lets through, as the kernel's filter takes it.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt::Write,
    net::Ipv4Addr,
};

/// Of each pair of addresses, from and to, what is lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rules {
    /// By how many cuts nothing passes: each has to be mended.
    cut: BTreeMap<(Ipv4Addr, Ipv4Addr), usize>,
    /// Packets of 1,000 that are lost.
    lost: BTreeMap<(Ipv4Addr, Ipv4Addr), u16>,
}

/// Made anew each time, in one transaction.
const HEAD: &str = "add table bridge fault
add chain bridge fault pass { type filter hook forward priority 0 ; }
flush chain bridge fault pass
";

impl Rules {
    pub(super) fn cut(&mut self, from: Ipv4Addr, to: Ipv4Addr) {
        *self.cut.entry((from, to)).or_default() += 1;
    }

    /// Takes one cut back, if there is one.
    pub(super) fn mend(&mut self, from: Ipv4Addr, to: Ipv4Addr) {
        let Entry::Occupied(mut cuts) = self.cut.entry((from, to)) else {
            return;
        };
        *cuts.get_mut() -= 1;
        if *cuts.get() == 0 {
            cuts.remove();
        }
    }

    pub(super) fn lose(&mut self, from: Ipv4Addr, to: Ipv4Addr, per_thousand: u16) {
        match per_thousand {
            0 => self.lost.remove(&(from, to)),
            _ => self.lost.insert((from, to), per_thousand),
        };
    }

    /// Replaces whatever rules there were.
    pub(super) fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        let mut add = |(from, to): (Ipv4Addr, Ipv4Addr), what: &str| {
            let rule = format!("add rule bridge fault pass ip saddr {from} ip daddr {to} {what}");
            let _infallible = writeln!(text, "{rule}");
        };
        for pair in self.cut.keys() {
            add(*pair, "drop");
        }
        for (pair, per_thousand) in &self.lost {
            add(
                *pair,
                &format!("numgen random mod 1000 < {per_thousand} drop"),
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_of_one_direction_and_go() {
        let [one, other] = [[10, 77, 1, 2], [10, 77, 1, 3]].map(Ipv4Addr::from);
        let mut rules = Rules::default();
        assert_eq!(rules.text(), HEAD);
        rules.cut(one, other);
        rules.lose(other, one, 50);
        let expected = format!(
            "{HEAD}add rule bridge fault pass ip saddr 10.77.1.2 ip daddr 10.77.1.3 drop\n\
             add rule bridge fault pass ip saddr 10.77.1.3 ip daddr 10.77.1.2 \
             numgen random mod 1000 < 50 drop\n"
        );
        assert_eq!(rules.text(), expected);
        rules.mend(one, other);
        rules.lose(other, one, 0);
        assert_eq!(rules, Rules::default());
        rules.mend(one, other);
        assert_eq!(rules, Rules::default(), "there was nothing to mend");
    }

    #[test]
    fn what_two_cuts_stop_passes_when_both_are_mended() {
        let [one, other, third] =
            [[10, 77, 1, 2], [10, 77, 1, 3], [10, 77, 1, 4]].map(Ipv4Addr::from);
        let mut rules = Rules::default();
        // One is cut off from all, and a link of it comes and goes.
        for to in [other, third] {
            rules.cut(one, to);
        }
        let before = rules.text();
        for _ in 0..2 {
            rules.cut(one, other);
            assert_eq!(rules.text(), before, "each pair has one rule");
            rules.mend(one, other);
            assert_eq!(rules.text(), before, "it is cut off all the same");
        }
        rules.mend(one, other);
        rules.mend(one, third);
        assert_eq!(rules, Rules::default());
    }
}
