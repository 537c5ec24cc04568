//! The `overread` command.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

// What a layer of a model gives is a megabyte or many, made and let go hundreds of times. glibc either keeps all of it (twice
// the memory) or asks the system for every one anew (a tenth more time). `.cargo/config.toml` has its settings.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    overread::cli::main()
}
