//! What the log says of what is damaged in Redis and cannot be adopted, and what is to be done.

use super::Adoption;
use super::damaged::Part;
use crate::store::redis::Error;

impl Adoption<'_> {
    /// Says that a part of a slice is damaged.
    pub(super) fn tell_damaged(&self, slice: u16, part: &Part, error: &Error) {
        let from = self.from;
        let [sessions, ended] = self.redis.keys_of(from, slice);
        match part {
            Part::Session(client_id) => {
                let key = self.redis.key_of(client_id);
                tracing::error!(
                    slice, from, client.id = client_id, %error, key,
                    "a session is damaged in redis and not adopted: who publishes to it waits until \
                     the key, and those that end with its field `number`, are mended or deleted"
                );
            }
            Part::Ended(number) => tracing::error!(
                slice, from, number, %error, key = ended,
                "what an ended session left is damaged in redis: it waits until the keys that end \
                 with its number are mended or deleted, or its number goes from the key"
            ),
            Part::NoSession(entry) => tracing::error!(
                slice, from, entry, %error, key = sessions,
                "an entry in redis names no session: nothing is done for it until it goes from the key"
            ),
            Part::NoEnded(entry) => tracing::error!(
                slice, from, entry, %error, key = ended,
                "an entry in redis names no session: nothing is done for it until it goes from the key"
            ),
            Part::Sessions(_) => tracing::error!(
                slice, from, %error, key = sessions,
                "a key in redis is damaged, and no session adopted that it names: who publishes to \
                 them waits until it is mended; if it is deleted, they get nothing until their \
                 clients connect"
            ),
            Part::AllEnded(_) => tracing::error!(
                slice, from, %error, key = ended,
                "a key in redis is damaged, and nothing done of what ended sessions left that it \
                 names: it waits until it is mended, or deleted, and is lost then"
            ),
        }
    }
}
