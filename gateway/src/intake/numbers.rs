//! The numbers of a batch's messages, by which they are answered.

use std::ops::Range;

use tonic::Status;

use crate::proto::cluster::intake::Batch;

/// Those of a batch: consecutive, from its first one on.
///
/// # Errors
///
/// They would go beyond the highest number that there is.
pub(super) fn of(batch: &Batch) -> Result<Range<u64>, Status> {
    let (first, n_messages) = (batch.first, batch.messages.len());
    let end = first.checked_add(n_messages as u64);
    end.map(|end| first..end).ok_or_else(|| {
        let why = format!("no numbers are left for {n_messages} messages from {first} on");
        Status::invalid_argument(why)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::cluster::intake::Message;
    use tonic::Code;

    fn batch(first: u64, n_messages: usize) -> Batch {
        Batch {
            first,
            messages: vec![Message::default(); n_messages],
            is_last_try: false,
        }
    }

    #[test]
    fn a_batch_beyond_the_highest_number_is_refused_and_said_so() {
        for (first, n_messages) in [(0, 0), (1, 3), (u64::MAX, 0), (u64::MAX - 3, 3)] {
            let batch = batch(first, n_messages);
            let numbers: Vec<u64> = of(&batch)
                .expect("there are as many")
                .zip(&batch.messages)
                .map(|(number, _)| number)
                .collect();
            let expected: Vec<u64> = (0..n_messages as u64).map(|at| first + at).collect();
            assert_eq!(numbers, expected);
        }
        for (first, n_messages) in [(u64::MAX, 1), (u64::MAX - 3, 4), (u64::MAX - 3, 100)] {
            let status = of(&batch(first, n_messages)).expect_err("too high");
            assert_eq!(status.code(), Code::InvalidArgument);
            assert!(status.message().contains(&first.to_string()), "{status}");
        }
    }
}
