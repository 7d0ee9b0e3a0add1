//! `licencecentre`: the order of start and stop, nothing else.
//!
//! Exit codes: 0 stopped as asked, 1 failed, 2 wrong usage (from clap).

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use licence_core::causes::with_causes;
use licencecentre::access::command as accounts;
use licencecentre::access::gate::Gate;
use licencecentre::api::Centre;
use licencecentre::books::Books;
use licencecentre::cli::{Cli, Command, Run};
use licencecentre::clock;
use licencecentre::folder::{DataFolder, FolderError};
use licencecentre::http;
use licencecentre::series::{self, SeriesSetError};
use licencecentre::store::{Place, Store, StoreError};
use licencekit::passphrase::{self, Passphrase};
use tokio::net::TcpListener;

#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("accounts")]
    Accounts(#[source] accounts::CommandError),
    #[error("data folder")]
    Folder(#[from] FolderError),
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("standard output")]
    Output(#[source] io::Error),
    #[error("the thread of the books panicked")]
    Panicked,
    #[error("series")]
    Series(#[from] SeriesSetError),
    #[error("books")]
    Store(#[from] StoreError),
    #[error("the system refused")]
    System(#[from] io::Error),
}

fn main() -> ExitCode {
    let Cli { command } = Cli::parse();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info"))
        .format(|out, record| {
            writeln!(out, "{} {:5} {}", clock::utc_now(), record.level(), record.args())
        })
        .init();
    let done = match command {
        Command::Run(run) => serve(&run),
        Command::Account(args) => accounts::run(&args).map_err(StartError::Accounts),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{}", with_causes(&error));
            ExitCode::FAILURE
        }
    }
}

fn serve(run: &Run) -> Result<(), StartError> {
    let folder = DataFolder::take(&run.data)?;
    let token = folder.admin_token()?;
    let series = series::open_all(&folder.series(), || {
        Passphrase::find(run.passphrase_file.as_deref(), passphrase::from_environment())
    })?;
    if series.is_empty() {
        log::warn!("no series in {}: every code will be refused", folder.series().display());
    }
    for one in series.values().filter(|one| one.signer.is_none()) {
        let id = one.descriptor.series;
        log::info!("series {id} has no cryptkey here: its licences wait for a signature by hand");
    }
    let series = Arc::new(series);
    let roots = folder.attestation_roots()?;
    let place = match run.database.clone() {
        Some(url) => Place::Postgres { url, ca: run.database_ca.clone() },
        None => Place::File(folder.books()),
    };
    let (books, keeper) = Books::start(Store::at(&place)?, Arc::clone(&series))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // Parsing and signatures only; the disk has its own thread.
        .worker_threads(2)
        .enable_all()
        .build()?;
    let audience = run.public_url.clone();
    let served = runtime.block_on(async {
        let address = SocketAddr::new(run.address, run.port);
        // Before the ready line: who reads it may send a signal at once.
        let stop = stop_signal()?;
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| StartError::Listen { address, source })?;
        announce(listener.local_addr()?).map_err(StartError::Output)?;
        let watched = books.clone();
        let gate = Gate::new(run.trust_forwarded, clock::mono);
        if audience.is_some() && run.address.is_loopback() && !run.trust_forwarded {
            log::warn!("behind a proxy without --trust-forwarded nobody's guesses are limited");
        }
        let now = clock::utc_now;
        let centre = Arc::new(Centre { books, series, token, gate, audience, roots, now });
        // Without the thread of the books every answer would be a refusal: the supervisor of the
        // process can start it again, a half-dead one it cannot see.
        let stop = async move {
            tokio::select! {
                () = stop => {}
                () = watched.closed() => log::error!("the thread of the books has ended"),
            }
        };
        http::serve(listener, centre, stop).await;
        Ok(())
    });
    // Requests that did not end in time go with the runtime, and with them the last handles of
    // the books; the thread then finishes what it has begun.
    drop(runtime);
    keeper.join().map_err(|_| StartError::Panicked)?;
    log::info!("stopped");
    served
}

fn announce(address: SocketAddr) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "licencecentre {} listens on {address}", env!("CARGO_PKG_VERSION"))?;
    out.flush()
}

#[cfg(unix)]
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    Ok(async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            log::error!("Ctrl+C cannot be awaited: {error}");
            std::future::pending::<()>().await;
        }
    })
}
