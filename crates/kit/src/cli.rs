//! The command line of `licencekit`: names, values and help, no deeds.
//!
//! No argument takes a secret: those come from files or the environment.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use licence_core::binding::{Binding, BindingLevel, GRACE_DAYS_DEFAULT, GRACE_DAYS_MAX};
use licence_core::key::{Flags, KeySeries};
use licence_core::parameter_claims::{self, ParametersError};
use licence_core::time::Utc;

use crate::datafile::args::{DatafileCommand, OriginalPack, ParametersCommand};
use crate::order::{
    CLUSTER_NODES_MAX, COUNT_MAX, OrderCall, OrderError, OrderKind, PERIOD_DAYS_MAX, SEATS_MAX,
};
use crate::template::TemplateCommand;
use crate::text::Language;

/// The vendor's tool: key series, orders, activation codes, licence documents.
#[derive(Debug, Parser)]
#[command(name = "licencekit", version, disable_help_subcommand = true)]
pub struct Cli {
    /// Language of messages; without it LC_ALL, LC_MESSAGES and LANG decide.
    #[arg(long, global = true, value_enum)]
    pub lang: Option<Language>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the audit trail of the activation centre, the latest first.
    Audit(crate::vendor_commands::AuditArgs),
    /// Make a data file with the original editor's words: c OUT SRC... --serie=672B -y.
    #[command(name = "c")]
    C(OriginalPack),
    /// Prepare USB tokens for licences, list them, register them at the centre.
    #[command(subcommand)]
    Blank(crate::blank::BlankCommand),
    /// Look at activation codes.
    #[command(subcommand)]
    Code(CodeCommand),
    /// Customers in the books of the activation centre.
    #[command(subcommand)]
    Customer(crate::vendor_commands::CustomerCommand),
    /// Make data files of protected objects, look at them, open them again.
    #[command(subcommand)]
    Datafile(DatafileCommand),
    /// Build external data processors and reports from text, and take them apart.
    #[command(subcommand)]
    Epf(crate::epf::EpfCommand),
    /// Keys in the books of the activation centre: their history, release, spare codes.
    #[command(subcommand)]
    Key(crate::vendor_commands::KeyCommand),
    /// Look at licence documents.
    #[command(subcommand)]
    Licence(LicenceCommand),
    /// Give orders to the activation centre and see what became of them.
    #[command(subcommand)]
    Order(OrderCommand),
    /// Check files of licence parameters.
    #[command(subcommand)]
    Parameters(ParametersCommand),
    /// Carry file requests of servers without internet to the activation centre.
    #[command(subcommand)]
    Request(RequestCommand),
    /// Make and show key series.
    #[command(subcommand)]
    Series(SeriesCommand),
    /// Sign what waits at an activation centre that has not the secret of the series.
    Sign(Box<crate::sign::SignArgs>),
    /// Print what was activated and moved, by month and series.
    Stats(crate::vendor_commands::StatsArgs),
    /// Turn a common module into a protected processor and a module of forwarding stubs.
    Stub(crate::epf::StubArgs),
    /// Pin series in the component's template, and look into one.
    #[command(subcommand)]
    Template(TemplateCommand),
}

/// Commands about series.
#[derive(Debug, Subcommand)]
pub enum SeriesCommand {
    /// Make a series: XXXX.cryptkey (secret, encrypted) and XXXX.series (public).
    Create(SeriesCreate),
    /// Print the developer password of a series, which wipes the memory of its keys.
    DeveloperPassword {
        /// XXXX.cryptkey.
        #[arg(long)]
        cryptkey: PathBuf,
        /// File with the passphrase; without it LICENCE_PASSPHRASE is used.
        #[arg(long)]
        passphrase_file: Option<PathBuf>,
    },
    /// Show a public series file.
    Show {
        /// XXXX.series or licence.series.
        file: PathBuf,
    },
}

/// Arguments of `series create`.
#[derive(Args, Debug)]
pub struct SeriesCreate {
    /// Four hex digits.
    #[arg(long)]
    pub series: KeySeries,
    /// Name of the product, up to 100 characters.
    #[arg(long)]
    pub name: String,
    /// Address of the activation centre, as customers' servers reach it.
    #[arg(long)]
    pub centre_url: Option<String>,
    /// Folder for the two files; made when missing.
    #[arg(long)]
    pub out: PathBuf,
    /// File with the passphrase (12 characters or more); without it LICENCE_PASSPHRASE is used.
    #[arg(long)]
    pub passphrase_file: Option<PathBuf>,
}

/// Which centre, and by what right.
#[derive(Args, Debug)]
pub struct CentreArgs {
    /// Address of the activation centre.
    #[arg(long)]
    pub centre: String,
    /// The centre's admin.token.
    #[arg(long)]
    pub token_file: PathBuf,
}

