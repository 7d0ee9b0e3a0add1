//! Who may do what: roles, those who act, and the gate that every request but a component's passes.
//!
//! Decides on one request at a time. What an address does, and which role it asks for, is the
//! table's ([`crate::api::routes`]).

pub mod accounts;
pub mod auth;
pub(crate) mod credentials;
pub mod csrf;
pub mod gate;
pub mod lockout;
mod logins;
mod origin;
pub mod passwords;
mod preference;

pub(crate) use self::preference::{chosen_language, language_switch, local, see_other};

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// What somebody may do; each may do what those before it may.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// See.
    Reader,
    /// See, and end sessions.
    Operator,
    /// Everything.
    Administrator,
}

impl Role {
    /// The published name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Administrator => "administrator",
            Self::Operator => "operator",
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
#[error("expected reader, operator or administrator")]
pub struct ParseRoleError;

impl FromStr for Role {
    type Err = ParseRoleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Reader, Self::Operator, Self::Administrator]
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or(ParseRoleError)
    }
}

/// How somebody said who they are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Via {
    /// They did not, and need not.
    Nothing,
    /// User name and password with each request (RFC 7617).
    Basic,
    /// A session of the console; its forms must carry this secret.
    Login {
        /// What a form must send as `csrf`.
        csrf: String,
    },
    /// Name and password in a message of a component, or the component's word alone.
    Component,
    /// A pass of a node of the cluster; the name is the user's at that node and the node's.
    Node,
    /// An API token (RFC 6750).
    Token,
    /// The server itself.
    Server,
}

/// Who asks for something; the audit trail names them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Actor {
    /// User name, name of the token, or empty for nobody in particular.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// How they said who they are.
    pub via: Via,
    /// Where they are.
    pub peer: IpAddr,
    /// Whether their password is the one that everybody knows from the manual, so that they should
    /// change it before anything else.
    pub has_default_password: bool,
}

impl Actor {
    /// The server itself, for what it does on its own.
    pub const fn server() -> Self {
        Self {
            name: String::new(),
            role: Role::Administrator,
            via: Via::Server,
            peer: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
            has_default_password: false,
        }
    }
}

#[cfg(test)]
mod tests;
