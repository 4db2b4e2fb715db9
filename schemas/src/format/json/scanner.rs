//! Walks over the values of a line of JSON, without making anything of them.

use super::Stop;
use crate::format::value::{Number, Value};
use sonic_rs::LazyValue;

/// How deep objects and lists may lie in each other.
pub(super) const DEPTH_MAX: usize = 100;

pub(super) struct Scanner<'a> {
    pub text: &'a str,
    pub at: usize,
}

impl<'a> Scanner<'a> {
    #[inline]
    pub fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next byte that is no blank; a line's end is not a blank.
    #[inline]
    pub fn blanks(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
        self.peek()
    }

    #[inline]
    pub fn expect(&mut self, byte: u8) -> Result<(), Stop> {
        if self.peek() != Some(byte) {
            return Err(Stop::Syntax);
        }
        self.at += 1;
        Ok(())
    }

    #[inline]
    pub fn skip(&mut self, expected: &[u8]) -> bool {
        let found = begins_with(&self.text.as_bytes()[self.at..], expected);
        self.at += if found { expected.len() } else { 0 };
        found
    }

    #[inline]
    pub fn end_of_line(&mut self) -> Result<(), Stop> {
        match self.blanks() {
            None | Some(b'\n') => Ok(()),
            Some(_) => Err(Stop::Syntax),
        }
    }

    /// Goes behind the string that begins here: it with its quotes, and whether it has escapes.
    #[inline(always)]
    pub fn string(&mut self) -> Result<(&'a str, bool), Stop> {
        let start = self.at;
        self.at += 1;
        let escaped = self.string_end()?;
        Ok((&self.text[start..self.at], escaped))
    }

    /// Goes behind the number that begins here.
    #[inline(always)]
    pub fn number(&mut self) -> Result<Number<'a>, Stop> {
        let (number, end) = Number::scan(self.text, self.at).ok_or(Stop::Syntax)?;
        self.at = end;
        Ok(number)
    }

    /// Goes behind what begins here, if it is neither string nor number.
    pub fn other(&mut self) -> Result<Value<'a>, Stop> {
        match self.peek() {
            Some(b'{' | b'[') => self.nested(),
            Some(b't') if self.skip(b"true") => Ok(Value::Bool(true)),
            Some(b'f') if self.skip(b"false") => Ok(Value::Bool(false)),
            Some(b'n') if self.skip(b"null") => Ok(Value::Null),
            _ => Err(Stop::Syntax),
        }
    }

    /// Goes behind the quote that ends the string; whether it has escapes.
    #[inline]
    pub fn string_end(&mut self) -> Result<bool, Stop> {
        let bytes = self.text.as_bytes();
        let mut escaped = false;
        loop {
            while let Some(chunk) = bytes[self.at..].first_chunk::<8>() {
                let stops = string_stops(u64::from_le_bytes(*chunk));
                if stops != 0 {
                    self.at += (stops.trailing_zeros() / 8) as usize;
                    break;
                }
                self.at += 8;
            }
            match bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') if bytes.get(self.at + 1).is_some_and(|next| *next >= b' ') => {
                    escaped = true;
                    self.at += 2;
                }
                Some(0x20..) if bytes[self.at] != b'\\' => self.at += 1,
                _ => return Err(Stop::Syntax),
            }
        }
    }

    /// Goes behind an object or a list, and has it checked.
    fn nested(&mut self) -> Result<Value<'a>, Stop> {
        let start = self.at;
        let mut depth = 0;
        loop {
            match self.peek() {
                Some(b'{' | b'[') => {
                    depth += 1;
                    if depth > DEPTH_MAX {
                        return Err(Stop::Syntax);
                    }
                }
                Some(b'}' | b']') => depth -= 1,
                Some(b'"') => {
                    self.at += 1;
                    self.string_end()?;
                    continue;
                }
                None | Some(b'\n') => return Err(Stop::Syntax),
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                break;
            }
        }
        let json = &self.text[start..self.at];
        sonic_rs::from_str::<LazyValue>(json).map_err(|_| Stop::Syntax)?;
        Ok(Value::Nested(json))
    }
}

/// `text.starts_with(expected)`, by words: what is expected is a key, too short for a call of `memcmp` to be worth it.
#[inline]
fn begins_with(text: &[u8], expected: &[u8]) -> bool {
    let Some(text) = text.get(..expected.len()) else { return false };
    let (Some(text_end), Some(expected_end)) = (text.last_chunk::<8>(), expected.last_chunk::<8>()) else {
        return text.iter().eq(expected);
    };
    // The last word reaches back over bytes that were compared before.
    text_end == expected_end && expected.chunks_exact(8).zip(text.chunks_exact(8)).all(|(a, b)| a == b)
}

/// The bytes of `word` at which a string's plain text stops (quote, backslash, control character): the high bit of
/// the first of them is set and none below.
#[inline]
fn string_stops(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    // Of a byte that is less than what is taken from it the high bit comes to be set, and of others if it was before.
    let less = |x: u64, than: u64| x.wrapping_sub(ONES * than);
    let same = |byte: u8| less(word ^ (ONES * u64::from(byte)), 1);
    (same(b'"') | same(b'\\') | less(word, 0x20)) & !word & HIGHS
}
