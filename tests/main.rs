//! Every capability of the node, one file each, one binary.

mod architecture;
//! What the node can do, one module for each capability.
mod character_sets;
