//! QR codes for the pages, as SVG.
//!
//! Draws what it is given; nothing is said when it does not fit.

use qrcode::{Color, EcLevel, QrCode};

/// Most bytes that are drawn. A code of version 40 holds 2953, but from some 1500 on the cameras of
/// phones fail to read it from a screen.
pub(super) const BYTES_MAX: usize = 1500;

/// Modules of quiet zone around a code (ISO/IEC 18004 asks for four).
const QUIET: usize = 4;

/// A picture of modules: its edge, quiet zone included, and the path of the dark ones.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Picture {
    /// Edge in modules.
    pub(super) edge: usize,
    /// `d` of a path of squares.
    pub(super) path: String,
}

/// The code of a text, if it is short enough to be read from a screen.
pub(super) fn picture(text: &str) -> Option<Picture> {
    if text.len() > BYTES_MAX {
        return None;
    }
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let width = code.width();
    let mut path = String::new();
    for (at, color) in code.to_colors().into_iter().enumerate() {
        if color == Color::Dark {
            let (x, y) = (at % width + QUIET, at / width + QUIET);
            path.push_str(&format!("M{x} {y}h1v1h-1z"));
        }
    }
    Some(Picture { edge: width + 2 * QUIET, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_of_a_short_text_is_drawn_within_its_quiet_zone_and_a_long_one_is_not() {
        let drawn = picture("HELLO").unwrap();
        // Version 1: 21 modules and the zone on both sides; a finder begins in the corner.
        assert_eq!(drawn.edge, 29);
        assert!(drawn.path.starts_with("M4 4h1v1h-1z"), "{}", drawn.path);
        assert!(picture(&"x".repeat(BYTES_MAX)).is_some());
        assert!(picture(&"x".repeat(BYTES_MAX + 1)).is_none());
    }
}
