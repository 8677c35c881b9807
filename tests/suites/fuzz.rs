//! Valid inputs, changed at random, for everything that bytes from outside reach: what decodes in
//! this process ([`decoders`]), and the ports of real ones ([`ports`]). `gatemq_tests::mutate` has
//! the seed and the time. Decoders of what is stored are fed beside them, in their crates, by
//! `gatemq_storage::suite::damage`; with a nightly compiler, libFuzzer runs those of `proto/fuzz`.

mod decoders;
mod packets;
mod ports;
