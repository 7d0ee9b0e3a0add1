//! Refusals: what was not granted, why, and how a person is told.
//!
//! The class of a refusal is a stable code that configurations branch on; texts are for people and
//! may change. HTTP status codes are added at the server's edge, not here.

use std::fmt;

use crate::key::{KeyNo, KeySeries, Obstacle};
use crate::language::Language;
use crate::pool::KeyStatus;
use crate::protocol::SessionInfo;

/// What a session asked of a key and no usable key has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UnmetWish {
    /// The access code.
    AccessCode,
    /// КПП.
    Iec,
    /// ИНН.
    Itn,
    /// The serial number.
    KeyNo,
    /// The product version is newer than the keys cover.
    ProductVersion,
    /// The registration number.
    RegNo,
    /// The service type.
    ServiceType,
}

/// Who holds a seat, as far as people may know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HolderName {
    /// Session number.
    pub session_number: String,
    /// User of the infobase.
    pub user_name: Option<String>,
    /// Computer.
    pub computer_name: String,
}

/// Why something was not granted.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Refusal {
    /// The session's seat is on its way from another node of the cluster; it goes on with its lease
    /// and asks again.
    ClusterSettling {
        /// The series.
        series: KeySeries,
        /// Name of the node that the seat comes from, as far as it is known.
        from: Option<String>,
    },
    /// The seats are those of a cluster, and this node is not in touch with it.
    ClusterUnavailable {
        /// The series.
        series: KeySeries,
    },
    /// The connection is not known, or has expired.
    ConnectionNotFound,
    /// A field of the message is not what it should be.
    Invalid {
        /// The field's published name.
        field: &'static str,
        /// Longest allowed text in bytes, or 0 when the field must not be empty.
        bytes_max: usize,
    },
    /// Keys there are, but none may be used.
    KeyUnusable {
        /// The series.
        series: KeySeries,
        /// The key that is named as the example.
        key_no: KeyNo,
        /// Why not.
        status: KeyStatus,
    },
    /// A rule of the administrator gives the session no seat.
    DeniedByRule {
        /// The series.
        series: KeySeries,
        /// Name of the rule.
        rule: String,
    },
    /// The server holds as many as it will.
    Limit {
        /// The limit.
        max: usize,
    },
    /// Those under a rule of the administrator hold as many seats as they may.
    LimitByRule {
        /// The series that the session asks for.
        series: KeySeries,
        /// Name of the rule.
        rule: String,
        /// Seats that it allows.
        max: u64,
        /// Some of those who hold them; empty when the administrator does not allow it.
        holders: Vec<HolderName>,
        /// How many more there are.
        more: u64,
    },
    /// No key of the series.
    NoKey {
        /// The series.
        series: KeySeries,
    },
    /// All seats are held, or kept for others.
    NoSeatFree {
        /// The series.
        series: KeySeries,
        /// Seats of the keys that fit.
        total: u64,
        /// Those of them that are free and that rules keep for others.
        reserved: u64,
        /// Those of them that are with other nodes of the cluster.
        elsewhere: u64,
        /// Some of those who hold them; empty when the administrator does not allow it.
        holders: Vec<HolderName>,
        /// How many more there are.
        more: u64,
    },
    /// The server lost its books and waits for those who hold a lease before it gives out seats.
    Recovering {
        /// For how many more seconds.
        secs: u64,
    },
    /// The session is not known, or has ended.
    SessionNotFound,
    /// No usable key is what the session asks for.
    WishUnmet {
        /// The series.
        series: KeySeries,
        /// What is missing.
        wish: UnmetWish,
    },
}

