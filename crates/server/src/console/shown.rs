//! How published codes of events are shown to people.
//!
//! Words only: nothing is asked for and nothing is decided here.

use licence_core::language::Language;
use licence_core::time::Utc;

/// A code, and what people read in its place in Russian and in English.
type Word = (&'static str, &'static str, &'static str);

/// Kinds of events, in the order in which a filter offers them.
pub(super) const KINDS: &[Word] = &[
    ("denied", "отказ", "denial"),
    ("session_opened", "сеанс начат", "session opened"),
    ("session_closed", "сеанс завершён", "session closed"),
    ("audit", "действие администратора", "administrator's action"),
    ("key_arrived", "ключ установлен", "key arrived"),
    ("key_removed", "ключ удалён", "key removed"),
    ("connection_opened", "соединение установлено", "connection opened"),
    ("connection_closed", "соединение закрыто", "connection closed"),
];

/// Why something ended, was refused, or what an administrator did.
const REASONS: &[Word] = &[
    ("expired", "не продлён вовремя", "not renewed in time"),
    ("isolated", "сервер был отрезан от кластера", "the server was cut off from its cluster"),
    ("key_gone", "ключ больше не действует", "its key is gone"),
    ("moved", "перешёл на другой сервер кластера", "moved to another server of the cluster"),
    ("process_exit", "процесс завершён", "its process has exited"),
    ("released", "освобождён", "released"),
    ("revoked", "завершён администратором", "ended by an administrator"),
    ("unknown", "неизвестен серверу", "not known to the server"),
    (
        "EClusterSettling",
        "лицензия переносится с другого сервера",
        "its licence is being moved from another server",
    ),
    ("EClusterUnavailable", "нет связи с кластером", "the cluster cannot be reached"),
    ("EConnectionNotFound", "соединение не найдено", "connection not found"),
    ("EDeniedByRule", "запрещено правилом", "denied by a rule"),
    ("ELicenceNotFound", "нет подходящего ключа", "no key fits"),
    ("ELimit", "достигнут предел сервера", "a limit of the server is reached"),
    ("ELimitByRule", "достигнут предел правила", "the limit of a rule is reached"),
    ("ENoFreeLicence", "нет свободных лицензий", "no licence is free"),
    ("EParams", "неверные параметры", "wrong parameters"),
    ("ERecovering", "сервер восстанавливается", "the server is recovering"),
    ("ESessionNotFound", "сеанс не найден", "session not found"),
    ("access_code", "изменён код доступа ключа", "access code of a key changed"),
    ("backup", "сделана резервная копия", "backup made"),
    ("cluster_isolated", "нет связи с etcd", "etcd does not answer"),
    ("cluster_joined", "узел на связи с кластером", "in touch with the cluster"),
    ("cluster_node_back", "узел кластера вернулся", "a node of the cluster is back"),
    ("cluster_node_lost", "узел кластера пропал", "a node of the cluster is gone"),
    ("ismp_delete", "ключ сессии ИС МП удалён", "session key of ИС МП deleted"),
    ("ismp_get", "получен ключ сессии ИС МП", "session key of ИС МП obtained"),
    (
        "ismp_reject",
        "ключ сессии ИС МП отклонён сервисом",
        "session key of ИС МП refused by the service",
    ),
    (
        "ismp_replica",
        "ключ сессии ИС МП получен от резервного сервера",
        "session key of ИС МП from a reserve server",
    ),
    (
        "ismp_rules",
        "изменены ответственные за ключи сессии",
        "responsible persons of session keys changed",
    ),
    ("ismp_set", "ключ сессии ИС МП введён", "session key of ИС МП entered"),
    (
        "ismp_settings",
        "изменены организации ключей сессии",
        "organisations of session keys changed",
    ),
    ("kept_seat_free", "освобождено место, ждавшее сеанса", "seat freed that waited for a session"),
    ("key_aside", "ключ отложен для возврата", "key put aside for a return"),
    ("key_back", "ключ не принят центром и снова работает", "return called off, the key works"),
    ("key_ended", "ключ прекратил действие в центре", "key has ended at its centre"),
    ("key_install", "ключ установлен", "key installed"),
    ("key_remove", "ключ удалён", "key removed"),
    ("key_return", "ключ отдан за резервный код", "key given back for a reserve code"),
    ("key_spare", "получен запасной код", "spare code fetched"),
    ("key_update", "лицензии обновлены", "licences updated"),
    ("login_locked", "вход временно закрыт", "logging in was locked for a time"),
    ("memory_passwords", "изменены пароли памяти ключа", "passwords of a key's memory changed"),
    ("memory_wipe", "память ключа обнулена", "memory of a key wiped"),
    ("password_change", "изменён пароль", "password changed"),
    ("recovered", "работа с данными восстановлена", "the data can be used again"),
    ("rebind", "сервер привязан к изменившемуся компьютеру", "bound again to the changed computer"),
    ("restart", "перезапуск сервера", "server restarted"),
    ("restore", "восстановление из копии", "restored from a backup"),
    ("rules_change", "изменены правила", "rules changed"),
    ("session_end", "сеанс завершён", "session ended"),
    ("session_end_at", "сеанс завершён на другом узле", "session ended at another node"),
    ("settings_change", "изменены настройки", "settings changed"),
    ("settings_reload", "настройки перечитаны", "settings read again"),
    ("token_make", "выдан токен", "token made"),
    ("token_remove", "токен удалён", "token removed"),
    ("usb_absent", "носитель ключа отключён", "token of a key is gone"),
    ("usb_present", "носитель ключа подключён", "token of a key is there"),
    ("user_put", "добавлен или изменён пользователь", "user added or changed"),
    ("user_remove", "пользователь удалён", "user removed"),
];

/// The words for a kind of event; the code itself for one that has none.
pub(super) fn kind(language: Language, code: &str) -> String {
    word(KINDS, language, code)
}

/// The words for a reason, a class of refusal or an action; the code itself for one without.
pub(super) fn reason(language: Language, code: &str) -> String {
    word(REASONS, language, code)
}

fn word(words: &[Word], language: Language, code: &str) -> String {
    words
        .iter()
        .find(|(known, ..)| *known == code)
        .map_or(code, |(_, russian, english)| language.pick(russian, english))
        .to_owned()
}

/// `2018-04-02`, as a field for a date takes it.
pub(super) fn iso_day(at: Utc) -> String {
    at.to_string().get(..10).unwrap_or("").to_owned()
}

/// Reads a JSON text member; nothing when it is absent or of another type.
pub(super) fn member<'a>(value: &'a serde_json::Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(serde_json::Value::as_str).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use licence_core::session::EndReason;

    use super::*;

    #[test]
    fn day_is_written_as_a_field_for_a_date_takes_it() {
        assert_eq!(iso_day("2018-04-02T20:41:13.272Z".parse().unwrap()), "2018-04-02");
    }

    /// Texts in quotes that follow `before` in the sources of this program.
    fn quoted_after(folder: &std::path::Path, before: &[&str], found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                quoted_after(&path, before, found);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let source = std::fs::read_to_string(&path).unwrap();
                for before in before {
                    let uses = source.split(before).skip(1);
                    found.extend(uses.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
                }
            }
        }
    }

    #[test]
    fn every_action_of_the_audit_trail_has_words() {
        let sources = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut actions = Vec::new();
        let before = ["action: \"", "note(app, \"", "audit(call, \""];
        quoted_after(&sources, &before, &mut actions);
        let is_code = |code: &&String| code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        let actions: Vec<_> =
            actions.iter().filter(|code| !code.is_empty()).filter(is_code).collect();
        assert!(actions.len() > 15, "{actions:?}");
        for code in actions {
            assert_ne!(reason(Language::Russian, code), *code);
        }
    }

    #[test]
    fn every_reason_of_an_end_has_words_and_a_strange_code_is_shown_as_it_is() {
        for end in EndReason::ALL {
            assert_ne!(reason(Language::Russian, end.code()), end.code());
        }
        assert_eq!(reason(Language::English, "EStrange"), "EStrange");
        assert_eq!(kind(Language::Russian, "denied"), "отказ");
    }
}
