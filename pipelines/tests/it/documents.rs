//! Documents: every example in `docs/` is compiled, and what they say of it is so.

use crate::surroundings::{CONNECTORS, compiled_with, text};
use thalweg_pipelines::{Statement, explain, parse_statement, render_errors, testfile};
use thalweg_schemas::connector::ConnectorSpec;

/// The connectors that documents speak of, with the options that they show.
fn connectors() -> Vec<ConnectorSpec> {
    let like = |name: &'static str, like: &str| {
        let spec = CONNECTORS.iter().find(|c| c.name == like).unwrap();
        ConnectorSpec { name, ..*spec }
    };
    let file = ConnectorSpec { sink: like("file", "page").sink, ..like("file", "feed") };
    let real = |name: &str| *thalweg_connectors::by_name(name).unwrap();
    let parquet = ConnectorSpec { table: real("parquet").table, ..like("parquet", "store") };
    let known = ["http", "table", "generator", "postgres"].map(real);
    known.into_iter().chain([file, parquet, like("stdout", "screen")]).collect()
}

/// The blocks of a document in the language `language`.
fn blocks(document: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        if line.strip_prefix("```") == Some(language) {
            found.push(lines.by_ref().take_while(|line| *line != "```").fold(String::new(), |b, l| b + l + "\n"));
        } else if line.starts_with("```") {
            lines.by_ref().take_while(|line| *line != "```").for_each(drop);
        }
    }
    found
}

/// The pages of a folder and of those in it.
fn pages(folder: &str) -> Vec<(String, String)> {
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let pages = paths.into_iter().flat_map(|path| match path.is_dir() {
        true => pages(&path.display().to_string()),
        false => vec![(path.display().to_string(), std::fs::read_to_string(&path).unwrap())],
    });
    pages.collect()
}

#[test]
fn every_example_compiles() {
    let mut compiled_pages = 0;
    for (page, document) in pages("../docs/sql").into_iter().chain(pages("../docs/operators")) {
        let is_asked = |block: &String| ["SELECT", "SUBSCRIBE", "REPLAY"].iter().any(|word| block.starts_with(word));
        let (asked, ddl): (Vec<_>, Vec<_>) = blocks(&document, "sql").into_iter().partition(is_asked);
        for text in asked {
            let statement = parse_statement(&text);
            let known = matches!(statement, Ok(Statement::Query(_) | Statement::Subscribe(_) | Statement::Replay(_)));
            assert!(known, "{page}: {text}");
        }
        if ddl.is_empty() {
            continue;
        }
        let texts = [text(&page, &ddl.join("\n"))];
        let program = compiled_with(&texts, &connectors())
            .unwrap_or_else(|errors| panic!("{page}\n{}", render_errors(&errors, &texts)));
        for shown in blocks(&document, "explain") {
            assert_eq!(explain(&program, None).unwrap(), shown, "{page}");
        }
        compiled_pages += 1;
    }
    assert!(compiled_pages >= 7);
}

#[test]
fn every_example_of_an_operator_compiles() {
    for (page, document) in pages("../docs/operators") {
        let ddl = blocks(&document, "sql").into_iter().filter(|block| !block.starts_with("SELECT"));
        let ddl: Vec<String> = ddl.collect();
        if ddl.is_empty() {
            continue;
        }
        let texts = [text(&page, &ddl.join("\n"))];
        compiled_with(&texts, thalweg_connectors::ALL)
            .unwrap_or_else(|errors| panic!("{page}\n{}", render_errors(&errors, &texts)));
    }
}

#[test]
fn every_example_of_a_connector_compiles_with_the_connector_itself() {
    let mut compiled_pages = 0;
    for (page, document) in pages("../docs/connectors") {
        let ddl = blocks(&document, "sql");
        if ddl.is_empty() {
            continue;
        }
        let texts = [text(&page, &ddl.join("\n"))];
        compiled_with(&texts, thalweg_connectors::ALL)
            .unwrap_or_else(|errors| panic!("{page}\n{}", render_errors(&errors, &texts)));
        compiled_pages += 1;
    }
    assert_eq!(compiled_pages, thalweg_connectors::ALL.len());
}

#[test]
fn the_example_of_a_test_can_be_read() {
    let document = std::fs::read_to_string("../docs/testing.md").unwrap();
    for test in blocks(&document, "test") {
        let steps = testfile::parse(&text("docs/testing.md", &test)).unwrap();
        assert_eq!(steps.len(), 6);
    }
}

#[test]
fn the_examples_of_formats_compile() {
    let document = std::fs::read_to_string("../docs/formats.md").unwrap();
    let texts = [text("docs/formats.md", &blocks(&document, "sql").join("\n"))];
    compiled_with(&texts, thalweg_connectors::ALL)
        .unwrap_or_else(|errors| panic!("{}", render_errors(&errors, &texts)));
    for format in thalweg_schemas::format::ALL {
        assert!(document.contains(&format!("`{}`", format.name)), "docs/formats.md does not name {}", format.name);
    }
}
