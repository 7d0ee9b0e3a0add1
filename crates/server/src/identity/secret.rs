//! The mounted secret: a file that a container is given, which stands for the computer.
//!
//! Read whole and within limits; what it opens is decided by the seal.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use licence_core::identity_seal::{SECRET_BYTES_MAX, SECRET_BYTES_MIN};
use zeroize::Zeroizing;

/// The secret in a file. White space at its end does not count: editors and `echo` leave some.
///
/// # Errors
///
/// Those of the file; [`io::ErrorKind::InvalidData`] when the secret is too short or too long.
pub(super) fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX + 1));
    File::open(path)?.take(SECRET_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > SECRET_BYTES_MAX {
        return Err(wrong(format!("it has more than {SECRET_BYTES_MAX} bytes")));
    }
    let len = bytes.trim_ascii_end().len();
    bytes.truncate(len);
    if len < SECRET_BYTES_MIN {
        return Err(wrong(format!("it has {len} bytes; at least {SECRET_BYTES_MIN} are needed")));
    }
    Ok(bytes)
}

fn wrong(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_has_its_limits_and_a_line_end_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        for (bytes, expected) in [
            (vec![b'x'; 31], None),
            ([&[b'x'; 31][..], b"\r\n"].concat(), None),
            (vec![b'x'; 32], Some(32)),
            ([&[b'x'; 32][..], b"\n"].concat(), Some(32)),
            (vec![b'x'; SECRET_BYTES_MAX], Some(SECRET_BYTES_MAX)),
            (vec![b'x'; SECRET_BYTES_MAX + 1], None),
        ] {
            std::fs::write(&path, &bytes).unwrap();
            let read = read(&path);
            let found = read.as_ref().ok().map(|secret| secret.len());
            assert_eq!(found, expected, "{} bytes", bytes.len());
            if let Err(error) = read {
                assert_eq!(error.kind(), io::ErrorKind::InvalidData);
                assert!(!error.to_string().contains("xx"), "{error}");
            }
        }
    }
}
