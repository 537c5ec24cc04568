//! A DIMSE command set, reassembled from its fragments.
#![no_main]

use libfuzzer_sys::fuzz_target;
use overread::dicom::command::Command;

fuzz_target!(|input: &[u8]| {
    let Ok(mut command) = Command::decode(input) else { return };
    // Error Comment is the one value that is written otherwise than it was read: in plain ASCII.
    if let Command::Response(response) = &mut command {
        response.comment = response.comment.take().filter(|comment| comment.is_ascii() && !comment.contains('\\'));
    }
    // What was read can be written, and means the same when read again.
    let written = command.encode();
    let again = Command::decode(&written).expect("what we write we read");
    assert_eq!(again.encode(), written, "writing is stable");
});
