//! `DETECT_ANOMALIES(..)`: rows in order of event time, so that its input must have one.

use super::{Lowered, Lowering};
use crate::bind::{Mode, SeriesSource};
use thalweg_operators::plan::Plan;
use thalweg_operators::series::SeriesSpec;
use thalweg_schemas::error::{Error, Result};

impl Lowering<'_> {
    pub(super) fn series(&self, source: &SeriesSource) -> Result<Lowered> {
        let input = self.lower(&source.input)?.with_windows_assigned()?;
        let input = self.named(input, source.input.schema())?;
        if input.mode == Mode::Changelog {
            return Err(self.series_of_a_changelog(source));
        }
        let Some(origin) = input.times[source.time].clone() else {
            return Err(self.not_an_event_time(&source.input_name, &source.input, source.time, &input));
        };
        // Rows of a view are final when they come; those of a source are as late as this view says.
        let origin = if input.mode == Mode::Append { origin.delayed(self.late.lateness_ns) } else { origin };
        let added = source.schema.fields().len() - input.plan.schema().fields().len();
        let fields = input.plan.schema().fields().iter().cloned().collect::<Vec<_>>();
        let fields = fields.into_iter().chain(source.schema.fields().iter().rev().take(added).rev().cloned());
        let schema = std::sync::Arc::new(arrow::datatypes::Schema::new(fields.collect::<Vec<_>>()));
        let (mut times, key, bounds) = (input.times, input.key, input.bounds);
        times.resize(schema.fields().len(), None);
        let spec = SeriesSpec {
            input: Box::new(input.plan),
            time: source.time,
            value: source.value,
            others: source.others.clone(),
            by: source.by.clone(),
            grouped_by: source.grouped_by,
            deploy: source.deploy,
            series_max: source.series_max,
            zone: source.zone.clone(),
            task: source.task.clone(),
            origin,
            schema,
        };
        let lowered = Lowered::straight(Plan::Series(Box::new(spec)), Mode::Append, times, key);
        Ok(Lowered { bounds, ..lowered })
    }

    fn series_of_a_changelog(&self, source: &SeriesSource) -> Error {
        let name = &source.input_name;
        let error = Error::user(format!(
            "\"{name}\" is a changelog, and a row of it that was judged could be taken back"
        ))
        .with_detail(
            "Its rows come from a GROUP BY without a window, or from DISTINCT: each may be corrected at any time.",
        )
        .with_hint(
            "Put a window where the rows come from, and group by window_start and window_end there: FROM \
                 TUMBLE(source, time, ..). Its windows are judged once they have closed.",
        );
        self.words.find(name).into_iter().fold(error, Error::at)
    }
}
