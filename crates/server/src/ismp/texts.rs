//! What people are told of session keys, in both languages.
//!
//! Words only; what happened is decided elsewhere. No key, signature or challenge ever stands here.

use std::time::Duration;

use licence_core::language::Language;
use licence_ismp::StoreKey;
use licence_ismp::book::{Refused, Text};
use licence_ismp::refresh::Refreshing;

pub(super) fn text(russian: impl Into<String>, english: impl Into<String>) -> Text {
    Text { russian: russian.into(), english: english.into() }
}

/// The text in a language.
pub(super) fn pick(text: &Text, language: Language) -> &str {
    language.pick(&text.russian, &text.english)
}

/// Two texts one after the other; nothing when both are nothing.
pub(super) fn joined(one: Option<Text>, two: Option<Text>) -> Option<Text> {
    match (one, two) {
        (Some(one), Some(two)) => Some(text(
            format!("{} {}", one.russian, two.russian),
            format!("{} {}", one.english, two.english),
        )),
        (one, two) => one.or(two),
    }
}

pub(super) fn not_written() -> Text {
    text(
        "Файл ключей сессии не удаётся записать; полученные ключи хранятся только в памяти.",
        "The file of session keys cannot be written; keys that came are kept in memory alone.",
    )
}

/// The file was damaged; `aside` is the name under which it is kept.
pub(super) fn unreadable(aside: Option<&str>) -> Text {
    match aside {
        Some(name) => text(
            format!("Файл ключей сессии повреждён и отложен под именем {name}; хранилище пустое."),
            format!("The file of session keys was damaged and put aside as {name}; none are kept."),
        ),
        None => text(
            "Файл ключей сессии не читается; хранилище пустое.",
            "The file of session keys cannot be read; none are kept.",
        ),
    }
}

/// Somebody else is about to get the key.
pub(super) fn busy(refreshing: &Refreshing) -> Text {
    let secs = secs_up(refreshing.left);
    let who = &refreshing.who;
    let place = |words: &str| {
        if who.infobase.is_empty() { String::new() } else { format!(", {words} {}", who.infobase) }
    };
    let name = |nobody: &str| {
        if who.user.is_empty() { nobody.to_owned() } else { who.user.clone() }
    };
    text(
        format!(
            "Ключ сессии уже обновляет {}{}; повторите через {secs} с.",
            name("другой пользователь"),
            place("база"),
        ),
        format!(
            "The session key is being refreshed by {}{}; try again in {secs} s.",
            name("somebody else"),
            place("infobase"),
        ),
    )
}

/// Seconds, so that whoever waits them has waited long enough.
pub(super) fn secs_up(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}

/// No more keys are refreshed at one time than can be kept.
pub(super) fn too_many() -> Text {
    text(
        "Обновляется слишком много ключей сессии одновременно; повторите запрос.",
        "Too many session keys are being refreshed at one time; try again.",
    )
}

/// Somebody else was faster.
pub(super) fn fresh() -> Text {
    text(
        "Ключ сессии уже получен другим пользователем; подпись не требуется.",
        "Somebody else has got the session key meanwhile; no signature is needed.",
    )
}

/// The service was not asked.
pub(super) fn refused(refused: Refused) -> Text {
    match refused {
        Refused::Newer => text(
            "Запрос параметров авторизации устарел: после него получен новый. Подпись не отправлена; \
             запросите параметры ещё раз.",
            "The authorization parameters are out of date: newer ones were requested since. The \
             signature was not sent; request them again.",
        ),
        Refused::Unknown => text(
            "Запрос параметров авторизации не найден: он устарел или сервер был перезапущен. \
             Запросите параметры и подпишите ещё раз.",
            "The authorization parameters are not known: they are too old, or the server was started \
             again. Request them and sign again.",
        ),
    }
}

/// An exchange does not end.
pub(super) fn no_outcome() -> Text {
    text(
        "Сервис не ответил вовремя; результат получения ключа сессии неизвестен.",
        "The service did not answer in time; what has come of the sign-in is not known.",
    )
}

pub(super) fn lease_lost() -> Text {
    text(
        "Пока сервис отвечал, обновление начал другой пользователь; повторите запрос.",
        "While the service answered, somebody else began to refresh the key; try again.",
    )
}

pub(super) fn no_contour(key: &StoreKey) -> Text {
    let name = &key.contour;
    text(
        format!("Для контура {name} не задан адрес сервиса ([ISMPContours] {name})."),
        format!("The contour {name} has no address in the settings ([ISMPContours] {name})."),
    )
}

/// The book has no room: the key is given to whoever asked and not kept.
pub(super) fn full() -> Text {
    text(
        "Хранилище ключей сессии заполнено: ключ выдан, но не сохранён.",
        "There is no room for more session keys: this one is given, and not kept.",
    )
}