/// Commands about orders.
#[derive(Debug, Subcommand)]
pub enum OrderCommand {
    /// Take an order; prints one activation code a line.
    Add(Box<OrderAdd>),
    /// List the orders and what became of their codes.
    List {
        /// Which centre.
        #[command(flatten)]
        centre: CentreArgs,
        /// Print the centre's answer as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Prolong the keys of an order; their servers get the later end when they ask next.
    Prolong(crate::vendor_commands::Prolong),
    /// Revoke an order: its codes cannot be activated any more. Licences already issued stay.
    Revoke {
        /// Which centre.
        #[command(flatten)]
        centre: CentreArgs,
        /// Number of the order.
        order_id: i64,
    },
}

/// Arguments of `order add`.
#[derive(Args, Debug)]
pub struct OrderAdd {
    /// Which centre.
    #[command(flatten)]
    pub centre: CentreArgs,
    /// Four hex digits.
    #[arg(long)]
    pub series: KeySeries,
    /// Kind of the keys.
    #[arg(long, value_enum)]
    pub kind: OrderKind,
    /// Seats of each key.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(SEATS_MAX)))]
    pub seats: u32,
    /// How many keys.
    #[arg(long, default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(COUNT_MAX)))]
    pub count: u32,
    /// Term in days from the start or the activation; 0 is no limit.
    #[arg(long, default_value_t = 0, value_name = "DAYS",
        value_parser = clap::value_parser!(u32).range(..=i64::from(PERIOD_DAYS_MAX)))]
    pub period: u32,
    /// First day of use (2026-01-31, midnight UTC, or an ISO 8601 moment).
    #[arg(long, value_name = "DATE", value_parser = parse_date)]
    pub start: Option<Utc>,
    /// Day from which the keys may no longer be used.
    #[arg(long, value_name = "DATE", value_parser = parse_date)]
    pub expire: Option<Utc>,
    /// Up to 32 binary digits; zeros on the left may be left out.
    #[arg(long, value_name = "BITS", value_parser = parse_flags, default_value = "0")]
    pub flags: Flags,
    /// Newest product version covered; 0 covers all.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub product_version: u32,
    /// Special 1C services; 0 is the ordinary case.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub service_type: u8,
    /// Registration number.
    #[arg(long, value_name = "N")]
    pub reg_no: Option<u32>,
    /// Article.
    #[arg(long)]
    pub article: Option<String>,
    /// Name of the article, up to 100 characters.
    #[arg(long)]
    pub article_name: Option<String>,
    /// Owner's ITN (ИНН): only who names it may activate.
    #[arg(long, value_name = "DIGITS")]
    pub itn: Option<String>,
    /// Owner's IEC (КПП): only who names it may activate.
    #[arg(long, value_name = "DIGITS")]
    pub iec: Option<String>,
    /// For your own eyes; stays in the centre's books.
    #[arg(long)]
    pub note: Option<String>,
    /// Name of the edition behind the product version, up to 100 characters.
    #[arg(long, value_name = "TEXT")]
    pub product_version_name: Option<String>,
    /// First day of support.
    #[arg(long, value_name = "DATE", value_parser = parse_date)]
    pub support_date: Option<Utc>,
    /// Days of support.
    #[arg(long, value_name = "DAYS",
        value_parser = clap::value_parser!(u32).range(..=i64::from(PERIOD_DAYS_MAX)))]
    pub support_period: Option<u32>,
    /// First day of industry support.
    #[arg(long, value_name = "DATE", value_parser = parse_date)]
    pub industry_support_date: Option<Utc>,
    /// Days of industry support.
    #[arg(long, value_name = "DAYS",
        value_parser = clap::value_parser!(u32).range(..=i64::from(PERIOD_DAYS_MAX)))]
    pub industry_support_period: Option<u32>,
    /// Licence parameter that the licences carry, signed; may be given many times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_parameter)]
    pub parameter: Vec<(String, String)>,
    /// Number of the customer in the centre's books.
    #[arg(long, value_name = "N")]
    pub customer: Option<i64>,
    /// How strictly the licences are bound to a computer (loose, medium, strict, tpm); without it
    /// the series decides.
    #[arg(long, value_name = "LEVEL", value_parser = parse_level)]
    pub binding: Option<BindingLevel>,
    /// Days that the licences go on after too many parts of the computer have changed.
    #[arg(long, value_name = "DAYS", requires = "binding",
        value_parser = clap::value_parser!(u16).range(..=i64::from(GRACE_DAYS_MAX)))]
    pub grace_days: Option<u16>,
    /// How many servers may share a key as nodes of one cluster; 0 is none, without it the series
    /// decides.
    #[arg(long, value_name = "N",
        value_parser = clap::value_parser!(u32).range(..=i64::from(CLUSTER_NODES_MAX)))]
    pub cluster_nodes: Option<u32>,
    /// Print the centre's answer as JSON.
    #[arg(long)]
    pub json: bool,
}

