//! Every capability of the node, one file each, one binary.

mod testkit;

mod architecture;
mod associations;
mod character_sets;
mod dcmtk;
mod storage;
