//! The relations as PostgreSQL's catalog has them, where the library knows no more than tables and views: which of them are
//! materialized views, and by what query each view is made.

use crate::relations::Relations;
use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use async_trait::async_trait;
use datafusion::catalog::{MemTable, SchemaProvider, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::prelude::SessionContext;
use std::collections::BTreeMap;
use std::sync::Arc;
use thalweg_pipelines::catalog::query_in;
use thalweg_pipelines::query::{CATALOG, PUBLIC};
use thalweg_pipelines::{Declaration, DeclarationKind};

/// What the catalog says of relations. They stay the same until what runs changes, and then there is another catalog.
pub struct Listed {
    tables: BTreeMap<&'static str, Arc<dyn TableProvider>>,
    /// The ids of the relations that can be named without their schema.
    pub visible: Vec<i64>,
    /// The queries of views, by their ids.
    pub queries: BTreeMap<i64, String>,
}

impl Listed {
    /// What `tables` say of the relations, and what `relations` know beyond that.
    pub fn new(tables: &Arc<dyn SchemaProvider>, relations: &Relations) -> Result<Listed> {
        let schemas = ask(tables, "pg_namespace", "SELECT CAST(oid AS BIGINT), nspname FROM pg_namespace")?;
        let mut named = BTreeMap::new();
        for batch in &schemas {
            let (oids, names) = (batch.column(0).as_primitive::<Int64Type>(), texts(batch.column(1))?);
            named.extend(
                (0..batch.num_rows()).map(|row| (oids.value(row), names.as_string::<i32>().value(row).to_string())),
            );
        }
        let declared = |schema: i64, name: &str| {
            let program = &relations.program;
            program.declaration(name).filter(|_| named.get(&schema).is_some_and(|schema| schema == PUBLIC))
        };
        let (mut visible, mut queries, mut batches) = (Vec::new(), BTreeMap::new(), Vec::new());
        for batch in ask(tables, "pg_class", "SELECT * FROM pg_class")? {
            let column = |name: &str| batch.column_by_name(name).cloned().ok_or_else(|| missing(name));
            let (oids, schemas) = (numbers(&column("oid")?)?, numbers(&column("relnamespace")?)?);
            let (oids, schemas) = (oids.as_primitive::<Int64Type>(), schemas.as_primitive::<Int64Type>());
            let (names, kinds) = (texts(&column("relname")?)?, texts(&column("relkind")?)?);
            let (names, kinds) = (names.as_string::<i32>(), kinds.as_string::<i32>());
            let mut changed = Vec::with_capacity(batch.num_rows());
            for row in 0..batch.num_rows() {
                let (oid, schema) = (oids.value(row), schemas.value(row));
                if named.get(&schema).is_some_and(|schema| [PUBLIC, "pg_catalog"].contains(&schema.as_str())) {
                    visible.push(oid);
                }
                let declaration = declared(schema, names.value(row));
                queries.extend(declaration.and_then(query_of).map(|query| (oid, query)));
                changed.push(declaration.and_then(kind_of).unwrap_or(kinds.value(row)).to_string());
            }
            batches.push(with_kinds(&batch, changed)?);
        }
        let schema = batches.first().map(RecordBatch::schema).ok_or_else(|| missing("pg_class"))?;
        let class: Arc<dyn TableProvider> = Arc::new(MemTable::try_new(schema, vec![batches])?);
        let tables = BTreeMap::from([
            ("pg_class", class),
            ("pg_views", views(relations, "viewname", |kind| matches!(kind, DeclarationKind::View { .. }))?),
            ("pg_matviews", views(relations, "matviewname", |kind| *kind == DeclarationKind::MaterializedView)?),
        ]);
        Ok(Listed { tables, visible, queries })
    }
}

/// What `pg_class` calls a relation, where it is neither a table nor a view.
fn kind_of(declaration: &Declaration) -> Option<&'static str> {
    matches!(declaration.kind, DeclarationKind::MaterializedView | DeclarationKind::Alert { .. }).then_some("m")
}

