//! `CREATE SOURCE`: its connector, format and columns, checked.

use super::{Closes, Mode, Relation, RelationKind, RelationSource, Scope, both, connector, key, query};
use crate::lower::checked::checked;
use crate::parse::Words;
use crate::parse::ddl::{CreateSource, DeclaredColumn, DeclaredWatermark};
use crate::parse::syntax::fold;
use crate::types::{arrow_type, sql_type};
use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::DataFusionError;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, cast};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::sql::sqlparser::ast::{self, BinaryOperator};
use std::collections::BTreeSet;
use std::sync::Arc;
use thalweg_operators::plan::{SourcePlan, TimeOrigin};
use thalweg_schemas::connector::ConnectorSpec;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::suggest::closest;
use thalweg_schemas::table::{Column, Metadata, Origin, schema_of};
use thalweg_schemas::wanted::Wanted;

/// What to write instead of `DEFAULT` in a source.
const NO_DEFAULT: &str = "A missing field is NULL; write coalesce(column, value) in a view.";

/// What a source came to.
pub(crate) struct BoundSource {
    pub relation: Relation,
    pub plan: SourcePlan,
    pub bounded: bool,
}

pub(crate) fn bind(
    source: &CreateSource,
    connectors: &[ConnectorSpec],
    scope: &Scope,
    words: &Words,
) -> Result<BoundSource, Vec<Error>> {
    let name = &source.name;
    let owner = format!("source \"{}\"", name.value);
    let (configured, declared) = both(connector::configure(source, connectors, &owner), columns(source))?;
    let located = |error: Error| vec![error.at(name.position.clone())];
    let (mut columns, builtin) = match source.columns.is_empty() {
        true => configured.builtin(&owner).map_err(located)?,
        false => (declared, None),
    };
    infer_types(source, &mut columns, scope, words)?;
    let is_table = configured.is_table;
    let key = key::bind(source, configured.format, &columns, is_table, &owner).map_err(|error| vec![error])?;
    if let Some(watermark) = source.watermark.as_ref().filter(|_| is_table) {
        let error = Error::user(format!("{owner} has a watermark, and is a table: its rows have no order in time"));
        return Err(vec![error.with_hint("Leave the clause out.").at(watermark.column.position.clone())]);
    }
    // What is found by its key has one.
    key.iter().for_each(|at| columns[*at].nullable = false);
    let watermark = match &source.watermark {
        Some(watermark) => declared_watermark(watermark, &columns, &owner, scope, words),
        None => Ok(builtin.and_then(|(column, ns)| Some((columns.iter().position(|c| c.name == column)?, ns)))),
    };
    let generated = generated(source, &columns, scope, words);
    let (generated, watermark) = both(generated, watermark.map_err(|error| vec![error]))?;
    let watermark = watermark.map(|(column, lateness_ns)| configured.watermark(column, lateness_ns));

    let closes = if configured.bounded || is_table { Closes::AtEnd } else { Closes::Never };
    let promised = watermark.as_ref().map(|w| w.column);
    let mut relation = relation(source, &columns, promised, closes, &key);
    if is_table {
        relation.times.fill(None);
        relation.tables.insert(name.value.clone());
        relation.asked = configured.cache().map_err(|error| vec![error])?;
    }
    let plan = SourcePlan {
        name: name.value.clone(),
        connector: configured.connector.to_string(),
        on_bad: configured.on_bad(),
        options: configured.options.clone(),
        format: configured.format.map(|f| f.name.to_string()),
        format_options: configured.format_options.clone(),
        wanted: vec![Wanted::Nothing; columns.len()],
        key,
        is_table,
        columns,
        generated,
        watermark,
    };
    configured.check(&plan, name).map_err(|error| vec![error])?;
    Ok(BoundSource { relation, plan, bounded: configured.bounded })
}

/// A source whose options are wrong, as far as its columns tell: so that what reads it is checked in the same go.
pub(crate) fn stand_in(source: &CreateSource) -> Option<Relation> {
    let columns = columns(source).ok().filter(|columns| !columns.is_empty())?;
    let promised = source.watermark.as_ref().and_then(|w| columns.iter().position(|c| c.name == w.column.value));
    let key = key::stand_in(source, &columns);
    let mut relation = relation(source, &columns, promised, Closes::AtEnd, &key);
    relation.tables.extend((!key.is_empty()).then(|| source.name.value.clone()));
    Some(relation)
}

