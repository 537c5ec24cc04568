//! Every capability of the node, one file each, one binary.

mod answers_queries;
mod architecture;
mod character_sets;
