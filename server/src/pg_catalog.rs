//! PostgreSQL's own catalog over the relations of a running engine, so that its clients can look around.
//!
//! Built once and shared by all sessions: object ids must stay the same from one statement to the next.

use crate::information_schema;
use crate::pg_class::{Listed, WithListed};
use crate::pg_sleep;
use crate::relations::Relations;
use arrow::array::{AsArray, BooleanArray, StringArray};
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, SchemaProvider};
use datafusion::datasource::TableType;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use datafusion_pg_catalog::pg_catalog::catalog_info::CatalogInfo;
use datafusion_pg_catalog::pg_catalog::context::{PgCatalogContextProvider, Role};
use datafusion_pg_catalog::pg_catalog::oid_type_planner::PgOidTypePlanner;
use datafusion_pg_catalog::pg_catalog::{PgCatalogSchemaProvider, PgCatalogStaticTables};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use thalweg_pipelines::query::{CATALOG, PUBLIC, SYSTEM};

/// The release whose catalog this is; clients choose their queries by it.
pub const SERVER_VERSION: &str = "15.8";
const PG_CATALOG: &str = "pg_catalog";
const INFORMATION_SCHEMA: &str = "information_schema";

/// The catalog's tables and functions.
pub struct PgCatalog {
    tables: Arc<dyn SchemaProvider>,
    information: Arc<dyn SchemaProvider>,
    functions: Vec<Arc<ScalarUDF>>,
}

impl PgCatalog {
    /// The catalog over `relations`. Takes some tens of milliseconds: the fixed tables are unpacked.
    pub fn new(relations: Arc<Relations>) -> Result<PgCatalog> {
        // What the library registers is found by comparing a context before and after.
        let scratch = SessionContext::new_with_config(
            datafusion::prelude::SessionConfig::new().with_default_catalog_and_schema(CATALOG, PUBLIC),
        );
        let before: BTreeSet<String> = scratch.state().scalar_functions().keys().cloned().collect();
        datafusion_pg_catalog::setup_pg_catalog(&scratch, CATALOG, Users).map_err(|error| *error)?;
        let registered = scratch.state();
        let mut functions: Vec<Arc<ScalarUDF>> = registered
            .scalar_functions()
            .iter()
            .filter(|(name, _)| !before.contains(*name))
            .map(|(_, function)| function.clone())
            .collect();
        functions.extend(fixed_functions());
        functions.push(pg_sleep::function());
        let fixed = Arc::new(PgCatalogStaticTables::try_new()?);
        let tables: Arc<dyn SchemaProvider> =
            Arc::new(PgCatalogSchemaProvider::try_new(Names(relations.clone()), fixed, Users)?);
        let information = information_schema::schema(&relations)?;
        let listed = Listed::new(&tables, &relations)?;
        let tables: Arc<dyn SchemaProvider> = Arc::new(WithListed::new(tables, &listed));
        let one = Signature::any(1, Volatility::Stable);
        functions.push(Arc::new(ScalarUDF::from(IsVisible { oids: listed.visible, signature: one })));
        let or_two = TypeSignature::OneOf(vec![TypeSignature::Any(1), TypeSignature::Any(2)]);
        let signature = Signature::new(or_two, Volatility::Stable);
        functions.push(Arc::new(ScalarUDF::from(ViewDefinition { queries: listed.queries, signature })));
        functions
            .push(Arc::new(ScalarUDF::from(CurrentSetting { signature: Signature::string(1, Volatility::Stable) })));
        Ok(PgCatalog { tables, information, functions })
    }

    /// Adds the catalog to a context.
    pub fn add_to(&self, context: &SessionContext) {
        let inner = context.catalog(CATALOG);
        let catalog = WithPgCatalog { inner, tables: self.tables.clone(), information: self.information.clone() };
        context.register_catalog(CATALOG, Arc::new(catalog));
        for function in &self.functions {
            context.register_udf(function.as_ref().clone());
        }
        let state = context.state_ref();
        let with_types = SessionStateBuilder::new_from_existing(state.read().clone())
            .with_type_planner(Arc::new(PgOidTypePlanner))
            .build();
        *state.write() = with_types;
    }
}

/// A session's own schemas, and those about schemas beside them.
#[derive(Debug)]
struct WithPgCatalog {
    inner: Option<Arc<dyn CatalogProvider>>,
    tables: Arc<dyn SchemaProvider>,
    information: Arc<dyn SchemaProvider>,
}

impl CatalogProvider for WithPgCatalog {
    fn schema_names(&self) -> Vec<String> {
        let mut names = self.inner.as_ref().map(|inner| inner.schema_names()).unwrap_or_default();
        names.extend([PG_CATALOG, INFORMATION_SCHEMA].map(str::to_string));
        names
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        match name {
            PG_CATALOG => Some(self.tables.clone()),
            INFORMATION_SCHEMA => Some(self.information.clone()),
            name => self.inner.as_ref()?.schema(name),
        }
    }
}

/// The names of all relations, for the tables of the catalog.
#[derive(Clone)]
struct Names(Arc<Relations>);

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Names").field(&self.0.pipeline).finish()
    }
}

#[async_trait]
impl CatalogInfo for Names {
    async fn catalog_names(&self) -> Result<Vec<String>, DataFusionError> {
        Ok(vec![CATALOG.to_string()])
    }

    async fn schema_names(&self, _catalog: &str) -> Result<Option<Vec<String>>, DataFusionError> {
        Ok(Some([PUBLIC, SYSTEM, PG_CATALOG, INFORMATION_SCHEMA].map(str::to_string).to_vec()))
    }

