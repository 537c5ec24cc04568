//! Every capability of the node, one file each, one binary.

mod testkit;

mod architecture;

mod associations;

mod storage;

mod dcmtk;

mod character_sets;

mod answers_queries;
