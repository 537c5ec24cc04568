//! C-STORE: what is stored, what is refused, and what is left behind.
