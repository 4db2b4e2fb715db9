//! JSON that is not cut into lines: an object or a list over several lines, or values one behind the other.

use sonic_rs::LazyValue;

/// Records as lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// One record a line, each line ended.
    pub text: Vec<u8>,
    /// How many there are.
    pub records: usize,
}

/// The values that `text` holds one behind the other, each on a line of its own; of a list, each of its items.
/// The error says what is wrong with a text that holds something else.
pub fn to_lines(text: &str) -> Result<Lines, String> {
    let mut lines = Lines { text: Vec::with_capacity(text.len() + 1), records: 0 };
    let mut rest = text.trim_ascii_start();
    while !rest.is_empty() {
        let (value, after) = rest.split_at(value_end(rest));
        sonic_rs::from_str::<LazyValue>(value).map_err(|error| {
            let before = text.len() - rest.len();
            super::not_json(&error, before)
        })?;
        rest = after.trim_ascii_start();
        if !value.starts_with('[') {
            lines.push(value);
            continue;
        }
        for item in sonic_rs::to_array_iter(value) {
            // The list was found valid as a whole.
            lines.push(item.map_err(|error| super::not_json(&error, 0))?.as_raw_str());
        }
    }
    Ok(lines)
}

/// Where the value ends that `text` begins with, if it is one.
fn value_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut depth, mut at) = (0usize, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => at = string_end(bytes, at + 1),
            b' ' | b'\t' | b'\r' | b'\n' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
        if depth == 0 && matches!(byte, b'}' | b']') {
            return at;
        }
    }
    bytes.len()
}

/// Where the quote is that ends the string whose text begins at `start`.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(found) = memchr::memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) {
        at += found;
        if bytes[at] == b'"' {
            return at;
        }
        at += 2;
    }
    bytes.len()
}

impl Lines {
    fn push(&mut self, value: &str) {
        let start = self.text.len();
        self.text.extend_from_slice(value.as_bytes());
        // No string may hold a control character, so a line break stands between two tokens.
        for byte in self.text[start..].iter_mut().filter(|byte| matches!(**byte, b'\n' | b'\r')) {
            *byte = b' ';
        }
        self.text.push(b'\n');
        self.records += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Result<(String, usize), String> {
        to_lines(text).map(|lines| (String::from_utf8(lines.text).unwrap(), lines.records))
    }

    #[test]
    fn objects_and_items_of_lists_become_lines() {
        assert_eq!(lines("{\"a\":\r\n 1}"), Ok(("{\"a\":   1}\n".into(), 1)));
        assert_eq!(lines("[{\"a\":1},\n {\"a\":\"\\n\"}, 3]"), Ok(("{\"a\":1}\n{\"a\":\"\\n\"}\n3\n".into(), 3)));
        assert_eq!(lines("{\"a\":1}\n{\"a\":2} "), Ok(("{\"a\":1}\n{\"a\":2}\n".into(), 2)));
        assert_eq!(lines(" []\n"), Ok((String::new(), 0)));
        assert_eq!(lines(""), Ok((String::new(), 0)));
    }

    #[test]
    fn what_is_no_json_says_where() {
        for text in ["{\"a\":1", "[1,2", "[{\"a\":1}{\"a\":2}]", "{\"a\":\"\n\"}", "nonsense", "{\"a\" 1}"] {
            let error = lines(text).unwrap_err();
            assert!(error.starts_with("not valid JSON at byte "), "{text}: {error}");
        }
    }
}
