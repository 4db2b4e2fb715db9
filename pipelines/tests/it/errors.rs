//! Errors: what a user reads for each `errors/x.sql` stands in `errors/x.txt`. `UPDATE=1` rewrites them.

use crate::surroundings::{compiled, golden, text};
use thalweg_pipelines::render_errors;

#[test]
fn each_mistake_is_explained() {
    golden("errors", "txt", |file, sql| {
        let texts = [text(file, sql)];
        match compiled(&texts) {
            Err(errors) => render_errors(&errors, &texts),
            Ok(_) => format!("{file} compiles\n"),
        }
    });
}
