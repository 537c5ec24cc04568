//! DCMTK's tools as peers, where they are installed.
