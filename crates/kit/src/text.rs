//! What `licencekit` says to people, in Russian and English.
//!
//! Words only; which of them to say is decided in [`crate::commands`]. Causes that come from the
//! operating system or from the centre are passed on as they are.

use licence_core::activation::ParseCodeError;
use licence_core::causes::with_causes;

use crate::calls::CallError;
use crate::commands::Failure;
use crate::files::FileError;
use crate::order::OrderError;
use crate::passphrase::{PASSPHRASE_BYTES_MAX, PASSPHRASE_CHARS_MIN, PassphraseError};
use crate::secret::{SecretError, WORK_LOG2_MAX};

/// Language of messages.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum Language {
    /// English.
    #[default]
    #[value(name = "en")]
    English,
    /// Russian.
    #[value(name = "ru")]
    Russian,
}

impl Language {
    /// The language of a locale such as `ru_RU.UTF-8`, given the values of LC_ALL, LC_MESSAGES
    /// and LANG in this order; the first that is set and not empty decides, as POSIX has it.
    pub fn of_locale<'a>(values: impl IntoIterator<Item = Option<&'a str>>) -> Self {
        match values.into_iter().flatten().find(|value| !value.is_empty()) {
            Some(value) if value.get(..2).is_some_and(|two| two.eq_ignore_ascii_case("ru")) => {
                Self::Russian
            }
            _ => Self::English,
        }
    }

    /// The tag for Accept-Language.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Russian => "ru",
        }
    }

    /// One of two texts.
    pub const fn pick<'a>(self, english: &'a str, russian: &'a str) -> &'a str {
        match self {
            Self::English => english,
            Self::Russian => russian,
        }
    }
}

/// A failure and its causes on one line.
pub fn explain(failure: &Failure, language: Language) -> String {
    match language {
        Language::English => with_causes(failure),
        Language::Russian => russian(failure),
    }
}

fn russian(failure: &Failure) -> String {
    match failure {
        Failure::Blank(error) => error.russian(),
        Failure::Call(error) => russian_call(error),
        Failure::Code(error) => format!("это не код активации: {}", russian_code(error)),
        Failure::Datafile(error) => error.russian(),
        Failure::Epf(error) => crate::epf::text::russian(error),
        Failure::File(error) => russian_file(error),
        Failure::Licence(error) => format!("лицензия не принята: {}", with_causes(error)),
        Failure::Order(error) => russian_order(error),
        Failure::Output(error) => format!("вывод: {error}"),
        Failure::Passphrase(error) => russian_passphrase(error),
        Failure::ProductName => "название продукта: от 1 до 100 символов без управляющих".into(),
        Failure::Request(path) => {
            format!("{}: это не запрос сервера лицензирования", path.display())
        }
        Failure::Secret { path, source } => {
            format!("{}: {}", path.display(), russian_secret(source))
        }
        Failure::Sign(error) => error.russian(),
        Failure::SeriesFile { path, source } => {
            format!("{}: неверный файл описания серии: {}", path.display(), with_causes(source))
        }
        Failure::Template(error) => error.russian(),
        Failure::UnknownSeries(series) => format!("в файле нет описания серии {series}"),
        Failure::Url(url) => format!("{url:?}: нужен адрес вида http://… или https://…"),
        Failure::NotText(path) => format!("{}: это не текст в UTF-8", path.display()),
    }
}

fn russian_code(error: &ParseCodeError) -> String {
    match error {
        ParseCodeError::Character(character) => {
            format!("символ {character:?} в кодах не встречается")
        }
        ParseCodeError::Check => "контрольный символ не сходится, в коде опечатка".into(),
        ParseCodeError::Length => "в коде пять групп по четыре символа".into(),
        other => other.to_string(),
    }
}

pub(crate) fn russian_call(error: &CallError) -> String {
    match error {
        CallError::Answer { url, what } => {
            format!("{url} отвечает не как центр активации: {what}")
        }
        CallError::Refused { status, message } => {
            format!("центр активации отказал (код {status}): {message}")
        }
        CallError::Token => "в файле токена нет строки с токеном".into(),
        CallError::TokenFile(error) => format!("файл токена: {}", russian_file(error)),
        CallError::Transport { url, source } => format!("{url}: нет связи: {source}"),
        CallError::Url(url) => format!("{url:?}: нужен адрес вида http://… или https://…"),
        CallError::Unprotected(host) => format!(
            "токен или код ушёл бы к {host} открытым текстом; нужен https:// или адрес этого компьютера"
        ),
    }
}

