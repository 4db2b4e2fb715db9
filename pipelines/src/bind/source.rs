//! `CREATE SOURCE`: its connector, format and columns, checked.

use super::{Mode, Relation, RelationKind, RelationSource, Scope, query};
use crate::parse::Words;
use crate::parse::ddl::{CreateSource, DeclaredColumn, DeclaredWatermark, Name};
use crate::parse::syntax::fold;
use crate::types::arrow_type;
use arrow::datatypes::DataType;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::sql::sqlparser::ast::{self, BinaryOperator};
use std::sync::Arc;
use thalweg_operators::plan::{OnBad, SourcePlan, TimeOrigin, WatermarkPlan};
use thalweg_schemas::connector::{ConnectorSpec, SourceSpec};
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::format::{self, FormatSpec};
use thalweg_schemas::options::{GivenOption, OptionKind, OptionSpec, Options};
use thalweg_schemas::suggest::closest;
use thalweg_schemas::table::{Column, Metadata, Origin, schema_of};

/// The options that every source has, whatever its connector.
const ENGINE: &[OptionSpec] = &[
    OptionSpec {
        name: "on_bad",
        kind: OptionKind::OneOf(&["dead_letter", "fail"]),
        default: Some("dead_letter"),
        required: false,
        doc: "What happens to a record that is not a row: it is kept with the dead letters, or it ends the run.",
    },
    OptionSpec {
        name: "idle_timeout",
        kind: OptionKind::Duration,
        default: Some("30s"),
        required: false,
        doc: "After how long without a row a partition no longer holds the watermark back.",
    },
    OptionSpec {
        name: "future_max",
        kind: OptionKind::Duration,
        default: Some("10 minutes"),
        required: false,
        doc: "How far ahead of the clock an event time may be; beyond it the row is a dead letter.",
    },
];

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
    let mut errors = Vec::new();
    let owner = format!("source \"{}\"", name.value);
    let reads = |c: &ConnectorSpec| c.source.is_some();
    let side = connector(&source.options, connectors, reads, &owner, name)
        .and_then(|connector| Ok((connector, connector.source.ok_or_else(|| Error::bug("a connector that reads"))?)));
    let configured = match side {
        Ok((connector, side)) => {
            configure(source, connector, &side, name).map_err(|mut found| errors.append(&mut found)).ok()
        }
        Err(error) => {
            errors.push(error);
            None
        }
    };
    let declared = columns(source, &mut errors);
    let Some(configured) = configured else { return Err(errors) };
    let (columns, builtin) = if source.columns.is_empty() {
        match configured.builtin(&owner) {
            Ok(builtin) => builtin,
            Err(error) => {
                errors.push(error.at(name.position.clone()));
                return Err(errors);
            }
        }
    } else {
        (declared, None)
    };
    if !errors.is_empty() {
        return Err(errors);
    }

    let schema = schema_of(&columns);
    let generated = generated(source, &columns, scope, words, &mut errors);
    let watermark = match &source.watermark {
        Some(watermark) => declared_watermark(watermark, &columns, &owner, scope, words),
        None => Ok(builtin.and_then(|(column, ns)| Some((columns.iter().position(|c| c.name == column)?, ns)))),
    };
    let watermark = match watermark {
        Ok(watermark) => watermark.map(|(column, lateness_ns)| configured.watermark(column, lateness_ns)),
        Err(error) => {
            errors.push(error);
            None
        }
    };
    if !errors.is_empty() {
        return Err(errors);
    }
    let times = (0..columns.len())
        .map(|at| {
            let promised = watermark.as_ref().is_some_and(|w| w.column == at);
            promised.then(|| TimeOrigin { sources: vec![(name.value.clone(), 0)] })
        })
        .collect();
    let relation =
        Relation { name: name.value.clone(), kind: RelationKind::Source, schema, mode: Mode::Append, times, key: None };
    let wanted = vec![false; columns.len()];
    let plan = SourcePlan {
        name: name.value.clone(),
        connector: configured.connector.to_string(),
        options: configured.options,
        format: configured.format.map(|f| f.name.to_string()),
        format_options: configured.format_options,
        columns,
        wanted,
        generated,
        watermark,
        on_bad: if configured.engine.get("on_bad") == Some("fail") { OnBad::Fail } else { OnBad::DeadLetter },
    };
    Ok(BoundSource { relation, plan, bounded: configured.bounded })
}