impl Refusal {
    /// The exception class, a stable code.
    pub const fn class(&self) -> &'static str {
        match self {
            Self::ClusterSettling { .. } => "EClusterSettling",
            Self::ClusterUnavailable { .. } => "EClusterUnavailable",
            Self::ConnectionNotFound => "EConnectionNotFound",
            Self::DeniedByRule { .. } => "EDeniedByRule",
            Self::Invalid { .. } => "EParams",
            Self::KeyUnusable { .. } | Self::NoKey { .. } | Self::WishUnmet { .. } => {
                "ELicenceNotFound"
            }
            Self::Limit { .. } => "ELimit",
            Self::LimitByRule { .. } => "ELimitByRule",
            Self::NoSeatFree { .. } => "ENoFreeLicence",
            Self::Recovering { .. } => "ERecovering",
            Self::SessionNotFound => "ESessionNotFound",
        }
    }

    /// Who holds the seats, as far as the refusal names them.
    pub fn holders(&self) -> &[HolderName] {
        if let Self::NoSeatFree { holders, .. } | Self::LimitByRule { holders, .. } = self {
            holders
        } else {
            &[]
        }
    }

    /// The same refusal without the names.
    #[must_use]
    pub fn without_names(mut self) -> Self {
        if let Self::NoSeatFree { holders, more, .. } | Self::LimitByRule { holders, more, .. } =
            &mut self
        {
            holders.clear();
            *more = 0;
        }
        self
    }

    /// The text for people, without the class.
    pub fn text(&self, language: Language) -> String {
        match language {
            Language::English => self.english(),
            Language::Russian => self.russian(),
        }
    }

    fn english(&self) -> String {
        match self {
            Self::ClusterSettling { series, from } => {
                let from = from.as_ref().map(|name| format!(" from server {name}"));
                format!(
                    "The licence of series {series} of this session is being moved here{}; the \
                     session goes on meanwhile and asks again",
                    from.unwrap_or_default()
                )
            }
            Self::ClusterUnavailable { series } => format!(
                "No licence of series {series} can be given out at this moment: the server is not \
                 in touch with its cluster. Sessions that have begun go on"
            ),
            Self::ConnectionNotFound => "The connection is not known or has expired".to_owned(),
            Self::DeniedByRule { series, rule } => {
                format!("The rule \"{rule}\" gives this session no licence of series {series}")
            }
            Self::Invalid { field, bytes_max: 0 } => format!("{field} must not be empty"),
            Self::Invalid { field, bytes_max } => {
                format!("{field} is longer than {bytes_max} bytes")
            }
            Self::KeyUnusable { series, key_no, status } => {
                format!("No key of series {series} may be used; key {key_no}: {}", status.english())
            }
            Self::Limit { max } => format!("The server holds its limit of {max}"),
            Self::LimitByRule { series, rule, max, holders, more } => {
                let text = format!(
                    "The rule \"{rule}\" allows no more licences: {max} in use at this server (session \
                     of series {series})"
                );
                with_holders(text, holders, *more, Language::English)
            }
            Self::NoKey { series } => format!("No key of series {series} is installed"),
            Self::NoSeatFree { series, total, reserved, elsewhere, holders, more } => {
                let used = total.saturating_sub(*reserved).saturating_sub(*elsewhere);
                let mut text =
                    format!("No licence of series {series} is free: {used} of {total} are in use");
                if *elsewhere > 0 {
                    text.push_str(&format!(
                        " at this server, {elsewhere} are with other servers of the cluster"
                    ));
                }
                if *reserved > 0 {
                    text.push_str(&format!(", {reserved} are reserved for others"));
                }
                with_holders(text, holders, *more, Language::English)
            }
            Self::Recovering { secs } => format!(
                "The server is recovering after the loss of its database; repeat in {secs} s"
            ),
            Self::SessionNotFound => "The session is not known or has ended".to_owned(),
            Self::WishUnmet { series, wish } => {
                format!("No key of series {series} fits: {}", wish.english())
            }
        }
    }

    fn russian(&self) -> String {
        match self {
            Self::ClusterSettling { series, from } => {
                let from = from.as_ref().map(|name| format!(" с сервера {name}"));
                format!(
                    "Лицензия серии {series} этого сеанса переносится сюда{}; сеанс продолжает \
                     работу и повторит запрос",
                    from.unwrap_or_default()
                )
            }
            Self::ClusterUnavailable { series } => format!(
                "Лицензию серии {series} сейчас выдать нельзя: у сервера нет связи с кластером. \
                 Начатые сеансы продолжают работу"
            ),
            Self::ConnectionNotFound => "Соединение не найдено или его время истекло".to_owned(),
            Self::DeniedByRule { series, rule } => {
                format!("Правило «{rule}» не даёт этому сеансу лицензию серии {series}")
            }
            Self::Invalid { field, bytes_max: 0 } => {
                format!("Параметр {field} не должен быть пустым")
            }
            Self::Invalid { field, bytes_max } => {
                format!("Параметр {field} длиннее {bytes_max} байт")
            }
            Self::KeyUnusable { series, key_no, status } => {
                format!("Нет доступных ключей серии {series}; ключ {key_no}: {}", status.russian())
            }
            Self::Limit { max } => format!("Достигнут предел сервера: {max}"),
            Self::LimitByRule { series, rule, max, holders, more } => {
                let text = format!(
                    "Правило «{rule}» не даёт больше лицензий: на этом сервере занято {max} (сеанс \
                     серии {series})"
                );
                with_holders(text, holders, *more, Language::Russian)
            }
            Self::NoKey { series } => format!("Не установлено ни одного ключа серии {series}"),
            Self::NoSeatFree { series, total, reserved, elsewhere, holders, more } => {
                let used = total.saturating_sub(*reserved).saturating_sub(*elsewhere);
                let mut text =
                    format!("Нет свободных лицензий серии {series}: занято {used} из {total}");
                if *elsewhere > 0 {
                    text.push_str(&format!(
                        " на этом сервере, у других серверов кластера: {elsewhere}"
                    ));
                }
                if *reserved > 0 {
                    text.push_str(&format!(", зарезервировано для других: {reserved}"));
                }
                with_holders(text, holders, *more, Language::Russian)
            }
            Self::Recovering { secs } => format!(
                "Сервер восстанавливается после потери базы данных; повторите через {secs} с"
            ),
            Self::SessionNotFound => "Сеанс не найден или завершён".to_owned(),
            Self::WishUnmet { series, wish } => {
                format!("Нет подходящего ключа серии {series}: {}", wish.russian())
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}) {}", self.class(), self.english())
    }
}

