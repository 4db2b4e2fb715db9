//! The decoders of one worker's share of a source: that of its format, and those of formats that a sender may choose.

use arrow::datatypes::Schema;
use std::collections::BTreeMap;
use std::sync::Arc;
use thalweg_operators::plan::SourcePlan;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::format::{DecodeRequest, Decoder, by_name};
use thalweg_schemas::source::Source;
use thalweg_schemas::table::{Metadata, Origin, schema_of};

pub(crate) struct Decoders {
    source: String,
    request: DecodeRequest,
    own: Option<Box<dyn Decoder>>,
    /// Reads rows that were decoded before.
    rows: Option<Box<dyn Decoder>>,
    others: BTreeMap<&'static str, Box<dyn Decoder>>,
}

impl Decoders {
    pub fn new(plan: &SourcePlan, source: &dyn Source) -> Result<Decoders> {
        let fields = plan.columns.iter().zip(&plan.wanted).filter(|(column, _)| column.origin == Origin::Field);
        let (columns, wanted): (Vec<_>, Vec<_>) =
            fields.map(|(column, wanted)| (column.clone(), wanted.clone())).unzip();
        let names_offset =
            |origin: &Origin| matches!(origin, Origin::Metadata(Metadata::Offset | Metadata::Key | Metadata::Headers));
        let of_fields = (0..plan.columns.len()).filter(|at| plan.columns[*at].origin == Origin::Field);
        let positions: Vec<usize> = of_fields.collect();
        let request = DecodeRequest {
            wanted,
            key: plan.key.iter().filter_map(|at| positions.iter().position(|field| field == at)).collect(),
            // By its offset a row finds its message; dead letters of generated columns name the record's offset too.
            offsets: !plan.generated.is_empty() || plan.columns.iter().any(|c| names_offset(&c.origin)),
            options: plan.format_options.clone(),
            registry: source.schema_registry(),
            ..DecodeRequest::new(schema_of(&columns))
        };
        let make = plan.format.as_deref().and_then(by_name).and_then(|format| format.decoder);
        let own = make.map(|make| make(request.clone())).transpose()?;
        Ok(Decoders { source: plan.name.clone(), request, own, rows: None, others: BTreeMap::new() })
    }

    /// The decoder of the source's format.
    pub fn own(&mut self) -> Result<&mut dyn Decoder> {
        match &mut self.own {
            Some(decoder) => Ok(decoder.as_mut()),
            None => Err(Error::bug(format!("source \"{}\" hands over bytes but has no format", self.source))),
        }
    }

    /// The decoder of rows that were written as JSON objects. What nobody wants was not kept, and may be missing.
    pub fn rows(&mut self) -> Result<&mut dyn Decoder> {
        if self.rows.is_none() {
            let fields = self.request.fields.fields().iter().zip(&self.request.wanted);
            let fields = fields
                .map(|(field, wanted)| field.as_ref().clone().with_nullable(field.is_nullable() || !wanted.any()));
            let fields = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
            let make = by_name("json").and_then(|format| format.decoder);
            let make = make.ok_or_else(|| Error::bug("format 'json' has no decoder"))?;
            let request = DecodeRequest { fields, options: Default::default(), ..self.request.clone() };
            self.rows = Some(make(request)?);
        }
        match &mut self.rows {
            Some(decoder) => Ok(decoder.as_mut()),
            None => Err(Error::bug("a decoder was lost")),
        }
    }

    /// The decoder of `format`, whatever the source's is; its options are the defaults.
    pub fn of(&mut self, format: &str) -> Result<&mut dyn Decoder> {
        let known = by_name(format).ok_or_else(|| Error::bug(format!("there is no format '{format}'")))?;
        if !self.others.contains_key(format) {
            let make = known.decoder;
            let make = make.ok_or_else(|| Error::bug(format!("format '{format}' has no decoder")))?;
            self.others
                .insert(known.name, make(DecodeRequest { options: Default::default(), ..self.request.clone() })?);
        }
        match self.others.get_mut(format) {
            Some(decoder) => Ok(decoder.as_mut()),
            None => Err(Error::bug("a decoder was lost")),
        }
    }
}
