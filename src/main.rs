//! The `overread` command.
fn main() {}
