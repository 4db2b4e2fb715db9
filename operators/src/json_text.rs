//! `json_text(json, name)`: a member of a JSON object as text, for columns that hold one, such as the labels of a series.

use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::datatypes::DataType;
use datafusion_common::Result;
use datafusion_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use std::sync::Arc;

/// The function, to be registered.
pub fn function() -> Arc<ScalarUDF> {
    let arguments = vec![DataType::Utf8, DataType::Utf8];
    Arc::new(create_udf("json_text", arguments, DataType::Utf8, Volatility::Immutable, Arc::new(over_columns)))
}

fn over_columns(arguments: &[ColumnarValue]) -> Result<ColumnarValue> {
    let arrays = ColumnarValue::values_to_arrays(arguments)?;
    let (json, names) = (arrays[0].as_string::<i32>(), arrays[1].as_string::<i32>());
    let value = |(json, name): (Option<&str>, Option<&str>)| member(json?, name?);
    let texts: ArrayRef = Arc::new(json.iter().zip(names.iter()).map(value).collect::<StringArray>());
    Ok(ColumnarValue::Array(texts))
}

/// A text as it is, anything else as JSON writes it; `None` where there is no such member, it is null, or `json` is no object.
fn member(json: &str, name: &str) -> Option<String> {
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(json).ok()?.remove(name)? {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::member;

    #[test]
    fn members_are_texts() {
        let object = r#"{"job":"a\"b","n":1.5,"none":null,"list":[1,"x"]}"#;
        let of = |name| member(object, name);
        assert_eq!([of("job"), of("n"), of("list")].map(Option::unwrap), ["a\"b", "1.5", "[1,\"x\"]"]);
        assert_eq!([of("none"), of("other"), member("[1]", "job"), member("", "job")], [const { None }; 4]);
    }
}
