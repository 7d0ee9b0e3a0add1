//! A demonstration key stands alone: what must not be installed beside what.
//!
//! Looked at when a document is installed. What a centre has given to this server on a code is kept all
//! the same; which keys give seats is decided in `core::pool`.

use licence_core::key::{KeyKind, KeyNo, KeySeries};
use licence_core::licence_file::Licence;
use licence_core::time::Utc;

use super::{InstallError, Installed, Keyring};

impl InstallError {
    /// Whether it is the rule of demonstration keys that speaks, and not the licence itself.
    pub const fn is_of_kinds(&self) -> bool {
        matches!(self, Self::DemoBesideOthers(_) | Self::DemoKeyPresent(_))
    }
}

impl Keyring {
    /// Whether the series has a demonstration key.
    pub fn has_demo(&self, series: KeySeries) -> bool {
        self.of_series(series).any(|other| other.licence.kind == KeyKind::Demo)
    }

    /// Whether a licence may be installed beside the keys that are here.
    pub(super) fn check_kinds(&self, licence: &Licence, utc: Utc) -> Result<(), InstallError> {
        let (series, key_no) = (licence.fields().key_id, Some(licence.fields().key_no));
        if licence.kind == KeyKind::Demo {
            self.check_beside(series, key_no)?;
            let is_second = self.has_other_demo(series, key_no, utc);
            return if is_second { Err(InstallError::DemoBesideOthers(series)) } else { Ok(()) };
        }
        self.check_demo_alone(series, key_no, utc)
    }

    /// A demonstration key beside a key of another kind.
    fn check_beside(&self, series: KeySeries, key_no: Option<KeyNo>) -> Result<(), InstallError> {
        if self.has_other_kind(series, key_no) {
            return Err(InstallError::DemoBesideOthers(series));
        }
        Ok(())
    }

    /// A key of another kind beside a demonstration key. One that lies idle beside others already is
    /// in nobody's way.
    fn check_demo_alone(
        &self,
        series: KeySeries,
        key_no: Option<KeyNo>,
        utc: Utc,
    ) -> Result<(), InstallError> {
        if self.has_other_demo(series, key_no, utc) && !self.has_other_kind(series, None) {
            return Err(InstallError::DemoKeyPresent(series));
        }
        Ok(())
    }

    /// Whether the series has a key that is no demonstration, this one left out.
    fn has_other_kind(&self, series: KeySeries, key_no: Option<KeyNo>) -> bool {
        self.of_series(series).any(|other| {
            other.licence.kind != KeyKind::Demo && Some(other.licence.fields().key_no) != key_no
        })
    }

    /// Whether the series has a demonstration key that is not over, this one left out.
    fn has_other_demo(&self, series: KeySeries, key_no: Option<KeyNo>, utc: Utc) -> bool {
        self.of_series(series).any(|other| {
            other.licence.kind == KeyKind::Demo
                && Some(other.licence.fields().key_no) != key_no
                && !is_over(other, utc)
        })
    }

    fn of_series(&self, series: KeySeries) -> impl Iterator<Item = &Installed> {
        self.installed.values().filter(move |other| other.licence.fields().key_id == series)
    }
}

/// Whether a demonstration key is no longer in the way of others.
fn is_over(demo: &Installed, utc: Utc) -> bool {
    !demo.is_workable || demo.licence.fields().term().is_expired(utc)
}
