//! That licence-core stays pure: what it may not depend on.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use super::Context;
use super::runner::Outcome;
use crate::build::{say, shown};
use crate::stage::StageError;

/// May stand nowhere below the core.
const BANNED: [&str; 8] =
    ["env_logger", "hyper", "log", "mio", "rusqlite", "rustls", "tokio", "ureq"];

/// May not be depended on by the core itself. The crypto crate below it needs `getrandom` and
/// `libc` for what the core does not call.
const BANNED_DIRECTLY: [&str; 3] = ["getrandom", "libc", "rand"];

pub(super) fn run(context: &Context, out: &mut dyn Write) -> Result<Outcome, StageError> {
    let mut found = Vec::new();
    for (depth, banned) in [("999", &BANNED[..]), ("1", &BANNED_DIRECTLY[..])] {
        let names = packages(context, depth, out)?;
        if !names.contains("licence-core") {
            return Err(StageError::failed("cargo tree does not list licence-core itself"));
        }
        found.extend(banned.iter().copied().filter(|name| names.contains(*name)));
    }
    if found.is_empty() {
        return Ok(Outcome::passed());
    }
    Ok(Outcome::failed(format!("licence-core depends on {}", found.join(", "))))
}

fn packages(
    context: &Context,
    depth: &str,
    out: &mut dyn Write,
) -> Result<BTreeSet<String>, StageError> {
    let mut command = context.cargo(&["tree", "--locked", "--package", "licence-core"]);
    command.args(["--edges", "normal", "--target", "all", "--prefix", "none", "--format", "{p}"]);
    command.args(["--depth", depth]);
    say(out, &format!("$ {}", shown(&command)))?;
    let output =
        command.output().map_err(|why| StageError::io(Path::new(command.get_program()), why))?;
    if !output.status.success() {
        return Err(StageError::failed(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let listed = String::from_utf8_lossy(&output.stdout);
    Ok(listed.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
}
