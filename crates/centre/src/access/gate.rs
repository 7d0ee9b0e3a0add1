//! What every request passes before it is answered: who sends it, whether they may, whether they
//! ask too often.
//!
//! Holds what is kept in memory about senders: limits, logins, customers who have shown a code.
//! Accounts are in the books.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::HeaderMap;
use licence_core::key::KeyNo;
use licence_core::seal::{hex_upper, sha256};
use licence_core::time::MonoTime;
use licencekit::random::{self, RandomError};
use subtle::ConstantTimeEq;

use super::headers::{self, cookie};
use super::limits::{Kind, Limits};
use super::passwords::Passwords;
use super::sessions::{CUSTOMERS, Digest, STAFF, Session, Sessions};

/// Cookie of a login.
pub(crate) const LOGIN_COOKIE: &str = "centre_login";

/// Cookie of a customer who has shown a code.
pub(crate) const CUSTOMER_COOKIE: &str = "centre_customer";

/// Cookie whose value a form must repeat where nobody has come in yet.
pub(crate) const FORM_COOKIE: &str = "centre_form";

/// Characters of a secret of ours: 32 bytes in hex.
const SECRET_CHARS: usize = 64;

/// Somebody of the vendor's who has logged in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Staff {
    /// Name of the account.
    pub(crate) name: String,
    /// Digest of the hash of the password with which the login began: with another one it is over.
    pub(crate) mark: Digest,
}

/// A customer who has shown a code of this key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Customer {
    /// Their key.
    pub(crate) key_no: KeyNo,
}

/// The gate.
#[derive(Debug)]
pub struct Gate {
    trusts_proxy: bool,
    pub(crate) passwords: Passwords,
    inner: Mutex<Inner>,
    mono: fn() -> MonoTime,
}

#[derive(Debug)]
struct Inner {
    limits: Limits,
    staff: Sessions<Staff>,
    customers: Sessions<Customer>,
}

/// Why a request does not pass.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stopped {
    /// A page of another site sent it.
    CrossSite,
    /// Too often: wait so long.
    TooMany(Duration),
}

