//! Statements and rows as psql and drivers send them.

use super::*;

fn read(text: &str) -> CopyInto {
    statement(text).unwrap().unwrap()
}

fn records(format: InputFormat, text: &str) -> Vec<Vec<Option<String>>> {
    let mut records = Records { text, format, line: 1 };
    std::iter::from_fn(|| records.next().unwrap()).map(|(_, fields)| fields).collect()
}

fn fields(said: &[Option<&str>]) -> Vec<Option<String>> {
    said.iter().map(|field| field.map(str::to_string)).collect()
}

#[test]
fn statements_name_tables_columns_and_formats() {
    let text = InputFormat { csv: false, delimiter: '\t', null_is_empty: false, header: false };
    let plain = CopyInto { table: "people".into(), columns: None, format: text };
    assert_eq!(read("COPY People FROM STDIN"), plain);
    assert_eq!(read("copy public.people from stdin;"), plain);
    let csv = InputFormat { csv: true, delimiter: ',', null_is_empty: true, header: true };
    let named =
        |format| CopyInto { table: "People".into(), columns: Some(vec!["id".into(), "The name".into()]), format };
    let head = "COPY \"People\" (ID, \"The name\") FROM STDIN";
    assert_eq!(read(&format!("{head} WITH (FORMAT csv, HEADER)")), named(csv));
    assert_eq!(read(&format!("{head} CSV HEADER")), named(csv));
    let other = InputFormat { delimiter: ';', null_is_empty: false, ..csv };
    assert_eq!(read(&format!("{head} WITH (FORMAT csv, DELIMITER ';', NULL '\\N', HEADER true)")), named(other));
    assert_eq!(read(&format!("{head} WITH CSV HEADER DELIMITER ';' NULL AS '\\N'")), named(other));
    assert!(statement("COPY (SELECT 1) TO STDOUT").unwrap().is_none());
    for wrong in [
        "COPY FROM STDIN",
        "COPY t (a FROM STDIN",
        "COPY t FROM STDIN (FORMAT binary)",
        "COPY t FROM STDIN (DELIMITER '||')",
        "COPY t FROM STDIN (FREEZE)",
        "COPY t FROM STDIN (NULL 'nothing')",
    ] {
        assert!(statement(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn text_has_backslashes_and_an_end() {
    let text = read("COPY t FROM STDIN").format;
    let lines = "1\ta\\tb\\\\\t\\N\n2\t\t\\x41\r\n\\.\n3\tnot read\t\n";
    assert_eq!(
        records(text, lines),
        [fields(&[Some("1"), Some("a\tb\\"), None]), fields(&[Some("2"), Some(""), Some("x41")])]
    );
}

#[test]
fn csv_goes_on_in_quotes_and_knows_nothing_from_an_empty_text() {
    let csv = read("COPY t FROM STDIN CSV").format;
    let lines = "1,\"a \"\"b\"\",\nc\",\r\n2,,\"\"\n3,x";
    let expected = [
        fields(&[Some("1"), Some("a \"b\",\nc"), None]),
        fields(&[Some("2"), None, Some("")]),
        fields(&[Some("3"), Some("x")]),
    ];
    assert_eq!(records(csv, lines), expected);
    let mut open = Records { text: "1,\"a\n", format: csv, line: 1 };
    assert!(open.next().is_err());
}