impl std::error::Error for Refusal {}

/// A text and by whom the seats are held.
fn with_holders(mut text: String, holders: &[HolderName], more: u64, language: Language) -> String {
    if holders.is_empty() {
        return text;
    }
    let session = language.pick("сеанс", "session");
    let names: Vec<_> = holders.iter().map(|holder| holder.named(session)).collect();
    text.push_str(language.pick(". Лицензии занимают: ", ". In use by: "));
    text.push_str(&names.join("; "));
    if more > 0 {
        text.push_str(&match language {
            Language::English => format!("; and {more} more"),
            Language::Russian => format!("; и ещё {more}"),
        });
    }
    text
}

impl HolderName {
    /// The name of a session's holder.
    pub fn of(session: &SessionInfo) -> Self {
        Self {
            session_number: session.session_number.clone(),
            user_name: session.user_name.clone(),
            computer_name: session.computer_name.clone(),
        }
    }

    fn named(&self, session: &str) -> String {
        let mut text = format!("{session} {}", self.session_number);
        for part in [self.user_name.as_deref().unwrap_or_default(), &self.computer_name] {
            if !part.is_empty() {
                text.push_str(", ");
                text.push_str(part);
            }
        }
        text
    }
}

impl KeyStatus {
    /// The state in English.
    pub const fn english(self) -> &'static str {
        match self {
            Self::DemoNotAlone => "a demo key cannot be used together with other keys",
            Self::Enabled => "available",
            Self::Expired => "its term is over",
            Self::NoMainKey => "an additional key needs a main key on the same server",
            Self::NotStarted => "its term has not begun",
            Self::Kept(Obstacle::BoundElsewhere) => {
                "it is bound to another server; its reserve code installs it here"
            }
            Self::Kept(Obstacle::HardwareChanged) => "the computer's configuration has changed",
            Self::Kept(Obstacle::NeedsTpm) => {
                "it works only on a server whose identity is in a TPM"
            }
            Self::Kept(Obstacle::NoCluster) => {
                "it is a licence of a cluster, and this server is no member of that cluster"
            }
            Self::Kept(Obstacle::TokenAbsent) => "its token is not plugged in",
            Self::Kept(Obstacle::TokenInDoubt) => "its token has not answered and is asked again",
        }
    }

    /// The state in the words of the manual.
    pub const fn russian(self) -> &'static str {
        match self {
            Self::DemoNotAlone => {
                "демонстрационный ключ не используется вместе с другими ключами серии"
            }
            Self::Enabled => "Доступен",
            Self::Expired => "Срок действия истек",
            Self::NoMainKey => "дополнительный ключ не работает без основного на том же компьютере",
            Self::NotStarted => "Срок действия ещё не начался",
            Self::Kept(Obstacle::BoundElsewhere) => {
                "Ключ привязан к другому серверу; здесь его установит резервный код"
            }
            Self::Kept(Obstacle::HardwareChanged) => "Изменена конфигурация компьютера",
            Self::Kept(Obstacle::NeedsTpm) => {
                "Ключ работает только на сервере, идентификатор которого хранится в TPM"
            }
            Self::Kept(Obstacle::NoCluster) => {
                "Лицензия выдана кластеру, а этот сервер в него не входит"
            }
            Self::Kept(Obstacle::TokenAbsent) => "Не подключён аппаратный носитель ключа",
            Self::Kept(Obstacle::TokenInDoubt) => {
                "Аппаратный носитель ключа не ответил, выполняется повторная проверка"
            }
        }
    }
}

impl UnmetWish {
    const fn english(self) -> &'static str {
        match self {
            Self::AccessCode => "the access code is another",
            Self::Iec => "the owner's КПП is another",
            Self::Itn => "the owner's ИНН is another",
            Self::KeyNo => "there is no key with the wanted serial number",
            Self::ProductVersion => "the keys do not cover this product version",
            Self::RegNo => "the registration number is another",
            Self::ServiceType => "the keys are of another service type",
        }
    }

    const fn russian(self) -> &'static str {
        match self {
            Self::AccessCode => "не совпадает код доступа",
            Self::Iec => "не совпадает КПП владельца",
            Self::Itn => "не совпадает ИНН владельца",
            Self::KeyNo => "нет ключа с указанным серийным номером",
            Self::ProductVersion => "ключи не распространяются на эту версию продукта",
            Self::RegNo => "не совпадает регистрационный номер",
            Self::ServiceType => "ключи предназначены для другого типа сервиса",
        }
    }
}
