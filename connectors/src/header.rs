//! A header that goes along with requests, as options write it: `auth-token: ${TOKEN}`.

use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::source::SourceRequest;

/// The header in option `name`, if it is given: its name and its value, such as can be sent.
pub(crate) fn header(request: &SourceRequest, name: &str, example: &str) -> Result<Option<(String, String)>> {
    let Some(text) = request.options.get(name) else { return Ok(None) };
    let parsed = parse(text).ok_or_else(|| {
        Error::user(format!("option \"{name}\" of source \"{}\" is not a header", request.name))
            .with_hint(format!("Write it as '{example}'."))
    });
    parsed.map(Some)
}

fn parse(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once(':')?;
    let (name, value) = (name.trim(), value.trim());
    let token = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let sendable = value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    (token && sendable).then(|| (name.to_string(), value.to_string()))
}
