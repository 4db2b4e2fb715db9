//! `pg_sleep(seconds)`, as PostgreSQL has it: what people try cancelling and `statement_timeout` with.
//!
//! Nothing of a view can wait: the function is known to queries of sessions only.

use async_trait::async_trait;
use datafusion::arrow::array::{AsArray, StringArray};
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use std::sync::Arc;
use std::time::Duration;

/// Takes seconds (`DOUBLE`); gives an empty text when they have passed, for each row after the other. NULL waits for nothing.
pub fn function() -> Arc<ScalarUDF> {
    let signature = Signature::exact(vec![DataType::Float64], Volatility::Volatile);
    Arc::new(AsyncScalarUDF::new(Arc::new(PgSleep { signature })).into_scalar_udf())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct PgSleep {
    signature: Signature,
}

impl ScalarUDFImpl for PgSleep {
    fn name(&self) -> &str {
        "pg_sleep"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, _arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Err(DataFusionError::Internal("pg_sleep is only called where it can be awaited".into()))
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for PgSleep {
    async fn invoke_async_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let seconds = arguments.args[0].to_array(arguments.number_rows)?;
        let mut slept = Vec::with_capacity(seconds.len());
        for seconds in seconds.as_primitive::<Float64Type>() {
            if let Some(seconds) = seconds {
                // Less than nothing is no wait, and what no clock can say is for ever, as in PostgreSQL.
                let time = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX);
                tokio::time::sleep(time).await;
            }
            slept.push(seconds.map(|_| ""));
        }
        Ok(ColumnarValue::Array(Arc::new(StringArray::from(slept))))
    }
}
