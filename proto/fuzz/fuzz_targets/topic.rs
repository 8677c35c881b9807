//! See the body.
#![no_main]

#[path = "../bodies/topic.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|text: &str| body::match_any(text));
