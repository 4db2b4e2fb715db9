//! The connectors: one folder per outside system, one list.

use thalweg_schemas::connector::ConnectorSpec;

/// All connectors.
pub const ALL: &[ConnectorSpec] = &[];
