//! A model package's manifest, written by its author.
#![no_main]

use libfuzzer_sys::fuzz_target;
use overread::inference::manifest::Manifest;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match Manifest::parse(text) {
        Ok(manifest) => {
            let _ = manifest.identity();
            let _ = manifest.output.tensors();
        }
        Err(errors) => {
            assert!(!errors.is_empty(), "refused without a reason");
            let lines = text.lines().count().max(1);
            for error in errors {
                assert!(error.line <= lines + 1, "no such line: {error}");
            }
        }
    }
});
