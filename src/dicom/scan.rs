//! Checking the structure of a data set while it streams by.