    async fn table_names(&self, _catalog: &str, schema: &str) -> Result<Option<Vec<String>>, DataFusionError> {
        Ok(Some(self.0.names(schema)))
    }

    async fn table_schema(
        &self,
        _catalog: &str,
        schema: &str,
        table: &str,
    ) -> Result<Option<SchemaRef>, DataFusionError> {
        Ok(self.0.schema_of(schema, table))
    }

    async fn table_type(
        &self,
        _catalog: &str,
        schema: &str,
        table: &str,
    ) -> Result<Option<TableType>, DataFusionError> {
        let kind = if self.0.is_plain_view(schema, table) { TableType::View } else { TableType::Base };
        Ok(self.0.schema_of(schema, table).map(|_| kind))
    }
}

/// The only user there is.
#[derive(Clone, Debug)]
struct Users;

#[async_trait]
impl PgCatalogContextProvider for Users {
    async fn roles(&self) -> Vec<String> {
        vec![CATALOG.to_string()]
    }

    async fn role(&self, name: &str) -> Option<Role> {
        (name == CATALOG).then(|| Role {
            name: name.to_string(),
            is_superuser: true,
            can_login: true,
            can_create_db: false,
            can_create_role: false,
            can_create_user: false,
            can_replication: false,
            grants: vec![],
            inherited_roles: vec![],
        })
    }
}

/// Functions whose answer is the same whatever they are asked.
fn fixed_functions() -> impl Iterator<Item = Arc<ScalarUDF>> {
    let text = |value: &str| ScalarValue::Utf8(Some(value.to_string()));
    let none = ScalarValue::Utf8(None);
    let version = format!("PostgreSQL {SERVER_VERSION} (Thalweg {})", env!("CARGO_PKG_VERSION"));
    [
        ("version", text(&version)),
        ("obj_description", none.clone()),
        ("col_description", none.clone()),
        ("shobj_description", none.clone()),
        ("pg_get_indexdef", none.clone()),
        ("pg_get_serial_sequence", none.clone()),
        ("pg_get_functiondef", none.clone()),
        ("pg_get_function_result", none.clone()),
        ("pg_get_function_arguments", none.clone()),
        ("pg_get_function_identity_arguments", none.clone()),
        ("pg_tablespace_location", none.clone()),
        ("pg_is_in_recovery", ScalarValue::Boolean(Some(false))),
        ("pg_function_is_visible", ScalarValue::Boolean(Some(true))),
        ("pg_type_is_visible", ScalarValue::Boolean(Some(true))),
        ("txid_current", ScalarValue::Int64(Some(1))),
        // Drivers look for extension types by it, of which there are none.
        ("to_regtype", ScalarValue::Int32(None)),
        ("pg_indexes_size", ScalarValue::Int64(Some(0))),
        // Views and tables are in memory: thalweg.views says how large they are.
        ("pg_table_size", ScalarValue::Int64(None)),
        ("pg_relation_size", ScalarValue::Int64(None)),
        ("pg_total_relation_size", ScalarValue::Int64(None)),
        ("pg_size_pretty", none.clone()),
    ]
    .into_iter()
    .map(|(name, value)| Arc::new(ScalarUDF::from(Fixed::new(name, value))))
}

/// `pg_table_is_visible`: whether a relation can be named without its schema.
#[derive(Debug, PartialEq, Eq, Hash)]
struct IsVisible {
    oids: Vec<i64>,
    signature: Signature,
}

impl ScalarUDFImpl for IsVisible {
    fn name(&self) -> &str {
        "pg_table_is_visible"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let oids = arrow::compute::cast(&arrays[0], &DataType::Int64)?;
        let visible = oids.as_primitive::<Int64Type>().iter().map(|oid| Some(self.oids.contains(&oid?)));
        Ok(ColumnarValue::Array(Arc::new(visible.collect::<BooleanArray>())))
    }
}

/// `pg_get_viewdef`: the query of a view, by its id.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ViewDefinition {
    queries: BTreeMap<i64, String>,
    signature: Signature,
}

impl ScalarUDFImpl for ViewDefinition {
    fn name(&self) -> &str {
        "pg_get_viewdef"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let oids = arrow::compute::cast(&arrays[0], &DataType::Int64)?;
        let queries = oids.as_primitive::<Int64Type>().iter().map(|oid| self.queries.get(&oid?).map(String::as_str));
        Ok(ColumnarValue::Array(Arc::new(queries.collect::<StringArray>())))
    }
}

/// `current_setting`: what a setting is before a connection sets it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct CurrentSetting {
    signature: Signature,
}

impl ScalarUDFImpl for CurrentSetting {
    fn name(&self) -> &str {
        "current_setting"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let names = arrow::compute::cast(&arrays[0], &DataType::Utf8)?;
        let values = names.as_string::<i32>().iter().map(|name| crate::pgwire::default_setting(name?));
        Ok(ColumnarValue::Array(Arc::new(values.collect::<StringArray>())))
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Fixed {
    name: &'static str,
    value: ScalarValue,
    signature: Signature,
}

impl Fixed {
    fn new(name: &'static str, value: ScalarValue) -> Fixed {
        let any = TypeSignature::OneOf(vec![TypeSignature::Nullary, TypeSignature::VariadicAny]);
        Fixed { name, value, signature: Signature::new(any, Volatility::Stable) }
    }
}

impl ScalarUDFImpl for Fixed {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(self.value.data_type())
    }

    fn invoke_with_args(&self, _arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(self.value.clone()))
    }
}
