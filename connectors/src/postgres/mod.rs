//! `postgres`: a table of PostgreSQL, or of what speaks its protocol, to look rows up in.

mod table;
mod tls;

use crate::asked::{CACHE_ROWS, CACHE_TTL};
use crate::snapshots::{CACHE_OF_KEYS, REFRESH, SIZE_MAX};
use thalweg_schemas::connector::{ConnectorSpec, SourceSpec};
use thalweg_schemas::options::{OptionKind, OptionSpec};

/// The connector's description.
pub(crate) const SPEC: ConnectorSpec = ConnectorSpec {
    name: "postgres",
    doc: "Reads a table of PostgreSQL again and again, or asks it for single rows, to look rows up in it.",
    source: None,
    table: Some(SourceSpec {
        options: OPTIONS,
        formats: &[],
        columns: None,
        bounded: |_| false,
        check: None,
        open: table::open,
    }),
    sink: None,
};

const SSL_MODES: &[&str] = &["disable", "prefer", "require", "verify-full"];

const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "url",
        kind: OptionKind::Text,
        default: None,
        required: true,
        doc: "Whom to ask, as libpq writes it: 'postgres://user@host:5432/database' or 'host=db user=thalweg dbname=shop'.",
    },
    OptionSpec {
        name: "password",
        kind: OptionKind::Text,
        default: None,
        required: false,
        doc: "The password, where the URL does not have it: '${PG_PASSWORD}'.",
    },
    OptionSpec {
        name: "table",
        kind: OptionKind::Text,
        default: None,
        required: false,
        doc: "The table or view there, with its schema if it has another than the search path's: 'crm.services'. Names are \
              taken as they are written. Without it: the statement's own name.",
    },
    OptionSpec {
        name: "sslmode",
        kind: OptionKind::OneOf(SSL_MODES),
        default: None,
        required: false,
        doc: "TLS, as libpq does it: 'prefer' (the default) and 'require' encrypt and look at no certificate, 'verify-full' \
              wants one for the host's name.",
    },
    OptionSpec {
        name: "sslrootcert",
        kind: OptionKind::Text,
        default: None,
        required: false,
        doc: "A file with the certificates (PEM) that 'verify-full' trusts; without it those of the system.",
    },
    OptionSpec {
        name: "timeout",
        kind: OptionKind::Duration,
        default: Some("30s"),
        required: false,
        doc: "How long a reading may take.",
    },
    CACHE_OF_KEYS,
    CACHE_ROWS,
    CACHE_TTL,
    REFRESH,
    SIZE_MAX,
];

#[cfg(test)]
mod tests;
