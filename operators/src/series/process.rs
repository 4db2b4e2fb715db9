//! The operator: rows in order of event time to the series that they belong to.

use super::groups::{GROUPS, Groups};
use super::held::{Held, SERIES};
use super::pending::{Pending, ROWS};
use super::{Point, SeriesSpec, Watched};
use crate::aggregate::keyed::Keys;
use crate::aggregate::table::Grouping;
use crate::anomaly::Moment;
use crate::assign_windows::with_event_time;
use crate::evaluate::fault;
use crate::event_time::EventTimes;
use crate::exchange::hash_rows;
use crate::operator::{Operator, Output, StateSize, Times};
use crate::rows::Rows;
use crate::state::{Restored, Section};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, RecordBatch, UInt64Array};
use arrow::compute::{cast, not, take_record_batch};
use arrow::datatypes::{DataType, Float64Type, Schema};
use arrow::row::{RowConverter, SortField};
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::{Epoch, Watermark};
use thalweg_schemas::error::{Error, Result};

/// Knows each series of its input. Port 0: every row once, with what is said of it.
pub struct Series<S: Watched> {
    spec: SeriesSpec,
    settings: S::Settings,
    keys: Keys,
    held: Held<S>,
    groups: Option<Groups>,
    pending: Pending,
    arrived: Vec<Batch>,
    /// As of which watermark silent series were last looked for.
    swept_ns: i64,
    /// How many series were forgotten.
    evicted: u64,
}

impl<S: Watched> Series<S> {
    /// The operator that `spec` asks for.
    pub fn new(spec: &SeriesSpec, settings: &S::Settings) -> Result<Series<S>> {
        let input = spec.input.schema();
        let by: Vec<_> = spec.by.iter().map(|at| input.fields()[*at].clone()).collect();
        let groups = (spec.grouped_by > 0).then(|| Groups::new(by[..spec.grouped_by].to_vec())).transpose()?;
        Ok(Series {
            groups,
            evicted: 0,
            keys: Keys::new(Grouping::by(Schema::new(by))?)?,
            held: Held::new(),
            pending: Pending::new(input),
            spec: spec.clone(),
            settings: settings.clone(),
            arrived: Vec::new(),
            swept_ns: i64::MIN,
        })
    }

