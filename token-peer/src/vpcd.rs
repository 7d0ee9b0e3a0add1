//! The card in vpcd's reader, below pcscd.
//!
//! Frames of a big-endian 16-bit length and that many bytes. One byte alone is a word of the reader:
//! power off, power on, reset, or a question for the ATR; anything longer is a command APDU.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;

use socket2::SockRef;

use crate::Failure;
use crate::card::with_card;

/// ATR with T=1, eight historical bytes of name, and its check byte.
const ATR: &[u8] = b"\x3B\x8F\x01\x80\x5DNitrokey\0\0\0\0\0\x6A";

const ATR_WANTED: u8 = 4;

/// Puts the card into the reader; it stays there until this process or the reader ends.
pub(crate) fn serve(port: u16, state: Option<&Path>) -> Result<(), Failure> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    with_card(state, |card| {
        crate::ready()?;
        while let Some(frame) = receive(&mut stream)? {
            match frame.as_slice() {
                [ATR_WANTED] => send(&mut stream, ATR)?,
                // Power off, power on and reset have no answer, and the firmware heeds none of them.
                [] | [_] => {}
                command => {
                    let answer = card.exchange(command);
                    send(&mut stream, &answer)?;
                }
            }
        }
        Ok(())
    })
}

/// The next frame; `None` when the reader has gone.
fn receive(stream: &mut TcpStream) -> Result<Option<Vec<u8>>, Failure> {
    let mut length = [0; 2];
    match stream.read_exact(&mut length) {
        Err(why) if matches!(why.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
            return Ok(None);
        }
        read => read?,
    }
    // vpcd sends length and frame apart, and the second waits until the first is acknowledged. The
    // kernel would take its time for that, some 40 ms for every command; this has it done at once.
    SockRef::from(&*stream).set_tcp_quickack(true)?;
    let mut frame = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut frame)?;
    Ok(Some(frame))
}

fn send(stream: &mut TcpStream, bytes: &[u8]) -> Result<(), Failure> {
    let mut frame = u16::try_from(bytes.len())?.to_be_bytes().to_vec();
    frame.extend_from_slice(bytes);
    stream.write_all(&frame)?;
    Ok(())
}
