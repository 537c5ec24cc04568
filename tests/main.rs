//! What the node can do, one module for each capability.
mod character_sets;
