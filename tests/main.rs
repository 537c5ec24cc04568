//! All capabilities of the node, each in a file of its name.

mod testkit;

mod assembles_volumes;

mod decodes_pixels;
