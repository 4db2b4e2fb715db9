//! Frames: how the epoch log and the archives of rejected rows lie on disk, so that what is not whole is known as such.
//!
//! A frame is four bytes that say whose it is, the length and the CRC-32 of its payload (four bytes each,
//! little-endian), and the payload: the length of a JSON head (four bytes), the head, and a body of any bytes.

use serde::Serialize;
use serde::de::DeserializeOwned;
use thalweg_schemas::error::{Error, Result};

/// The bytes before the payload.
const START: usize = 12;

/// Appends a frame to `bytes`; its body is `parts` one after the other.
pub(crate) fn write(magic: &[u8; 4], head: &impl Serialize, parts: &[&[u8]], bytes: &mut Vec<u8>) -> Result<()> {
    let head = serde_json::to_vec(head).map_err(|e| Error::bug(format!("a frame's head cannot be written: {e}")))?;
    let begin = bytes.len();
    bytes.extend_from_slice(&[0; START]);
    bytes.extend_from_slice(&(head.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&head);
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    let payload = &bytes[begin + START..];
    let (length, crc) = (payload.len() as u32, crc32fast::hash(payload));
    bytes[begin..begin + 4].copy_from_slice(magic);
    bytes[begin + 4..begin + 8].copy_from_slice(&length.to_le_bytes());
    bytes[begin + 8..begin + 12].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

/// The frame that `bytes` begin with: head, body, and how many bytes it takes; `None` if none is whole there.
pub(crate) fn read<'a, H: DeserializeOwned>(magic: &[u8; 4], bytes: &'a [u8]) -> Option<(H, &'a [u8], usize)> {
    let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    if bytes.get(..4)? != magic {
        return None;
    }
    let (length, crc) = (number(4)? as usize, number(8)?);
    let payload = bytes.get(START..START + length)?;
    if crc32fast::hash(payload) != crc {
        return None;
    }
    let head = number(START)? as usize;
    let body = payload.get(4 + head..)?;
    Some((serde_json::from_slice(payload.get(4..4 + head)?).ok()?, body, START + length))
}