/// The query that makes a view.
fn query_of(declaration: &Declaration) -> Option<String> {
    match &declaration.kind {
        DeclarationKind::View { .. } | DeclarationKind::MaterializedView => query_in(&declaration.ddl),
        _ => None,
    }
}

/// The same relations with other kinds, and with columns that psql asks for: nothing has options or privileges.
fn with_kinds(batch: &RecordBatch, kinds: Vec<String>) -> Result<RecordBatch> {
    let (schema, mut columns) = (batch.schema(), batch.columns().to_vec());
    let at = schema.index_of("relkind")?;
    columns[at] = cast(&(Arc::new(StringArray::from(kinds)) as ArrayRef), schema.field(at).data_type())?;
    let mut fields: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
    let list = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)));
    for name in ["relacl", "reloptions"].into_iter().filter(|name| schema.index_of(name).is_err()) {
        fields.push(Arc::new(Field::new(name, list.clone(), true)));
        columns.push(new_null_array(&list, batch.num_rows()));
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone())), columns)?)
}

/// `pg_views` and `pg_matviews`.
fn views(relations: &Relations, name: &str, is_one: fn(&DeclarationKind) -> bool) -> Result<Arc<dyn TableProvider>> {
    let views: Vec<&Declaration> =
        relations.program.declarations.iter().filter(|declaration| is_one(&declaration.kind)).collect();
    let text = |of: &dyn Fn(&Declaration) -> Option<String>| -> ArrayRef {
        Arc::new(views.iter().map(|view| of(view)).collect::<StringArray>())
    };
    let flag = |value: bool| -> ArrayRef { Arc::new(views.iter().map(|_| Some(value)).collect::<BooleanArray>()) };
    let owner = name.replace("name", "owner");
    let mut columns = vec![
        ("schemaname", text(&|_| Some(PUBLIC.to_string()))),
        (name, text(&|view| Some(view.name.clone()))),
        (owner.as_str(), text(&|_| Some(CATALOG.to_string()))),
    ];
    if name == "matviewname" {
        columns.extend([("tablespace", text(&|_| None)), ("hasindexes", flag(false)), ("ispopulated", flag(true))]);
    }
    columns.push(("definition", text(&query_of)));
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))?;
    Ok(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?))
}

fn texts(column: &ArrayRef) -> Result<ArrayRef> {
    Ok(cast(column, &DataType::Utf8)?)
}

fn numbers(column: &ArrayRef) -> Result<ArrayRef> {
    Ok(cast(column, &DataType::Int64)?)
}

fn missing(what: &str) -> DataFusionError {
    DataFusionError::Internal(format!("the catalog has no {what}"))
}

/// The rows of one table of the catalog.
fn ask(tables: &Arc<dyn SchemaProvider>, name: &str, query: &str) -> Result<Vec<RecordBatch>> {
    let find = async {
        let context = SessionContext::new();
        if let Some(table) = tables.table(name).await? {
            context.register_table(name, table)?;
        }
        context.sql(query).await?.collect().await
    };
    // On a thread and a runtime of its own: the query spawns tasks, and whoever opens a session may be one itself.
    let ask = || tokio::runtime::Builder::new_current_thread().build()?.block_on(find);
    let batches = std::thread::scope(|scope| scope.spawn(ask).join());
    batches.map_err(|_| DataFusionError::Internal(format!("reading {name} panicked")))?
}

/// The tables of the catalog, some of them as listed here.
#[derive(Debug)]
pub struct WithListed {
    inner: Arc<dyn SchemaProvider>,
    tables: BTreeMap<&'static str, Arc<dyn TableProvider>>,
}

impl WithListed {
    /// `inner` with what is `listed` in place of its own.
    pub fn new(inner: Arc<dyn SchemaProvider>, listed: &Listed) -> WithListed {
        WithListed { inner, tables: listed.tables.clone() }
    }
}

#[async_trait]
impl SchemaProvider for WithListed {
    fn table_names(&self) -> Vec<String> {
        self.inner.table_names()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        match self.tables.get(name.to_ascii_lowercase().as_str()) {
            Some(table) => Ok(Some(table.clone())),
            None => self.inner.table(name).await,
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        self.inner.table_exist(name)
    }
}
