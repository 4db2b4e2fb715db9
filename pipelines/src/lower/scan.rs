//! FROM: a relation, or one cut into windows.

use super::{Lowered, Lowering, OpenWindow, Place};
use crate::bind::cut::Cut;
use crate::bind::recursion::RecursiveSource;
use crate::bind::windows::WINDOW_START;
use crate::bind::{Mode, Relation, RelationKind, RelationSource, SeriesSource, WindowSource};
use datafusion::logical_expr::{LogicalPlan, TableScan};
use thalweg_operators::plan::Plan;
use thalweg_schemas::error::{Error, Result};

impl Lowering<'_> {
    pub(super) fn scan(&self, scan: &TableScan) -> Result<Lowered> {
        let source = scan.source.as_ref();
        let mut lowered = if let Some(RelationSource(relation)) = source.downcast_ref::<RelationSource>() {
            self.relation(relation)?
        } else if let Some(window) = source.downcast_ref::<WindowSource>() {
            self.windowed(window)?
        } else if let Some(series) = source.downcast_ref::<SeriesSource>() {
            self.series(series)?
        } else if let Some(recursive) = source.downcast_ref::<RecursiveSource>() {
            self.recursive(recursive)
        } else {
            return Err(Error::bug(format!("table \"{}\" is of no known kind", scan.table_name)));
        };
        if !scan.filters.is_empty() || scan.fetch.is_some() {
            return Err(Error::bug("a scan with filters, though none are pushed into it"));
        }
        if let Some(projection) = &scan.projection {
            lowered.columns = projection.iter().map(|at| lowered.columns[*at]).collect();
        }
        Ok(lowered)
    }

    fn relation(&self, relation: &Relation) -> Result<Lowered> {
        let (name, schema) = (relation.name.clone(), relation.schema.clone());
        let plan = match relation.kind {
            RelationKind::Source(_) => Plan::Source { name, schema },
            RelationKind::MaterializedView => Plan::View { name, schema },
            RelationKind::View(_) => return Err(Error::bug(format!("view \"{name}\" was not put in place"))),
        };
        let key = relation.key.as_ref().map(|key| key.iter().map(|column| vec![*column]).collect());
        let lowered = Lowered::straight(plan, relation.mode, relation.times.clone(), key);
        Ok(Lowered { bounds: relation.bounds.clone(), ..lowered })
    }

    fn windowed(&self, source: &WindowSource) -> Result<Lowered> {
        let input = self.lower(&source.input)?.with_windows_assigned()?;
        let time = input.columns[source.time].base()?;
        if input.mode == Mode::Changelog {
            return Err(self.over_a_changelog(source));
        }
        if input.times[time].is_none() {
            return Err(self.not_an_event_time(&source.input_name, &source.input, source.time, &input));
        }
        let width = source.kept.len();
        let mut columns: Vec<Place> = source.kept.iter().map(|at| input.columns[*at]).collect();
        columns.extend([Place::Bound(0), Place::Bound(1)]);
        let fields = source.schema.fields();
        let bounds = [fields[width].clone(), fields[width + 1].clone()];
        debug_assert_eq!(bounds[0].name(), WINDOW_START);
        let cut = match &source.cut {
            Cut::Windows(window) => Cut::Windows(*window),
            Cut::Sessions { gap_ns, by, start, end } => {
                let base = |at: &usize| input.columns[*at].base();
                let by = by.iter().map(base).collect::<Result<_>>()?;
                let (start, end) = (start.as_ref().map(base).transpose()?, end.as_ref().map(base).transpose()?);
                Cut::Sessions { gap_ns: *gap_ns, by, start, end }
            }
        };
        let window = Some(OpenWindow {
            cut,
            time,
            filters: Vec::new(),
            bounds,
            late: self.late.clone(),
            row_filters: Vec::new(),
        });
        Ok(Lowered { key: None, window, columns, ..input })
    }

    fn over_a_changelog(&self, source: &WindowSource) -> Error {
        let name = &source.input_name;
        let error = Error::user(format!("\"{name}\" is a changelog, and no window over it could ever close"))
            .with_detail(
                "Its rows come from a GROUP BY without a window, or from DISTINCT: each may be corrected at any time.",
            )
            .with_hint(
                "Put the window where the rows come from, and group by window_start and window_end there: FROM \
                 TUMBLE(source, time, ..). A query that reads the view can also use TUMBLE over what it is now.",
            );
        self.words.find(name).into_iter().fold(error, Error::at)
    }

    /// What to say where the column `at` of `logical`, lowered to `input`, is no event time.
    pub(super) fn not_an_event_time(&self, of: &str, logical: &LogicalPlan, at: usize, input: &Lowered) -> Error {
        let name = logical.schema().field(at).name();
        let time = input.columns[at].base().unwrap_or(at);
        let schema = input.plan.schema();
        let event_times: Vec<&str> = (0..input.times.len())
            .filter(|at| *at != time && input.times[*at].is_some())
            .map(|at| schema.field(at).name().as_str())
            .collect();
        let error = Error::user(format!("column \"{name}\" of \"{of}\" is not an event time"))
            .with_detail("No watermark is known for it, so no window over it would ever close.");
        let error = match event_times.as_slice() {
            [] => error.with_hint(format!(
                "Declare in the source how late its rows can be: WATERMARK FOR {name} AS {name} - INTERVAL '5 seconds'"
            )),
            names => error.with_hint(format!("Its event time is \"{}\".", names.join("\" or \""))),
        };
        self.words.find(name).into_iter().fold(error, Error::at)
    }
}
