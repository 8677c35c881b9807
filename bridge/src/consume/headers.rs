//! The headers of a record of Kafka. Their names are text, says Kafka, and looks at none of them:
//! anybody may write others. The client panics at such a name, so each header is read by itself, and
//! one whose name is no text is left out.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use rdkafka::message::Headers;

/// What can be read of them.
#[derive(Debug, Default)]
pub(super) struct Readable<'a> {
    /// Names and values, in order.
    pub(super) all: Vec<(&'a str, &'a [u8])>,
    /// How many have names that are no text.
    pub(super) n_left_out: usize,
}

/// Reads what can be read.
pub(super) fn read<H: Headers>(headers: Option<&H>) -> Readable<'_> {
    let mut readable = Readable::default();
    let Some(headers) = headers else {
        return readable;
    };
    for index in 0..headers.count() {
        // Reading changes nothing, so what a panic leaves is as it was.
        let header = quietly(AssertUnwindSafe(|| headers.try_get(index)));
        match header {
            Ok(Some(header)) => {
                let value = header.value.unwrap_or_default();
                readable.all.push((header.key, value));
            }
            Ok(None) => {}
            Err(_) => readable.n_left_out += 1,
        }
    }
    readable
}

// === private ===

thread_local! {
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Catches a panic that is not worth a word. It would be one for each record that somebody writes:
/// more than standard error should have to take.
fn quietly<T>(read: impl FnOnce() -> T + panic::UnwindSafe) -> std::thread::Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |what| {
            if !IS_QUIET.get() {
                others(what);
            }
        }));
    });
    IS_QUIET.set(true);
    let result = panic::catch_unwind(read);
    IS_QUIET.set(false);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::message::{FromBytes, Header};

    /// Headers as the client has them: it panics at a name that is no text.
    struct Raw(&'static [&'static [u8]]);

    impl Headers for Raw {
        fn count(&self) -> usize {
            self.0.len()
        }

        fn try_get(&self, index: usize) -> Option<Header<'_, &[u8]>> {
            let name = self.0.get(index)?;
            Some(Header {
                key: std::str::from_utf8(name).expect("it is text"),
                value: <[u8]>::from_bytes(name).ok(),
            })
        }
    }

    #[test]
    fn a_name_that_is_no_text_is_left_out_and_the_others_stay() {
        let raw = Raw(&[b"a", b"\xff", b"b", b"\xc3"]);
        let readable = read(Some(&raw));
        assert_eq!(readable.all, [("a", &b"a"[..]), ("b", &b"b"[..])]);
        assert_eq!(readable.n_left_out, 2);
        assert!(read::<Raw>(None).all.is_empty());
    }
}