impl Gate {
    /// A gate; with `trusts_proxy` it takes the word of the proxy in front of it for addresses and
    /// for TLS.
    pub fn new(trusts_proxy: bool, mono: fn() -> MonoTime) -> Self {
        let inner = Inner {
            limits: Limits::default(),
            staff: Sessions::new(STAFF),
            customers: Sessions::new(CUSTOMERS),
        };
        Self { trusts_proxy, passwords: Passwords::new(), inner: Mutex::new(inner), mono }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address that counts for this request.
    pub(crate) fn address(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> IpAddr {
        // Without a socket (a test in this process) it is this machine.
        let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        headers::client(headers, peer, self.trusts_proxy)
    }

    /// Whether the browser speaks TLS, as far as the proxy says.
    pub(crate) fn is_tls(&self, headers: &HeaderMap) -> bool {
        headers::is_tls(headers, self.trusts_proxy)
    }

    /// Counts a try of this kind.
    ///
    /// # Errors
    ///
    /// [`Stopped::TooMany`].
    pub(crate) fn take(&self, kind: Kind, from: IpAddr) -> Result<(), Stopped> {
        self.inner().limits.take(kind, from, (self.mono)()).map_err(Stopped::TooMany)
    }

    /// Gives a try back.
    pub(crate) fn give_back(&self, kind: Kind, from: IpAddr) {
        self.inner().limits.give_back(kind, from);
    }

    /// Lets somebody of the vendor's in; the value of their cookie.
    ///
    /// # Errors
    ///
    /// When there are no random bytes.
    pub(crate) fn let_staff_in(&self, staff: Staff) -> Result<String, RandomError> {
        let (id, csrf) = (secret()?, secret()?);
        self.inner().staff.begin(sha256(id.as_bytes()), staff, csrf, (self.mono)());
        Ok(id)
    }

    /// Lets a customer in; the value of their cookie.
    ///
    /// # Errors
    ///
    /// When there are no random bytes.
    pub(crate) fn let_customer_in(&self, customer: Customer) -> Result<String, RandomError> {
        let (id, csrf) = (secret()?, secret()?);
        self.inner().customers.begin(sha256(id.as_bytes()), customer, csrf, (self.mono)());
        Ok(id)
    }

    /// The login of this request, as it began.
    pub(crate) fn staff(&self, headers: &HeaderMap) -> Option<Session<Staff>> {
        let id = secret_cookie(headers, LOGIN_COOKIE)?;
        self.inner().staff.find(&sha256(id.as_bytes()), (self.mono)())
    }

    /// The customer of this request.
    pub(crate) fn customer(&self, headers: &HeaderMap) -> Option<Session<Customer>> {
        let id = secret_cookie(headers, CUSTOMER_COOKIE)?;
        self.inner().customers.find(&sha256(id.as_bytes()), (self.mono)())
    }

    /// Lets whoever sent this request go, in both parts.
    pub(crate) fn let_go(&self, headers: &HeaderMap) {
        let mut inner = self.inner();
        if let Some(id) = secret_cookie(headers, LOGIN_COOKIE) {
            inner.staff.end(&sha256(id.as_bytes()));
        }
        if let Some(id) = secret_cookie(headers, CUSTOMER_COOKIE) {
            inner.customers.end(&sha256(id.as_bytes()));
        }
    }

    /// Lets go of all who came in by this account.
    pub(crate) fn let_account_go(&self, name: &str) {
        self.inner().staff.end_all(|staff| staff.name == name);
    }

    /// Whether a change was sent by a page of ours, or by no page.
    ///
    /// # Errors
    ///
    /// [`Stopped::CrossSite`].
    pub(crate) fn check_sender(&self, headers: &HeaderMap) -> Result<(), Stopped> {
        if headers::is_from_own_page(headers) { Ok(()) } else { Err(Stopped::CrossSite) }
    }
}

/// Digest of the hash of a password, by which a login knows that it was changed.
pub(crate) fn mark_of(hash: &str) -> Digest {
    sha256(hash.as_bytes())
}

/// Whether a form carries what it must.
pub(crate) fn is_same_secret(expected: &str, sent: &str) -> bool {
    !expected.is_empty() && bool::from(expected.as_bytes().ct_eq(sent.as_bytes()))
}

/// A fresh secret, as text that fits into a cookie and a field.
pub(crate) fn secret() -> Result<String, RandomError> {
    Ok(hex_upper(random::key_bytes()?.as_ref()))
}

/// A cookie that can be a secret of ours.
pub(crate) fn secret_cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    cookie(headers, name).filter(|value| {
        value.len() == SECRET_CHARS && value.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use hyper::header::{COOKIE, HeaderValue};

    use super::*;

    fn with_cookie(name: &str, value: &str) -> HeaderMap {
        let line = HeaderValue::from_str(&format!("{name}={value}")).unwrap();
        HeaderMap::from_iter([(COOKIE, line)])
    }

    #[test]
    fn who_was_let_in_is_known_by_their_cookie_until_they_go() {
        let gate = Gate::new(false, || MonoTime::from_millis(0));
        let staff = Staff { name: "anna".to_owned(), mark: mark_of("hash") };
        let id = gate.let_staff_in(staff.clone()).unwrap();
        let headers = with_cookie(LOGIN_COOKIE, &id);
        assert_eq!(gate.staff(&headers).map(|session| session.who), Some(staff.clone()));
        assert!(gate.customer(&headers).is_none());
        assert!(gate.staff(&with_cookie(CUSTOMER_COOKIE, &id)).is_none());
        gate.let_go(&headers);
        assert!(gate.staff(&headers).is_none());
        let id = gate.let_staff_in(staff).unwrap();
        gate.let_account_go("anna");
        assert!(gate.staff(&with_cookie(LOGIN_COOKIE, &id)).is_none());
    }

    #[test]
    fn empty_secret_is_nobodys() {
        assert!(!is_same_secret("", ""));
        assert!(is_same_secret("A", "A"));
        assert!(!is_same_secret("A", "B"));
    }
}
