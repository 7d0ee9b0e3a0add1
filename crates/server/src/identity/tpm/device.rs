//! Carries messages to a TPM and back: a character device of Linux, or the UNIX socket of a TPM in
//! software. Every wait has an end.

use std::io;
use std::path::Path;

use zeroize::Zeroizing;

/// How long one command may take. Making a key takes slow TPMs some seconds.
#[cfg(unix)]
const COMMAND_SECS_MAX: u64 = 30;

#[cfg(unix)]
pub(super) use self::unix::Device;

#[cfg(not(unix))]
pub(super) struct Device;

#[cfg(not(unix))]
impl Device {
    pub(super) fn open(_: &Path) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn exchange(&mut self, _: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(unix)]
mod unix {
    use std::fs::{self, File, OpenOptions};
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::super::wire::{HEAD_BYTES, MESSAGE_BYTES_MAX, message_len};
    use super::{COMMAND_SECS_MAX, Path, Zeroizing, io};

    pub(in super::super) enum Device {
        Character(File),
        Socket(UnixStream),
    }

    impl Device {
        pub(in super::super) fn open(path: &Path) -> io::Result<Self> {
            if !fs::metadata(path)?.file_type().is_socket() {
                // Without waiting: the kernel then takes a command and works on it by itself.
                let mut options = OpenOptions::new();
                options.read(true).write(true).custom_flags(libc::O_NONBLOCK);
                return options.open(path).map(Self::Character);
            }
            let stream = UnixStream::connect(path)?;
            let bound = Some(Duration::from_secs(COMMAND_SECS_MAX));
            stream.set_read_timeout(bound)?;
            stream.set_write_timeout(bound)?;
            Ok(Self::Socket(stream))
        }

        /// Sends a command and reads its answer.
        pub(in super::super) fn exchange(
            &mut self,
            command: &[u8],
        ) -> io::Result<Zeroizing<Vec<u8>>> {
            let mut answer = Zeroizing::new(vec![0; MESSAGE_BYTES_MAX]);
            let len = match self {
                Self::Character(device) => {
                    // A command is one write, an answer one read.
                    if device.write(command)? != command.len() {
                        return Err(io::ErrorKind::WriteZero.into());
                    }
                    wait(device)?;
                    device.read(&mut answer)?
                }
                Self::Socket(stream) => {
                    stream.write_all(command)?;
                    let mut head = [0; HEAD_BYTES];
                    stream.read_exact(&mut head)?;
                    let len = message_len(&head).map_err(io::Error::other)?;
                    answer[..HEAD_BYTES].copy_from_slice(&head);
                    stream.read_exact(&mut answer[HEAD_BYTES..len])?;
                    len
                }
            };
            answer.truncate(len);
            Ok(answer)
        }
    }

    /// Waits until the device has an answer.
    #[expect(unsafe_code, reason = "no safe function of the standard library polls a device")]
    fn wait(device: &File) -> io::Result<()> {
        let mut asked = libc::pollfd { fd: device.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let millis = i32::try_from(COMMAND_SECS_MAX * 1000).unwrap_or(i32::MAX);
        // SAFETY: `asked` is one valid entry that outlives the call.
        match unsafe { libc::poll(&raw mut asked, 1, millis) } {
            -1 => Err(io::Error::last_os_error()),
            0 => Err(io::ErrorKind::TimedOut.into()),
            _ => Ok(()),
        }
    }
}