pub(crate) fn russian_file(error: &FileError) -> String {
    match error {
        FileError::Exists(path) => {
            format!("{} уже существует и не будет заменён", path.display())
        }
        FileError::Io { path, source } => format!("{}: {source}", path.display()),
        FileError::Name(name) => {
            format!("{name:?} не может быть именем файла во всех системах")
        }
        FileError::NameTwice(one, other) => {
            format!("{one:?} и {other:?} — один файл там, где регистр не различается")
        }
        FileError::Random(_) => "операционная система не даёт случайных чисел".into(),
        FileError::TooLarge { path, limit } => {
            format!("{} больше {limit} байт", path.display())
        }
    }
}

fn russian_order(error: &OrderError) -> String {
    match error {
        OrderError::Binding => "недопустимое число дней отсрочки привязки".into(),
        OrderError::ClusterNodes => "недопустимое число узлов кластера".into(),
        OrderError::Count => "недопустимое количество ключей".into(),
        OrderError::Expire => "дата окончания должна быть впереди и позже даты начала".into(),
        OrderError::Owner => "ИНН и КПП состоят из 1–12 цифр".into(),
        OrderError::Parameters(error) => error.russian(),
        OrderError::Period => "недопустимый срок в днях".into(),
        OrderError::Seats => "недопустимое количество лицензий".into(),
        OrderError::SupportPeriod => "недопустимый срок поддержки в днях".into(),
        OrderError::Text(name, limit) => {
            format!("{name}: от 1 до {limit} символов без управляющих")
        }
    }
}

fn russian_passphrase(error: &PassphraseError) -> String {
    match error {
        PassphraseError::File(error) => format!("файл парольной фразы: {}", russian_file(error)),
        PassphraseError::Missing => {
            "нет парольной фразы: укажите --passphrase-file или задайте LICENCE_PASSPHRASE".into()
        }
        PassphraseError::NotText => "парольная фраза не является текстом в UTF-8".into(),
        PassphraseError::TooLong => {
            format!("парольная фраза длиннее {PASSPHRASE_BYTES_MAX} байт")
        }
        PassphraseError::TooShort(chars) => {
            format!("в парольной фразе символов: {chars}, нужно не меньше {PASSPHRASE_CHARS_MIN}")
        }
    }
}

fn russian_secret(error: &SecretError) -> String {
    match error {
        SecretError::Damaged => "файл повреждён или изменён".into(),
        SecretError::Encrypt(what) => format!("не удалось зашифровать: {what}"),
        SecretError::NotAge => "это не файл age с парольной фразой".into(),
        SecretError::Plaintext(what) => format!("внутри не набор ключей серии: {what}"),
        SecretError::Random(_) => "операционная система не даёт случайных чисел".into(),
        SecretError::TooLarge => "файл слишком велик".into(),
        SecretError::Work(factor) => format!(
            "файл требует слишком долгой проверки фразы ({factor}, допустимо {WORK_LOG2_MAX})"
        ),
        SecretError::WrongPassphrase => "парольная фраза неверна или файл повреждён".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_locale_that_is_set_decides() {
        let check = |values: [Option<&str>; 3], wanted| {
            assert_eq!(Language::of_locale(values), wanted, "{values:?}");
        };
        check([None, None, Some("ru_RU.UTF-8")], Language::Russian);
        check([Some("C"), None, Some("ru_RU.UTF-8")], Language::English);
        check([Some(""), None, Some("ru")], Language::Russian);
        check([None, None, None], Language::English);
    }

    #[test]
    fn failure_is_told_with_its_causes_in_both_languages() {
        let failure = Failure::Passphrase(PassphraseError::TooShort(3));
        assert_eq!(
            explain(&failure, Language::English),
            "the passphrase has 3 characters, at least 12 are needed"
        );
        assert!(explain(&failure, Language::Russian).contains("не меньше 12"));
    }
}
