//! What the options come to. The real server is asked in the tests of the whole program.

use super::table::Postgres;
use super::*;
use crate::tests::options;
use arrow::datatypes::{DataType, Field, Schema};
use std::sync::Arc;
use thalweg_schemas::error::Result;
use thalweg_schemas::options::Options;
use thalweg_schemas::source::SourceRequest;
use tokio_postgres::config::SslMode;

fn read(given: &[(&str, &str)], last: DataType) -> Result<Postgres> {
    let fields = vec![
        Field::new("service", DataType::Utf8, false),
        Field::new("unread", DataType::Utf8, true),
        Field::new("odd \" name", last, true),
    ];
    Postgres::read(&SourceRequest {
        name: "services".into(),
        options: options(OPTIONS, given),
        format: None,
        format_options: Options::default(),
        wanted: vec![false, false, true],
        key: vec![0],
        fields: Arc::new(Schema::new(fields)),
        metadata: Vec::new(),
    })
}

#[test]
fn what_is_wanted_is_asked_for_and_names_are_quoted() {
    let url = ("url", "postgres://me:secret@db.example/shop?sslmode=require");
    let table = read(&[url], DataType::Int64).unwrap();
    let of =
        |columns: &str, table: &str| format!("SELECT row_to_json(t)::text FROM (SELECT {columns} FROM {table}) AS t");
    assert_eq!(table.statement, of("\"service\", \"odd \"\" name\"", "\"services\""));
    assert_eq!(table.config.get_ssl_mode(), SslMode::Require);
    let place = crate::snapshots::Fetch::place(&table);
    assert_eq!(place, "db.example:5432/shop, table services");
    let given = [url, ("table", "crm.Services"), ("sslmode", "disable"), ("password", "other")];
    let table = read(&given, DataType::Int64).unwrap();
    assert!(table.statement.contains(" FROM \"crm\".\"Services\") "), "{}", table.statement);
    assert_eq!((table.config.get_ssl_mode(), table.config.get_password()), (SslMode::Disable, Some(&b"other"[..])));
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let url = ("url", "host=db user=me");
    let message = |given: &[(&str, &str)], last| read(given, last).err().unwrap().message;
    assert!(
        message(&[("url", "http://db")], DataType::Int64)
            .starts_with("option \"url\" of table \"services\" is not the address of a database: ")
    );
    assert_eq!(message(&[("url", "")], DataType::Int64), "option \"url\" of table \"services\" names no host");
    assert_eq!(
        message(&[url, ("sslrootcert", "ca.pem")], DataType::Int64),
        "option \"sslrootcert\" of table \"services\" has no meaning without sslmode = 'verify-full'"
    );
    assert!(
        message(&[url, ("sslmode", "verify-full"), ("sslrootcert", "/nowhere/ca.pem")], DataType::Int64)
            .starts_with("option \"sslrootcert\" of table \"services\" names no certificates: '/nowhere/ca.pem': ")
    );
    assert_eq!(
        message(&[url], DataType::Binary),
        "column \"odd \" name\" of table \"services\" cannot be BYTEA: rows come as JSON"
    );
    assert!(read(&[url, ("sslmode", "verify-full")], DataType::Int64).is_ok());
}
