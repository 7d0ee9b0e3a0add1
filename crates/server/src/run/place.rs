//! Where a server listens, and how it comes from one address to another on the same port.
//!
//! Decides which listener is taken; what is served there is none of its business.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use licence_core::causes::with_causes;
use tokio::net::{TcpListener, TcpSocket};

use super::RunError;
use crate::closed::Closed;
use crate::ports;

/// Connections that may wait to be accepted. When all components of a site connect at the same moment, as
/// after a failover, the system drops whoever does not fit, and the next try comes a second later: the
/// usual 128 are few then. The system may have a smaller bound of its own (`net.core.somaxconn`, 4096
/// since Linux 5.4).
const WAITING_MAX: u32 = 4096;

/// Where a server listens.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) listener: Arc<TcpListener>,
    /// What was asked for; its port may be 0.
    pub(super) wanted: SocketAddr,
    pub(super) bound: SocketAddr,
}

impl Place {
    /// The place from before when it is the one that is wanted, else another one. Where the one from
    /// before stands in the way it is let go, with whoever answers there; `before` is then the place
    /// that was had instead, or nothing.
    pub(super) async fn find(
        wanted: SocketAddr,
        before: &mut Option<Self>,
        closed: &mut Option<Closed>,
    ) -> Result<Self, RunError> {
        if let Some(before) = before
            && (before.wanted == wanted || before.bound == wanted)
        {
            return Ok(before.clone());
        }
        let refused = match Self::bind(wanted, wanted) {
            Ok(place) => return Ok(place),
            Err(error) => error,
        };
        let is_taken = refused.kind() == io::ErrorKind::AddrInUse;
        let is_own = |before: &mut Self| is_taken && before.bound.port() == wanted.port();
        let Some(old) = before.take_if(is_own) else { return Err(not_bound(wanted, refused)) };
        // 0.0.0.0 holds the port on each address: it must be let go before one of them can be had.
        if let Some(closed) = closed.take() {
            closed.stop().await;
        }
        let Self { listener, wanted: old_wanted, bound } = old;
        drop(listener);
        match Self::bind(wanted, wanted) {
            Ok(place) => Ok(before.insert(place).clone()),
            Err(refused) => {
                match Self::bind(bound, old_wanted) {
                    Ok(place) => *before = Some(place),
                    Err(lost) => log::error!("{}", with_causes(&not_bound(bound, lost))),
                }
                Err(not_bound(wanted, refused))
            }
        }
    }

    /// Listens on `address`, where `wanted` was asked for.
    fn bind(address: SocketAddr, wanted: SocketAddr) -> io::Result<Self> {
        let listener = listen(address)?;
        let bound = listener.local_addr()?;
        Ok(Self { listener: Arc::new(listener), wanted, bound })
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A port whose last connections are still in TIME_WAIT can be had at once. On Windows it can without
    // that, and there the option would let two programs have one port.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(WAITING_MAX)
}

fn not_bound(address: SocketAddr, source: io::Error) -> RunError {
    let holder = ports::holder(address.port())
        .filter(|_| source.kind() == io::ErrorKind::AddrInUse)
        .map(|holder| format!(", the port is held by {holder}"))
        .unwrap_or_default();
    RunError::Listen { address, holder, source }
}
