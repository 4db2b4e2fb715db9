//! A letter: a record or row that is part of no result, as the archive keeps it, and the frames in which it lies there.

use crate::durability::frame;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use thalweg_schemas::error::{Error, Result};

const MAGIC: &[u8; 4] = b"TWDL";

/// A record or row that is part of no result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Letter {
    /// When its epoch began, in nanoseconds since 1970.
    pub time_ns: i64,
    /// The source, view or sink that could not take it.
    pub origin: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub partition: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    pub reason: String,
    /// How often it was taken in.
    pub attempts: u32,
    pub form: Form,
    /// The bytes as they came.
    #[serde(skip)]
    pub raw: Vec<u8>,
}

/// What the bytes of a letter are, and so whether they can be taken in again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Form {
    /// Nothing that a source could take in: a view's row, a sink's row, a partition that cannot be read.
    #[default]
    Apart,
    /// The beginning of a record that was too long to be kept whole.
    Cut,
    /// A row of the source, as a JSON object: it was decoded, and failed later.
    Row,
    /// A record in the source's format.
    Record(Surroundings),
}

/// What a decoder needs besides the record's bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Surroundings {
    /// The format that the sender chose, if it is not the source's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// The line that names the columns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// The message's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Vec<u8>>,
    /// Whether the message had no value.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tombstone: bool,
    /// The message's headers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, Vec<u8>)>,
}

/// Names a letter, the same for as long as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LetterId {
    /// The pipeline that wrote it.
    pub lineage: Arc<str>,
    /// The frame it lies in.
    pub sequence: u64,
    /// Its place in the frame.
    pub index: u32,
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.lineage, self.sequence, self.index)
    }
}

impl FromStr for LetterId {
    type Err = Error;

    fn from_str(text: &str) -> Result<LetterId> {
        let mut parts = text.rsplitn(3, '/');
        let (index, sequence, lineage) = (parts.next(), parts.next(), parts.next());
        let id = || {
            let (sequence, index) = (sequence?.parse().ok()?, index?.parse().ok()?);
            Some(LetterId { lineage: lineage?.into(), sequence, index })
        };
        id().ok_or_else(|| Error::user(format!("'{text}' is not the id of a dead letter")))
    }
}

/// What was written at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Counts the frames of a pipeline.
    pub sequence: u64,
    /// Counts how often the pipeline has begun anew.
    pub generation: u32,
    /// The epoch that it belongs to.
    pub epoch: u64,
    /// The last epoch of which all rejected rows of sources and views are in this frame or before it.
    pub through: u64,
    /// Whether its letters are a sink's, which come when the sink speaks and not when the epoch ends.
    pub of_sink: bool,
    pub letters: Vec<Letter>,
    /// Letters of earlier frames that were taken in again in this epoch.
    pub returned: Vec<LetterId>,
}

#[derive(Serialize, Deserialize)]
struct Head {
    sequence: u64,
    generation: u32,
    epoch: u64,
    through: u64,
    of_sink: bool,
    letters: Vec<Letter>,
    lengths: Vec<usize>,
    returned: Vec<String>,
}

impl Frame {
    /// Appends the frame to `bytes`.
    pub fn write(&self, bytes: &mut Vec<u8>) -> Result<()> {
        let head = Head {
            sequence: self.sequence,
            generation: self.generation,
            epoch: self.epoch,
            through: self.through,
            of_sink: self.of_sink,
            lengths: self.letters.iter().map(|letter| letter.raw.len()).collect(),
            letters: self.letters.iter().map(|letter| Letter { raw: Vec::new(), ..letter.clone() }).collect(),
            returned: self.returned.iter().map(LetterId::to_string).collect(),
        };
        let parts: Vec<&[u8]> = self.letters.iter().map(|letter| letter.raw.as_slice()).collect();
        frame::write(MAGIC, &head, &parts, bytes)
    }

    fn read(bytes: &[u8]) -> Option<(Frame, usize)> {
        let (head, body, length) = frame::read::<Head>(MAGIC, bytes)?;
        let returned = head.returned.iter().map(|id| id.parse().ok()).collect::<Option<_>>()?;
        let frame = Frame {
            sequence: head.sequence,
            generation: head.generation,
            epoch: head.epoch,
            through: head.through,
            of_sink: head.of_sink,
            letters: with_raw(head.letters, &head.lengths, body)?,
            returned,
        };
        Some((frame, length))
    }

