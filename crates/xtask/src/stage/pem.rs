//! Certificates and keys as PEM text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Characters of a line, as RFC 7468 has it.
const LINE_CHARS: usize = 64;

/// A block with this label.
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(LINE_CHARS) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem + &format!("-----END {label}-----\n")
}