    /// How many rows wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.pending.len()
    }

    /// Puts rows that came where they wait; those whose time has passed are late.
    fn admit(&mut self, batch: Batch, before: Watermark, output: &mut Output) -> Result<()> {
        let time = batch.rows.column(self.spec.time).clone();
        let batch = match time.null_count() {
            0 => batch,
            _ => with_event_time(batch, &time, &mut output.dead)?,
        };
        let times = EventTimes::new(batch.rows.column(self.spec.time))?;
        let late: BooleanArray = times.iter().map(|time| Some(before.closes(time))).collect();
        if late.true_count() == 0 {
            self.pending.insert(batch.rows, times.iter());
            return Ok(());
        }
        output.late.push(batch.filter(&late)?.rows);
        let rows = batch.filter(&not(&late)?)?.rows;
        let times = EventTimes::new(rows.column(self.spec.time))?;
        self.pending.insert(rows, times.iter());
        Ok(())
    }

    /// Shows each row to its series.
    fn observe(&mut self, rows: RecordBatch, times: &[i64], output: &mut Output) -> Result<()> {
        let by: Vec<ArrayRef> = self.spec.by.iter().map(|at| rows.column(*at).clone()).collect();
        let numbers = self.keys.number(&by, rows.num_rows())?;
        let order = in_order(&rows, times, &numbers, self.groups.is_some())?;
        let groups = self.groups.as_mut().map(|groups| groups.number(&by, rows.num_rows())).transpose()?;
        let versions = match self.spec.deploy.map(|deploy| rows.column(deploy).clone()) {
            Some(column) => Some((hash_rows(std::slice::from_ref(&column), rows.num_rows()).map_err(fault)?, column)),
            None => None,
        };
        let numbers_of = |column: usize| cast(rows.column(column), &DataType::Float64);
        let values = numbers_of(self.spec.value)?;
        let values: &Float64Array = values.as_primitive::<Float64Type>();
        let further = self.spec.others.iter().map(|column| numbers_of(*column)).collect::<Result<Vec<_>, _>>()?;
        let further: Vec<&Float64Array> = further.iter().map(|column| column.as_primitive()).collect();
        let mut others = Vec::with_capacity(further.len());
        let ttl = S::ttl_ns(&self.settings);
        let mut said = Vec::with_capacity(rows.num_rows());
        for &row in &order {
            let (number, at) = (numbers[row], times[row]);
            let group = self.groups.as_mut().zip(groups.as_ref()).map(|(known, of)| known.get(of[row]));
            let (series, is_new) = self.held.entry(number, || S::new(&self.settings, group.as_deref()));
            if is_new {
                self.keys.hold(&[number]);
            }
            // Whether or not it has been swept out by now.
            if silent(series, at, ttl) {
                *series = S::new(&self.settings, group.as_deref());
                self.evicted += 1;
            }
            let value =
                values.is_valid(row).then(|| values.value(row)).and_then(|x| together(x, &further, row, &mut others));
            let local = self.spec.zone.as_ref().map_or(at, |zone| zone.local_ns(at));
            let version =
                versions.as_ref().and_then(|(hashes, column)| column.is_valid(row).then(|| hashes[row] as u32));
            let point = Point { at: Moment { at, local }, value, others: &others, version };
            said.push(series.observe(&self.settings, point, group));
        }
        let sorted = order.iter().enumerate().all(|(at, row)| at == *row);
        let rows = match sorted {
            true => rows,
            false => take_record_batch(&rows, &UInt64Array::from_iter_values(order.iter().map(|row| *row as u64)))?,
        };
        let time = rows.schema().field(self.spec.time).data_type().clone();
        let columns = [rows.columns().to_vec(), S::columns(&self.settings, &said, &time)?].concat();
        let rows = RecordBatch::try_new(self.spec.schema.clone(), columns)?;
        output.send(0, Rows::unbounded(Batch::append(rows)));
        Ok(())
    }

    /// Forgets series that have been silent for too long, looked for eight times in that time, and those that are too many:
    /// an eighth more than needs be each time. So it costs little a row.
    fn sweep(&mut self, now: Watermark) -> Result<()> {
        let ttl = S::ttl_ns(&self.settings);
        let mut gone = Vec::new();
        if now != Watermark::MAX && now.0 >= self.swept_ns.saturating_add(ttl / 8) {
            self.swept_ns = now.0;
            gone = self.held.remove(|series| silent(series, now.0, ttl));
        }
        if let Some(most) = self.spec.series_max.filter(|most| self.held.len() > *most) {
            gone.extend(self.held.keep(most - most / 8));
        }
        if gone.is_empty() {
            return Ok(());
        }
        self.evicted += gone.len() as u64;
        self.keys.release(&gone);
        if let Some(renamed) = self.keys.compact()? {
            self.held.rename(&renamed);
        }
        Ok(())
    }

    /// `false` where a series is not one of these settings and this version.
    fn restore_series(&mut self, rows: &RecordBatch) -> Result<bool> {
        let (states, keys) = rows.columns().split_last().ok_or_else(|| Error::bug("series without a state"))?;
        let numbers = self.keys.number(keys, rows.num_rows())?;
        let states = states.as_binary::<i32>();
        for (number, state) in numbers.into_iter().zip(states.iter()) {
            let Some(series) = S::decode(&self.settings, state.unwrap_or_default()) else { return Ok(false) };
            let (held, is_new) = self.held.entry(number, || S::new(&self.settings, None));
            *held = series;
            if is_new {
                self.keys.hold(&[number]);
            }
        }
        Ok(true)
    }

    fn restore_rows(&mut self, rows: &RecordBatch) -> Result<()> {
        let columns = rows.columns()[self.spec.by.len()..].to_vec();
        let rows = RecordBatch::try_new(self.spec.input.schema(), columns)?;
        let times = EventTimes::new(rows.column(self.spec.time))?;
        self.pending.insert(rows, times.iter());
        Ok(())
    }
}

