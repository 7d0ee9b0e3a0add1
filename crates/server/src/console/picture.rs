//! Requests as pictures that a telephone's camera reads (QR codes, ISO/IEC 18004), and files as
//! addresses.
//!
//! What is in them is decided elsewhere.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use qrcode::render::svg;
use qrcode::{EcLevel, QrCode};

/// Longest content of a picture, in bytes: what version 40 holds at the lowest level of correction.
/// At that size a module is still some half a millimetre on a screen, which cameras read.
const CONTENT_BYTES_MAX: usize = 2953;

/// Width of a module in the picture's own units; the style sheet says how large the picture is.
const MODULE: u32 = 1;

/// The address of an SVG with this content, for an image; nothing when it is too long. The picture
/// has its white margin within itself, so that it is read in dark mode too.
pub(super) fn qr(content: &str) -> Option<String> {
    if content.len() > CONTENT_BYTES_MAX {
        return None;
    }
    let code = QrCode::with_error_correction_level(content, EcLevel::L).ok()?;
    let picture = code
        .render()
        .quiet_zone(true)
        .module_dimensions(MODULE, MODULE)
        .dark_color(svg::Color("#000"))
        .light_color(svg::Color("#fff"))
        .build();
    Some(format!("data:image/svg+xml;base64,{}", STANDARD.encode(picture)))
}

/// A file of this text as an address that a browser saves.
pub(super) fn data_url(text: &str) -> String {
    format!("data:application/octet-stream;base64,{}", STANDARD.encode(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picture_is_an_svg_with_a_white_margin_of_four_modules() {
        let address = qr("https://centre.example/r?request=a.b-c_d").unwrap();
        let svg = STANDARD.decode(address.split_once(',').unwrap().1).unwrap();
        let svg = String::from_utf8(svg).unwrap();
        assert!(svg.contains("<svg ") && svg.contains("#fff") && !svg.contains("<script"), "{svg}");
        // 29 modules of version 3 and 8 of the margin; the first dark one lies beyond the margin.
        assert!(svg.contains("viewBox=\"0 0 37 37\""), "{svg}");
        assert!(svg.contains("d=\"M4 4"), "{svg}");
    }

    #[test]
    fn content_beyond_the_largest_picture_has_none() {
        assert!(qr(&"a".repeat(CONTENT_BYTES_MAX)).is_some());
        assert!(qr(&"a".repeat(CONTENT_BYTES_MAX + 1)).is_none());
        assert!(qr(&"я".repeat(2000)).is_none());
    }
}
