//! Parquet, Arrow and Avro files: the wanted columns of every row group and batch, once, and faults for what is broken.

use super::bounded::{Read, read, request};
use crate::file::open;
use arrow::array::{Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::ipc::writer::{FileWriter, StreamWriter};
use arrow::record_batch::RecordBatch;
use arrow_avro::compression::CompressionCodec;
use arrow_avro::writer::WriterBuilder;
use arrow_avro::writer::format::AvroOcfFormat;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true), Field::new("text", DataType::Utf8, true)]))
}

fn batch(from: i64, to: i64) -> RecordBatch {
    let text = StringArray::from_iter_values((from..to).map(|n| format!("t{n}")));
    RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from_iter_values(from..to)), Arc::new(text)]).unwrap()
}

/// A Parquet file with row groups of 1,000 rows.
fn write_parquet(path: &Path, from: i64, to: i64) {
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(1_000)).build();
    let mut writer = ArrowWriter::try_new(std::fs::File::create(path).unwrap(), schema(), Some(properties)).unwrap();
    writer.write(&batch(from, to)).unwrap();
    writer.close().unwrap();
}

fn arrow_stream(batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &schema()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.into_inner().unwrap()
}

fn read_columns(path: &Path, format: &str, columns: &[&str], peers: usize) -> Read {
    let source = open(request(path.to_str().unwrap(), format, &[], columns)).unwrap();
    read(source.as_ref(), peers, 1 << 20)
}

fn expected(file: u32, rows: std::ops::Range<u64>) -> Vec<(u32, u64, String)> {
    rows.clone().map(|n| (file, n - rows.start, format!("{{\"n\":{n}}}"))).collect()
}

#[test]
fn row_groups_are_dealt_out_and_only_wanted_columns_come() {
    let folder = tempfile::tempdir().unwrap();
    write_parquet(&folder.path().join("a.parquet"), 0, 3_500);
    write_parquet(&folder.path().join("b.parquet"), 3_500, 3_600);
    for peers in [1, 3] {
        let read = read_columns(folder.path(), "parquet", &["n", "not_in_the_file"], peers);
        assert_eq!(read.rows, [expected(0, 0..3_500), expected(1, 3_500..3_600)].concat());
        assert!(read.faults.is_empty());
    }
}

#[test]
fn rows_are_counted_even_if_no_column_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    write_parquet(&folder.path().join("a.parquet"), 0, 2_500);
    let source = open(request(folder.path().to_str().unwrap(), "parquet", &[], &["other"])).unwrap();
    let mut reader = source.reader(thalweg_schemas::epoch::WorkerId { index: 0, peers: 1 }).unwrap();
    let mut rows = 0;
    while let thalweg_schemas::source::Polled::Ready(chunk) = reader.poll(1).unwrap() {
        let thalweg_schemas::source::Payload::Rows(batch) = chunk.payload else { panic!() };
        assert_eq!(batch.num_columns(), 0);
        rows += batch.num_rows();
    }
    assert_eq!(rows, 2_500);
}

#[test]
fn damaged_parquet_files_are_faults_and_the_others_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let good = folder.path().join("d.parquet");
    write_parquet(&good, 0, 2_000);
    let bytes = std::fs::read(&good).unwrap();
    std::fs::write(folder.path().join("a.parquet"), "not parquet at all").unwrap();
    std::fs::write(folder.path().join("b.parquet"), &bytes[..bytes.len() / 2]).unwrap();
    let mut holed = bytes.clone();
    holed[4..400].fill(0xff);
    std::fs::write(folder.path().join("c.parquet"), &holed).unwrap();
    let read = read_columns(folder.path(), "parquet", &["n"], 2);
    let faults: Vec<_> = read.faults.iter().map(|f| f.reason.split(": ").next().unwrap()).collect();
    assert_eq!(
        faults,
        [
            "this is not a Parquet file that can be read",
            "this is not a Parquet file that can be read",
            "row group 0 cannot be read from here on"
        ]
    );
    let whole: Vec<_> = read.rows.iter().filter(|(file, ..)| *file == 3).cloned().collect();
    assert_eq!(whole, expected(3, 0..2_000));
    assert_eq!(
        read.rows.iter().filter(|(file, ..)| *file == 2).count(),
        1_000,
        "the other row group of the damaged file"
    );
}

