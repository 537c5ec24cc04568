//! A DIMSE command set, reassembled from its fragments.
#![no_main]

use libfuzzer_sys::fuzz_target;
use overread::dicom::command::Command;

fuzz_target!(|input: &[u8]| {
    let Ok(command) = Command::decode(input) else { return };
    let _ = command.has_data_set();
    // What was read can be written, and means the same when read again.
    let written = command.encode();
    let again = Command::decode(&written).expect("what we write we read");
    assert_eq!(again.encode(), written, "writing is stable");
});
