//! What a listener on the wire can do: pass bytes on and keep them, and say them again.
//!
//! Knows nothing of TLS or of our protocol: that is the point.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::StageError;

/// Bytes passed on at a time.
const CHUNK_BYTES: usize = 4096;

/// What was said on one connection.
#[derive(Clone, Debug, Default)]
pub struct Tape {
    /// By the one who called.
    pub client: Vec<u8>,
    /// By the server.
    pub server: Vec<u8>,
}

/// A relay that passes bytes on in both directions and keeps them. It ends with the process.
#[derive(Debug)]
pub struct Recorder {
    port: u16,
    tapes: Arc<Mutex<Vec<Tape>>>,
    silent: Arc<AtomicBool>,
}

impl Recorder {
    /// Listens on a free port for callers of the server on `port`.
    ///
    /// # Errors
    ///
    /// When there is no port.
    pub fn start(server: u16) -> Result<Self, StageError> {
        let (listener, port) = listen()?;
        let tapes = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&tapes);
        let silent = Arc::new(AtomicBool::new(false));
        let mute = Arc::clone(&silent);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // A server that is gone closes the caller's connection, as without us.
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                let track = {
                    let mut tapes = lock(&kept);
                    tapes.push(Tape::default());
                    tapes.len() - 1
                };
                let to_server = Arc::new(AtomicBool::new(false));
                pass(&client, &server, Arc::clone(&kept), track, to_server, |tape| {
                    &mut tape.client
                });
                let to_client = Arc::clone(&mute);
                pass(&server, &client, Arc::clone(&kept), track, to_client, |tape| {
                    &mut tape.server
                });
            }
        });
        Ok(Self { port, tapes, silent })
    }

    /// Where to call instead of the server.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// From here on callers hear nothing, as from a server that hangs; what they say still arrives.
    pub fn silence(&self) {
        self.silent.store(true, Ordering::Release);
    }

    /// Bytes that callers have said so far.
    pub fn said(&self) -> usize {
        lock(&self.tapes).iter().map(|tape| tape.client.len()).sum()
    }

    /// What was said so far, a tape for each connection.
    pub fn tapes(&self) -> Vec<Tape> {
        lock(&self.tapes).clone()
    }

    /// The connection on which the server said most.
    pub fn longest(&self) -> Tape {
        self.tapes().into_iter().max_by_key(|tape| tape.server.len()).unwrap_or_default()
    }
}

/// Says what a server said once, whatever it is told; gives the port. It ends with the process.
///
/// # Errors
///
/// When there is no port.
pub fn player(said: Vec<u8>) -> Result<u16, StageError> {
    let (listener, port) = listen()?;
    std::thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            // Only after the greeting, as a server would. A caller that hangs up is what is hoped for.
            let mut greeting = [0; 1];
            drop(socket.read_exact(&mut greeting));
            drop(socket.write_all(&said));
            drop(io::copy(&mut socket, &mut io::sink()));
        }
    });
    Ok(port)
}

fn listen() -> Result<(TcpListener, u16), StageError> {
    let failed = |why| StageError::io(Path::new("127.0.0.1"), why);
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    Ok((listener, port))
}

fn lock(tapes: &Mutex<Vec<Tape>>) -> MutexGuard<'_, Vec<Tape>> {
    tapes.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pass(
    from: &TcpStream,
    to: &TcpStream,
    tapes: Arc<Mutex<Vec<Tape>>>,
    track: usize,
    mute: Arc<AtomicBool>,
    side: fn(&mut Tape) -> &mut Vec<u8>,
) {
    let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) else { return };
    std::thread::spawn(move || {
        let mut buffer = [0; CHUNK_BYTES];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            side(&mut lock(&tapes)[track]).extend_from_slice(&buffer[..count]);
            if !mute.load(Ordering::Acquire) && to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        drop(to.shutdown(Shutdown::Write));
    });
}