#[test]
fn arrow_files_and_streams_are_read_compressed_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let batches = [batch(0, 700), batch(700, 1_000)];
    let mut writer = FileWriter::try_new(Vec::new(), &schema()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    let stream = arrow_stream(&batches);
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&stream).unwrap();
    std::fs::write(folder.path().join("a.arrow"), writer.into_inner().unwrap()).unwrap();
    std::fs::write(folder.path().join("b.arrows"), &stream).unwrap();
    std::fs::write(folder.path().join("c.arrows.gz"), gz.finish().unwrap()).unwrap();
    std::fs::write(folder.path().join("d.arrow"), "not arrow at all").unwrap();
    std::fs::write(folder.path().join("e.arrows"), &stream[..stream.len() / 2]).unwrap();
    for peers in [1, 2] {
        let read = read_columns(folder.path(), "arrow", &["n"], peers);
        assert_eq!(read.rows, (0..3).flat_map(|file| expected(file, 0..1_000)).collect::<Vec<_>>());
        assert_eq!(read.faults.len(), 2, "{:?}", read.faults);
        assert!(read.faults[0].reason.starts_with("this is not an Arrow file that can be read: "), "{:?}", read.faults);
    }
}

/// An Avro file with a block for each batch.
fn avro(batches: &[RecordBatch], codec: Option<CompressionCodec>) -> Vec<u8> {
    let builder = WriterBuilder::new(schema().as_ref().clone()).with_compression(codec);
    let mut writer = builder.build::<_, AvroOcfFormat>(Vec::new()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap();
    writer.into_inner()
}

#[test]
fn avro_files_are_read_whatever_their_codec() {
    let folder = tempfile::tempdir().unwrap();
    let batches = [batch(0, 10_000), batch(10_000, 10_001), batch(0, 0), batch(10_001, 12_000)];
    let codecs =
        [None, Some(CompressionCodec::Deflate), Some(CompressionCodec::Snappy), Some(CompressionCodec::ZStandard)];
    for (number, codec) in codecs.into_iter().enumerate() {
        std::fs::write(folder.path().join(format!("{number}.avro")), avro(&batches, codec)).unwrap();
    }
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&avro(&batches, None)).unwrap();
    std::fs::write(folder.path().join("4.avro.gz"), gz.finish().unwrap()).unwrap();
    for peers in [1, 3] {
        let read = read_columns(folder.path(), "avro", &["n", "not_in_the_file"], peers);
        assert_eq!(read.rows, (0..5).flat_map(|file| expected(file, 0..12_000)).collect::<Vec<_>>());
        assert_eq!(read.faults, []);
    }
}

#[test]
fn a_damaged_block_of_an_avro_file_costs_its_own_records_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let whole = avro(&[batch(0, 10), batch(10, 20), batch(20, 30)], None);
    let at = whole.windows(4).position(|bytes| bytes == b"\x06t11").unwrap();
    let mut holed = whole.clone();
    // A text that is longer than its block.
    holed[at..at + 2].fill(0xff);
    std::fs::write(folder.path().join("a.avro"), "not avro at all").unwrap();
    std::fs::write(folder.path().join("b.avro"), &holed).unwrap();
    std::fs::write(folder.path().join("c.avro"), &whole[..whole.len() - 3]).unwrap();
    let read = read_columns(folder.path(), "avro", &["n"], 2);
    let faults: Vec<_> =
        read.faults.iter().map(|f| f.reason.split(": ").take(2).collect::<Vec<_>>().join(": ")).collect();
    assert_eq!(faults[0], "this is not an Avro file that can be read: it does not begin as one");
    assert!(faults[1].starts_with("10 records of block 2 cannot be read: "), "{faults:?}");
    assert_eq!(faults[2], "the file cannot be read from block 3 on: the file ends within it");
    let numbers = |file: u32| -> Vec<u64> { read.rows.iter().filter(|row| row.0 == file).map(|row| row.1).collect() };
    assert_eq!(numbers(1), (0..10).chain(20..30).collect::<Vec<_>>());
    assert_eq!(numbers(2), (0..20).collect::<Vec<_>>());
}

