//! Giving a key back: it stops working before the centre is asked, and stays away once the centre
//! has taken it.
//!
//! Asking the centre is not done here.

use licence_core::centre_request::ReturnReceipt;
use licence_core::holder::TokenKey;
use licence_core::jws::JwsError;
use licence_core::key::{KeyNo, ProtectionKey};
use licence_core::series::SeriesDescriptor;
use licence_core::time::Utc;

use super::returned::Entry;
use super::{Held, InstallError, Keyring};

/// A return that has begun.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Begun {
    /// What the centre must be told.
    pub held: Held,
    /// Whether the key has worked here until this moment; else the return was under way already.
    pub was_installed: bool,
}

impl Keyring {
    /// The licence of a key that can be given back: it is installed, or its return is under way.
    pub fn returnable(&self, key_no: KeyNo) -> Option<Held> {
        self.held(key_no).or_else(|| self.returned.pending(key_no).map(|entry| self.held_of(entry)))
    }

    /// What the centre must be told of a return that is under way. The licence is kept with it, and
    /// says whether it is bound to a token.
    fn held_of(&self, entry: &Entry) -> Held {
        let licence = entry.document.as_ref().and_then(|text| self.verify(text, None).ok());
        let token = licence.and_then(|licence| licence.holder.token().copied());
        Held { token, ..entry.held() }
    }

    /// Puts a key aside because a centre is about to be asked to take it back: from this moment a
    /// request exists by which the key can be installed elsewhere. Nothing when there is no such
    /// key. On disk when this returns.
    ///
    /// # Errors
    ///
    /// [`InstallError::TooManyReturns`] and [`InstallError::Write`]; then the key stays.
    pub fn begin_return(&mut self, key_no: KeyNo, utc: Utc) -> Result<Option<Begun>, InstallError> {
        let Some(installed) = self.installed.get(&key_no) else {
            let pending = self.returned.pending(key_no);
            let begun = |entry| Begun { held: self.held_of(entry), was_installed: false };
            return Ok(pending.map(begun));
        };
        let entry = Entry {
            activation: installed.licence.claims.jti.clone(),
            key_no,
            series: installed.licence.fields().key_id,
            at: utc,
            document: Some(installed.licence.document.clone()),
            receipt: None,
            was_asked_for: false,
        };
        let held = Held { token: installed.licence.holder.token().copied(), ..entry.held() };
        // Noted first: a start in between finds the file and does not use it.
        self.returned.keep(entry)?;
        if let Err(error) = self.remove(key_no, utc) {
            self.returned.forget(&held.activation)?;
            return Err(error);
        }
        Ok(Some(Begun { held, was_installed: true }))
    }

    /// Puts a key in force again that the centre has not taken; nothing when no return of it is
    /// under way.
    ///
    /// # Errors
    ///
    /// See [`InstallError`]; then the return stays under way.
    pub fn call_off_return(
        &mut self,
        key_no: KeyNo,
        utc: Utc,
    ) -> Result<Option<ProtectionKey>, InstallError> {
        let Some(document) = self.returned.pending(key_no).and_then(|entry| entry.document.clone())
        else {
            return Ok(None);
        };
        self.install_listed(&document, None, utc).map(Some)
    }

    /// The token that the activation of a receipt is bound to; nothing for a receipt that is not
    /// genuine or about no activation that is here, in force or aside.
    pub fn token_of(&self, receipt: &str) -> Option<TokenKey> {
        let receipt = self.receipt(receipt).ok()?;
        let held = self.returnable(receipt.key_no)?;
        held.token.filter(|_| held.activation == receipt.jti && held.series == receipt.key_id)
    }

    /// Takes a centre's receipt: the activation is over here for good. Returns what the centre
    /// promises, and whether this server has held the key until then, in force or aside. The key
    /// stays when it was installed again since by its reserve code.
    ///
    /// # Errors
    ///
    /// [`InstallError::Receipt`] and [`InstallError::UnknownSeries`] for a receipt that its series
    /// has not signed; [`InstallError::TooManyReturns`] and [`InstallError::Write`].
    pub fn end_return(
        &mut self,
        token: &str,
        utc: Utc,
    ) -> Result<(ReturnReceipt, bool), InstallError> {
        let receipt = self.receipt(token)?;
        let known = self.returned.get(&receipt.jti);
        if known.is_some_and(|entry| !entry.is_pending()) {
            return Ok((receipt, false));
        }
        let is_aside = known.is_some();
        let is_here = self
            .held(receipt.key_no)
            .is_some_and(|held| held.series == receipt.key_id && held.activation == receipt.jti);
        self.returned.keep(Entry {
            activation: receipt.jti.clone(),
            key_no: receipt.key_no,
            series: receipt.key_id,
            at: utc,
            document: None,
            receipt: Some(token.trim_ascii().to_owned()),
            was_asked_for: is_aside,
        })?;
        if is_here {
            self.remove(receipt.key_no, utc)?;
        }
        let removed = is_here || (is_aside && self.held(receipt.key_no).is_none());
        Ok((receipt, removed))
    }

    /// The receipt for a key that this server has given back last and that has not come back since:
    /// its reserve code is told again to who has not seen the first answer.
    pub fn given_back(&self, key_no: KeyNo) -> Option<ReturnReceipt> {
        if self.returnable(key_no).is_some() {
            return None;
        }
        let genuine = self.returned.receipts(key_no).filter_map(|token| self.receipt(token).ok());
        let last = genuine.max_by_key(|receipt| receipt.iat)?;
        (last.reserve_code != ReturnReceipt::withheld(last.key_id)).then_some(last)
    }

    /// [`Self::install`] of a licence that its centre has just listed as bound to this server: a
    /// return of it that is under way is called off with this.
    ///
    /// # Errors
    ///
    /// See [`InstallError`]; then no key has changed.
    pub fn install_listed(
        &mut self,
        document: &str,
        offered: Option<&SeriesDescriptor>,
        utc: Utc,
    ) -> Result<ProtectionKey, InstallError> {
        let key = self.install_as(document, offered, utc, true)?;
        // After the file is there: a start in between does not use it, and the next list of the
        // centre brings it back.
        if let Some(held) = self.held(key.key_no) {
            self.returned.forget(&held.activation)?;
        }
        Ok(key)
    }

    /// Reads what a centre promises about a returned key, under the key of the series as it is
    /// known here.
    fn receipt(&self, token: &str) -> Result<ReturnReceipt, InstallError> {
        let series = ReturnReceipt::peek_series(token).map_err(InstallError::Receipt)?;
        let unknown = InstallError::UnknownSeries(series);
        let Some(Ok(key)) = self.series.get(&series).map(SeriesDescriptor::signing_key) else {
            return Err(unknown);
        };
        let receipt = ReturnReceipt::verify(token, &key).map_err(InstallError::Receipt)?;
        if receipt.key_id != series {
            return Err(InstallError::Receipt(JwsError::Malformed("another series")));
        }
        Ok(receipt)
    }
}