/// The connector that the options name, if it has the side that is needed.
pub(super) fn connector<'a>(
    given: &[GivenOption],
    connectors: &'a [ConnectorSpec],
    has_side: impl Fn(&ConnectorSpec) -> bool,
    owner: &str,
    name: &Name,
) -> Result<&'a ConnectorSpec> {
    let names = || connectors.iter().filter(|c| has_side(c)).map(|c| c.name);
    let known = || format!("There are: {}.", names().collect::<Vec<_>>().join(", "));
    let Some(option) = given.iter().find(|o| o.name == "connector") else {
        return Err(Error::user(format!("{owner} names no connector"))
            .with_hint(format!("Write WITH (connector = '...', ...). {}", known()))
            .at(name.position.clone()));
    };
    let located = |error: Error| option.position.clone().into_iter().fold(error, Error::at);
    match connectors.iter().find(|c| c.name == option.value) {
        Some(connector) if has_side(connector) => Ok(connector),
        Some(connector) => {
            let kind = owner.split(' ').next().unwrap_or_default();
            Err(located(Error::user(format!("connector '{}' is not a {kind}", connector.name)).with_hint(known())))
        }
        None => {
            let error = Error::user(format!("connector '{}' does not exist", option.value));
            Err(located(match closest(&option.value, names()) {
                Some(near) => error.with_hint(format!("Did you mean '{near}'?")),
                None => error.with_hint(known()),
            }))
        }
    }
}

/// The format that the options name, or the first that the connector takes.
pub(super) fn format_of(
    given: &[GivenOption],
    formats: &[&'static str],
    connector: &str,
) -> Result<Option<&'static FormatSpec>> {
    let option = given.iter().find(|o| o.name == "format");
    let located = |error: Error| option.and_then(|o| o.position.clone()).into_iter().fold(error, Error::at);
    let written = match (option, formats) {
        (None, []) => return Ok(None),
        (Some(option), []) => {
            return Err(located(
                Error::user(format!("connector '{connector}' takes no format, and '{}' is given", option.value))
                    .with_hint("Leave the option out: the rows have types of their own."),
            ));
        }
        (None, [first, ..]) => first,
        (Some(option), _) => option.value.as_str(),
    };
    match format::by_name(written).filter(|f| formats.contains(&f.name)) {
        Some(format) => Ok(Some(format)),
        None => {
            let error = Error::user(format!("connector '{connector}' has no format '{written}'"));
            Err(located(match closest(written, formats.iter().copied()) {
                Some(near) => error.with_hint(format!("Did you mean '{near}'?")),
                None => error.with_hint(format!("It has: {}.", formats.join(", "))),
            }))
        }
    }
}

/// A source's options, each with whom it belongs to.
struct Configured {
    connector: &'static str,
    side: SourceSpec,
    options: Options,
    format: Option<&'static FormatSpec>,
    format_options: Options,
    engine: Options,
    bounded: bool,
}

fn configure(
    source: &CreateSource,
    connector: &ConnectorSpec,
    side: &SourceSpec,
    name: &Name,
) -> Result<Configured, Vec<Error>> {
    let format = format_of(&source.options, side.formats, connector.name).map_err(|error| vec![error])?;
    let of_format = format.map_or(&[][..], |f| f.options);
    let given: Vec<GivenOption> =
        source.options.iter().filter(|o| o.name != "connector" && o.name != "format").cloned().collect();
    let all: Vec<OptionSpec> = side.options.iter().chain(of_format).chain(ENGINE).copied().collect();
    let owner = format!("connector '{}'", connector.name);
    let at_name = |errors: Vec<Error>| errors.into_iter().map(|e| e.at(name.position.clone())).collect::<Vec<_>>();
    Options::check(&all, &given, &owner).map_err(at_name)?;
    let part = |specs: &[OptionSpec]| {
        let belongs = |o: &&GivenOption| {
            specs.iter().any(|s| s.name == o.name || s.name.ends_with('.') && o.name.starts_with(s.name))
        };
        let given: Vec<GivenOption> = given.iter().filter(belongs).cloned().collect();
        Options::check(specs, &given, &owner).map_err(at_name)
    };
    let options = part(side.options)?;
    let bounded = (side.bounded)(&options);
    let (format_options, engine) = (part(of_format)?, part(ENGINE)?);
    Ok(Configured { connector: connector.name, side: *side, options, format, format_options, engine, bounded })
}

