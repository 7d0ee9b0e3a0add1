//! `token-peer`: a USB token for tests whose logic is not ours.
//!
//! The card is a maker's published PIV firmware (crate `piv-authenticator`). What is here only joins
//! it to the three ways by which our programs reach a token: QEMU's CCID reader (`vsc`), vpcd's
//! reader below pcscd (`vpcd`), and a USB device over USB/IP (`usbip`, with `attach` in place of the
//! kernel tools). Nothing here knows what a licence is. The keys lie in plain files and memory: this
//! is a test peer and nothing else.

mod attach;
mod card;
mod dispatch;
mod platform;
mod usbip;
mod vpcd;
mod vsc;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "usage:
  token-peer vsc --socket PATH [--state FILE]   card in QEMU's reader (ccid-card-passthru)
  token-peer vpcd --port N [--state FILE]       card in vpcd's reader at 127.0.0.1:N
  token-peer usbip                              USB token over USB/IP at 127.0.0.1:3240
  token-peer attach                             plugs that token into this kernel, prints the port
  token-peer detach --port N                    unplugs it

A line `ready` on standard output says that the peer is up. Without --state the card forgets all at
its end; with it, FILE.internal and FILE.external are its memory.";

/// What a peer may fail with; it is a test's tool and says it in words.
type Failure = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("token-peer: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut words: impl Iterator<Item = String>) -> Result<(), Failure> {
    let Some(command) = words.next() else { return Err(USAGE.into()) };
    let mut options = Options::default();
    while let Some(name) = words.next() {
        let value = words.next().ok_or_else(|| format!("{name} needs a value\n{USAGE}"))?;
        match name.as_str() {
            "--socket" => options.socket = Some(value.into()),
            "--state" => options.state = Some(value.into()),
            "--port" => {
                options.port =
                    Some(value.parse().map_err(|_| format!("--port {value}: not a port"))?);
            }
            _ => return Err(format!("unknown option {name}\n{USAGE}").into()),
        }
    }
    let state = options.state.as_deref();
    match command.as_str() {
        "vsc" => vsc::serve(&options.socket.ok_or("vsc needs --socket")?, state),
        "vpcd" => vpcd::serve(options.port.ok_or("vpcd needs --port")?, state),
        "usbip" => usbip::serve(),
        "attach" => attach::attach(),
        "detach" => attach::detach(options.port.ok_or("detach needs --port")?),
        _ => Err(format!("unknown command {command}\n{USAGE}").into()),
    }
}

#[derive(Default)]
struct Options {
    socket: Option<PathBuf>,
    state: Option<PathBuf>,
    port: Option<u16>,
}

/// Tells the test that the peer is up.
fn ready() -> Result<(), Failure> {
    use std::io::Write;
    let mut out = std::io::stdout();
    writeln!(out, "ready")?;
    out.flush()?;
    Ok(())
}
