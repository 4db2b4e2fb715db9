//! A session of a reader: plans statements, keeps the plans, and runs each over views pinned as of one epoch.

use crate::client_queries;
use crate::live::Live;
use crate::notifications;
use crate::pg_catalog::PgCatalog;
use crate::point_query::PointQuery;
use crate::prepared::{
    Answer, Prepared, Work, Write, parameters_of, refuse_other_than_queries, refuse_writing, views_of,
};
use crate::relations::{Relations, SessionRelations};
use crate::shown::listing;
use crate::sql_error::{self, NO_TABLE, NOT_SUPPORTED, SqlError, SqlResult};
use datafusion::common::ParamValues;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use datafusion::physical_plan::memory::MemoryStream;
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use datafusion::sql::parser::Statement as SqlStatement;
use datafusion_pg_catalog::sql::PostgresCompatibilityParser;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use thalweg_notify::machine::acknowledgement::Acknowledgement;
use thalweg_pipelines::query::{PUBLIC, SYSTEM, plan, plan_statement, session, split_as_of, with_all_time};
use thalweg_pipelines::{Acknowledge, Change, DeclarationKind, Statement, Subscribe, parse_statement};
use thalweg_schemas::epoch::Epoch;
use thalweg_schemas::error::Error;
use tokio::sync::RwLock;

/// How many plans a session keeps; when there are more, it begins anew.
const PLANS_MAX: usize = 256;

/// What all sessions share for as long as what runs does not change.
pub struct Sessions {
    relations: Arc<Relations>,
    /// What is served, where that may change.
    live: Weak<Live>,
    /// Counts the changes.
    generation: u64,
    pg_catalog: OnceLock<Result<PgCatalog, String>>,
    compatibility: OnceLock<PostgresCompatibilityParser>,
    idle: Mutex<Vec<Session>>,
    /// Held by statements that write rows of tables: together by those that only add, alone by those that read first.
    writing: RwLock<()>,
}

/// How many idle sessions are kept for HTTP, whose requests have none of their own.
const IDLE_MAX: usize = 16;

impl Sessions {
    /// Sessions over `relations`.
    pub fn new(relations: Arc<Relations>) -> Arc<Sessions> {
        Sessions::of_live(relations, Weak::new(), 0)
    }

    /// Sessions over `relations`, which `live` serves.
    pub fn of_live(relations: Arc<Relations>, live: Weak<Live>, generation: u64) -> Arc<Sessions> {
        Arc::new(Sessions {
            relations,
            live,
            generation,
            pg_catalog: OnceLock::new(),
            compatibility: OnceLock::new(),
            idle: Mutex::default(),
            writing: RwLock::default(),
        })
    }

    /// The sessions after these, over `relations`.
    pub fn followed_by(&self, relations: Arc<Relations>) -> Arc<Sessions> {
        Sessions::of_live(relations, self.live.clone(), self.generation + 1)
    }

    /// What is served, where that may change.
    pub fn live(&self) -> Option<Arc<Live>> {
        self.live.upgrade()
    }

    /// What can be read.
    pub fn relations(&self) -> &Arc<Relations> {
        &self.relations
    }

    /// Makes what all sessions share; the first to need it does so, and waits for it.
    pub fn warm_up(&self) -> &Result<PgCatalog, String> {
        self.pg_catalog.get_or_init(|| PgCatalog::new(self.relations.clone()).map_err(|error| error.to_string()))
    }

    /// A new session.
    pub fn open(self: &Arc<Sessions>) -> SqlResult<Session> {
        let catalog = match self.warm_up() {
            Ok(catalog) => catalog,
            Err(error) => return Err(Error::bug(error.clone()).into()),
        };
        let relations = Arc::new(SessionRelations::new(self.relations.clone()));
        let context = session(relations.clone());
        catalog.add_to(&context);
        {
            let state = context.state_ref();
            let mut state = state.write();
            let options = state.config_mut().options_mut();
            options.catalog.information_schema = false;
            options.sql_parser.collect_spans = true;
            // Readers share the machine with the engine: one query takes one core at most.
            options.execution.target_partitions = 1;
        }
        Ok(Session { sessions: self.clone(), relations, context, plans: Mutex::default(), named: Mutex::default() })
    }

