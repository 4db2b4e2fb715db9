//! Statements that show what there is: `SHOW`, `DESCRIBE` and `EXPLAIN` of what runs.

use crate::change::{kind_of, unknown, wrong_kind};
use crate::explain_analyze;
use crate::prepared::{Prepared, Work};
use crate::session::Session;
use crate::sql_error::{NO_TABLE, NOT_SUPPORTED, SqlError, SqlResult};
use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray};
use arrow::datatypes::Field;
use std::sync::Arc;
use thalweg_pipelines::catalog::without_secrets;
use thalweg_pipelines::{Shown, explain, sql_type};
use thalweg_schemas::error::Error;
use thalweg_schemas::suggest::closest;

impl Session {
    /// The dataflow of a view, a line a row; with `analyze` what its operators have done so far.
    pub(crate) fn explain_view(&self, view: &str, analyze: bool) -> SqlResult<Arc<Prepared>> {
        let relations = self.relations();
        let mut text = explain(&relations.program, Some(view))?;
        if analyze {
            text.push_str(&explain_analyze::figures(&relations.engine.status(), view));
        }
        self.lines(view, &text)
    }

    /// The dataflow that a statement would make, which declares `name`.
    pub(crate) async fn explain_created(&self, name: String, text: String) -> SqlResult<Arc<Prepared>> {
        let Some(live) = self.sessions().live() else {
            return Err(SqlError::user(NOT_SUPPORTED, "this run cannot be changed"));
        };
        let explained = name.clone();
        // It may wait for a change.
        let explained = tokio::task::spawn_blocking(move || live.explain_created(&explained, &text)).await;
        let explained = explained.map_err(|error| Error::bug(format!("explaining \"{name}\": {error}")))??;
        self.lines(&name, &explained)
    }

    fn lines(&self, of: &str, text: &str) -> SqlResult<Arc<Prepared>> {
        let lines: ArrayRef = Arc::new(text.lines().map(Some).collect::<StringArray>());
        self.known(of, RecordBatch::try_from_iter([("QUERY PLAN", lines)]).map_err(Error::from)?)
    }

    /// How `name` was declared: variables are not put in, and no secret shows.
    pub(crate) fn show_create(&self, kind: Option<&str>, name: &str) -> SqlResult<Arc<Prepared>> {
        let program = &self.relations().program;
        let declaration = program.declaration(name).ok_or_else(|| unknown(name, program))?;
        let own = kind_of(declaration);
        // A table with a connector is what Flink's users call a source.
        if kind.is_some_and(|kind| kind != own && (kind, own) != ("TABLE", "SOURCE")) {
            return Err(wrong_kind(name, own, &format!("SHOW CREATE {own} {name}")));
        }
        let column = |value: &str| -> ArrayRef { Arc::new(StringArray::from(vec![value])) };
        let row = RecordBatch::try_from_iter([
            ("name", column(name)),
            ("create_sql", column(&without_secrets(&declaration.ddl))),
        ]);
        self.known(name, row.map_err(Error::from)?)
    }

    /// The columns of a relation, one a row.
    pub(crate) fn describe(&self, schema: &str, name: &str) -> SqlResult<Arc<Prepared>> {
        let Some(columns) = self.relations().schema_of(schema, name) else {
            let error = SqlError::user(NO_TABLE, format!("relation \"{name}\" does not exist"));
            let names = self.names();
            return Err(match closest(name, names.iter().map(String::as_str)) {
                Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
                None => error.with_hint("SHOW VIEWS lists what can be queried."),
            });
        };
        let column = |of: &dyn Fn(&Field) -> String| -> ArrayRef {
            Arc::new(columns.fields().iter().map(|field| Some(of(field))).collect::<StringArray>())
        };
        let nullable: ArrayRef =
            Arc::new(columns.fields().iter().map(|f| Some(f.is_nullable())).collect::<BooleanArray>());
        let batch = RecordBatch::try_from_iter([
            ("column", column(&|field| field.name().clone())),
            ("type", column(&|field| sql_type(field.data_type()))),
            ("nullable", nullable),
        ]);
        self.known(name, batch.map_err(Error::from)?)
    }

    /// A statement whose answer is known.
    fn known(&self, text: &str, batch: RecordBatch) -> SqlResult<Arc<Prepared>> {
        let plan = self.context.read_batch(batch).map_err(|error| self.explain(&error, text))?.into_unoptimized_plan();
        let schema = Arc::new(plan.schema().as_arrow().clone());
        Ok(Arc::new(Prepared {
            text: text.to_string(),
            work: Work::Plan(Box::new(plan)),
            views: vec![],
            parameters: vec![],
            schema,
            reads_history: false,
            as_of: None,
            generation: None,
        }))
    }
}

/// `SHOW` as a query over the system tables.
pub(crate) fn listing(shown: Shown) -> &'static str {
    match shown {
        Shown::Sources => "SELECT name, connector, state, rows_in, dead, watermark FROM thalweg.sources ORDER BY name",
        Shown::Tables => "SELECT table_schema, table_name, table_type FROM information_schema.tables ORDER BY 1, 2",
        Shown::MaterializedViews => "SELECT name, rows, late FROM thalweg.views WHERE materialized ORDER BY name",
        Shown::Views => "SELECT name, materialized, rows, late FROM thalweg.views ORDER BY name",
        Shown::Sinks => "SELECT name, connector, rows, last_error FROM thalweg.sinks ORDER BY name",
        Shown::Alerts => "SELECT name, relation, state, firing, pending FROM thalweg.alert_rules ORDER BY name",
        Shown::Notifiers => "SELECT * FROM thalweg.notifiers ORDER BY name",
        Shown::Silences => "SELECT * FROM thalweg.silences ORDER BY ends_at, name",
        Shown::Calendars => "SELECT * FROM thalweg.calendars ORDER BY name",
        Shown::Inhibitions => "SELECT * FROM thalweg.inhibitions ORDER BY name",
    }
}
