//! `CREATE TABLE`: the items of a source, without a connector.

use super::ddl::Ddl;
use super::syntax::Grammar;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::options::GivenOption;

impl Grammar<'_> {
    /// `CREATE TABLE`: with a connector it is a source, as Flink's users write it; without one `INSERT` feeds it.
    pub(super) fn table(&mut self) -> Result<Ddl> {
        let mut table = self.source()?;
        if let Some(option) = table.options.first() {
            if table.options.iter().any(|option| option.name == "connector") {
                return Ok(Ddl::Source(Box::new(table)));
            }
            let error =
                Error::user(format!("option \"{}\" has no meaning for table \"{}\"", option.name, table.name.value))
                    .with_hint("A table has no connector: INSERT feeds it. Leave WITH out, or name a connector.");
            return Err(option.position.clone().into_iter().fold(error, Error::at));
        }
        if table.columns.is_empty() {
            let error = Error::user(format!("table \"{}\" declares no columns", table.name.value));
            return Err(self.here(error).with_hint("Write them after its name: (id BIGINT PRIMARY KEY, name TEXT)."));
        }
        let format = if table.key.is_some() { "upsert" } else { "json" };
        let option = |name: &str, value: &str| GivenOption { name: name.into(), value: value.into(), position: None };
        table.options = vec![option("connector", "table"), option("format", format)];
        Ok(Ddl::Table(Box::new(table)))
    }
}
