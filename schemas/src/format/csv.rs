//! CSV.

use super::{DecodeRequest, Decoder, FormatSpec, Framing};
use crate::error::{Error, Result};

/// The format's description.
pub const SPEC: FormatSpec = FormatSpec {
    name: "csv",
    doc: "Comma-separated values with a header line.",
    options: &[],
    framing: Framing::LinesAfterHeader,
    decoder: Some(decoder),
};

fn decoder(_request: DecodeRequest) -> Result<Box<dyn Decoder>> {
    Err(Error::bug("not yet"))
}
