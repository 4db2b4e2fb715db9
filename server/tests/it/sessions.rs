//! Sessions in virtual time: what `docs/sql/windows.md` shows of those that rows begin and end is so.

use crate::documents::{block, holds};

#[test]
fn the_documents_sessions_go_as_it_says() {
    let document = include_str!("../../../docs/sql/windows.md");
    let (_, section) = document.split_once("### Sessions that rows begin and end").unwrap();
    holds(block(section, "sql"), block(section, "test"));
}