type Builtin = (Vec<Column>, Option<(String, i64)>);

impl Configured {
    /// The columns that the connector brings along.
    fn builtin(&self, owner: &str) -> Result<Builtin> {
        match self.side.columns {
            Some(columns) => columns(&self.options).map(|c| (c.columns, c.watermark)),
            None => Err(Error::user(format!("{owner} declares no columns"))
                .with_hint("Write them after its name: (ts TIMESTAMP NOT NULL, host TEXT, ...).")),
        }
    }

    fn watermark(&self, column: usize, lateness_ns: i64) -> WatermarkPlan {
        let ns = |name: &str| {
            let length = self.engine.duration(name).unwrap_or_default();
            i64::try_from(length.as_nanos()).unwrap_or(i64::MAX)
        };
        WatermarkPlan { column, lateness_ns, idle_timeout_ns: ns("idle_timeout"), future_max_ns: ns("future_max") }
    }
}

fn columns(source: &CreateSource, errors: &mut Vec<Error>) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    for declared in &source.columns {
        let name = declared.name.value.clone();
        if columns.iter().any(|c| c.name == name) {
            errors.push(Error::user(format!("column \"{name}\" is declared twice")).at(declared.name.position.clone()));
        }
        match arrow_type(&declared.data_type) {
            Ok(data_type) => {
                let origin = origin(declared);
                if let Some(error) = metadata_type(&origin, declared, &data_type) {
                    errors.push(error);
                }
                columns.push(Column { name, data_type, nullable: !declared.not_null, origin });
            }
            Err(error) => errors.push(error.at(declared.type_position.clone())),
        }
    }
    columns
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
    let (fits, needed) = match metadata {
        Metadata::Source | Metadata::Partition | Metadata::Headers => (*data_type == DataType::Utf8, "TEXT"),
        Metadata::Offset => (*data_type == DataType::Int64, "BIGINT"),
        Metadata::IngestTime => (matches!(data_type, DataType::Timestamp(_, None)), "TIMESTAMP"),
        Metadata::Key => (*data_type == DataType::Binary, "BYTEA"),
    };
    let name = &declared.name.value;
    (!fits).then(|| {
        Error::user(format!("metadata column \"{name}\" is {needed}, not {}", declared.data_type))
            .with_hint(format!("Write {name} {needed}."))
            .at(declared.type_position.clone())
    })
}

fn generated(
    source: &CreateSource,
    columns: &[Column],
    scope: &Scope,
    words: &Words,
    errors: &mut Vec<Error>,
) -> Vec<(usize, Arc<dyn PhysicalExpr>)> {
    let mut out = Vec::new();
    for (at, declared) in source.columns.iter().enumerate() {
        let Some(expr) = &declared.generated else { continue };
        match generate(source, expr.clone(), columns, at, scope, words) {
            Ok(expr) => out.push((at, expr)),
            Err(error) => errors.push(error.at(declared.name.position.clone())),
        }
    }
    out
}

fn generate(
    source: &CreateSource,
    expr: ast::Expr,
    columns: &[Column],
    at: usize,
    scope: &Scope,
    words: &Words,
) -> Result<Arc<dyn PhysicalExpr>> {
    let name = &source.name.value;
    let relation = Relation {
        name: name.clone(),
        kind: RelationKind::Source,
        schema: schema_of(columns),
        mode: Mode::Append,
        times: vec![None; columns.len()],
        key: None,
    };
    let translate = |error| super::messages::translate(error, scope, words);
    let table = Arc::new(RelationSource(Arc::new(relation)));
    let scan = LogicalPlanBuilder::scan(name.as_str(), table, None).map_err(translate)?;
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
        }
        other => Err(Error::bug(format!("a generated column became {}", other.display()))),
    }
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