    /// A session that somebody has used before, or a new one.
    pub fn borrow(self: &Arc<Sessions>) -> SqlResult<Session> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(|| self.open(), Ok)
    }

    /// Takes a borrowed session back.
    pub fn give_back(&self, session: Session) {
        session.relations.unpin();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(session);
        }
    }

    /// The names to suggest when one is not there.
    fn names(&self) -> Vec<String> {
        let system = self.relations.names(SYSTEM).into_iter().map(|name| format!("{SYSTEM}.{name}"));
        self.relations.names(PUBLIC).into_iter().chain(system).collect()
    }
}

/// One reader's session. Statements run one after the other.
pub struct Session {
    sessions: Arc<Sessions>,
    relations: Arc<SessionRelations>,
    pub(crate) context: SessionContext,
    plans: Mutex<BTreeMap<String, Arc<Prepared>>>,
    /// What was prepared under a name.
    named: Mutex<BTreeMap<String, Arc<Prepared>>>,
}

/// What a reader asked for.
pub enum Request {
    /// Rows.
    Query(Arc<Prepared>),
    /// Changes.
    Subscribe(Subscribe),
    /// A change of what runs.
    Change(Change),
}

impl Session {
    /// Reads one statement: a query, or one of the statements about views that come down to one, or a subscription.
    pub async fn request(&self, text: &str) -> SqlResult<Request> {
        match parse_statement(text)? {
            Statement::Query(_) => Ok(Request::Query(self.prepare(text).await?)),
            Statement::Subscribe(subscribe) => Ok(Request::Subscribe(subscribe)),
            Statement::Change(change) => Ok(Request::Change(change)),
            Statement::Show(shown) => Ok(Request::Query(self.prepare(listing(shown)).await?)),
            Statement::ShowCreate { kind, name } => Ok(Request::Query(self.show_create(kind, &name)?)),
            Statement::ExplainView { view, analyze } => Ok(Request::Query(self.explain_view(&view, analyze)?)),
            Statement::ExplainCreate { name, text } => Ok(Request::Query(self.explain_created(name, text).await?)),
            Statement::Insert(insert) => Ok(Request::Query(self.prepare_insert(text, insert).await?)),
            Statement::Rewrite(rewrite) => Ok(Request::Query(self.prepare_rewrite(text, rewrite).await?)),
            Statement::Replay(replay) => Ok(Request::Query(self.prepare_replay(text, replay).await?)),
            Statement::Describe(schema, name) => {
                Ok(Request::Query(self.describe(schema.as_deref().unwrap_or(PUBLIC), &name)?))
            }
            Statement::CreateSilence(name, given) => {
                Ok(Request::Query(notifications::prepare(text, notifications::Change::CreateSilence(name, given))))
            }
            Statement::DropSilence(name) => {
                Ok(Request::Query(notifications::prepare(text, notifications::Change::DropSilence(name))))
            }
            Statement::Acknowledge(Acknowledge { incident, author, comment }) => {
                let acknowledgement = Acknowledgement { incident_id: incident, author, comment };
                Ok(Request::Query(notifications::prepare(text, notifications::Change::Acknowledge(acknowledgement))))
            }
        }
    }

    /// What statements that write rows of tables hold.
    pub(crate) fn writing(&self) -> &RwLock<()> {
        &self.sessions.writing
    }

    /// What was prepared under `name`.
    pub fn named(&self, name: &str) -> Option<Arc<Prepared>> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Keeps a query under a name that is not in use.
    pub fn keep_named(&self, name: &str, prepared: Arc<Prepared>) -> SqlResult<()> {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if named.contains_key(name) {
            let error = SqlError::user("42P05", format!("prepared statement \"{name}\" exists already"));
            return Err(error.with_hint("DEALLOCATE it first, or take another name."));
        }
        named.insert(name.to_string(), prepared);
        Ok(())
    }

    /// Forgets what was prepared under `name`, or all of it.
    pub fn forget_named(&self, name: Option<&str>) {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        named.retain(|known, _| name.is_some_and(|name| known != name));
    }

    /// The session that takes its place, if what runs has changed; what was prepared by name stays known there.
    pub fn successor(&self) -> SqlResult<Option<Session>> {
        let Some(current) = self.sessions.live().map(|live| live.sessions()) else { return Ok(None) };
        if Arc::ptr_eq(&current, &self.sessions) {
            return Ok(None);
        }
        let session = current.open()?;
        let named = self.named.lock().unwrap_or_else(PoisonError::into_inner).clone();
        *session.named.lock().unwrap_or_else(PoisonError::into_inner) = named;
        Ok(Some(session))
    }

    /// What it belongs to.
    pub fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    /// What DataFusion needs to plan.
    pub fn state(&self) -> SessionState {
        self.context.state()
    }

