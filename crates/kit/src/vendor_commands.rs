//! What the commands about keys, customers, figures and the audit trail do: calls of the activation
//! centre, printed for people or as JSON for scripts.
//!
//! What may be done with a key the centre decides.

use clap::{Args, Subcommand};
use licence_core::centre_request::ReturnReason;
use licence_core::key::KeyNo;
use licence_core::time::Utc;

use crate::cli::{CentreArgs, parse_date};
use crate::commands::{Failure, Surroundings, connect, print_json};
use crate::order::PERIOD_DAYS_MAX;
use crate::vendor::{
    AuditView, CustomerCall, CustomerView, KeyState, KeyView, Page, ProlongCall, ReleaseAnswer,
    ReleaseCall, SpareCall, Statistics, TermView,
};

/// Arguments of `order prolong`.
#[derive(Args, Debug)]
pub struct Prolong {
    /// Which centre.
    #[command(flatten)]
    pub centre: CentreArgs,
    /// Number of the order.
    pub order_id: i64,
    /// So many days more.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(PERIOD_DAYS_MAX)),
        conflicts_with = "until", required_unless_present = "until")]
    pub days: Option<u32>,
    /// The new end: a date or an ISO 8601 moment.
    #[arg(long, value_name = "DATE", value_parser = parse_date)]
    pub until: Option<Utc>,
}

/// Commands about keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// End the activation of a key whose server is dead; prints its reserve code.
    Release {
        /// Which centre.
        #[command(flatten)]
        centre: CentreArgs,
        /// Serial number of the key.
        key_no: u32,
        /// Why: upgrade, hardware, reinstall, token or other.
        #[arg(long, value_parser = parse_reason)]
        reason: Option<ReturnReason>,
        /// Why, in your words.
        #[arg(long)]
        comment: Option<String>,
        /// Which activation, when several nodes of a cluster have the key; `key show` names them.
        #[arg(long, value_name = "ID")]
        activation: Option<String>,
    },
    /// Show a key with its codes and its whole history.
    Show {
        /// Which centre.
        #[command(flatten)]
        centre: CentreArgs,
        /// Serial number of the key.
        key_no: u32,
        /// Print the centre's answer as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the spare code of a key that works, drawing one where there is none.
    Spare {
        /// Which centre.
        #[command(flatten)]
        centre: CentreArgs,
        /// Serial number of the key.
        key_no: u32,
        /// Make the code that was drawn before worthless, and draw another.
        #[arg(long)]
        renew: bool,
        /// Which activation, when several nodes of a cluster have the key; `key show` names them.
        #[arg(long, value_name = "ID")]
        activation: Option<String>,
    },
}

