//! A server with everything open but its port: what [`crate::run`] serves, and what tests call.
//!
//! Opens in the one order that works; decides nothing else.

use std::sync::Arc;

use licence_core::causes::with_causes;
use licence_core::service::ServiceConfig;
use rustls::ServerConfig;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::access::auth::Auth;
use crate::activate::Activator;
use crate::api::{App, Control, Tickets};
use crate::binding::{BindingWatch, Changes, Seal};
use crate::clock;
use crate::cluster;
use crate::cluster::known_codes::KnownCodes;
use crate::cluster::peers::Peers;
use crate::datafiles::Datafiles;
use crate::driver::{self, Driver, Setup, StartError};
use crate::health::computer;
use crate::history::History;
use crate::host::HostFacts;
use crate::identity::Identity;
use crate::ismp::Ismp;
use crate::ismp::replica::Replica;
use crate::metrics::Metrics;
use crate::paths::Paths;
use crate::random::RandomError;
use crate::settings::{Settings, apply};
use crate::tls::{Certificates, TlsError};
use crate::tokens::{Device, Pace, TokenPort, Tokens};

/// Why a server could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No random bytes.
    #[error("the server cannot start")]
    Random(#[from] RandomError),
    /// Keys or database.
    #[error("the driver cannot start")]
    Start(#[from] StartError),
    /// TLS.
    #[error("TLS cannot start")]
    Tls(#[from] TlsError),
}

/// A server that is open.
#[derive(Debug)]
pub struct Opened {
    /// Everything that a request may need.
    pub app: App,
    /// What TLS does.
    pub tls: Arc<ServerConfig>,
    /// Ends when the driver was stopped; true when all is on disk.
    pub task: JoinHandle<bool>,
    /// Becomes true when the journal fails.
    pub failed: watch::Receiver<bool>,
}

/// Tokens, and how often they are asked.
#[derive(Debug)]
pub struct TokenAccess {
    /// How they are reached.
    pub port: Box<dyn TokenPort>,
    /// How often they are looked for and asked.
    pub pace: Pace,
}

impl TokenAccess {
    /// The tokens of this computer by these settings; nothing when they are switched off.
    pub fn of(settings: &Settings) -> Option<Self> {
        let usb = &settings.get().usb;
        let port = || Box::new(Device::new(usb.tokens.clone()));
        usb.enabled.then(|| Self { port: port(), pace: Pace::default() })
    }
}

/// Opens keys, database and certificates. Reads files, so not for an async thread that others wait
/// for. `start_problem` is what the console shall say of this start.
///
/// # Errors
///
/// See [`OpenError`].
pub fn open(
    paths: &Paths,
    settings: Settings,
    identity: Arc<Identity>,
    control: Control,
    start_problem: Option<String>,
) -> Result<Opened, OpenError> {
    let access = TokenAccess::of(&settings);
    open_with(paths, settings, identity, control, start_problem, access)
}

/// [`open`] with other tokens than those of this computer.
///
/// # Errors
///
/// See [`OpenError`].
pub fn open_with(
    paths: &Paths,
    settings: Settings,
    identity: Arc<Identity>,
    control: Control,
    start_problem: Option<String>,
    tokens: Option<TokenAccess>,
) -> Result<Opened, OpenError> {
    let config = settings.get();
    let metrics = Arc::new(Metrics::new(clock::utc()));
    let history = History::new(paths.database());
    history.retention().set_days(config.parts.keep_days);
    let host = HostFacts::read(identity.public().as_bytes());
    let names = std::slice::from_ref(&host.computer_name);
    let certificates = Arc::new(Certificates::load_or_make(&identity, names, &paths.tls())?);
    certificates.refresh(&config.parts.tls, &paths.settings(), clock::utc());
    let tls = certificates.server_config()?;
    let auth = Auth::new(&host.computer_name)?;
    // Last of what can fail: once started, the driver holds the data until it is stopped.
    let seal: Arc<dyn Seal> = identity.clone();
    let binding = Arc::new(BindingWatch::new(seal, paths.binding()));
    let Driver { handle, task, failed, feed, replaced_database, cluster: ends } =
        driver::start(Setup {
            database: paths.database(),
            licences: paths.keys(),
            rules: paths.rules(),
            series_file: paths.series(&config.series_file),
            identity: Arc::clone(identity.key()),
            wrap_key: Arc::clone(identity.wrap_key()),
            access_codes: apply::access_codes(&config),
            has_tokens: tokens.is_some(),
            cluster: config.cluster.id,
            shared_codes: config
                .cluster
                .id
                .and_then(|id| KnownCodes::new(paths.cluster_codes()).codes(id)),
            metrics: Arc::clone(&metrics),
            keep: history.retention().clone(),
            computer: (binding.state().found, Changes::read(&paths.binding())),
            service: ServiceConfig {
                access_codes: config.console.enable_access_codes,
                name_holders: config.console.name_holders,
                ..ServiceConfig::default()
            },
        })?;
    let (handle, cluster) = if config.cluster.id.is_some() {
        let (port, questions) = cluster::node::port();
        let handle = handle.with_cluster(port);
        let started = cluster::start(&config, paths, &identity, &host, &handle, ends, questions);
        (handle, started)
    } else {
        (handle, Ok(None))
    };
    // A node without etcd still serves who has a seat, and every key that is not of the cluster.
    let (cluster, cluster_problem) = match cluster {
        Ok(cluster) => (cluster, None),
        Err(error) => {
            let why = with_causes(&error);
            log::error!("this server does not take part in its cluster: {why}");
            (None, Some(why))
        }
    };
    let peers = cluster.as_ref().map(|node| Peers::new(Arc::clone(identity.key()), node.watch()));
    let tokens = tokens.map(|TokenAccess { port, pace }| {
        let runtime = tokio::runtime::Handle::current();
        Tokens::start(port, pace, handle.clone(), identity.public(), runtime)
    });
    // A server without a thread for tokens serves all other keys.
    let tokens = tokens.transpose().unwrap_or_else(|error| {
        log::error!("no thread for tokens: {error}");
        None
    });
    let tokens = tokens.unwrap_or_default();
    let ismp = Ismp::start(&paths.ismp(), &identity, settings.clone(), handle.clone());
    let activator =
        Activator::new(identity, host.computer_id.clone(), settings.clone(), paths.centres());
    let activator = activator.with_tokens(tokens.clone()).with_binding(Arc::clone(&binding));
    let activator = activator.with_cluster(config.cluster.id);
    computer::remember(&paths.computer(), &host.computer_id, clock::utc());
    let ismp_replica = Replica::new(paths.ismp_alone(), Default::default(), clock::mono())?;
    let app = App {
        auth,
        binding: Arc::clone(&binding),
        certificates,
        activator: Arc::new(activator),
        tokens,
        operations: Default::default(),
        datafiles: Datafiles::new(paths.keys()),
        parameter_files: Default::default(),
        handle,
        started: clock::utc(),
        settings,
        history,
        feed,
        metrics,
        paths: paths.clone(),
        control,
        host,
        start_problem,
        replaced_database,
        reserve: Default::default(),
        backups: Default::default(),
        overview: Default::default(),
        made_tokens: Default::default(),
        looks: Default::default(),
        ismp,
        ismp_operations: Tickets::for_session_keys(),
        ismp_replica,
        cluster,
        cluster_problem,
        peers,
    };
    Ok(Opened { app, tls, task, failed })
}
