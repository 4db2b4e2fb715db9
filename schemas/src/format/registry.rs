//! Schemas that are looked up by number: what messages of Kafka's registries begin with, and the contract of whoever
//! knows the schemas. The client itself talks over the network, so it lies with the connectors.
//!
//! ```text
//!   byte 0    bytes 1 to 4              the rest
//!   0         schema's number, BE u32   the record; for Protobuf first the place of its message in the schema
//! ```

use crate::error::Result;
use std::sync::Arc;

/// Knows schemas by their numbers.
///
/// # Contract
///
/// A number means the same schema for ever, so implementations keep what they have found. An error of kind `Retry` says
/// that nothing can be said at present (the registry is away); of kind `Data`, that there is no schema of that number.
/// `schema` is called on a worker's thread, and must not wait longer than a few seconds.
pub trait SchemaRegistry: Send + Sync {
    /// The schema of number `id`.
    fn schema(&self, id: u32) -> Result<Arc<RegisteredSchema>>;

    /// The number of `schema` under the name `subject`, registered if it is new; for writers.
    fn register(&self, subject: &str, schema: &RegisteredSchema) -> Result<u32>;
}

/// A schema as a registry keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredSchema {
    /// Its language.
    pub schema_type: SchemaType,
    /// Its text.
    pub text: String,
    /// The schemas that it names, each by the name under which it does: those they name in turn come before them.
    pub references: Vec<(String, String)>,
}

/// The languages of schemas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaType {
    /// Apache Avro.
    Avro,
    /// Protocol Buffers.
    Protobuf,
    /// JSON Schema.
    Json,
}

/// What stands before each record.
pub const MAGIC: u8 = 0;

/// The number of a message's schema, and what follows it; `None` where it does not begin as such messages do.
pub fn schema_id(message: &[u8]) -> Option<(u32, &[u8])> {
    let (head, rest) = message.split_first_chunk::<5>()?;
    let [MAGIC, id @ ..] = *head else { return None };
    Some((u32::from_be_bytes(id), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_begins_with_the_number_of_its_schema() {
        assert_eq!(schema_id(&[0, 0, 0, 1, 2, 7, 8]), Some((258, &[7, 8][..])));
        assert_eq!(schema_id(&[1, 0, 0, 0, 1, 7]), None);
        assert_eq!(schema_id(&[0, 0, 0]), None);
    }
}
