//! Any bytes as a layer: compression, tar headers, extensions, sparse maps. Nothing is written anywhere.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| _core::fuzzing::read_layer(data));
