//! The binding in words: how the computer compares and where each key stands, in Russian and in
//! English.
//!
//! Words only: what stands and falls is decided in `core::binding`.

use std::time::Duration;

use licence_core::binding::{BindingLevel, Match, PartKind, Standing};
use licence_core::identity_seal::Protection;
use licence_core::language::Language;
use licence_core::time::Utc;
use licence_core::time::term_clock::days_of;

use crate::identity::SealState;

/// What people call a level.
pub const fn level(level: BindingLevel, language: Language) -> &'static str {
    match level {
        BindingLevel::Loose => language.pick("мягкая", "loose"),
        BindingLevel::Medium => language.pick("средняя", "medium"),
        BindingLevel::Strict => language.pick("строгая", "strict"),
        BindingLevel::Tpm => language.pick("по TPM", "TPM"),
    }
}

/// What people call a part.
pub const fn part(kind: PartKind, language: Language) -> &'static str {
    language.pick(kind.russian(), kind.english())
}

/// Days of grace that are left, a begun one counting; 0 when they are over.
pub fn days_left(until: Utc, now: Utc) -> u64 {
    let left = until.unix_millis().saturating_sub(now.unix_millis()).max(0);
    days_of(Duration::from_millis(left.unsigned_abs()))
}

/// How the computer compares to the sealed one. `more` is how many more parts may change before the
/// first key stops, where that can be said.
pub fn computer(state: &SealState, more: Option<usize>, language: Language) -> String {
    let Match::Parts { matching, total } = state.found else {
        return match state.protection {
            Protection::Tpm => language.pick(
                "Ключ установки хранится в TPM этого компьютера; оборудование не сверяется.",
                "The key of this installation is in the TPM of this computer; parts do not count.",
            ),
            Protection::Parts | Protection::Secret => language.pick(
                "Ключ установки открывается секретом, заданным администратором; оборудование не \
                 сверяется.",
                "The key of this installation is opened by the administrator's secret; parts do not \
                 count.",
            ),
        }
        .to_owned();
    };
    let changed = total.saturating_sub(matching);
    let mut text = if changed == 0 {
        match language {
            Language::Russian => format!("Компьютер тот же: частей {total}, все совпадают."),
            Language::English => format!("The computer is the same: all {total} parts match."),
        }
    } else {
        let named = state.parts.iter().filter(|part| !part.matches);
        let named: Vec<_> = named.map(|changed| part(changed.kind, language)).collect();
        let named = named.join(", ");
        match language {
            Language::Russian => {
                format!("Изменилось частей компьютера: {changed} из {total} ({named}).")
            }
            Language::English => {
                format!("{changed} of {total} parts of the computer have changed ({named}).")
            }
        }
    };
    if let Some(more) = more {
        text.push_str(&match language {
            Language::Russian => format!(" Может измениться ещё: {more}."),
            Language::English => format!(" {more} more may change."),
        });
    }
    if !state.unreadable.is_empty() {
        let named: Vec<_> = state.unreadable.iter().map(|kind| part(*kind, language)).collect();
        let named = named.join(", ");
        text.push_str(&match language {
            Language::Russian => {
                format!(" Не прочитаны, потому что нет прав, и считаются изменившимися: {named}.")
            }
            Language::English => {
                format!(" Not read for lack of rights, and counted as changed: {named}.")
            }
        });
    }
    text
}

