//! DataFusion's functions and ours, set up once: the same for views and for ad-hoc queries.

use crate::to_char;
use datafusion::config::ConfigOptions;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::prelude::SessionConfig;
use std::sync::{Arc, OnceLock};
use thalweg_operators::{aggregate, carbon, json_text};

/// The state that every session is a cheap copy of.
pub(crate) fn base() -> &'static SessionState {
    static BASE: OnceLock<SessionState> = OnceLock::new();
    BASE.get_or_init(|| {
        let mut state = SessionStateBuilder::new()
            .with_config(config())
            .with_runtime_env(runtime())
            .with_default_features()
            .build();
        let (scalars, aggregates) = carbon::functions();
        // Registering over a function of the same name takes its place; that never fails.
        for function in aggregate::functions().into_iter().chain(aggregates) {
            let _ = state.register_udaf(function);
        }
        for function in scalars.into_iter().chain([json_text::function(), to_char::function()]) {
            let _ = state.register_udf(function);
        }
        state
    })
}

/// The settings of all planning.
pub(crate) fn options() -> &'static ConfigOptions {
    base().config_options()
}

/// Shared by all sessions. Listings of folders are not kept: history grows while it is read.
fn runtime() -> Arc<RuntimeEnv> {
    let built = RuntimeEnvBuilder::new().with_object_list_cache_limit(0).build_arc();
    built.unwrap_or_else(|_| Arc::new(RuntimeEnv::default()))
}

fn config() -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema(crate::query::CATALOG, crate::query::PUBLIC)
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(true);
    let options = config.options_mut();
    options.sql_parser.collect_spans = true;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.execution.parquet.schema_force_view_types = false;
    config
}
