//! What is said of a seal, in both languages: for the closed server, the log and the command line.
//!
//! Names kinds of parts and counts; no value of a part is ever said.

use licence_core::binding::{BindingLevel, Match, PartKind, PartState, opening_min};
use licence_core::language::Language;

use super::{LockedSeal, Protection, SealState, WhyLocked};

/// Why a seal does not open, without a full stop, to be put behind a colon.
pub(crate) fn locked(locked: &LockedSeal, language: Language) -> String {
    let (russian, english) = match &locked.why {
        WhyLocked::Parts => {
            let (matching, total, needed) = (locked.matching(), locked.parts.len(), locked.needed);
            let mut russian = format!(
                "ключ сервера привязан к другому оборудованию: совпадает частей компьютера: \
                 {matching} из {total}, нужно {needed}"
            );
            let mut english = format!(
                "the key of the server is bound to other hardware: {matching} of {total} parts of \
                 the computer match, {needed} are needed"
            );
            let changed = |language| kinds(of(&locked.parts, &locked.unreadable, true), language);
            if !changed(Language::English).is_empty() {
                russian += &format!("; другие: {}", changed(Language::Russian));
                english += &format!("; others: {}", changed(Language::English));
            }
            let hidden = |language| kinds(locked.unreadable.iter().copied(), language);
            if !locked.unreadable.is_empty() {
                russian += &format!("; нет прав прочитать: {}", hidden(Language::Russian));
                english += &format!("; this user may not read: {}", hidden(Language::English));
            }
            (russian, english)
        }
        WhyLocked::SecretDiffers => (
            "ключ сервера запечатан другим секретом, чем в файле IdentitySecretFile".to_owned(),
            "the key of the server is sealed by another secret than the one in IdentitySecretFile"
                .to_owned(),
        ),
        WhyLocked::SecretMissing(_) => (
            "нет файла секрета (IdentitySecretFile), которым запечатан ключ сервера".to_owned(),
            "the secret file (IdentitySecretFile) that seals the key of the server cannot be read"
                .to_owned(),
        ),
        WhyLocked::TpmDiffers => (
            "ключ сервера хранит другой TPM, или этот TPM очищен".to_owned(),
            "the key of the server is in another TPM, or this TPM was cleared".to_owned(),
        ),
        WhyLocked::TpmMissing(_) => (
            "TPM, который хранит ключ сервера, не отвечает (TpmDevice)".to_owned(),
            "the TPM that keeps the key of the server does not answer (TpmDevice)".to_owned(),
        ),
    };
    match language {
        Language::Russian => russian,
        Language::English => english,
    }
}

/// What to do about a seal that does not open.
pub(crate) const fn locked_advice(locked: &LockedSeal, language: Language) -> &'static str {
    let (russian, english) = match locked.why {
        WhyLocked::Parts => (
            "Верните прежнее оборудование или перенесите папку данных обратно: сервер откроется \
             сам. Если компьютер заменён, выполните licenceserver identity renew --yes и \
             установите лицензии резервными или запасными кодами: их даёт центр или поставщик.",
            "Bring the former hardware back, or the data folder back to it: the server opens by \
             itself. If the computer was replaced, run licenceserver identity renew --yes and \
             install the licences by reserve or spare codes: the centre or the vendor gives them.",
        ),
        WhyLocked::SecretDiffers | WhyLocked::SecretMissing(_) => (
            "Подключите файл секрета, с которым сервер работал раньше: сервер откроется сам. Если \
             секрет потерян, выполните licenceserver identity renew --yes и установите лицензии \
             резервными или запасными кодами: их даёт центр или поставщик.",
            "Mount the secret that the server has worked with: it opens by itself. If the secret \
             is lost, run licenceserver identity renew --yes and install the licences by reserve \
             or spare codes: the centre or the vendor gives them.",
        ),
        WhyLocked::TpmDiffers | WhyLocked::TpmMissing(_) => (
            "Проверьте, что TPM включён и доступен пользователю службы: сервер откроется сам. Если \
             TPM заменён или очищен, выполните licenceserver identity renew --yes и установите \
             лицензии резервными или запасными кодами: их даёт центр или поставщик.",
            "See that the TPM is on and the service's user may use it: the server opens by itself. \
             If the TPM was replaced or cleared, run licenceserver identity renew --yes and \
             install the licences by reserve or spare codes: the centre or the vendor gives them.",
        ),
    };
    match language {
        Language::Russian => russian,
        Language::English => english,
    }
}