/// Commands about customers.
#[derive(Debug, Subcommand)]
pub enum CustomerCommand {
    /// Write a customer down; prints their number for `order add --customer`.
    Add {
        /// Which centre.
        #[command(flatten)]
        centre: CentreArgs,
        /// Name.
        #[arg(long)]
        name: String,
        /// ITN (ИНН).
        #[arg(long)]
        itn: Option<String>,
        /// IEC (КПП).
        #[arg(long)]
        iec: Option<String>,
        /// Address of mail.
        #[arg(long)]
        mail: Option<String>,
        /// For your own eyes.
        #[arg(long)]
        note: Option<String>,
    },
    /// List the customers.
    List {
        /// Which centre.
        #[command(flatten)]
        centre: CentreArgs,
        /// Print them as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Arguments of `stats`.
#[derive(Args, Debug)]
pub struct StatsArgs {
    /// Which centre.
    #[command(flatten)]
    pub centre: CentreArgs,
    /// Print the centre's answer as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `audit`.
#[derive(Args, Debug)]
pub struct AuditArgs {
    /// Which centre.
    #[command(flatten)]
    pub centre: CentreArgs,
    /// Of this key only.
    #[arg(long, value_name = "N")]
    pub key: Option<u32>,
    /// Of this order only.
    #[arg(long, value_name = "N")]
    pub order: Option<i64>,
    /// Go on below this number, the last that was printed before.
    #[arg(long, value_name = "N")]
    pub before: Option<i64>,
    /// Print the centre's answer as JSON.
    #[arg(long)]
    pub json: bool,
}

fn parse_reason(text: &str) -> Result<ReturnReason, String> {
    ReturnReason::of_word(text)
        .ok_or_else(|| "expected upgrade, hardware, reinstall, token or other".to_owned())
}

pub(crate) fn prolong(args: &Prolong, around: Surroundings<'_>) -> Result<(), Failure> {
    let centre = connect(&args.centre, around.language)?;
    let call = ProlongCall { days: args.days, expire_date: args.until };
    let term: TermView = centre.post(&format!("/api/orders/{}/prolong", args.order_id), &call)?;
    let language = around.language;
    write!(around.out, "{}: ", term.order_id)?;
    if term.period > 0 {
        write!(around.out, "{} {}", term.period, language.pick("days", "дней"))?;
    }
    if let Some(end) = term.expire_date {
        let gap = if term.period > 0 { ", " } else { "" };
        write!(around.out, "{gap}{} {end}", language.pick("until", "до"))?;
    }
    Ok(writeln!(around.out)?)
}

pub(crate) fn key(command: &KeyCommand, around: Surroundings<'_>) -> Result<(), Failure> {
    match command {
        KeyCommand::Release { centre, key_no, reason, comment, activation } => {
            let call = ReleaseCall {
                reason: *reason,
                comment: comment.clone(),
                activation_id: activation.clone(),
            };
            let centre = connect(centre, around.language)?;
            let answer: ReleaseAnswer =
                centre.post(&format!("/api/keys/{key_no}/release"), &call)?;
            Ok(writeln!(around.out, "{}", answer.reserve_code)?)
        }
        KeyCommand::Show { centre, key_no, json } => {
            let centre = connect(centre, around.language)?;
            let view: KeyView = centre.fetch(&format!("/api/keys/{key_no}"))?;
            if *json { print_json(&view, around.out) } else { show(&view, around) }
        }
        KeyCommand::Spare { centre, key_no, renew, activation } => {
            let centre = connect(centre, around.language)?;
            let call = SpareCall { renew: *renew, activation_id: activation.clone() };
            let answer: licence_core::centre_request::SpareAnswer =
                centre.post(&format!("/api/keys/{key_no}/spare"), &call)?;
            Ok(writeln!(around.out, "{}", answer.spare_code)?)
        }
    }
}

fn show(view: &KeyView, around: Surroundings<'_>) -> Result<(), Failure> {
    let (language, key) = (around.language, &view.key);
    let state = match key.state {
        KeyState::Activated => language.pick("installed", "установлен"),
        KeyState::Expired => language.pick("its term is over", "срок истёк"),
        KeyState::Free => language.pick("never installed", "не установлен"),
        KeyState::Returned => language.pick("waits for its reserve code", "ждёт резервного кода"),
        KeyState::Revoked => language.pick("revoked", "отозван"),
    };
    writeln!(around.out, "{} {}: {state}", key.series, key.key_no)?;
    for (name, code) in [
        (language.pick("code", "код"), Some(view.code)),
        (language.pick("reserve code", "резервный код"), view.reserve_code),
        (language.pick("spare code", "запасной код"), view.spare_code),
    ] {
        if let Some(code) = code {
            writeln!(around.out, "{name}: {code}")?;
        }
    }
    let moves = language.pick("moves of the last 365 days", "переносов за 365 дней");
    writeln!(around.out, "{moves}: {} / {}", view.moves, view.moves_max)?;
    if let Some(cluster) = view.cluster {
        let name = language.pick("cluster", "кластер");
        let nodes = language.pick("nodes", "узлов");
        writeln!(around.out, "{name} {cluster}: {nodes} {} / {}", view.nodes, view.nodes_max)?;
    }
    for one in &view.activations {
        write!(around.out, "  {} {}", one.activated, one.computer_id)?;
        if one.cluster.is_some() {
            write!(around.out, " {}", one.activation_id)?;
        }
        if let (Some(ended), Some(by)) = (one.ended, one.ended_by) {
            write!(around.out, " – {ended} ({})", by.word())?;
        }
        writeln!(around.out)?;
    }
    Ok(())
}

pub(crate) fn customer(command: &CustomerCommand, around: Surroundings<'_>) -> Result<(), Failure> {
    match command {
        CustomerCommand::Add { centre, name, itn, iec, mail, note } => {
            let call = CustomerCall {
                name: name.clone(),
                itn: itn.clone(),
                iec: iec.clone(),
                mail: mail.clone(),
                note: note.clone(),
            };
            let centre = connect(centre, around.language)?;
            let view: CustomerView = centre.post("/api/customers", &call)?;
            Ok(writeln!(around.out, "{}", view.customer_id)?)
        }
        CustomerCommand::List { centre, json } => {
            let centre = connect(centre, around.language)?;
            let mut all: Vec<CustomerView> = Vec::new();
            let mut before = i64::MAX;
            loop {
                let page: Page<CustomerView> =
                    centre.fetch(&format!("/api/customers?before={before}"))?;
                all.extend(page.items);
                // Numbers fall from page to page, or a confused centre would keep us for ever.
                match page.next.filter(|next| *next < before) {
                    Some(next) => before = next,
                    None => break,
                }
            }
            if *json {
                return print_json(&all, around.out);
            }
            for view in all {
                let itn = view.customer.itn.as_deref().unwrap_or("–");
                writeln!(around.out, "{} {} {itn}", view.customer_id, view.customer.name)?;
            }
            Ok(())
        }
    }
}

pub(crate) fn stats(args: &StatsArgs, around: Surroundings<'_>) -> Result<(), Failure> {
    let statistics: Statistics = connect(&args.centre, around.language)?.fetch("/api/stats")?;
    if args.json {
        return print_json(&statistics, around.out);
    }
    let language = around.language;
    for month in &statistics.months {
        writeln!(
            around.out,
            "{} {}: {} {}, {} {}, {} {}, {} {}",
            month.month,
            month.series,
            language.pick("activations", "активаций"),
            month.activations,
            language.pick("moves", "переносов"),
            month.moves,
            language.pick("demos", "демо"),
            month.demos,
            language.pick("demos that became paid keys", "из демо в покупку"),
            month.demos_to_paid
        )?;
    }
    let open = language.pick("open suspicions", "нерассмотренных подозрений");
    Ok(writeln!(around.out, "{open}: {}", statistics.suspicions)?)
}

pub(crate) fn audit(args: &AuditArgs, around: Surroundings<'_>) -> Result<(), Failure> {
    let part = |name: &str, value: Option<i64>| {
        value.map_or_else(String::new, |value| format!("&{name}={value}"))
    };
    let before = args.before.unwrap_or(i64::MAX);
    let path = format!(
        "/api/audit?before={before}{}{}",
        part("key", args.key.map(i64::from)),
        part("order", args.order)
    );
    let page: Page<AuditView> = connect(&args.centre, around.language)?.fetch(&path)?;
    if args.json {
        return print_json(&page, around.out);
    }
    for line in page.items {
        let key = line.key_no.map_or_else(String::new, |KeyNo(number)| format!(" key {number}"));
        let order = line.order_id.map_or_else(String::new, |number| format!(" order {number}"));
        let detail = line.detail.map_or_else(String::new, |detail| format!(": {detail}"));
        writeln!(
            around.out,
            "{} {} {} {}{key}{order}{detail}",
            line.audit_id, line.at, line.who, line.action
        )?;
    }
    Ok(())
}
