//! What went wrong, for two readers: a stable class that programs branch on, and a text in Russian
//! or English for people.
//!
//! Configurations cut the class from between the brackets, and some match two Russian texts by
//! substring (`Версия сервера … не соответствует версии клиента …`, `Не обнаружен установленный
//! сервер на …`), so those two never change. Nothing here decides what a failure leads to.

use std::fmt;

use licence_core::datafile::OBJECT_NAME_BYTES_MAX;
use licence_core::language::Language;

/// Most characters of a name from outside that a message shows.
const NAME_SHOWN_MAX: usize = 100;

/// A call failed. [`Self::class`] is stable, [`Self::text`] is for people.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientError {
    class: String,
    russian: String,
    english: String,
}

impl ClientError {
    /// The class, without brackets; one of
    ///
    /// * `ELocalServerNotFound`: no server of the list answers;
    /// * `EServerNotTrusted`: what answers did not prove that it holds a licence of the series;
    /// * `EVersionMismatch`: server and component have no protocol version in common;
    /// * `ESeriesNotPinned`: nobody named the public key of the series;
    /// * `EParams`: an argument, the connection string or a file says something impossible;
    /// * `EObjectNotFound`: there is no such protected object;
    /// * `EObject`: a data file or an object is not genuine, or it was changed;
    /// * `EExecuteError`: the call could not be carried out here (no thread, queue full, stopping,
    ///   an answer that is no answer);
    /// * `EServerResult.…`: the server's own refusal, for example
    ///   `EServerResult.ELicenceNotFound`.
    pub fn class(&self) -> &str {
        &self.class
    }

    /// Whether the server refused with this class of its own.
    pub fn is_refusal(&self, exception: &str) -> bool {
        self.class.strip_prefix("EServerResult.") == Some(exception)
    }

    /// `(Class) text` in the wanted language. A refusal of the server is in the language that it
    /// was asked in.
    pub fn text(&self, language: Language) -> String {
        format!("({}) {}", self.class, language.pick(&self.russian, &self.english))
    }

    /// An error of a class in both languages.
    pub fn new(
        class: impl Into<String>,
        russian: impl Into<String>,
        english: impl Into<String>,
    ) -> Self {
        Self { class: class.into(), russian: russian.into(), english: english.into() }
    }

    /// An impossible argument, connection string or file.
    pub(crate) fn params(russian: impl Into<String>, english: impl Into<String>) -> Self {
        Self::new("EParams", russian, english)
    }

    /// The call could not be carried out here.
    pub(crate) fn execute(russian: impl Into<String>, english: impl Into<String>) -> Self {
        Self::new("EExecuteError", russian, english)
    }

    /// No server answers; `servers` as shown to people, `reason` in both languages.
    pub(crate) fn not_found(servers: &str, reason: &(String, String)) -> Self {
        Self::new(
            "ELocalServerNotFound",
            format!("Не обнаружен установленный сервер на {servers}: {}", reason.0),
            format!("No licence server was found at {servers}: {}", reason.1),
        )
    }

    /// What answers did not prove itself.
    pub(crate) fn not_trusted(
        server: &str,
        russian: impl fmt::Display,
        english: impl fmt::Display,
    ) -> Self {
        Self::new(
            "EServerNotTrusted",
            format!("Сервер {server} не подтвердил свою подлинность: {russian}"),
            format!("Server {server} did not prove itself: {english}"),
        )
    }

    /// No version in common.
    pub(crate) fn version_mismatch(server_version: &str) -> Self {
        let ours = env!("CARGO_PKG_VERSION");
        Self::new(
            "EVersionMismatch",
            format!("Версия сервера {server_version} не соответствует версии клиента {ours}"),
            format!("Server version {server_version} does not match client version {ours}"),
        )
    }

    /// No protected object and no alias can have this name, of which the text shows as much as
    /// belongs into a message. What a name may be is in [`licence_core::datafile::check_name`].
    pub fn bad_name(name: &str) -> Self {
        let shown: String = name.chars().filter(|c| !c.is_control()).take(NAME_SHOWN_MAX).collect();
        Self::params(
            format!(
                "Недопустимое имя «{shown}»: имя объекта или псевдоним занимает от 1 до \
                 {OBJECT_NAME_BYTES_MAX} байт, без точек, косых черт, двоеточий, управляющих символов \
                 и пробелов по краям"
            ),
            format!(
                "name \"{shown}\" is not allowed: an object's name or an alias has 1 to \
                 {OBJECT_NAME_BYTES_MAX} bytes, without dots, slashes, colons, control characters, or \
                 white space at its ends"
            ),
        )
    }

    /// There is no protected object of this name.
    pub fn no_object(name: &str) -> Self {
        Self::new(
            "EObjectNotFound",
            format!("Защищенный объект {name} не найден"),
            format!("protected object {name} was not found"),
        )
    }

    /// An object is not what its list says.
    pub(crate) fn object(name: &str, why: &dyn fmt::Display) -> Self {
        Self::new(
            "EObject",
            format!("Защищенный объект {name} повреждён или ключ не от него: {why}"),
            format!("protected object {name} cannot be opened: {why}"),
        )
    }

    /// A call took longer than its bound.
    pub(crate) fn too_slow(seconds: u64) -> Self {
        Self::execute(
            format!("Вызов не завершён за {seconds} с"),
            format!("The call was not completed within {seconds} s"),
        )
    }

    /// The library is being stopped.
    pub(crate) fn stopping() -> Self {
        Self::execute("Работа с сервером завершается", "The client is being stopped")
    }

    /// What a server refused; `exception` and `message` as in its error body.
    pub(crate) fn refused(exception: &str, message: &str) -> Self {
        let class = match exception {
            "EVersionMismatch" => exception.to_owned(),
            _ if exception.starts_with("EServerResult.") => exception.to_owned(),
            _ => format!("EServerResult.{exception}"),
        };
        let text = message.strip_prefix(&format!("({exception})")).unwrap_or(message).trim();
        Self::new(class, text, text)
    }

    /// What a fruitless walk over a list of servers comes to: the most telling errors, joined.
    pub(crate) fn of_walk(errors: &[Self]) -> Option<Self> {
        let weight = errors.iter().map(Self::weight).max()?;
        let mut telling = errors.iter().filter(|error| error.weight() == weight);
        let mut joined = telling.next()?.clone();
        for error in telling.filter(|error| error.weight() == 0) {
            joined.russian.push_str("; ");
            joined.russian.push_str(&error.russian);
            joined.english.push_str("; ");
            joined.english.push_str(&error.english);
        }
        Some(joined)
    }

    /// How much an error of one server says when a whole walk over the list was fruitless: the
    /// most telling one is reported.
    fn weight(&self) -> u8 {
        match self.class.as_str() {
            "ELocalServerNotFound" => 0,
            "EVersionMismatch" => 3,
            "EServerNotTrusted" => 2,
            _ => 1,
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(Language::English))
    }
}

impl std::error::Error for ClientError {}

/// `ru` or `en`, as the protocol names a language.
pub(crate) const fn code(language: Language) -> &'static str {
    language.pick("ru", "en")
}