    /// The names to suggest when one is not there.
    pub fn names(&self) -> Vec<String> {
        self.sessions.names()
    }

    /// What can be read.
    pub fn relations(&self) -> &Arc<Relations> {
        &self.sessions.relations
    }

    /// Plans a query, or finds the plan made before.
    pub async fn prepare(&self, text: &str) -> SqlResult<Arc<Prepared>> {
        if let Some(prepared) = self.plans.lock().unwrap_or_else(PoisonError::into_inner).get(text) {
            return Ok(prepared.clone());
        }
        refuse_writing(text)?;
        let prepared = Arc::new(match (split_as_of(text), self.point_query(text)) {
            ((query, Some(epoch)), _) => self.prepare_as_of(query, Epoch(epoch)).await?,
            (_, Some(prepared)) => prepared,
            _ => self.prepare_plan(text).await?,
        });
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if plans.len() >= PLANS_MAX {
            plans.clear();
        }
        plans.insert(text.to_string(), prepared.clone());
        Ok(prepared)
    }

    fn point_query(&self, text: &str) -> Option<Prepared> {
        let relations = self.relations();
        let columns = |view: &str| relations.schema_of(PUBLIC, view).filter(|_| relations.is_materialized(view));
        let point = PointQuery::read(text, columns)?;
        let parameters = point.parameters(columns(&point.view)?.as_ref());
        Some(Prepared {
            text: text.to_string(),
            views: vec![point.view.clone()],
            parameters,
            schema: point.schema.clone(),
            work: Work::Point(point),
            reads_history: false,
            as_of: None,
            generation: Some(self.sessions.generation),
        })
    }

    /// Only views know how they were.
    async fn prepare_as_of(&self, query: &str, epoch: Epoch) -> SqlResult<Prepared> {
        let prepared = self.prepare_plan(query).await?;
        match prepared.views.iter().find(|name| !self.relations().is_materialized(name)) {
            Some(name) => Err(SqlError::user(NOT_SUPPORTED, format!("\"{name}\" cannot be read AS OF an epoch"))
                .with_hint("Only materialized views are kept as they were.")),
            None if prepared.views.is_empty() => {
                Err(SqlError::user(NOT_SUPPORTED, "AS OF an epoch asks how a view was, and this query reads none"))
            }
            None => Ok(Prepared { as_of: Some(epoch), ..prepared }),
        }
    }

    async fn prepare_plan(&self, text: &str) -> SqlResult<Prepared> {
        let plan = self.plan(text).await.map_err(|error| self.explain(&error, text))?;
        refuse_other_than_queries(&plan)?;
        let views = views_of(&plan);
        Ok(Prepared {
            text: text.to_string(),
            reads_history: views.iter().any(|name| !self.relations().is_materialized(name)),
            views,
            parameters: parameters_of(&plan).map_err(|error| self.explain(&error, text))?,
            schema: Arc::new(plan.schema().as_arrow().clone()),
            work: Work::Plan(Box::new(plan)),
            as_of: None,
            generation: Some(self.sessions.generation),
        })
    }

    /// Runs a planned query over the views as they are now.
    pub async fn execute(&self, prepared: &Prepared, parameters: Vec<ScalarValue>) -> SqlResult<Answer> {
        if let Work::Notification(change) = &prepared.work {
            return self.notification(change);
        }
        let as_of = prepared.as_of;
        // Something else runs than when it was planned.
        let again = match prepared.generation.is_some_and(|generation| generation != self.sessions.generation) {
            true => Some(self.prepare(&prepared.text).await?),
            false => None,
        };
        let prepared = match &again {
            Some(again) if again.schema != prepared.schema => {
                let error = SqlError::user(NOT_SUPPORTED, "the columns of a prepared query have changed");
                return Err(error.with_hint("Prepare it again."));
            }
            Some(again) => again.as_ref(),
            None => prepared,
        };
        if let Work::Point(point) = &prepared.work
            && let Some(answer) = self.answer_point(point, &parameters)?
        {
            return Ok(answer);
        }
        match &prepared.work {
            Work::Write(Write::Insert, target, query) => return self.insert(target, query, parameters).await,
            Work::Write(write, target, query) => return self.rewrite((*write, target), query, parameters).await,
            Work::Replay(of, letters) => return self.replay(of, letters, parameters).await,
            Work::Plan(_) | Work::Point(_) | Work::Notification(_) => {}
        }
        let views: Vec<&str> = prepared.views.iter().map(String::as_str).collect();
        let epoch = self.relations.pin(&views, as_of)?;
        let rows = self.start(prepared, parameters).await;
        // The plan holds on to the rows that it reads.
        self.relations.unpin();
        Ok(Answer { epoch, rows: rows.map_err(|error| self.explain(&error, &prepared.text))? })
    }