/// Where a key stands.
pub fn key(standing: Standing, now: Utc, language: Language) -> String {
    match standing {
        Standing::Fits { more: None } => language.pick("Работает.", "It works.").to_owned(),
        Standing::Fits { more: Some(more) } => match language {
            Language::Russian => format!("Работает; частей может измениться ещё: {more}."),
            Language::English => format!("It works; {more} more parts may change."),
        },
        Standing::Grace { until } => {
            let days = days_left(until, now);
            match language {
                Language::Russian => format!(
                    "Изменилось слишком много частей компьютера. Ключ проработает ещё дней: {days} \
                     (до {until})."
                ),
                Language::English => format!(
                    "Too many parts of the computer have changed. The key goes on for {days} more \
                     days (until {until})."
                ),
            }
        }
        Standing::Over { since } => match language {
            Language::Russian => format!(
                "Не работает с {since}: изменилось слишком много частей компьютера, дни отсрочки \
                 прошли."
            ),
            Language::English => format!(
                "It does not work since {since}: too many parts of the computer have changed, and \
                 the days of grace are over."
            ),
        },
        Standing::NeedsTpm => language
            .pick(
                "Не работает: лицензия требует, чтобы ключ установки хранился в TPM.",
                "It does not work: the licence wants the key of the installation in a TPM.",
            )
            .to_owned(),
    }
}

/// What to do when parts have changed.
pub const fn advice(language: Language) -> &'static str {
    language.pick(
        "Обновите лицензии у центра лицензирования (консоль, «Ключи», «Обновить лицензии»): сервер \
         привяжется к компьютеру, каким он стал. Или верните прежние части.",
        "Update the licences from the activation centre (console, Keys, Update licences): the server \
         is then bound to the computer as it has become. Or put the old parts back.",
    )
}

/// What to do when the seal does not open.
pub const fn advice_closed(language: Language) -> &'static str {
    language.pick(
        "Верните прежние части или подключите секрет либо TPM, которыми закрыт ключ; подробности — \
         licenceserver identity show. Если прежнего компьютера больше нет, установите ключи \
         запасными кодами или попросите разработчика перенести их.",
        "Put the old parts back, or the secret or TPM that the key is sealed by; licenceserver \
         identity show says more. If the old computer is gone, install the keys by spare codes or \
         ask the vendor to move them.",
    )
}

/// What to do when a licence wants a TPM.
pub const fn advice_tpm(language: Language) -> &'static str {
    language.pick(
        "Включите [Common] IdentityTpm на компьютере с TPM 2.0 или попросите у разработчика другую \
         лицензию.",
        "Switch [Common] IdentityTpm on, on a computer with a TPM 2.0, or ask the vendor for another \
         licence.",
    )
}

#[cfg(test)]
mod tests {
    use licence_core::binding::PartState;

    use super::*;

    #[test]
    fn drift_is_told_in_plain_words_of_both_languages() {
        let part = |kind, matches| PartState { kind, matches };
        let state = SealState {
            protection: Protection::Parts,
            found: Match::Parts { matching: 5, total: 7 },
            parts: vec![
                part(PartKind::Board, true),
                part(PartKind::Disk, false),
                part(PartKind::NetworkCard, false),
            ],
            unreadable: vec![PartKind::Disk],
            sealed_at: Utc::from_unix_millis(0),
        };
        assert_eq!(
            computer(&state, Some(1), Language::English),
            "2 of 7 parts of the computer have changed (disk, network card). 1 more may change. Not \
             read for lack of rights, and counted as changed: disk."
        );
        assert_eq!(
            computer(&state, Some(1), Language::Russian),
            "Изменилось частей компьютера: 2 из 7 (диск, сетевая карта). Может измениться ещё: 1. Не \
             прочитаны, потому что нет прав, и считаются изменившимися: диск."
        );
        let fits = SealState {
            found: Match::Parts { matching: 7, total: 7 },
            unreadable: Vec::new(),
            ..state
        };
        assert_eq!(
            computer(&fits, Some(2), Language::English),
            "The computer is the same: all 7 parts match. 2 more may change."
        );
    }

    #[test]
    fn begun_day_of_grace_counts() {
        let now = Utc::from_unix_millis(1_800_000_000_000);
        for (left, days) in [(-5, 0), (0, 0), (1, 1), (86_400_000, 1), (86_400_001, 2)] {
            assert_eq!(days_left(now.plus_millis(left), now), days, "{left}");
        }
    }
}
