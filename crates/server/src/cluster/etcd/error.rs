//! Why a call of etcd failed: for the code that must know what may have happened, and for people.
//!
//! No text repeats a password, a token or a value. Texts that etcd wrote itself are quoted.

use licence_core::causes::with_causes;
use licence_core::language::Language;

use super::Endpoint;

/// Codes of gRPC that the gateway hands on (`google.rpc.Code`).
mod code {
    pub(super) const INVALID_ARGUMENT: u32 = 3;
    pub(super) const NOT_FOUND: u32 = 5;
    pub(super) const PERMISSION_DENIED: u32 = 7;
    pub(super) const FAILED_PRECONDITION: u32 = 9;
    pub(super) const OUT_OF_RANGE: u32 = 11;
    pub(super) const UNIMPLEMENTED: u32 = 12;
    pub(super) const UNAUTHENTICATED: u32 = 16;
}

/// What etcd says when a token is not, or no longer, worth anything.
const STALE_TOKEN: [&str; 3] =
    ["invalid auth token", "revision of auth store is old", "user name is empty"];

/// Most of a text of etcd that is kept, in characters: enough for its longest sentence.
const TEXT_CHARS_MAX: usize = 300;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EtcdError {
    /// Nobody was reached at the address.
    #[error("{endpoint} cannot be reached")]
    Connect {
        /// The address.
        endpoint: Endpoint,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No TLS.
    #[error("TLS with {endpoint} does not come about")]
    Tls {
        /// The address.
        endpoint: Endpoint,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No answer in time.
    #[error("{endpoint} does not answer in time")]
    TimedOut {
        /// The address.
        endpoint: Endpoint,
        /// Whether the request was on its way.
        was_sent: bool,
    },
    /// The connection ended before the answer was there.
    #[error("the connection with {endpoint} broke off")]
    Broken {
        /// The address.
        endpoint: Endpoint,
        /// Why.
        #[source]
        source: hyper::Error,
    },
    /// What answers is no JSON gateway of etcd.
    #[error(
        "{endpoint} does not answer as the JSON gateway of etcd does (HTTP {status}); is it etcd 3.4 or later with --enable-grpc-gateway?"
    )]
    Foreign {
        /// The address.
        endpoint: Endpoint,
        /// Status of the answer.
        status: u16,
    },
    /// The answer is longer than any that is expected.
    #[error("the answer of {endpoint} is longer than {bytes_max} bytes")]
    TooLong {
        /// The address.
        endpoint: Endpoint,
        /// The limit.
        bytes_max: usize,
    },
    /// The request cannot be made.
    #[error("the request cannot be made")]
    Request(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An endpoint belongs to another etcd than the others.
    #[error(
        "{endpoint} belongs to another etcd than before or than the other endpoints; check [Cluster] Endpoints, and restart the server if etcd was restored"
    )]
    OtherCluster {
        /// The address.
        endpoint: Endpoint,
    },
    /// The endpoint knows of no leader.
    #[error("{endpoint} has no leader: a majority of the etcd members is down or cut off")]
    NoLeader {
        /// The address.
        endpoint: Endpoint,
    },
    /// A question that goes before a call had no answer, so the call was not made.
    #[error("{endpoint} is not ready")]
    Unready {
        /// The address.
        endpoint: Endpoint,
        /// What became of the question.
        #[source]
        source: Box<Self>,
    },
    /// User or password are wrong.
    #[error("etcd refuses the user and password of [Cluster] User and Password")]
    Password,
    /// The user may not do that.
    #[error("the user of etcd lacks the permission; grant it readwrite on the prefix /licence/")]
    Denied,
    /// The certificate that we show has a name, which etcd does not take for a user through the gateway.
    #[error(
        "etcd refuses the certificate of [Cluster] Certificate because it has a common name (CN) and users \
         are asked for; issue one whose subject has no CN"
    )]
    CommonName,
    /// etcd asks for a user, and there is none or its token is not taken.
    #[error("etcd asks for a user and password (it says: {said})")]
    Unknown {
        /// In its own words.
        said: String,
    },
    /// There is no such etcd lease.
    #[error("the lease in etcd has ended")]
    NoLease,
    /// The revision asked for is no longer kept.
    #[error("the revision asked for is compacted away in etcd")]
    Compacted,
    /// The leader changed while an etcd lease was renewed.
    #[error("the leader of etcd changed during the call")]
    LeaderChanged,
    /// There is more below the prefix than can be ours.
    #[error("there are more than {entries_max} keys below the prefix")]
    TooMuch {
        /// The limit.
        entries_max: usize,
    },
    /// etcd refuses for another reason.
    #[error("etcd refuses: {said} (code {code})")]
    Refused {
        /// Code of gRPC.
        code: u32,
        /// In its own words.
        said: String,
    },
    /// No endpoint is set.
    #[error("[Cluster] Endpoints names no endpoint")]
    NoEndpoint,
}

