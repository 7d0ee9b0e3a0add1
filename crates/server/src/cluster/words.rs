//! A cluster in words, for the terminal.
//!
//! What it says is in the picture; here is only how.

use std::fmt::Write;

use licence_core::language::Language;

use licence_core::rules::QuotaId;

use super::picture::{BlockView, EtcdView, NodeView, Picture, QuotaView, WrittenView};

/// The whole picture.
pub(super) fn status(picture: &Picture, language: Language) -> String {
    let mut text = String::new();
    let pick = |russian, english| language.pick(russian, english);
    line(&mut text, format_args!("{} {}", pick("Кластер", "Cluster"), picture.id));
    for node in &picture.nodes {
        line(&mut text, format_args!("  {}", node_line(node, picture, language)));
    }
    for key in &picture.keys {
        line(
            &mut text,
            format_args!(
                "{} {} ({}): {} {}, {} {}",
                pick("Ключ", "Key"),
                key.key_no,
                key.key_id,
                pick("мест", "seats"),
                key.seats,
                pick("не распределено", "unallocated"),
                key.unallocated
            ),
        );
        for block in &key.blocks {
            line(&mut text, format_args!("  {}", block_line(block, language)));
        }
    }
    for quota in &picture.quotas {
        line(&mut text, format_args!("{}", quota_line(quota, language)));
    }
    for (what, written) in [
        (pick("Правила", "Rules"), &picture.rules),
        (pick("Коды доступа", "Access codes"), &picture.access_codes),
    ] {
        if let Some(written) = written {
            line(&mut text, format_args!("{what}: {}", written_line(written, language)));
        }
    }
    for member in &picture.etcd {
        line(&mut text, format_args!("etcd {}", etcd_line(member, language)));
    }
    for (key, why) in &picture.damaged {
        let told = pick("не читается", "cannot be read");
        line(&mut text, format_args!("{key}: {told}: {why}"));
    }
    text
}

fn line(text: &mut String, written: std::fmt::Arguments<'_>) {
    // Writing to a text does not fail.
    let _ = writeln!(text, "{written}");
}

fn node_line(node: &NodeView, picture: &Picture, language: Language) -> String {
    let name = if node.name.is_empty() { node.id.to_string() } else { node.name.clone() };
    let mut parts = vec![if node.alive {
        language.pick("на связи", "up").to_owned()
    } else {
        language.pick("НЕТ СВЯЗИ", "DOWN").to_owned()
    }];
    parts.extend(node.version.clone());
    if node.leader {
        parts.push(language.pick("ведёт учёт кластера", "does the housekeeping").to_owned());
    }
    if picture.node == Some(node.id) {
        parts.push(language.pick("этот сервер", "this server").to_owned());
    }
    if !node.addresses.is_empty() {
        parts.push(node.addresses.join(", "));
    }
    format!("{name}: {}", parts.join("; "))
}

fn block_line(block: &BlockView, language: Language) -> String {
    let name = if block.name.is_empty() { block.node.to_string() } else { block.name.clone() };
    let mut text = format!("{name}: {} {}", language.pick("мест", "seats"), block.seats);
    if let Some(held) = block.held {
        text += &format!(", {} {held}", language.pick("занято", "held"));
    }
    if block.orphaned {
        text += language.pick(
            ", оставлены за сеансами узла, которого нет",
            ", kept for the sessions of a node that is down",
        );
    }
    if block.wanting > 0 {
        text += &format!(", {} {}", language.pick("просит ещё", "asks for more:"), block.wanting);
    }
    text
}

/// What a quota is of.
pub(crate) fn quota_name(quota: &QuotaId, language: Language) -> String {
    match quota {
        QuotaId::Limit(rule) => {
            format!("{} «{rule}»", language.pick("Ограничение", "Limit"))
        }
        QuotaId::Reserve(series, rule) => {
            format!("{} «{rule}» ({series})", language.pick("Резерв", "Reservation"))
        }
        QuotaId::Others(series) => {
            format!("{} {series}", language.pick("Без резерва", "Not reserved of"))
        }
    }
}

fn quota_line(quota: &QuotaView, language: Language) -> String {
    let shares = quota.shares.iter().map(|share| {
        let name = if share.name.is_empty() { share.node.to_string() } else { share.name.clone() };
        format!("{name} {}", share.seats)
    });
    let shares: Vec<String> = shares.collect();
    format!("{}: {}", quota_name(&quota.quota, language), shares.join(", "))
}

/// Who changed something last.
fn written_line(written: &WrittenView, language: Language) -> String {
    let WrittenView { node, user, at } = written;
    let user = if user.is_empty() { String::new() } else { format!(", {user}") };
    format!(
        "{} {at}, {} {node}{user}",
        language.pick("изменены", "changed"),
        language.pick("узел", "node")
    )
}

fn etcd_line(member: &EtcdView, language: Language) -> String {
    let mut text = member.endpoint.clone();
    if let Some(version) = &member.version {
        text += &format!(": {version}");
    }
    if member.leader {
        text += language.pick(", ведущий", ", leads");
    }
    if let Some(bytes) = member.db_bytes {
        text += &format!(", {} KiB", bytes / 1024);
    }
    if let Some(index) = member.raft_index {
        text += &format!(", raft {index}");
    }
    if let Some(problem) = &member.problem {
        text += &format!(": {problem}");
    }
    text
}
