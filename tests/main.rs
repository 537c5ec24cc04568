//! Every capability of the node, one file each, one binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test ends where something is not as it must be"
)]

mod testkit;

mod administers;
mod answers_queries;
mod architecture;
mod asks_gates;
mod assembles_volumes;
mod associations;
mod bounds_memory;
mod character_sets;
mod checks;
mod chooses_series;
mod compares_devices;
mod completes_series;
mod decodes_early;
mod decodes_pixels;
mod delivers_results;
mod documents;
mod exchanges_heads;
mod imports_bundles;
mod inference;
mod interoperates;
mod keeps_embeddings;
mod knows_body_parts;
mod lists_models;
mod logs;
mod measures_lungs;
mod reads_by_packages;
mod reads_folders;
mod reads_series;
mod reads_uneven_series;
mod runs_jobs;
mod runs_modules;
mod sends_results;
mod shows_demo;
mod shows_radiographs;
mod storage;
mod survives_crashes;
mod tells_answers;
mod verifies_packages;
mod withholds_untrained;
mod writes_results;
