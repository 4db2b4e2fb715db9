//! JSON: one object a line (NDJSON).

use super::{DecodeRequest, Decoder, FormatSpec, Framing};
use crate::error::{Error, Result};

/// The format's description.
pub const SPEC: FormatSpec = FormatSpec {
    name: "json",
    doc: "One JSON object a line (NDJSON).",
    options: &[],
    framing: Framing::Lines,
    decoder: Some(decoder),
};

fn decoder(_request: DecodeRequest) -> Result<Box<dyn Decoder>> {
    Err(Error::bug("not yet"))
}
