//! The card behind QEMU's CCID reader: the host's side of the VSC protocol (`ccid-card-passthru`).
//!
//! Big-endian 12-byte headers: type, reader, payload length. QEMU connects and says Init; we name the
//! reader and insert the card once; APDUs follow. QEMU sends a success message for all it gets, and
//! those are passed over.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use crate::Failure;
use crate::card::{Card, with_card};

/// ATR with T=0, the only protocol of QEMU's reader: no interface bytes, eight historical ones.
const ATR: &[u8] = b"\x3B\x08Nitrokey";

/// Longest payload that QEMU may send: an APDU of the extended form.
const PAYLOAD_BYTES_MAX: u32 = 65_544;

const INIT: u32 = 1;
const ERROR: u32 = 2;
const READER_ADD: u32 = 3;
const ATR_IS: u32 = 5;
const APDU: u32 = 7;
const FLUSH: u32 = 8;
const FLUSH_COMPLETE: u32 = 9;

const READER: u32 = 0;
const NO_READER: u32 = u32::MAX;

/// Serves one QEMU after another; the card keeps its power between them.
pub(crate) fn serve(socket: &Path, state: Option<&Path>) -> Result<(), Failure> {
    match std::fs::remove_file(socket) {
        Err(why) if why.kind() != ErrorKind::NotFound => return Err(why.into()),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(socket)?;
    with_card(state, |card| {
        crate::ready()?;
        for stream in listener.incoming() {
            talk(stream?, card)?;
        }
        Ok(())
    })
}

fn talk(mut stream: UnixStream, card: &mut Card<'_>) -> Result<(), Failure> {
    let mut inserted = false;
    while let Some((kind, payload)) = receive(&mut stream)? {
        match kind {
            INIT => {
                let mut init = b"VSCD".to_vec();
                init.extend_from_slice(&2_u32.to_be_bytes());
                init.extend_from_slice(&0_u32.to_be_bytes());
                send(&mut stream, INIT, NO_READER, &init)?;
                send(&mut stream, READER_ADD, NO_READER, b"token-peer")?;
            }
            ERROR if payload != [0; 4] => {
                return Err(format!("QEMU refuses the card: {payload:02X?}").into());
            }
            ERROR => {
                // The first success answers the reader; a second ATR would be a second card.
                if !inserted {
                    inserted = true;
                    send(&mut stream, ATR_IS, READER, ATR)?;
                }
            }
            APDU => {
                let answer = card.exchange(&payload);
                send(&mut stream, APDU, READER, &answer)?;
            }
            FLUSH => send(&mut stream, FLUSH_COMPLETE, READER, &[])?,
            _ => {}
        }
    }
    Ok(())
}

/// The next message; `None` when QEMU has gone.
fn receive(stream: &mut UnixStream) -> Result<Option<(u32, Vec<u8>)>, Failure> {
    let mut header = [0; 12];
    match stream.read_exact(&mut header) {
        Err(why) if matches!(why.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
            return Ok(None);
        }
        read => read?,
    }
    let word = |at: usize| {
        u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let length = word(8);
    if length > PAYLOAD_BYTES_MAX {
        return Err(format!("a message of {length} bytes").into());
    }
    let mut payload = vec![0; usize::try_from(length)?];
    stream.read_exact(&mut payload)?;
    Ok(Some((word(0), payload)))
}

fn send(stream: &mut UnixStream, kind: u32, reader: u32, payload: &[u8]) -> Result<(), Failure> {
    let mut message = Vec::with_capacity(12 + payload.len());
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&reader.to_be_bytes());
    message.extend_from_slice(&u32::try_from(payload.len())?.to_be_bytes());
    message.extend_from_slice(payload);
    match stream.write_all(&message) {
        // QEMU may end between a command and its answer; the next read says so.
        Err(why) if why.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}
