//! The message for which another broker ends the connection, each time that it comes: pure.

use parking_lot::Mutex;

/// Over all connections of a client's successors.
#[derive(Debug, Default)]
pub struct Suspect(Mutex<Option<((usize, u64), u32)>>);

/// How often the connection ends before it is the message's fault.
const PATIENCE: u32 = 5;

impl Suspect {
    /// The connection has ended for a message, and this was the first that was not answered: whether
    /// it is to be refused.
    pub(super) fn is_guilty(&self, record: (usize, u64)) -> bool {
        let mut suspect = self.0.lock();
        let n_before = match *suspect {
            Some((other, n_times)) if other == record => n_times,
            _ => 0,
        };
        *suspect = Some((record, n_before + 1));
        n_before + 1 >= PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_refused_after_several_times_on_end() {
        let suspect = Suspect::default();
        for _ in 1..PATIENCE {
            assert!(!suspect.is_guilty((1, 7)));
        }
        assert!(!suspect.is_guilty((1, 8)), "another");
        for _ in 1..PATIENCE {
            assert!(!suspect.is_guilty((1, 7)), "from the beginning");
        }
        assert!(suspect.is_guilty((1, 7)));
    }
}
