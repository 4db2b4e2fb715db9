//! SQL's types as Arrow's: the one place that decides.
//!
//! Text is `Utf8`: decoders write it faster than views, and what is short (hosts, services) gains nothing from them.
//! Timestamps count nanoseconds whatever precision is asked for, so that event times compare without casts.

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType as Arrow, Field, Fields, TimeUnit};
use datafusion::sql::sqlparser::ast::{ArrayElemTypeDef, DataType as Sql, ExactNumberInfo, StructField, TimezoneInfo};
use std::sync::Arc;
use thalweg_schemas::error::{Error, Result};

/// The Arrow type of a declared column.
pub(crate) fn arrow_type(sql: &Sql) -> Result<Arrow> {
    Ok(match sql {
        Sql::Text | Sql::String(_) | Sql::Varchar(_) | Sql::Char(_) | Sql::Character(_) | Sql::CharacterVarying(_) => {
            Arrow::Utf8
        }
        Sql::CharVarying(_) | Sql::Nvarchar(_) | Sql::Uuid | Sql::JSON | Sql::JSONB => Arrow::Utf8,
        Sql::TinyInt(_) => Arrow::Int8,
        Sql::SmallInt(_) | Sql::Int2(_) | Sql::Int16 => Arrow::Int16,
        Sql::Int(_) | Sql::Integer(_) | Sql::Int4(_) | Sql::Int32 | Sql::MediumInt(_) => Arrow::Int32,
        Sql::BigInt(_) | Sql::Int8(_) | Sql::Int64 => Arrow::Int64,
        Sql::TinyIntUnsigned(_) | Sql::UInt8 | Sql::UTinyInt => Arrow::UInt8,
        Sql::SmallIntUnsigned(_) | Sql::Int2Unsigned(_) | Sql::UInt16 | Sql::USmallInt => Arrow::UInt16,
        Sql::IntUnsigned(_) | Sql::IntegerUnsigned(_) | Sql::Int4Unsigned(_) | Sql::UInt32 => Arrow::UInt32,
        Sql::BigIntUnsigned(_) | Sql::Int8Unsigned(_) | Sql::UInt64 | Sql::UBigInt => Arrow::UInt64,
        Sql::Float(_) | Sql::Real | Sql::Float4 | Sql::Float32 => Arrow::Float32,
        Sql::Double(_) | Sql::DoublePrecision | Sql::Float8 | Sql::Float64 => Arrow::Float64,
        Sql::Decimal(info) | Sql::Numeric(info) | Sql::Dec(info) => decimal(info)?,
        Sql::Bool | Sql::Boolean => Arrow::Boolean,
        Sql::Date | Sql::Date32 => Arrow::Date32,
        Sql::Time(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => Arrow::Time64(TimeUnit::Nanosecond),
        Sql::Timestamp(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone)
        | Sql::TimestampNtz(_)
        | Sql::Datetime(_) => Arrow::Timestamp(TimeUnit::Nanosecond, None),
        Sql::Timestamp(_, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone) => utc(),
        // Flink's name of it, which the parser does not know.
        Sql::Custom(name, _) if name.to_string().eq_ignore_ascii_case("timestamp_ltz") => utc(),
        Sql::Bytea | Sql::Binary(_) | Sql::Varbinary(_) | Sql::Blob(_) | Sql::Bytes(_) => Arrow::Binary,
        Sql::Array(
            ArrayElemTypeDef::AngleBracket(item)
            | ArrayElemTypeDef::SquareBracket(item, _)
            | ArrayElemTypeDef::Parenthesis(item),
        ) => Arrow::List(Arc::new(Field::new_list_field(arrow_type(item)?, true))),
        Sql::Struct(fields, _) => Arrow::Struct(struct_fields(fields)?),
        Sql::Map(key, value) => {
            let pair = vec![Field::new("key", arrow_type(key)?, false), Field::new("value", arrow_type(value)?, true)];
            Arrow::Map(Arc::new(Field::new("entries", Arrow::Struct(pair.into()), false)), false)
        }
        other => {
            return Err(Error::user(format!("type \"{other}\" is not supported for a column")).with_hint(
                "There are TEXT, BOOLEAN, TINYINT to BIGINT, REAL, DOUBLE, DECIMAL(p, s), DATE, TIME, TIMESTAMP, \
                 TIMESTAMPTZ, BYTEA, arrays (INT[]), STRUCT<a INT, b TEXT> and MAP<TEXT, INT>.",
            ));
        }
    })
}

/// Points in time, whatever zone they are written in.
fn utc() -> Arrow {
    Arrow::Timestamp(TimeUnit::Nanosecond, Some("+00:00".into()))
}

/// Arrow's names of types in a message as SQL's.
pub(crate) fn sql_names(message: &str) -> String {
    const NAMES: [(&str, &str); 15] = [
        ("Utf8View", "TEXT"),
        ("LargeUtf8", "TEXT"),
        ("Utf8", "TEXT"),
        ("UInt8", "TINYINT UNSIGNED"),
        ("UInt16", "SMALLINT UNSIGNED"),
        ("UInt32", "INT UNSIGNED"),
        ("UInt64", "BIGINT UNSIGNED"),
        ("Int8", "TINYINT"),
        ("Int16", "SMALLINT"),
        ("Int32", "INT"),
        ("Int64", "BIGINT"),
        ("Float32", "REAL"),
        ("Float64", "DOUBLE"),
        ("Timestamp(ns)", "TIMESTAMP"),
        ("Interval(MonthDayNano)", "INTERVAL"),
    ];
    NAMES.iter().fold(message.to_string(), |text, (arrow, sql)| text.replace(arrow, sql))
}

/// A type of Arrow as a column of that type is declared.
pub fn sql_type(data_type: &Arrow) -> String {
    match data_type {
        Arrow::Binary => "BYTEA".to_string(),
        Arrow::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        Arrow::Timestamp(_, zone) => if zone.is_some() { "TIMESTAMPTZ" } else { "TIMESTAMP" }.to_string(),
        Arrow::List(element) => format!("{}[]", sql_type(element.data_type())),
        Arrow::Struct(fields) => {
            let fields = fields.iter().map(|field| format!("{} {}", field.name(), sql_type(field.data_type())));
            format!("STRUCT<{}>", fields.collect::<Vec<_>>().join(", "))
        }
        Arrow::Map(entries, _) => match entries.data_type() {
            Arrow::Struct(pair) if pair.len() == 2 => {
                format!("MAP<{}, {}>", sql_type(pair[0].data_type()), sql_type(pair[1].data_type()))
            }
            other => sql_names(&other.to_string()),
        },
        other => sql_names(&other.to_string()),
    }
}

fn decimal(info: &ExactNumberInfo) -> Result<Arrow> {
    let (precision, scale) = match info {
        ExactNumberInfo::None => (u64::from(DECIMAL128_MAX_PRECISION), 10),
        ExactNumberInfo::Precision(precision) => (*precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (*precision, *scale),
    };
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(p @ 1..=DECIMAL128_MAX_PRECISION), Ok(s)) if s >= 0 && s.unsigned_abs() <= p => Ok(Arrow::Decimal128(p, s)),
        _ => Err(Error::user(format!("DECIMAL({precision}, {scale}) is out of range"))
            .with_hint("The precision is 1 to 38, the scale at most the precision.")),
    }
}

fn struct_fields(fields: &[StructField]) -> Result<Fields> {
    let field = |f: &StructField| {
        let name = f.field_name.as_ref().map(crate::parse::syntax::fold);
        let name = name.ok_or_else(|| Error::user("a field of a STRUCT has no name"))?;
        Ok(Field::new(name, arrow_type(&f.field_type)?, true))
    };
    fields.iter().map(field).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    #[test]
    fn one_type_has_the_names_of_several_dialects() {
        let arrow = |name: &str| {
            let mut parser = Parser::new(&PostgreSqlDialect {}).try_with_sql(name).unwrap();
            arrow_type(&parser.parse_data_type().unwrap())
        };
        for name in ["TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE", "timestamp_ltz", "TIMESTAMP_LTZ(3)"] {
            assert_eq!(arrow(name).unwrap(), utc(), "{name}");
        }
        assert!(arrow("INET").unwrap_err().message.contains("is not supported"));
    }
}
