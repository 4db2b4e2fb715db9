//! Addresses that are listened on. Sources with the same address share one server, each has a path of its own there.
//!
//! Sources are opened one by one and know nothing of each other, so the servers of the process are found by their
//! address. A server runs on threads of its own, and ends with the last source that has a path.

use super::inbox::Inbox;
use super::options::HttpOptions;
use super::receive::receive;
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::thread::JoinHandle;
use std::time::Duration;
use thalweg_schemas::error::{Error, Result};
use tokio::sync::oneshot;

/// How long requests that are being answered may take when the server ends.
const FAREWELL: Duration = Duration::from_secs(2);

static SERVERS: Mutex<BTreeMap<SocketAddr, Weak<Server>>> = Mutex::new(BTreeMap::new());

fn servers() -> MutexGuard<'static, BTreeMap<SocketAddr, Weak<Server>>> {
    SERVERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which inbox a path leads to.
#[derive(Default)]
pub(super) struct Routes(RwLock<BTreeMap<String, Arc<Inbox>>>);

impl Routes {
    /// The inbox at `path`.
    pub(super) fn find(&self, path: &str) -> Option<Arc<Inbox>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }

    fn add(&self, inbox: &Arc<Inbox>) -> Result<(), Arc<Inbox>> {
        let mut routes = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match routes.get(&inbox.options.path) {
            Some(other) => Err(other.clone()),
            None => {
                routes.insert(inbox.options.path.clone(), inbox.clone());
                Ok(())
            }
        }
    }

    fn remove(&self, path: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(path);
    }
}

/// A source's place at a server; given up when dropped.
pub(super) struct Route {
    path: String,
    /// Always there until dropped.
    server: Option<Arc<Server>>,
}

impl Route {
    /// Lets `inbox` be posted to, at its address and path.
    pub(super) fn open(inbox: &Arc<Inbox>) -> Result<Route> {
        let HttpOptions { source, listen, path, .. } = &inbox.options;
        let address = listen.to_socket_addrs().ok().and_then(|mut addresses| addresses.next()).ok_or_else(|| {
            Error::user(format!("option \"listen\" takes an address such as '127.0.0.1:8080', not '{listen}'"))
        })?;
        let mut servers = servers();
        // A port that the system chooses is never the same one.
        let known = servers.get(&address).filter(|_| address.port() != 0).and_then(Weak::upgrade);
        let server = match known {
            Some(server) => server,
            None => {
                let server = Arc::new(Server::start(source, address)?);
                servers.insert(server.address, Arc::downgrade(&server));
                server
            }
        };
        let added = server.routes.add(inbox);
        let (bound, route) = (server.address, Route { path: path.clone(), server: Some(server) });
        if let Err(other) = added {
            // It is the other's path that stays.
            route.leave(&mut servers, false);
            let other = &other.options.source;
            return Err(Error::user(format!("sources \"{other}\" and \"{source}\" both listen on {bound}{path}"))
                .with_hint("Give each of them a path of its own with option \"path\"."));
        }
        tracing::info!(source = %source, "takes records at http://{bound}{path}");
        Ok(route)
    }

    /// Where it is.
    #[cfg(test)]
    pub(super) fn address(&self) -> SocketAddr {
        self.server.as_ref().unwrap().address
    }

    /// Ends the server with its last path, before anybody else may listen there.
    fn leave(mut self, servers: &mut BTreeMap<SocketAddr, Weak<Server>>, owns_path: bool) {
        let Some(server) = self.server.take() else { return };
        if owns_path {
            server.routes.remove(&self.path);
        }
        if let Some(server) = Arc::into_inner(server) {
            servers.remove(&server.address);
        }
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        if self.server.is_some() {
            let route = Route { path: std::mem::take(&mut self.path), server: self.server.take() };
            route.leave(&mut servers(), true);
        }
    }
}

struct Server {
    address: SocketAddr,
    routes: Arc<Routes>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(source: &str, address: SocketAddr) -> Result<Server> {
        let failed = |error: std::io::Error| cannot_listen(source, address, &error);
        let listener = TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let routes = Arc::new(Routes::default());
        let (stop, stopped) = oneshot::channel();
        let served = routes.clone();
        let run = move || {
            if let Err(error) = serve(listener, served, stopped) {
                tracing::error!("the HTTP server at {address} has ended: {error}");
            }
        };
        let thread = std::thread::Builder::new().name(format!("http {address}")).spawn(run).map_err(failed)?;
        Ok(Server { address, routes, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A thread that panicked has nothing left to end.
        let _ended = self.thread.take().map(JoinHandle::join);
    }
}

fn cannot_listen(source: &str, address: SocketAddr, error: &std::io::Error) -> Error {
    let message = format!("source \"{source}\" cannot listen on {address}: {error}");
    match error.kind() {
        std::io::ErrorKind::AddrInUse => Error::outside(message)
            .with_hint("Another program listens there; end it, or choose another port with option \"listen\"."),
        std::io::ErrorKind::PermissionDenied => {
            Error::outside(message).with_hint("Ports below 1024 are for programs with special rights; choose another.")
        }
        _ => Error::outside(message).with_hint("Choose an address of this machine with option \"listen\"."),
    }
}

fn serve(listener: TcpListener, routes: Arc<Routes>, stopped: oneshot::Receiver<()>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let app = axum::Router::new().fallback(receive).with_state(routes);
        let (farewell, said) = oneshot::channel::<()>();
        let graceful = axum::serve(listener, app).with_graceful_shutdown(async move {
            // A dropped sender says it as well.
            let _stopped = stopped.await;
            drop(farewell);
        });
        let at_most = async {
            let _said = said.await;
            tokio::time::sleep(FAREWELL).await;
        };
        tokio::select! {
            ended = graceful => ended,
            () = at_most => Ok(()),
        }
    })
}
