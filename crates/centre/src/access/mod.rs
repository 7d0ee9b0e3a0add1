//! Who may do what at the centre: roles, those who act, and what every request passes before it is
//! answered.
//!
//! Decides on one request at a time. What stands on a page is `web`'s, what an order or a key may
//! become is `decide`'s.

pub mod accounts;
pub mod command;
pub mod entry;
pub mod gate;
pub mod headers;
pub mod ledger;
pub mod limits;
pub mod passwords;
pub(crate) mod sessions;
pub mod table;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// What somebody of the vendor's may do; each may do what those before it may.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// See.
    Reader,
    /// See; sell: orders, codes, customers, prolongations; move keys.
    Clerk,
    /// Everything: settings of series, accounts, blocking.
    Admin,
}

impl Role {
    /// The published name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Clerk => "clerk",
            Self::Reader => "reader",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Not the name of a role.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("expected reader, clerk or admin")]
pub struct ParseRoleError;

impl FromStr for Role {
    type Err = ParseRoleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Reader, Self::Clerk, Self::Admin]
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or(ParseRoleError)
    }
}

/// Who asks for something; the audit trail names them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Actor {
    /// Name of the account; `admin.token` for the vendor's programs, empty for customers.
    pub name: String,
    /// What they may do; nothing of the vendor's for a customer.
    pub role: Option<Role>,
    /// Where they are; nothing for the command line.
    pub from: Option<IpAddr>,
}
