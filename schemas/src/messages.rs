//! Messages of a system that has them: thousands come at a time, so they lie side by side in memory and each costs a
//! few bytes of bookkeeping, no allocation of its own.

/// Messages of one partition, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Messages {
    /// Key and value of each message, one behind the other.
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    headers: Vec<Header>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    offset: u64,
    start: usize,
    key: Length,
    value: Length,
}

/// A length; [`ABSENT`] where there is nothing, which is not the same as an empty text.
type Length = u32;
const ABSENT: Length = Length::MAX;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Header {
    message: usize,
    name: String,
    value: Vec<u8>,
}

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its offset in its partition.
    pub offset: u64,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
}

impl Messages {
    /// Room for as many messages, of so many bytes together.
    pub fn with_capacity(messages: usize, bytes: usize) -> Messages {
        Messages { bytes: Vec::with_capacity(bytes), entries: Vec::with_capacity(messages), headers: Vec::new() }
    }

    /// Adds a message. Offsets rise from message to message; there may be gaps.
    pub fn push(&mut self, message: Message<'_>) {
        debug_assert!(self.entries.last().is_none_or(|last| last.offset < message.offset), "offsets rise");
        let start = self.bytes.len();
        self.bytes.extend_from_slice(message.key.unwrap_or_default());
        self.bytes.extend_from_slice(message.value.unwrap_or_default());
        let length = |part: Option<&[u8]>| part.map_or(ABSENT, |part| part.len() as Length);
        self.entries.push(Entry {
            offset: message.offset,
            start,
            key: length(message.key),
            value: length(message.value),
        });
    }

    /// Adds a header to the message that was added last.
    pub fn push_header(&mut self, name: &str, value: &[u8]) {
        let Some(message) = self.entries.len().checked_sub(1) else { return };
        self.headers.push(Header { message, name: name.to_string(), value: value.to_vec() });
    }

    /// Forgets the messages behind the first `len`.
    pub fn truncate(&mut self, len: usize) {
        if let Some(first) = self.entries.get(len) {
            self.bytes.truncate(first.start);
        }
        self.entries.truncate(len);
        self.headers.retain(|header| header.message < len);
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many bytes their keys and values have.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// The offset of the last message.
    pub fn last_offset(&self) -> Option<u64> {
        self.entries.last().map(|entry| entry.offset)
    }

    /// The messages.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Message<'_>> {
        self.entries.iter().map(|entry| {
            let cut = |start: usize, length: Length| -> (Option<&[u8]>, usize) {
                match length {
                    ABSENT => (None, start),
                    length => (Some(&self.bytes[start..start + length as usize]), start + length as usize),
                }
            };
            let (key, end) = cut(entry.start, entry.key);
            Message { offset: entry.offset, key, value: cut(end, entry.value).0 }
        })
    }

    /// The headers of message number `message`, in order.
    pub fn headers(&self, message: usize) -> impl Iterator<Item = (&str, &[u8])> {
        let first = self.headers.partition_point(|header| header.message < message);
        let of_message = self.headers[first..].iter().take_while(move |header| header.message == message);
        of_message.map(|header| (header.name.as_str(), header.value.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_comes_out() {
        let message = |offset, key, value| Message { offset, key, value };
        let mut messages = Messages::with_capacity(3, 16);
        messages.push(message(3, None, Some(b"a")));
        messages.push(message(5, Some(b"key"), None));
        messages.push_header("trace", b"1");
        messages.push_header("trace", b"2");
        messages.push(message(9, Some(b""), Some(b"")));
        let out: Vec<_> = messages.iter().collect();
        assert_eq!(
            out,
            [message(3, None, Some(b"a")), message(5, Some(b"key"), None), message(9, Some(b""), Some(b""))]
        );
        let headers = |index| messages.headers(index).map(|(n, v)| (n, v.to_vec())).collect::<Vec<_>>();
        assert_eq!(headers(0), []);
        assert_eq!(headers(1), [("trace", b"1".to_vec()), ("trace", b"2".to_vec())]);
        assert_eq!((messages.len(), messages.byte_len()), (3, 4));
        messages.truncate(1);
        assert_eq!((messages.len(), messages.byte_len(), messages.headers(1).count()), (1, 1, 0));
    }
}
