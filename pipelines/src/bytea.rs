//! Bytes written as text, as PostgreSQL reads them: `\x` and hexadecimal digits, or the characters themselves, with `\\`
//! for a backslash and `\ooo` for a byte in octal. <https://www.postgresql.org/docs/current/datatype-binary.html>

use thalweg_schemas::error::{Error, Result};

/// The bytes that `text` stands for.
pub fn read(text: &str) -> Result<Vec<u8>> {
    let wrong = || {
        Error::user(format!("'{text}' is no BYTEA"))
            .with_hint(r"Write '\x' and two hexadecimal digits a byte: '\x00ff'.")
    };
    match text.strip_prefix("\\x") {
        Some(digits) => hexadecimal(digits).ok_or_else(wrong),
        None => escaped(text.as_bytes()).ok_or_else(wrong),
    }
}

fn hexadecimal(digits: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = digits.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    pairs.collect()
}

fn escaped(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        match (*byte, behind) {
            (b'\\', [b'\\', ..]) => {
                bytes.push(b'\\');
                rest = &behind[1..];
            }
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..]) => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = &behind[3..];
            }
            (b'\\', _) => return None,
            (other, _) => bytes.push(other),
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        for (text, bytes) in [
            (r"\x00fF", vec![0, 255]),
            (r"\x", vec![]),
            (r"\x 01 02", vec![1, 2]),
            (r"a\\b\001", vec![b'a', b'\\', b'b', 1]),
            ("é", "é".as_bytes().to_vec()),
        ] {
            assert_eq!(read(text).unwrap(), bytes, "{text}");
        }
        for wrong in [r"\x0", r"\xgg", r"\9", r"a\"] {
            assert!(read(wrong).unwrap_err().hint.is_some(), "{wrong}");
        }
    }
}
