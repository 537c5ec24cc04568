//! Verification (PS3.4 annex A).

use crate::dicom::command::{Request, Response};
use crate::dicom::status::Status;

/// C-ECHO: we are here.
pub(super) fn echo(request: &Request) -> Response {
    Response::to(request, Status::SUCCESS)
}
