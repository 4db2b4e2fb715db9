//! An engine inside the test: a pipeline compiled and run to its end, then asked.

use arrow::array::RecordBatch;
use futures::TryStreamExt;
use std::path::Path;
use std::sync::Arc;
use thalweg_engine::clock::SystemClock;
use thalweg_engine::engine::Engine;
use thalweg_engine::settings::Settings;
use thalweg_pipelines::{Environment, SqlText};
use thalweg_server::relations::Relations;
use thalweg_server::session::{Request, Session, Sessions};
use thalweg_server::sql_error::{SqlError, SqlResult};

/// A run that has ended, and a session over what it left.
pub struct Ended {
    runtime: tokio::runtime::Runtime,
    session: Session,
}

/// Runs `pipeline` with `${DATA}` standing for `data`.
pub fn run(pipeline: &str, data: &Path, workers: usize) -> Ended {
    let text = SqlText { file: "pipeline.sql".into(), text: pipeline.into() };
    let folder = data.display().to_string();
    let variables = |name: &str| (name == "DATA").then(|| folder.clone());
    let environment = Environment { connectors: thalweg_connectors::ALL, variables: &variables };
    let texts = [text];
    let program = thalweg_pipelines::compile(&texts, &environment)
        .unwrap_or_else(|errors| panic!("{}", thalweg_pipelines::render_errors(&errors, &texts)));
    let settings = Settings { workers, ..Settings::default() };
    let engine =
        Engine::start(program.dataflow.clone(), thalweg_connectors::ALL, SystemClock::start(), settings).unwrap();
    engine.wait().unwrap();
    let relations = Relations { engine: Arc::new(engine), program: Arc::new(program), pipeline: "pipeline.sql".into() };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let session = Sessions::new(Arc::new(relations)).open().unwrap();
    Ended { runtime, session }
}

impl Ended {
    /// The rows of a query.
    pub fn ask(&self, text: &str) -> SqlResult<Vec<RecordBatch>> {
        self.runtime.block_on(async {
            let Request::Query(prepared) = self.session.request(text).await? else {
                return Err(SqlError::user("0A000", "not a query"));
            };
            let answer = self.session.execute(&prepared, vec![]).await?;
            answer.rows.try_collect().await.map_err(|error| self.session.explain(&error, text))
        })
    }
}