impl EtcdError {
    /// What etcd meant by a code and a text.
    pub(super) fn refused(code: u32, said: &str) -> Self {
        let said: String = said.chars().take(TEXT_CHARS_MAX).collect();
        let has = |part: &str| said.contains(part);
        if STALE_TOKEN.iter().any(|part| has(part)) {
            return Self::Unknown { said };
        }
        match code {
            _ if has("invalid user ID or password") => Self::Password,
            code::PERMISSION_DENIED => Self::Denied,
            code::NOT_FOUND if has("lease") => Self::NoLease,
            code::OUT_OF_RANGE if has("compacted") => Self::Compacted,
            _ => Self::Refused { code, said },
        }
    }

    /// The same of a question that goes before a call: whatever became of it, the call was not made.
    pub(super) fn before_a_call(self, endpoint: &Endpoint) -> Self {
        if !self.may_be_done() {
            return self;
        }
        Self::Unready { endpoint: endpoint.clone(), source: Box::new(self) }
    }

    /// Whether etcd may have done, or may still do, what it was asked for.
    ///
    /// A code counts as a refusal only where etcd gives it before anything is carried out. "No space"
    /// (`RESOURCE_EXHAUSTED`) is not among them: etcd carries the request out and then says so.
    pub const fn may_be_done(&self) -> bool {
        match self {
            Self::TimedOut { was_sent, .. } => *was_sent,
            Self::Broken { .. } | Self::Foreign { .. } | Self::TooLong { .. } => true,
            Self::OtherCluster { .. } | Self::LeaderChanged => true,
            Self::Refused { code, .. } => !matches!(
                *code,
                code::INVALID_ARGUMENT
                    | code::NOT_FOUND
                    | code::FAILED_PRECONDITION
                    | code::OUT_OF_RANGE
                    | code::UNIMPLEMENTED
                    | code::UNAUTHENTICATED
            ),
            Self::Connect { .. } | Self::Tls { .. } | Self::Request(_) | Self::NoLeader { .. } => {
                false
            }
            Self::Password | Self::Denied | Self::CommonName | Self::Unknown { .. } => false,
            Self::NoLease | Self::Compacted | Self::TooMuch { .. } | Self::NoEndpoint => false,
            Self::Unready { .. } => false,
        }
    }

