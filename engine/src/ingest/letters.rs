//! Bad records as dead letters: with all that a decoder needs to read them again.

use crate::archive::letter::{Form, Letter, Surroundings};
use std::sync::Arc;
use thalweg_schemas::format::{BadRecord, RAW_BYTES_MAX};
use thalweg_schemas::messages::Messages;
use thalweg_schemas::source::{Chunk, Payload};

/// The letters of `bad`, of which the first `undecoded` come from the decoder; the others were rows already.
pub(super) fn of_chunk(bad: Vec<BadRecord>, undecoded: usize, chunk: &Chunk) -> Vec<Letter> {
    let surroundings = Surroundings {
        format: match &chunk.payload {
            Payload::Formatted { format, .. } => Some(format.to_string()),
            Payload::Bytes(_) | Payload::Messages(_) | Payload::Rows(_) | Payload::Changes { .. } => None,
        },
        header: chunk.header.as_ref().map(|header| String::from_utf8_lossy(header).into_owned()),
        ..Surroundings::default()
    };
    let letters = bad.into_iter().enumerate().map(|(position, BadRecord { offset, raw, reason })| {
        let form = match &chunk.payload {
            _ if raw.len() >= RAW_BYTES_MAX => Form::Cut,
            Payload::Rows(_) | Payload::Changes { .. } => Form::Row,
            _ if position >= undecoded => Form::Row,
            Payload::Messages(messages) => Form::Record(of_message(&surroundings, messages, offset)),
            Payload::Bytes(_) | Payload::Formatted { .. } => Form::Record(surroundings.clone()),
        };
        let partition = chunk.partition.name.to_string();
        Letter { partition, offset: Some(offset), reason, attempts: 1, form, raw, ..Letter::default() }
    });
    letters.collect()
}

/// What the message with `offset` has besides its value.
fn of_message(surroundings: &Surroundings, messages: &Messages, offset: u64) -> Surroundings {
    let found = messages.iter().enumerate().find(|(_, message)| message.offset == offset);
    let Some((position, message)) = found else { return surroundings.clone() };
    let headers = messages.headers(position).map(|(name, value)| (name.to_string(), value.to_vec()));
    Surroundings {
        key: message.key.map(<[u8]>::to_vec),
        tombstone: message.value.is_none(),
        headers: headers.collect(),
        ..surroundings.clone()
    }
}

/// What a record's header line is to a decoder.
pub(super) fn header(surroundings: &Surroundings) -> Option<Arc<[u8]>> {
    surroundings.header.as_ref().map(|header| header.as_bytes().into())
}
