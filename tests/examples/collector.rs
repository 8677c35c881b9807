//! A collector of traces for measurements: counts what it gets, and says how much that was when its
//! input ends. Its address is the first line of its output.

use std::io::{self, Read};

use gatemq_tests::Collector;

#[expect(clippy::print_stdout, reason = "whoever started it reads that")]
fn main() {
    let collector = Collector::counting();
    println!("{}", collector.endpoint());
    // Whoever started it closes that, or ends.
    let _ = io::stdin().read_to_end(&mut Vec::new());
    println!("{}", collector.n_spans());
}