/// The source as queries see it. Without a watermark each of its timestamps is an event time, of which nothing is said
/// before the source ends: then the windows over it close as `unpromised` says.
fn relation(
    source: &CreateSource,
    columns: &[Column],
    promised: Option<usize>,
    unpromised: Closes,
    key: &[usize],
) -> Relation {
    let name = &source.name.value;
    let origin = || TimeOrigin { sources: vec![(name.clone(), 0)] };
    let is_time = |at: usize| match promised {
        Some(column) => column == at,
        None => matches!(columns[at].data_type, DataType::Timestamp(_, _)),
    };
    Relation {
        name: name.clone(),
        kind: RelationKind::Source(if promised.is_some() { Closes::ByWatermark } else { unpromised }),
        schema: schema_of(columns),
        mode: if key.is_empty() { Mode::Append } else { Mode::Changelog },
        times: (0..columns.len()).map(|at| is_time(at).then(origin)).collect(),
        bounds: Vec::new(),
        key: (!key.is_empty()).then(|| key.to_vec()),
        tables: BTreeSet::new(),
        clock: promised.map(|_| origin()).unwrap_or_default(),
        asked: None,
    }
}

fn columns(source: &CreateSource) -> Result<Vec<Column>, Vec<Error>> {
    let (mut columns, mut errors) = (Vec::<Column>::new(), Vec::new());
    for declared in &source.columns {
        let name = declared.name.value.clone();
        if columns.iter().any(|c| c.name == name) {
            errors.push(Error::user(format!("column \"{name}\" is declared twice")).at(declared.name.position.clone()));
        }
        if let Some((_, position)) = &declared.default {
            let error = Error::user("DEFAULT of a column is not supported");
            errors.push(error.with_hint(NO_DEFAULT).at(position.clone()));
        }
        let origin = origin(declared);
        let data_type = match (&declared.data_type, &origin) {
            (Some(written), _) => arrow_type(written),
            (None, Origin::Metadata(metadata)) => Ok(metadata.data_types().swap_remove(0)),
            // It is found when all others are known.
            (None, _) => Ok(DataType::Null),
        };
        match data_type {
            Ok(data_type) => {
                if let Some(error) = metadata_type(&origin, declared, &data_type) {
                    errors.push(error);
                }
                columns.push(Column { name, data_type, nullable: !declared.not_null, origin });
            }
            Err(error) => errors.push(error.at(declared.type_position.clone())),
        }
    }
    if errors.is_empty() { Ok(columns) } else { Err(errors) }
}

fn origin(column: &DeclaredColumn) -> Origin {
    match (&column.generated, Metadata::by_name(&column.name.value)) {
        (Some(_), _) => Origin::Generated,
        (None, Some(metadata)) => Origin::Metadata(metadata),
        (None, None) => Origin::Field,
    }
}

/// Metadata columns have the types that the engine fills them with.
fn metadata_type(origin: &Origin, declared: &DeclaredColumn, data_type: &DataType) -> Option<Error> {
    let Origin::Metadata(metadata) = origin else { return None };
    let types = metadata.data_types();
    if types.contains(data_type) {
        return None;
    }
    let name = &declared.name.value;
    let needed = types.iter().map(sql_type).collect::<Vec<_>>().join(" or ");
    let error = Error::user(format!("metadata column \"{name}\" is {needed}, not {}", sql_type(data_type)));
    Some(error.with_hint(format!("Write {name} {}.", sql_type(&types[0]))).at(declared.type_position.clone()))
}