impl OrderAdd {
    /// The order in the centre's terms.
    ///
    /// # Errors
    ///
    /// [`OrderError::Parameters`] when a parameter is named twice or outside its limits.
    pub fn call(&self) -> Result<OrderCall, OrderError> {
        let mut parameters = BTreeMap::new();
        for (name, value) in &self.parameter {
            if parameters.insert(name.clone(), value.clone()).is_some() {
                return Err(OrderError::Parameters(ParametersError::Twice(name.clone())));
            }
        }
        parameter_claims::check(&parameters).map_err(OrderError::Parameters)?;
        Ok(OrderCall {
            series: self.series,
            kind: self.kind,
            seats: self.seats,
            count: self.count,
            period: self.period,
            start_date: self.start,
            expire_date: self.expire,
            flags: self.flags,
            product_version: self.product_version,
            service_type: self.service_type,
            reg_no: self.reg_no,
            article: self.article.clone(),
            article_name: self.article_name.clone(),
            itn: self.itn.clone(),
            iec: self.iec.clone(),
            note: self.note.clone(),
            product_version_name: self.product_version_name.clone(),
            support_date: self.support_date,
            support_period: self.support_period,
            industry_support_date: self.industry_support_date,
            industry_support_period: self.industry_support_period,
            parameters,
            customer_id: self.customer,
            binding: self.binding.map(|level| Binding {
                level,
                grace_days: self.grace_days.unwrap_or(GRACE_DAYS_DEFAULT),
            }),
            cluster_nodes: self.cluster_nodes,
        })
    }
}

/// Commands about file requests.
#[derive(Debug, Subcommand)]
pub enum RequestCommand {
    /// Send a request file of a licence server to the centre and save the centre's answer, which
    /// the server then takes. Needs no token: the request is signed by the server.
    Answer {
        /// Address of the activation centre.
        #[arg(long)]
        centre: String,
        /// The request file.
        file: PathBuf,
        /// Where to save the answer; a file that exists is not replaced.
        #[arg(short, long)]
        out: PathBuf,
    },
    /// Activate the code of a request that was read out over a telephone; prints the lines to read
    /// out in answer.
    Short {
        /// Address of the activation centre.
        #[arg(long)]
        centre: String,
        /// The lines of the request, as one argument or several.
        #[arg(required = true)]
        lines: Vec<String>,
    },
}

/// Commands about codes.
#[derive(Debug, Subcommand)]
pub enum CodeCommand {
    /// Check a code for typing mistakes and show its series; asks nobody.
    Check {
        /// Five groups of four characters.
        code: String,
    },
}

/// Commands about licence documents.
#[derive(Debug, Subcommand)]
pub enum LicenceCommand {
    /// Verify a licence document under the key of its series and show what it grants.
    Verify {
        /// XXXX.series or licence.series.
        #[arg(long)]
        series: PathBuf,
        /// The licence document.
        licence: PathBuf,
    },
}

pub(crate) fn parse_date(text: &str) -> Result<Utc, String> {
    let moment = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    moment.parse().map_err(|_| "neither a date such as 2026-01-31 nor an ISO 8601 moment".into())
}

fn parse_level(text: &str) -> Result<BindingLevel, String> {
    serde_json::from_value(serde_json::Value::String(text.to_owned()))
        .map_err(|_| "expected loose, medium, strict or tpm".into())
}

fn parse_parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.trim().to_owned(), value.to_owned()))
}

fn parse_flags(text: &str) -> Result<Flags, String> {
    format!("{text:0>32}").parse().map_err(|_| "flags are up to 32 binary digits".into())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn parameters_of_an_order_are_named_once_and_travel_in_it() {
        let order = |parameters: &[&str]| {
            let words = "licencekit order add --centre http://localhost:1 --token-file t \
                --series 672B --kind main --seats 5";
            let options = parameters.iter().flat_map(|text| ["--parameter", *text]);
            let cli = Cli::try_parse_from(words.split_whitespace().chain(options)).unwrap();
            let Command::Order(OrderCommand::Add(order)) = cli.command else {
                panic!("another command");
            };
            order.call()
        };
        let good = order(&["ТипПриложения=КОРП", "Formula=a=b ", "Empty="]).unwrap();
        let values: Vec<_> =
            good.parameters.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(values, [("Empty", ""), ("Formula", "a=b "), ("ТипПриложения", "КОРП")]);
        for bad in [&["a=1", "a=2"][..], &["a=1", "A=2"], &["=1"], &["a=\0"]] {
            assert!(matches!(order(bad), Err(OrderError::Parameters(_))), "{bad:?}");
        }
        assert!(parse_parameter("a").is_err());
    }

    #[test]
    fn date_is_midnight_utc_and_flags_are_filled_up_on_the_left() {
        assert_eq!(parse_date("2026-01-31").unwrap().to_string(), "2026-01-31T00:00:00.000Z");
        assert_eq!(
            parse_date("2026-01-31T03:00:00+03:00").unwrap().to_string(),
            "2026-01-31T00:00:00.000Z"
        );
        assert!(parse_date("31.01.2026").is_err());
        assert_eq!(parse_flags("101").unwrap(), Flags(5));
        assert!(parse_flags(&"1".repeat(33)).is_err());
        assert!(parse_flags("2").is_err());
    }
}