    fn answer_point(&self, point: &PointQuery, parameters: &[ScalarValue]) -> SqlResult<Option<Answer>> {
        let (epoch, chunks) = self.relations().engine.chunks(&point.view)?;
        let Some(found) = point.answer(&chunks, parameters).map_err(Error::from)? else { return Ok(None) };
        let rows = MemoryStream::try_new(found, point.schema.clone(), None);
        let rows = rows.map_err(|error| self.explain(&error, &point.view))?;
        Ok(Some(Answer { epoch, rows: Box::pin(rows) }))
    }

    async fn start(
        &self,
        prepared: &Prepared,
        parameters: Vec<ScalarValue>,
    ) -> Result<SendableRecordBatchStream, DataFusionError> {
        let mut plan = match &prepared.work {
            Work::Plan(plan) if !prepared.reads_history => plan.as_ref().clone(),
            _ => self.plan(&prepared.text).await?,
        };
        if !prepared.parameters.is_empty() {
            plan = plan.replace_params_with_values(&ParamValues::from(parameters))?;
        }
        let state = self.context.state();
        let physical = state.create_physical_plan(&plan).await?;
        execute_stream(physical, state.task_ctx())
    }

    /// What an error means for whoever wrote `text`.
    pub fn explain(&self, error: &DataFusionError, text: &str) -> SqlError {
        let found = sql_error::explain(error, text, &self.sessions.names());
        let quoted = found.error.message.strip_prefix("relation \"").and_then(|rest| rest.split('"').next());
        match quoted.filter(|_| found.code == NO_TABLE).map(str::to_string) {
            Some(name) => self.keeps_no_rows(&name, found),
            None => found,
        }
    }

    /// The error that `name` does not exist, or that it does and cannot be asked.
    fn keeps_no_rows(&self, name: &str, found: SqlError) -> SqlError {
        let relations = self.relations();
        let kind = match relations.program.declaration(name).map(|declaration| &declaration.kind) {
            Some(DeclarationKind::Source { .. }) => "source",
            Some(DeclarationKind::View { .. }) => "view over a source",
            _ => return found,
        };
        let mut error = found.error;
        error.message = format!("\"{name}\" is a {kind}, and keeps no rows that could be asked for");
        let error = error.with_hint(format!("Keep them: CREATE MATERIALIZED VIEW .. AS SELECT .. FROM {name}."));
        SqlError { code: found.code, error }
    }

    /// Plans as DataFusion reads it; what only PostgreSQL's clients write is rewritten first.
    async fn plan(&self, text: &str) -> Result<LogicalPlan, DataFusionError> {
        let state = self.context.state();
        let functions = &self.relations().program.functions;
        let text = functions.put_in_text(text).map_err(|error| DataFusionError::External(Box::new(error)))?;
        let text = &with_all_time(&text);
        if mentions_catalog(text) {
            return self.plan_rewritten(&state, text).await;
        }
        match plan(&state, text).await {
            Ok(plan) => Ok(plan),
            // The first error is about what the user wrote, the second about what became of it.
            Err(error) => self.plan_rewritten(&state, text).await.map_err(|_| error),
        }
    }

    async fn plan_rewritten(&self, state: &SessionState, text: &str) -> Result<LogicalPlan, DataFusionError> {
        let text = client_queries::rewrite(text);
        match self.plan_compatible(state, &text).await {
            Ok(plan) => Ok(plan),
            Err(error) => self.plan_compatible(state, &client_queries::without_arrays(&text)).await.map_err(|_| error),
        }
    }

    async fn plan_compatible(&self, state: &SessionState, text: &str) -> Result<LogicalPlan, DataFusionError> {
        let parser = self.sessions.compatibility.get_or_init(PostgresCompatibilityParser::new);
        let mut statements = parser.parse(text).map_err(|error| DataFusionError::SQL(Box::new(error), None))?;
        if statements.len() != 1 {
            return Err(DataFusionError::Plan("one statement is expected".to_string()));
        }
        plan_statement(state, SqlStatement::Statement(Box::new(statements.remove(0))), text).await
    }
}

fn mentions_catalog(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["pg_", "::reg", "current_schema", "current_user", "information_schema"].iter().any(|word| text.contains(word))
}
