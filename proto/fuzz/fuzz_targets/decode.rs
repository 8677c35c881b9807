//! See the body.
#![no_main]

#[path = "../bodies/decode.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::decode_any(bytes));
