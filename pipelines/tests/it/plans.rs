//! Plans: each `plans/x.sql` compiles to what stands in `x.plan`. `UPDATE=1` rewrites them.

use crate::surroundings::{compiled, text};
use thalweg_pipelines::render_errors;

#[test]
fn a_windowed_view_compiles() {
    let sql = std::fs::read_to_string("tests/plans/tumble.sql").unwrap();
    let texts = [text("tumble.sql", &sql)];
    let program = compiled(&texts).unwrap_or_else(|errors| panic!("{}", render_errors(&errors, &texts)));
    println!("{:#?}", program.dataflow);
}
