//! The table of the centre's addresses: what each of them asks of its sender.
//!
//! One place for all roles. An address that is not in it is for nobody but an administrator, so
//! that a forgotten line opens nothing.

use super::Role;

/// What an address asks of its sender.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Needs {
    /// Nothing, within the limit of calls.
    Anyone,
    /// Nothing, and nothing is counted: it costs nothing and shows nothing of the books.
    Free,
    /// Nothing, within the limit of guesses: it says whether a code is good.
    Guess,
    /// At least this role, by token.
    Program(Role),
    /// At least this role, by a login at a browser.
    Person(Role),
}

/// Method, address with `{}` for one part, what it needs.
pub type Line = (&'static str, &'static str, Needs);

use Needs::{Anyone, Free, Guess, Person, Program};
use Role::{Admin, Clerk, Reader};

/// Every address of the centre. Whole codes are as good as money: what shows them needs a clerk.
pub const TABLE: &[Line] = &[
    ("GET", "/", Free),
    ("GET", "/health", Free),
    ("GET", "/page.css", Free),
    ("GET", "/page.js", Free),
    ("GET", "/centre.css", Free),
    ("GET", "/language", Free),
    // What licence servers and their people ask.
    ("POST", "/requests", Guess),
    ("POST", "/api/activations", Guess),
    ("POST", "/api/demos", Anyone),
    ("POST", "/api/licences", Anyone),
    ("POST", "/api/requests", Guess),
    ("POST", "/api/returns", Guess),
    ("POST", "/api/short", Guess),
    ("POST", "/api/spares", Guess),
    ("GET", "/api/series", Anyone),
    ("GET", "/r", Anyone),
    ("POST", "/r", Guess),
    // The customer's page.
    ("GET", "/my", Anyone),
    ("POST", "/my", Guess),
    ("GET", "/my/key", Anyone),
    ("POST", "/my/key", Anyone),
    ("POST", "/my/leave", Anyone),
    // The vendor's programs.
    ("GET", "/api/audit", Program(Reader)),
    ("GET", "/api/blanks", Program(Reader)),
    ("POST", "/api/blanks", Program(Clerk)),
    ("POST", "/api/blanks/{}/block", Program(Admin)),
    ("POST", "/api/blanks/{}/unblock", Program(Admin)),
    ("GET", "/api/customers", Program(Reader)),
    ("POST", "/api/customers", Program(Clerk)),
    ("GET", "/api/customers/{}", Program(Reader)),
    ("PUT", "/api/customers/{}", Program(Clerk)),
    ("DELETE", "/api/customers/{}", Program(Clerk)),
    ("GET", "/api/keys", Program(Reader)),
    ("GET", "/api/keys/{}", Program(Clerk)),
    ("POST", "/api/keys/{}/release", Program(Clerk)),
    ("POST", "/api/keys/{}/spare", Program(Clerk)),
    ("GET", "/api/moves", Program(Reader)),
    ("GET", "/api/orders", Program(Clerk)),
    ("POST", "/api/orders", Program(Clerk)),
    ("GET", "/api/orders/{}", Program(Clerk)),
    ("GET", "/api/orders/{}/codes.csv", Program(Clerk)),
    ("POST", "/api/orders/{}/prolong", Program(Clerk)),
    ("POST", "/api/orders/{}/revoke", Program(Clerk)),
    ("GET", "/api/series-settings", Program(Reader)),
    ("PUT", "/api/series/{}", Program(Admin)),
    ("GET", "/api/stats", Program(Reader)),
    ("GET", "/api/suspicions", Program(Reader)),
    ("POST", "/api/suspicions/{}/block", Program(Admin)),
    ("POST", "/api/suspicions/{}/clear", Program(Admin)),
    ("POST", "/api/suspicions/{}/unblock", Program(Admin)),
    ("GET", "/api/unsigned", Program(Admin)),
    ("POST", "/api/unsigned/{}", Program(Admin)),
    // The vendor's people. Logging in counts wrong passwords by itself.
    ("GET", "/login", Anyone),
    ("POST", "/login", Anyone),
    ("POST", "/logout", Anyone),
    ("GET", "/vendor", Person(Reader)),
    ("GET", "/vendor/accounts", Person(Admin)),
    ("POST", "/vendor/accounts", Person(Admin)),
    ("GET", "/vendor/audit", Person(Reader)),
    ("GET", "/vendor/blanks", Person(Reader)),
    ("POST", "/vendor/blanks", Person(Clerk)),
    ("POST", "/vendor/blanks/{}", Person(Admin)),
    ("GET", "/vendor/customers", Person(Reader)),
    ("POST", "/vendor/customers", Person(Clerk)),
    ("GET", "/vendor/customers/{}", Person(Reader)),
    ("POST", "/vendor/customers/{}", Person(Clerk)),
    ("GET", "/vendor/keys", Person(Reader)),
    ("GET", "/vendor/keys/{}", Person(Reader)),
    ("POST", "/vendor/keys/{}", Person(Clerk)),
    ("GET", "/vendor/orders", Person(Reader)),
    ("POST", "/vendor/orders", Person(Clerk)),
    ("GET", "/vendor/orders/new", Person(Clerk)),
    ("GET", "/vendor/orders/{}", Person(Reader)),
    ("POST", "/vendor/orders/{}", Person(Clerk)),
    ("GET", "/vendor/orders/{}/codes.csv", Person(Clerk)),
    ("GET", "/vendor/password", Person(Reader)),
    ("POST", "/vendor/password", Person(Reader)),
    ("GET", "/vendor/series", Person(Reader)),
    ("GET", "/vendor/series/{}", Person(Reader)),
    ("POST", "/vendor/series/{}", Person(Admin)),
    ("GET", "/vendor/suspicions", Person(Reader)),
    ("POST", "/vendor/suspicions/{}", Person(Admin)),
    ("GET", "/vendor/unsigned", Person(Reader)),
];