#[test]
fn arrow_rows_are_counted_even_if_no_column_is_wanted_and_files_may_be_empty_of_rows() {
    let folder = tempfile::tempdir().unwrap();
    for (name, batches) in [("a.arrow", vec![batch(0, 10)]), ("b.arrow", vec![])] {
        let mut writer =
            FileWriter::try_new(std::fs::File::create(folder.path().join(name)).unwrap(), &schema()).unwrap();
        batches.iter().for_each(|batch| writer.write(batch).unwrap());
        writer.finish().unwrap();
    }
    std::fs::write(folder.path().join("c.arrows"), arrow_stream(&[batch(10, 15)])).unwrap();
    std::fs::write(folder.path().join("d.arrows"), arrow_stream(&[])).unwrap();
    let source = open(request(folder.path().to_str().unwrap(), "arrow", &[], &["other"])).unwrap();
    let mut reader = source.reader(thalweg_schemas::epoch::WorkerId { index: 0, peers: 1 }).unwrap();
    let mut rows = Vec::new();
    while let thalweg_schemas::source::Polled::Ready(chunk) = reader.poll(1).unwrap() {
        let thalweg_schemas::source::Payload::Rows(batch) = chunk.payload else { panic!() };
        rows.push((batch.num_rows(), batch.num_columns()));
    }
    assert_eq!(rows, [(10, 0), (5, 0)]);
}

proptest! {
    /// Whatever is in a file, reading it ends, without a panic; what could be read was read from where it says.
    #[test]
    fn no_damage_makes_reading_panic(
        format in 0usize..5,
        holes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let (name, kind) = [
            ("a.parquet", "parquet"), ("a.arrow", "arrow"), ("a.arrows", "arrow"), ("a.arrows.gz", "arrow"), ("a.zst", "json"),
        ][format];
        let path = folder.path().join(name);
        let stream = arrow_stream(&[batch(0, 30), batch(30, 50)]);
        match name {
            "a.parquet" => write_parquet(&path, 0, 50),
            "a.arrow" => {
                let mut writer = FileWriter::try_new(std::fs::File::create(&path).unwrap(), &schema()).unwrap();
                writer.write(&batch(0, 30)).unwrap();
                writer.write(&batch(30, 50)).unwrap();
                writer.finish().unwrap();
            }
            "a.arrows" => std::fs::write(&path, &stream).unwrap(),
            "a.arrows.gz" => {
                let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                gz.write_all(&stream).unwrap();
                std::fs::write(&path, gz.finish().unwrap()).unwrap();
            }
            _ => std::fs::write(&path, zstd::encode_all(&b"{}\n".repeat(50)[..], 1).unwrap()).unwrap(),
        }
        let mut bytes = std::fs::read(&path).unwrap();
        for (at, value) in holes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        std::fs::write(&path, &bytes).unwrap();
        let source = open(request(path.to_str().unwrap(), kind, &[], &["n", "text"])).unwrap();
        for index in 0..2 {
            let mut reader = source.reader(thalweg_schemas::epoch::WorkerId { index, peers: 2 }).unwrap();
            let mut polls = 0;
            while !matches!(reader.poll(1).unwrap(), thalweg_schemas::source::Polled::Ended) {
                polls += 1;
                prop_assert!(polls < 1_000);
            }
        }
    }
}
