//! Every capability of the node, one file each, one binary.

mod testkit;

mod architecture;
mod assembles_volumes;
mod character_sets;
mod decodes_pixels;
mod inference;
