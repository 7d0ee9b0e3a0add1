//! Every module in 1C's language that the repository tracks, judged by an analyser that knows
//! nothing of us (`onec-hbk-bsl`).
//!
//! All of its rules hold but those in [`EXCUSES`], each with its reason; some hold everywhere but
//! in certain modules. No module at all is a failure: a check of nothing would always pass.

mod home;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::Context;
use super::runner::{Counts, Outcome};
use crate::build::say;
use crate::stage::StageError;

pub use home::Analyser;
pub(super) use home::set_up;

/// A rule that does not hold, here or everywhere.
struct Excuse {
    code: &'static str,
    /// End of the modules' paths; empty for all of them.
    within: &'static str,
    reason: &'static str,
}

const fn everywhere(code: &'static str, reason: &'static str) -> Excuse {
    Excuse { code, within: "", reason }
}

const FORM: &str = "Form/Module.bsl";
const APPLICATION: &str = "ManagedApplicationModule.bsl";
const OBJECT: &str = "ObjectModule.bsl";
const COMMON: &str = "Ext/Module.bsl";
const SIGNING: &str = "ПодписаниеИСМПКлиент/Ext/Module.bsl";

const EXCUSES: [Excuse; 33] = [
    everywhere("BSL008", "an early return is the house's style"),
    everywhere("BSL011", "a number for complexity; review judges it"),
    everywhere("BSL015", "signatures are those that configurations already call"),
    everywhere("BSL019", "as BSL011"),
    everywhere("BSL029", "numbers of the contract stand beside the words that explain them"),
    everywhere("BSL031", "as BSL015"),
    everywhere("BSL062", "handlers and contracts have parameters that not every body needs"),
    everywhere("BSL065", "comments say why; they are no generated reference"),
    everywhere("BSL176", "the successors do not exist on the oldest platform that is served"),
    everywhere("BSL178", "as BSL176"),
    everywhere("BSL188", "asks for a review, finds no error"),
    everywhere("BSL192", "names are those that configurations already call"),
    everywhere("BSL199", "a choice without a last case is meant"),
    everywhere("BSL200", "where an operator stands at a line break is a matter of taste"),
    everywhere("BSL215", "as BSL065"),
    everywhere("BSL224", "nested calls are a matter of taste"),
    everywhere("BSL233", "as BSL065"),
    everywhere("BSL247", "asks for a review, finds no error"),
    everywhere("BSL251", "the conditional operator is part of the language"),
    everywhere("BSL256", "its dictionary lacks the words of the trade"),
    everywhere("BSL259", "its list of preprocessor symbols is incomplete"),
    everywhere("BSL261", "takes a safe mode that is passed on for one that is compared"),
    everywhere("BSL262", "wants the level of an error for a lesser event"),
    everywhere("BSL267", "external processors are the product"),
    Excuse { code: "BSL007", within: FORM, reason: "takes attributes of the form for variables" },
    Excuse { code: "BSL042", within: APPLICATION, reason: "the platform calls event handlers" },
    Excuse {
        code: "BSL159",
        within: COMMON,
        reason: "guesses a common module's flags from its name",
    },
    Excuse { code: "BSL167", within: COMMON, reason: "as BSL159" },
    Excuse { code: "BSL170", within: FORM, reason: "a form's methods need their directives" },
    Excuse { code: "BSL194", within: OBJECT, reason: "methods that throw answer true by contract" },
    Excuse {
        code: "BSL218",
        within: OBJECT,
        reason: "temporary files are deleted by a procedure, which the rule does not follow",
    },
    Excuse { code: "BSL217", within: OBJECT, reason: "a storage is deleted by whoever filled it" },
    Excuse { code: "BSL271", within: SIGNING, reason: "failing elsewhere is an answer" },
];

/// What the analyser says of a place.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct Finding {
    /// The module, relative to the folder that was judged.
    pub file: String,
    /// Line, from 1.
    pub line: u64,
    /// The rule.
    pub code: String,
    /// What it says.
    pub message: String,
}

impl Finding {
    fn is_excused(&self) -> bool {
        EXCUSES.iter().any(|excuse| excuse.code == self.code && self.file.ends_with(excuse.within))
    }
}

/// Judges modules: relative names and bytes, and what stands beside them.
///
/// # Errors
///
/// When the analyser is not there or does not do its part.
pub fn findings(
    analyser: &Analyser,
    files: &[(String, Vec<u8>)],
) -> Result<Vec<Finding>, StageError> {
    let found = analyser.judge(files)?;
    Ok(found.into_iter().filter(|finding| !finding.is_excused()).collect())
}

pub(super) fn run(context: &Context, out: &mut dyn Write) -> Result<Outcome, StageError> {
    for Excuse { code, within, reason } in &EXCUSES {
        let place = if within.is_empty() { "everywhere" } else { within };
        say(out, &format!("not held: {code} ({place}): {reason}"))?;
    }
    let files = tracked(&context.root)?;
    let modules = files.iter().filter(|(name, _)| is_module(name)).count();
    if modules == 0 {
        return Ok(Outcome::failed("the repository has no module in 1C's language".into()));
    }
    let found = findings(&Analyser::find(&context.target)?, &files)?;
    for Finding { file, line, code, message } in &found {
        say(out, &format!("{file}:{line}: {code} {message}"))?;
    }
    let guilty: BTreeSet<&str> = found.iter().map(|finding| finding.file.as_str()).collect();
    say(out, &format!("{modules} modules, {} with findings", guilty.len()))?;
    if guilty.is_empty() {
        return Ok(Outcome::passed());
    }
    let counts = Counts { passed: 0, failed: 1 };
    Ok(Outcome { counts, failure: Some(format!("{} findings in modules", found.len())) })
}

fn is_module(name: &str) -> bool {
    name.to_lowercase().ends_with(".bsl")
}

/// The modules of the repository and the descriptions beside them, which some rules look at:
/// those that git tracks and those that it would.
fn tracked(root: &Path) -> Result<Vec<(String, Vec<u8>)>, StageError> {
    let output = Command::new("git")
        .current_dir(root)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"])
        .args(["*.bsl", "*.xml"])
        .stdin(Stdio::null())
        .output()
        .map_err(|why| StageError::io(Path::new("git"), why))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(StageError::failed(format!("git does not list the modules: {said}")));
    }
    let mut files = Vec::new();
    for name in output.stdout.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let name = String::from_utf8_lossy(name).into_owned();
        let path = root.join(&name);
        // A file that was deleted is still listed until that is committed.
        if path.is_file() {
            let bytes = std::fs::read(&path).map_err(|why| StageError::io(&path, why))?;
            files.push((name, bytes));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_is_excused_in_its_modules_only() {
        let check = |code: &str, file: &str, wanted: bool| {
            let finding =
                Finding { file: file.into(), line: 1, code: code.into(), message: String::new() };
            assert_eq!(finding.is_excused(), wanted, "{code} in {file}");
        };
        check("BSL001", "a/Ext/ObjectModule.bsl", false);
        check("BSL251", "a/Ext/ObjectModule.bsl", true);
        check("BSL007", "a/Ext/Form/Module.bsl", true);
        check("BSL007", "a/Ext/ObjectModule.bsl", false);
    }

    #[test]
    fn every_excuse_has_a_reason_and_stands_once() {
        let mut seen = BTreeSet::new();
        for excuse in &EXCUSES {
            assert!(!excuse.reason.is_empty(), "{}", excuse.code);
            assert!(seen.insert((excuse.code, excuse.within)), "{}", excuse.code);
        }
    }
}
