//! Every capability of the node, one file each, one binary.

mod architecture;
mod documents;