/// Gives generated columns without a type that of their expression.
fn infer_types(source: &CreateSource, columns: &mut [Column], scope: &Scope, words: &Words) -> Result<(), Vec<Error>> {
    let mut errors = Vec::new();
    for (at, declared) in source.columns.iter().enumerate() {
        let (Some(expr), None) = (&declared.generated, &declared.data_type) else { continue };
        let scan = record(source, columns).map_err(|error| super::messages::translate(error, scope, words));
        let found = scan.and_then(|scan| {
            let planned = query::expression(expr.clone(), scan.schema(), scope, words)?;
            planned.get_type(scan.schema()).map_err(|error| super::messages::translate(error, scope, words))
        });
        match found {
            Ok(data_type) => columns[at].data_type = column_type(data_type),
            Err(error) => errors.push(error.at(declared.name.position.clone())),
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// The type of a column that holds values of `data_type`.
fn column_type(data_type: DataType) -> DataType {
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Nanosecond, zone),
        other => other,
    }
}

fn generated(
    source: &CreateSource,
    columns: &[Column],
    scope: &Scope,
    words: &Words,
) -> Result<Vec<(usize, Arc<dyn PhysicalExpr>)>, Vec<Error>> {
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    for (at, declared) in source.columns.iter().enumerate() {
        let Some(expr) = &declared.generated else { continue };
        match generate(source, expr.clone(), columns, at, scope, words) {
            Ok(expr) => out.push((at, expr)),
            Err(error) => errors.push(error.at(declared.name.position.clone())),
        }
    }
    if errors.is_empty() { Ok(out) } else { Err(errors) }
}

fn generate(
    source: &CreateSource,
    expr: ast::Expr,
    columns: &[Column],
    at: usize,
    scope: &Scope,
    words: &Words,
) -> Result<Arc<dyn PhysicalExpr>> {
    let translate = |error| super::messages::translate(error, scope, words);
    let scan = record(source, columns).map_err(translate)?;
    let planned = query::expression(expr, scan.schema(), scope, words)?;
    for column in planned.column_refs() {
        if columns.iter().any(|c| c.name == column.name && c.origin == Origin::Generated) {
            return Err(Error::user(format!(
                "generated column \"{}\" reads another one, \"{}\"",
                columns[at].name, column.name
            ))
            .with_hint("Compute it from the fields of the record."));
        }
    }
    let cast_expr = cast(planned, columns[at].data_type.clone());
    let plan =
        scan.project([cast_expr.alias(&columns[at].name)]).and_then(LogicalPlanBuilder::build).map_err(translate)?;
    match query::analyze(plan).map_err(translate)? {
        LogicalPlan::Projection(projection) => {
            let expr: &Expr = &projection.expr[0];
            let schema = projection.input.schema();
            create_physical_expr(expr, schema, &ExecutionProps::new(), &PhysicalPlanningContext::default())
                .map_err(translate)
                .and_then(checked)
        }
        other => Err(Error::bug(format!("a generated column became {}", other.display()))),
    }
}

/// The columns as the expressions of generated ones see them.
fn record(source: &CreateSource, columns: &[Column]) -> Result<LogicalPlanBuilder, DataFusionError> {
    let name = &source.name.value;
    let relation = Relation {
        name: name.clone(),
        kind: RelationKind::Source(Closes::AtEnd),
        schema: schema_of(columns),
        mode: Mode::Append,
        times: vec![None; columns.len()],
        bounds: Vec::new(),
        key: None,
        tables: BTreeSet::new(),
        clock: TimeOrigin::default(),
        asked: None,
    };
    LogicalPlanBuilder::scan(name.as_str(), Arc::new(RelationSource(Arc::new(relation))), None)
}

/// `WATERMARK FOR ts AS ts - INTERVAL '5 seconds'`: which column, and how late its rows may be.
fn declared_watermark(
    watermark: &DeclaredWatermark,
    columns: &[Column],
    owner: &str,
    scope: &Scope,
    words: &Words,
) -> Result<Option<(usize, i64)>> {
    let name = &watermark.column.value;
    let Some(column) = columns.iter().position(|c| c.name == *name) else {
        let error =
            Error::user(format!("column \"{name}\" does not exist in {owner}")).at(watermark.column.position.clone());
        return Err(match closest(name, columns.iter().map(|c| c.name.as_str())) {
            Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
            None => error,
        });
    };
    if !matches!(columns[column].data_type, DataType::Timestamp(_, _)) {
        return Err(Error::user(format!("column \"{name}\" is no TIMESTAMP, and a watermark is over one"))
            .with_hint("Declare it as TIMESTAMP.")
            .at(watermark.column.position.clone()));
    }
    let is_column = |expr: &ast::Expr| matches!(expr, ast::Expr::Identifier(ident) if fold(ident) == *name);
    let lateness_ns = match &watermark.promise {
        expr if is_column(expr) => 0,
        ast::Expr::BinaryOp { left, op: BinaryOperator::Minus, right } if is_column(left) => {
            query::interval_ns(right, scope, words).map_err(|e| e.at(watermark.promise_position.clone()))?
        }
        _ => -1,
    };
    if lateness_ns < 0 {
        return Err(Error::user(format!("\"{}\" is not a watermark for \"{name}\"", watermark.promise))
            .with_hint(format!("Write WATERMARK FOR {name} AS {name} - INTERVAL '5 seconds'."))
            .at(watermark.promise_position.clone()));
    }
    Ok(Some((column, lateness_ns)))
}