    /// All whole frames of `bytes`, and how many bytes belong to none.
    pub fn read_all(bytes: &[u8]) -> (Vec<Frame>, usize) {
        let (mut frames, mut at, mut lost) = (Vec::new(), 0, 0);
        while at < bytes.len() {
            if let Some((frame, length)) = Frame::read(&bytes[at..]) {
                frames.push(frame);
                at += length;
                continue;
            }
            let next = memchr::memmem::find(&bytes[at + 1..], MAGIC).map_or(bytes.len(), |found| at + 1 + found);
            lost += next - at;
            at = next;
        }
        (frames, lost)
    }

    /// The letters with their ids.
    pub fn into_letters(self, lineage: &Arc<str>) -> impl Iterator<Item = (LetterId, Letter)> {
        let (lineage, sequence) = (lineage.clone(), self.sequence);
        let id = move |index: usize| LetterId { lineage: lineage.clone(), sequence, index: index as u32 };
        self.letters.into_iter().enumerate().map(move |(index, letter)| (id(index), letter))
    }
}

fn with_raw(letters: Vec<Letter>, lengths: &[usize], mut body: &[u8]) -> Option<Vec<Letter>> {
    if letters.len() != lengths.len() {
        return None;
    }
    let letters = letters.into_iter().zip(lengths).map(|(letter, &length)| {
        let (raw, rest) = body.split_at_checked(length)?;
        body = rest;
        Some(Letter { raw: raw.to_vec(), ..letter })
    });
    letters.collect()
}

/// A letter that its source takes in again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Returned {
    pub id: LetterId,
    pub letter: Letter,
}

impl Returned {
    /// Writes letters as the epoch log keeps them: a frame that is in no archive.
    pub fn write(letters: &[Returned], bytes: &mut Vec<u8>) -> Result<()> {
        let frame = Frame {
            letters: letters.iter().map(|returned| returned.letter.clone()).collect(),
            returned: letters.iter().map(|returned| returned.id.clone()).collect(),
            ..Frame::default()
        };
        frame.write(bytes)
    }

    /// Reads what [`write`](Self::write) wrote.
    pub fn read(bytes: &[u8]) -> Option<Vec<Returned>> {
        let (Frame { letters, returned, .. }, _) = Frame::read(bytes)?;
        Some(returned.into_iter().zip(letters).map(|(id, letter)| Returned { id, letter }).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(sequence: u64) -> Frame {
        let letter = Letter {
            origin: "clicks".into(),
            partition: "clicks/0".into(),
            offset: Some(7),
            form: Form::Record(Surroundings { key: Some(vec![1, 255]), ..Surroundings::default() }),
            raw: vec![0xff, b'x', b'\n'],
            ..Letter::default()
        };
        let returned = vec!["0123/4/5".parse().unwrap()];
        Frame {
            sequence,
            letters: vec![letter.clone(), Letter { raw: Vec::new(), ..letter }],
            returned,
            ..Frame::default()
        }
    }

    #[test]
    fn what_is_whole_is_read_whatever_lies_around_it() {
        let mut bytes = Vec::new();
        frame(1).write(&mut bytes).unwrap();
        let first = bytes.len();
        frame(2).write(&mut bytes).unwrap();
        let second = bytes.len();
        frame(3).write(&mut bytes).unwrap();
        assert_eq!(Frame::read_all(&bytes), (vec![frame(1), frame(2), frame(3)], 0));
        bytes[first + 30] ^= 1;
        bytes.pop();
        let lost = bytes.len() - first;
        assert_eq!(Frame::read_all(&bytes), (vec![frame(1)], lost));
        assert!(lost > second - first);
    }

    #[test]
    fn an_id_is_read_as_it_is_written() {
        let id: LetterId = "a/b/12/3".parse().unwrap();
        assert_eq!((&*id.lineage, id.sequence, id.index), ("a/b", 12, 3));
        assert_eq!(id.to_string(), "a/b/12/3");
        assert!("12/3".parse::<LetterId>().is_err());
    }
}
