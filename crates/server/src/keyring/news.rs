//! Which of the documents that a centre lists, or a token shows, are worth installing.
//!
//! Looks at what documents say of themselves; whether they are genuine, installing them tells.

use licence_core::jws;
use licence_core::licence_file::{LICENCE_TYP, Licence, LicenceClaims};
use licence_core::short_text::short_form;

use super::Keyring;

impl Keyring {
    /// Whether a document is worth installing: of a key that is not here or does not work here, later
    /// than the licence that is, or the same with more in it.
    pub fn is_news(&self, document: &str) -> bool {
        let Ok((key_no, issued)) = Licence::peek_issue(document) else {
            // Installing it tells what is wrong.
            return true;
        };
        self.installed
            .get(&key_no)
            .is_none_or(|installed| !installed.is_workable || installed.licence.claims.iat < issued)
            || self.brings_object_key(document)
            || self.completes(document)
    }

    /// Whether a document is the very licence that is here in the form that is read out, with what
    /// that form leaves out.
    fn completes(&self, document: &str) -> bool {
        let Ok(whole) = jws::peek::<LicenceClaims>(LICENCE_TYP, document.trim_ascii()) else {
            return false;
        };
        self.installed.get(&whole.fields.key_no).is_some_and(|installed| {
            let held = &installed.licence.claims;
            let mut short = short_form(whole.clone());
            // The form that is read out has the name of its day.
            short.fields.product_name.clone_from(&held.fields.product_name);
            short == *held && whole != *held
        })
    }
}
