//! The report as the API and `doctor --json` show it. The names are published.

use licence_core::language::Language;
use serde::Serialize;

use super::{Check, HealthReport};

/// `{"Status","Checks":[{"Name","Status","Text","Advice"}]}` in one language.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ReportView<'a> {
    status: &'static str,
    checks: Vec<CheckView<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CheckView<'a> {
    name: &'static str,
    status: &'static str,
    text: &'a str,
    advice: &'a str,
}

impl<'a> ReportView<'a> {
    pub(crate) fn new(report: &'a HealthReport, language: Language) -> Self {
        let view = |check: &'a Check| CheckView {
            name: check.id,
            status: check.state.name(),
            text: check.text(language),
            advice: check.advice(language),
        };
        Self { status: report.state().name(), checks: report.checks.iter().map(view).collect() }
    }
}