/// What this address asks when it is called like this.
pub fn needs(method: &str, path: &str) -> Needs {
    // A head is its page without the body.
    let method = if method == "HEAD" { "GET" } else { method };
    let line = TABLE.iter().find(|(own, pattern, _)| *own == method && fits(pattern, path));
    match line {
        Some((_, _, needs)) => *needs,
        // Whoever errs learns so: the answer is 404 or 405 and tells nothing.
        None if !path.starts_with("/api/") && !path.starts_with("/vendor") => Free,
        None if is_public(path) => Free,
        None if path.starts_with("/vendor") => Person(Admin),
        None => Program(Admin),
    }
}

/// Whether another method of this address needs nobody in particular.
fn is_public(path: &str) -> bool {
    TABLE
        .iter()
        .any(|(_, pattern, needs)| fits(pattern, path) && matches!(needs, Anyone | Free | Guess))
}

pub(crate) fn fits(pattern: &str, path: &str) -> bool {
    let mut parts = path.split('/');
    let is_alike = pattern.split('/').all(|wanted| {
        parts
            .next()
            .is_some_and(|part| if wanted == "{}" { !part.is_empty() } else { part == wanted })
    });
    is_alike && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn address_without_a_line_is_for_administrators_only() {
        for (method, path, wanted) in [
            ("GET", "/api/forgotten", Program(Admin)),
            ("PATCH", "/api/orders/1", Program(Admin)),
            ("GET", "/api/orders/1/codes.csv/x", Program(Admin)),
            ("GET", "/vendor/forgotten", Person(Admin)),
            ("GET", "/vendors", Person(Admin)),
            ("DELETE", "/api/activations", Free),
            ("GET", "/nothing", Free),
            ("GET", "/api/orders/1", Program(Clerk)),
            ("HEAD", "/vendor/orders/7", Person(Reader)),
            ("GET", "/vendor/orders/new", Person(Clerk)),
            ("GET", "/vendor/orders/", Person(Admin)),
        ] {
            assert_eq!(needs(method, path), wanted, "{method} {path}");
        }
    }

    #[test]
    fn every_address_stands_once_and_changes_of_the_vendor_need_more_than_a_look() {
        let mut seen = BTreeSet::new();
        for (method, pattern, needs) in TABLE {
            assert!(seen.insert((method, pattern)), "{method} {pattern}");
            let is_vendors = pattern.starts_with("/vendor") || matches!(needs, Program(_));
            match needs {
                Person(_) => assert!(pattern.starts_with("/vendor"), "{pattern}"),
                Program(_) => assert!(pattern.starts_with("/api/"), "{pattern}"),
                Anyone | Free | Guess => assert!(!is_vendors, "{pattern}"),
            }
            // A person's own password is the one change that whoever looks may make.
            if *method != "GET" && *pattern != "/vendor/password" {
                assert!(!matches!(needs, Person(Reader) | Program(Reader)), "{method} {pattern}");
            }
        }
    }
}
