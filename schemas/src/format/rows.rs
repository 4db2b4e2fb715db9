//! Rows under construction: the columns a decoder was asked for, filled one record at a time.
//!
//! A record is pushed field by field and then either [ended](Rows::end_row) or [taken back](Rows::take_back) whole.

use super::column::{Column, Object, with_json};
use super::value::{Fault, Value};
use super::{BadRecord, DecodeRequest, Decoded, RAW_BYTES_MAX};
use crate::error::Result;
use crate::wanted::Wanted;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use sonic_rs::LazyValue;
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Rows {
    schema: SchemaRef,
    slots: Vec<Slot>,
    with_offsets: bool,
    rows: usize,
    /// Which record is under construction; never the same twice, so a slot knows whether it has a value already.
    record: u64,
    /// How many slots have one.
    filled: usize,
    offsets: Vec<u64>,
    bad: Vec<BadRecord>,
    /// Whether a row lacks what may not be NULL.
    partial: bool,
}

#[derive(Debug)]
struct Slot {
    column: Column,
    filled_by: u64,
}

impl Rows {
    pub(crate) fn new(request: &DecodeRequest) -> Result<Rows> {
        let mut slots = Vec::new();
        for (index, field) in request.fields.fields().iter().enumerate() {
            let wanted = request.wanted.get(index).unwrap_or(&Wanted::Whole);
            slots.push(Slot { column: Column::new(field, wanted)?, filled_by: 0 });
        }
        Ok(Rows {
            schema: request.fields.clone(),
            slots,
            with_offsets: request.offsets,
            rows: 0,
            record: 1,
            filled: 0,
            offsets: Vec::new(),
            bad: Vec::new(),
            partial: false,
        })
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Makes room for as many rows as came last time.
    pub(crate) fn reserve(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.column.reserve());
    }

    /// Gives field `index` of the record its value; a second one replaces the first.
    #[inline(always)]
    pub(crate) fn put(&mut self, index: usize, value: Value) -> Result<(), Box<Fault>> {
        let pushed = self.begin(index).column.push(value);
        self.end(index, pushed)
    }

    /// The object in field `index` of the record, to be filled and [ended](Self::end), if that is what the column holds.
    #[inline]
    pub(crate) fn object(&mut self, index: usize) -> Option<Object<'_>> {
        self.slots[index].column.object()?;
        self.begin(index).column.object()
    }

    /// The slot of field `index`, ready to get its value.
    #[inline]
    fn begin(&mut self, index: usize) -> &mut Slot {
        let slot = &mut self.slots[index];
        if slot.filled_by == self.record {
            slot.column.truncate(self.rows);
        } else {
            slot.filled_by = self.record;
            self.filled += 1;
        }
        slot
    }

    /// Takes note of what came of giving field `index` its value.
    #[inline]
    pub(crate) fn end(&mut self, index: usize, pushed: Result<(), Box<Fault>>) -> Result<(), Box<Fault>> {
        pushed.map_err(|fault| fault.within(self.schema.field(index).name()))
    }

    /// Gives field `index` of the record a JSON value.
    pub(crate) fn put_json(&mut self, index: usize, value: &LazyValue) -> Result<(), Box<Fault>> {
        with_json(value, |value| self.put(index, value))
    }

    /// Makes the record a row of which only the fields `key` are known, the others being NULL though they may not be.
    pub(crate) fn end_key(&mut self, offset: u64, key: &[usize]) -> Result<(), Box<Fault>> {
        for index in 0..self.slots.len() {
            if key.contains(&index) {
                if self.slots[index].filled_by != self.record {
                    self.put(index, Value::Null)?;
                }
                continue;
            }
            let slot = &mut self.slots[index];
            slot.column.truncate(self.rows);
            slot.column.push_blank();
            self.partial |= !self.schema.field(index).is_nullable();
            slot.filled_by = self.record;
        }
        self.filled = self.slots.len();
        self.end_row(offset)
    }

    /// Makes the record a row; fields without a value are NULL.
    #[inline]
    pub(crate) fn end_row(&mut self, offset: u64) -> Result<(), Box<Fault>> {
        if self.filled < self.slots.len() {
            for index in 0..self.slots.len() {
                if self.slots[index].filled_by != self.record {
                    self.put(index, Value::Null)?;
                }
            }
        }
        self.rows += 1;
        self.record += 1;
        self.filled = 0;
        if self.with_offsets {
            self.offsets.push(offset);
        }
        Ok(())
    }

    /// Forgets the record's values and keeps it as a bad one.
    #[cold]
    pub(crate) fn take_back(&mut self, offset: u64, raw: &[u8], reason: String) {
        for slot in &mut self.slots {
            slot.column.truncate(self.rows);
        }
        self.record += 1;
        self.filled = 0;
        self.bad.push(BadRecord { offset, raw: raw[..raw.len().min(RAW_BYTES_MAX)].to_vec(), reason });
    }

    /// Whether field `index` of the record has its value.
    pub(crate) fn has(&self, index: usize) -> bool {
        self.slots[index].filled_by == self.record
    }

    /// How many rows and bad records there are since the last [`finish`](Rows::finish).
    pub(crate) fn seen(&self) -> usize {
        self.rows + self.bad.len()
    }

    /// All rows and bad records since the last call.
    pub(crate) fn finish(&mut self) -> Result<Decoded> {
        let rows = std::mem::take(&mut self.rows);
        let arrays = self.slots.iter_mut().map(|slot| slot.column.finish()).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let schema = match std::mem::take(&mut self.partial) {
            false => self.schema.clone(),
            true => {
                let fields = self.schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true));
                Arc::new(Schema::new(fields.collect::<Vec<_>>()))
            }
        };
        Ok(Decoded {
            rows: RecordBatch::try_new_with_options(schema, arrays, &options)?,
            diffs: None,
            offsets: std::mem::take(&mut self.offsets),
            bad: std::mem::take(&mut self.bad),
        })
    }
}