/// What the system said of a secret or a TPM; it knows one language.
pub(crate) fn cause(locked: &LockedSeal) -> Option<&str> {
    match &locked.why {
        WhyLocked::SecretMissing(cause) | WhyLocked::TpmMissing(cause) => Some(cause),
        WhyLocked::Parts | WhyLocked::SecretDiffers | WhyLocked::TpmDiffers => None,
    }
}

/// The parts that do not match, those apart that cannot be read.
fn of<'a>(
    parts: &'a [PartState],
    unreadable: &'a [PartKind],
    is_changed: bool,
) -> impl Iterator<Item = PartKind> {
    parts
        .iter()
        .filter(move |part| part.matches != is_changed && !unreadable.contains(&part.kind))
        .map(|part| part.kind)
}

fn name(kind: PartKind, language: Language) -> &'static str {
    language.pick(kind.russian(), kind.english())
}

fn kinds(kinds: impl Iterator<Item = PartKind>, language: Language) -> String {
    let mut names: Vec<_> = kinds.map(|kind| name(kind, language)).collect();
    names.dedup();
    names.join(", ")
}

/// A seal that opens, in plain words; lines, each with its end.
pub(super) fn state(state: &SealState, language: Language) -> String {
    let when = state.sealed_at;
    let by = match (state.protection, language) {
        (Protection::Parts, Language::Russian) => "части этого компьютера",
        (Protection::Parts, Language::English) => "parts of this computer",
        (Protection::Secret, Language::Russian) => "файл секрета (IdentitySecretFile)",
        (Protection::Secret, Language::English) => "a secret file (IdentitySecretFile)",
        (Protection::Tpm, Language::Russian) => "TPM 2.0 этого компьютера",
        (Protection::Tpm, Language::English) => "the TPM 2.0 of this computer",
    };
    let mut text = match language {
        Language::Russian => format!("Ключ открывается. Привязка: {by}, с {when}.\n"),
        Language::English => format!("The key opens. It is bound to: {by}, since {when}.\n"),
    };
    text += &parts(&state.parts, &state.unreadable, language);
    let Match::Parts { matching, total } = state.found else { return text };
    let needed = opening_min(total);
    let more = matching.saturating_sub(needed);
    let [loose, medium, strict] = [BindingLevel::Loose, BindingLevel::Medium, BindingLevel::Strict]
        .map(|level| level.matching_min(total));
    text += &match language {
        Language::Russian => format!(
            "Совпадает частей: {matching} из {total}. Ключ открывается при {needed}: могут \
             измениться ещё {more}.\nЛицензии требуют больше: loose — {loose}, medium — {medium}, \
             strict — {strict}; если частей меньше, лицензия работает ещё несколько дней отсрочки.\n"
        ),
        Language::English => format!(
            "{matching} of {total} parts match. The key opens with {needed}: {more} more may \
             change.\nLicences ask for more: loose {loose}, medium {medium}, strict {strict}; with \
             fewer parts a licence goes on for its days of grace.\n"
        ),
    };
    text
}

/// A line for each part.
pub(super) fn parts(parts: &[PartState], unreadable: &[PartKind], language: Language) -> String {
    let line = |part: &PartState| {
        let (russian, english) = if part.matches {
            ("совпадает", "matches")
        } else if unreadable.contains(&part.kind) {
            ("нет прав прочитать", "cannot be read by this user")
        } else {
            ("изменилась или отсутствует", "changed or missing")
        };
        format!("  {}: {}\n", name(part.kind, language), language.pick(russian, english))
    };
    parts.iter().map(line).collect()
}
