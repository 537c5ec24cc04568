//! The standard's words: UIDs, titles, codes, data sets, commands, statuses. No sockets, no SQL, no tensors, no clock.

pub mod ae;

pub mod uid;

pub mod code;

pub mod charset;

pub mod transfer_syntax;

pub mod data_set;

pub mod parse;

pub mod inflate;

pub mod encode;

pub mod scan;

pub mod part10;

pub mod sop_class;

pub mod command;

pub mod status;

pub mod wildcard;

pub use dicom_core::{Tag, VR};
pub use dicom_dictionary_std::tags;
