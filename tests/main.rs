//! Every capability of the node, one file each, one binary.

mod testkit;

mod answers_queries;
mod architecture;
mod assembles_volumes;
mod associations;
mod character_sets;
mod dcmtk;
mod decodes_pixels;
mod documents;
mod inference;
mod reads_series;
mod storage;
mod writes_results;