/// The first of several values, with the `others` of its row; none where one of them is missing, one that is not finite
/// where one of them is not.
fn together(first: f64, further: &[&Float64Array], row: usize, others: &mut Vec<f64>) -> Option<f64> {
    others.clear();
    let mut value = first;
    for column in further {
        let other = column.is_valid(row).then(|| column.value(row))?;
        value = if other.is_finite() { value } else { f64::NAN };
        others.push(other);
    }
    Some(value)
}

/// Whether a series has had no row for longer than `ttl` as of the time `now`.
fn silent<S: Watched>(series: &S, now: i64, ttl: i64) -> bool {
    series.last_ns() > i64::MIN && now.saturating_sub(series.last_ns()) > ttl
}

/// The rows in order of time. Rows of one series and time are told apart by all of their columns, so that their order does
/// not depend on which of them came first.
///
/// Where series are `grouped`, so are rows of one time: their series learn from each other.
fn in_order(rows: &RecordBatch, times: &[i64], numbers: &[u32], grouped: bool) -> Result<Vec<usize>> {
    let mut order: Vec<usize> = (0..times.len()).collect();
    let key = |row: usize| (times[row], if grouped { 0 } else { numbers[row] });
    order.sort_by_key(|row| key(*row));
    if order.windows(2).any(|pair| key(pair[0]) == key(pair[1])) {
        let fields = rows.schema_ref().fields().iter().map(|field| SortField::new(field.data_type().clone()));
        let encoded = RowConverter::new(fields.collect())?.convert_columns(rows.columns())?;
        order.sort_by(|a, b| key(*a).cmp(&key(*b)).then_with(|| encoded.row(*a).cmp(&encoded.row(*b))));
    }
    Ok(order)
}

impl<S: Watched> Operator for Series<S> {
    fn process(&mut self, _epoch: Epoch, rows: Rows, _output: &mut Output) -> Result<()> {
        self.arrived.extend(rows.into_batch());
        Ok(())
    }

    fn finish_epoch(&mut self, _epoch: Epoch, times: Times, output: &mut Output) -> Result<()> {
        for batch in std::mem::take(&mut self.arrived) {
            self.admit(batch, times.before, output)?;
        }
        if let Some((rows, at)) = self.pending.due(times.now)? {
            self.observe(rows, &at, output)?;
        }
        self.sweep(times.now)
    }

    fn snapshot(&mut self) -> Result<Vec<Section>> {
        let owned_by = self.spec.exchanged_by().len();
        let mut sections = self.held.sections(&self.keys, owned_by);
        sections.push(self.pending.section(&self.spec.by, owned_by));
        sections.extend(self.groups.as_ref().and_then(Groups::section));
        Ok(sections)
    }

    fn restore(&mut self, sections: Vec<Restored>, _watermark: Watermark) -> Result<()> {
        for section in sections {
            match section.label.as_str() {
                SERIES if !self.restore_series(&section.rows)? => return Err(section.unknown()),
                SERIES => {}
                ROWS => self.restore_rows(&section.rows)?,
                GROUPS => match self.groups.as_mut().map(|groups| groups.restore(&section.rows)).transpose()? {
                    Some(true) => {}
                    _ => return Err(section.unknown()),
                },
                _ => return Err(section.unknown()),
            }
        }
        Ok(())
    }

    fn state(&self) -> StateSize {
        let groups = self.groups.as_ref().map_or(0, Groups::bytes);
        let bytes = self.held.bytes() + self.keys.size() + self.pending.bytes() + groups;
        StateSize { rows: (self.held.len() + self.pending.len()) as u64, bytes: bytes as u64 }
    }

    fn evicted(&self) -> u64 {
        self.evicted
    }
}