    /// Whether another endpoint may answer better.
    pub(super) const fn is_of_the_endpoint(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Tls { .. } | Self::TimedOut { .. } => true,
            Self::Broken { .. } | Self::Foreign { .. } | Self::OtherCluster { .. } => true,
            Self::NoLeader { .. } | Self::Unready { .. } => true,
            // The code is of the member's state, not of the request.
            Self::Refused { .. } => self.may_be_done(),
            Self::TooLong { .. } | Self::Request(_) | Self::Password | Self::Denied => false,
            Self::CommonName | Self::Unknown { .. } | Self::NoLease | Self::Compacted => false,
            Self::LeaderChanged | Self::TooMuch { .. } | Self::NoEndpoint => false,
        }
    }

    /// Of two reasons why no endpoint did it, the one that says more: what etcd said itself, then what
    /// is wrong with the way there, then silence.
    pub(super) fn or_better(self, other: Self) -> Self {
        if other.weight() > self.weight() { other } else { self }
    }

    fn weight(&self) -> u8 {
        match self {
            Self::TimedOut { .. } | Self::Connect { .. } | Self::NoEndpoint => 0,
            Self::Broken { .. } => 1,
            Self::Unready { source, .. } => source.weight(),
            Self::Tls { .. } | Self::Foreign { .. } | Self::NoLeader { .. } => 2,
            Self::OtherCluster { .. } => 3,
            Self::TooLong { .. } | Self::Request(_) | Self::Password | Self::Denied => 3,
            Self::Unknown { .. } | Self::NoLease | Self::Compacted | Self::LeaderChanged => 3,
            Self::CommonName | Self::TooMuch { .. } | Self::Refused { .. } => 3,
        }
    }

    /// With its causes, for the log.
    pub fn told(&self) -> String {
        with_causes(self)
    }

    /// With its causes, for people.
    pub fn text(&self, language: Language) -> String {
        language.pick(&self.russian(), &self.told()).to_owned()
    }

    fn russian(&self) -> String {
        match self {
            Self::Connect { endpoint, source } => format!("{endpoint} недоступен: {source}"),
            Self::Tls { endpoint, source } => {
                format!("TLS-соединение с {endpoint} не устанавливается: {source}")
            }
            Self::TimedOut { endpoint, .. } => format!("{endpoint} не ответил вовремя"),
            Self::Broken { endpoint, source } => {
                format!("соединение с {endpoint} оборвалось: {}", with_causes(source))
            }
            Self::Foreign { endpoint, status } => format!(
                "{endpoint} отвечает не так, как JSON-шлюз etcd (HTTP {status}); это etcd 3.4 или новее с \
                 --enable-grpc-gateway?"
            ),
            Self::TooLong { endpoint, bytes_max } => {
                format!("ответ {endpoint} длиннее {bytes_max} байт")
            }
            Self::Request(why) => format!("запрос составить нельзя: {why}"),
            Self::OtherCluster { endpoint } => format!(
                "{endpoint} принадлежит другому etcd, чем прежде или чем остальные адреса; проверьте [Cluster] \
                 Endpoints, а если etcd восстановлен из копии – перезапустите сервер"
            ),
            Self::NoLeader { endpoint } => {
                format!("у {endpoint} нет лидера: большинство узлов etcd не работает или отрезано")
            }
            Self::Unready { endpoint, source } => {
                format!("{endpoint} не готов: {}", source.russian())
            }
            Self::Password => "etcd не принял имя и пароль из [Cluster] User и Password".to_owned(),
            Self::Denied => {
                "пользователю etcd не хватает прав; дайте ему readwrite на префикс /licence/"
                    .to_owned()
            }
            Self::CommonName => {
                "etcd отвергает сертификат из [Cluster] Certificate: в нём есть имя (CN), а etcd \
                                 требует пользователя; выпустите сертификат без CN"
                    .to_owned()
            }
            Self::Unknown { said } => {
                format!("etcd требует имя пользователя и пароль (его слова: {said})")
            }
            Self::NoLease => "аренда в etcd истекла".to_owned(),
            Self::Compacted => "запрошенная ревизия в etcd уже сжата".to_owned(),
            Self::LeaderChanged => "во время обращения сменился лидер etcd".to_owned(),
            Self::TooMuch { entries_max } => {
                format!("под префиксом больше {entries_max} ключей")
            }
            Self::Refused { code, said } => format!("etcd отказал: {said} (код {code})"),
            Self::NoEndpoint => "в [Cluster] Endpoints нет ни одного адреса".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_etcd_are_understood() {
        for (code, said, wanted) in [
            (
                3,
                "etcdserver: authentication failed, invalid user ID or password",
                "refuses the user",
            ),
            (7, "etcdserver: permission denied", "lacks the permission"),
            (16, "etcdserver: invalid auth token", "asks for a user"),
            (3, "etcdserver: revision of auth store is old", "asks for a user"),
            (3, "etcdserver: user name is empty", "asks for a user"),
            (5, "etcdserver: requested lease not found", "lease in etcd has ended"),
            (11, "etcdserver: mvcc: required revision has been compacted", "compacted away"),
            (3, "etcdserver: too many operations in txn request", "too many operations"),
        ] {
            let error = EtcdError::refused(code, said);
            assert!(error.to_string().contains(wanted), "{said}: {error}");
            assert!(!error.may_be_done() && !error.is_of_the_endpoint(), "{said}");
            assert_ne!(error.text(Language::Russian), error.text(Language::English), "{said}");
        }
    }

    #[test]
    fn what_may_have_been_carried_out_is_never_called_refused() {
        for (code, said) in [
            (14, "etcdserver: request timed out"),
            (14, "etcdserver: leader changed"),
            (4, "context deadline exceeded"),
            (1, "context canceled"),
            (13, "internal"),
            (2, "unknown"),
            (8, "etcdserver: mvcc: database space exceeded"),
        ] {
            let error = EtcdError::refused(code, said);
            assert!(error.may_be_done() && error.is_of_the_endpoint(), "{said}");
        }
        let endpoint: Endpoint = "http://a".parse().unwrap();
        for was_sent in [false, true] {
            let error = EtcdError::TimedOut { endpoint: endpoint.clone(), was_sent };
            assert_eq!(error.may_be_done(), was_sent);
        }
        let silent = EtcdError::TimedOut { endpoint: endpoint.clone(), was_sent: true };
        let before = silent.before_a_call(&endpoint);
        assert!(!before.may_be_done() && before.is_of_the_endpoint());
        assert!(before.told().contains("in time"), "{}", before.told());
        let source = std::io::ErrorKind::ConnectionRefused.into();
        let unreached = EtcdError::Connect { endpoint: endpoint.clone(), source };
        assert!(!unreached.may_be_done());
        assert!(matches!(unreached.before_a_call(&endpoint), EtcdError::Connect { .. }));
    }

    #[test]
    fn reason_that_says_more_is_told() {
        let endpoint: Endpoint = "http://a".parse().unwrap();
        let silent = || EtcdError::TimedOut { endpoint: endpoint.clone(), was_sent: true };
        let said = || EtcdError::refused(14, "etcdserver: no leader");
        assert!(silent().or_better(said()).to_string().contains("no leader"));
        assert!(said().or_better(silent()).to_string().contains("no leader"));
    }
}
