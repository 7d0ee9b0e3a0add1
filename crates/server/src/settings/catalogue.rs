//! Every key of `licenceserver.conf`, once: what it takes, its default, what it is for.
//!
//! The reader's warnings, the REST answer, the console's form, `docs/settings.md` and
//! `examples/licenceserver.conf` are made of this table. What a value does is decided where it is
//! used, and whether it is right in [`crate::config`].

/// What a key takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// One of these words.
    Choice(&'static [&'static str]),
    /// 0 or 1.
    Flag,
    /// Texts, separated by commas.
    List,
    /// A whole number.
    Number {
        /// The least.
        min: u64,
        /// The greatest.
        max: u64,
    },
    /// A text that is shown to nobody.
    Secret,
    /// A text.
    Text,
}

impl Kind {
    /// The published name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Choice(_) => "choice",
            Self::Flag => "flag",
            Self::List => "list",
            Self::Number { .. } => "number",
            Self::Secret => "secret",
            Self::Text => "text",
        }
    }
}

/// One key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Entry {
    /// The section, without brackets.
    pub section: &'static str,
    /// The key.
    pub key: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What holds when it is absent or empty.
    pub default: &'static str,
    /// Whether a change is in force only after a restart.
    pub needs_restart: bool,
    /// What it is for, in Russian.
    pub russian: &'static str,
    /// What it is for, in English.
    pub english: &'static str,
}

/// A section whose keys are the administrator's own: numbers, names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OpenSection {
    /// The section, without brackets.
    pub section: &'static str,
    /// A line of it, as an example.
    pub example: &'static str,
    /// What it is for, in Russian.
    pub russian: &'static str,
    /// What it is for, in English.
    pub english: &'static str,
}

const fn entry(
    section: &'static str,
    key: &'static str,
    kind: Kind,
    default: &'static str,
    russian: &'static str,
    english: &'static str,
) -> Entry {
    Entry { section, key, kind, default, needs_restart: false, russian, english }
}

impl Entry {
    const fn at_start(mut self) -> Self {
        self.needs_restart = true;
        self
    }
}

/// All keys, in the order in which they are shown.
pub const ENTRIES: &[Entry] = &[
    entry(
        "Common",
        "ServerAddr",
        Kind::Text,
        "0.0.0.0",
        "Адрес, на котором сервер ждёт подключений. 0.0.0.0 — все адреса компьютера, localhost — \
         только он сам.",
        "Address to listen on. 0.0.0.0 is every address of this computer, localhost is this \
         computer alone.",
    )
    .at_start(),
    entry(
        "Common",
        "ServerPort",
        Kind::Number { min: 0, max: 65535 },
        "9099",
        "Порт для компонент, внешнего API и консоли. 0 — любой свободный.",
        "Port for components, the REST API and the console. 0 takes any free one.",
    )
    .at_start(),
    entry(
        "Common",
        "Lang",
        Kind::Choice(&["ru", "en"]),
        "en",
        "Язык ответа, если запрос не называет своего: ru или en.",
        "Language when a request names none: ru or en.",
    ),
    entry(
        "Common",
        "LicenceCenterUrl",
        Kind::Text,
        "",
        "Адрес центра лицензирования для серий, в описании которых он не указан.",
        "Activation centre for series whose descriptor names none.",
    ),
    entry(
        "Common",
        "LicenceCenterUseProxy",
        Kind::Flag,
        "0",
        "1: обращаться к центру лицензирования через прокси из переменных среды HTTPS_PROXY, \
         HTTP_PROXY.",
        "1: reach the centre through the proxy that the environment names (HTTPS_PROXY, \
         HTTP_PROXY).",
    ),
    entry(
        "Common",
        "LicenceCenterProxy",
        Kind::Secret,
        "",
        "Прокси HTTP для обращений к центру лицензирования: http://прокси:порт или \
         http://имя:пароль@прокси:порт. Действует вместо переменных среды; показывается только, что \
         задан.",
        "HTTP proxy by which the activation centre is reached: http://proxy:port or \
         http://name:password@proxy:port. Goes before the environment; only that it is set is shown.",
    ),
    entry(
        "Common",
        "AutoUpdate",
        Kind::Flag,
        "1",
        "1: раз в сутки, а за 14 дней до окончания срока ключа чаще, сервер сам спрашивает центр \
         лицензирования о продлении своих ключей. 0: только по команде администратора.",
        "1: once a day, and more often from 14 days before the end of a key's term on, the server \
         asks the activation centre by itself for renewals of its keys. 0: only when an administrator \
         asks it to.",
    ),
    entry(
        "Common",
        "ComponentService",
        Kind::Flag,
        "1",
        "1: лицензии можно устанавливать и обновлять из 1С (менеджер объектов компоненты) без пароля, \
         а возвращать — с именем и паролем администратора сервера. 0: только в консоли и через API.",
        "1: licences can be installed and updated from 1C (the component's object manager) without a \
         password, and given back with an administrator's name and password. 0: only in the console \
         and over the API.",
    ),
    entry(
        "Common",
        "SeriesFile",
        Kind::Text,
        "licence.series",
        "Файл описаний серий; путь считается от папки настроек.",
        "File of series descriptors, relative to the settings folder.",
    )
    .at_start(),
    entry(
        "Common",
        "IdentitySecretFile",
        Kind::Text,
        "",
        "Файл с секретом (от 32 байт), к которому вместо оборудования привязан ключ сервера: для \
         контейнеров. Полное имя. Переменная среды LICENCE_IDENTITY_SECRET_FILE сильнее.",
        "File with a secret of 32 bytes or more to which the server's key is bound instead of the \
         hardware: for containers. A full name. The environment variable \
         LICENCE_IDENTITY_SECRET_FILE wins.",
    )
    .at_start(),
    entry(
        "Common",
        "IdentityTpm",
        Kind::Choice(&["off", "on"]),
        "off",
        "on: ключ сервера хранит TPM 2.0 компьютера; нужно для лицензий с привязкой к TPM.",
        "on: the TPM 2.0 of the computer keeps the server's key; licences that are bound to a TPM \
         need it.",
    )
    .at_start(),
    entry(
        "Common",
        "TpmDevice",
        Kind::Text,
        "/dev/tpmrm0",
        "Устройство TPM 2.0 (или сокет UNIX).",
        "Device of the TPM 2.0 (or a UNIX socket).",
    )
    .at_start(),
    entry(
        "Common",
        "KeepPreviousLogs",
        Kind::Flag,
        "0",
        "1: хранить логи предыдущих сеансов работы. Учитывается при запуске.",
        "1: keep the logs of earlier runs. Looked at when the server starts.",
    ),
    entry(
        "Common",
        "KeepCurrentDateLogs",
        Kind::Flag,
        "0",
        "1: из логов предыдущих сеансов хранить только сегодняшние. Учитывается при запуске.",
        "1: of the logs of earlier runs keep those of today. Looked at when the server starts.",
    ),
    entry(
        "Common",
        "LogLevel",
        Kind::Choice(&["off", "error", "warn", "info", "debug", "trace"]),
        "info",
        "Подробность лога: off, error, warn, info, debug или trace. Переменная среды LICENCE_LOG \
         сильнее.",
        "How much is logged: off, error, warn, info, debug or trace. The environment variable \
         LICENCE_LOG wins.",
    ),
    entry(
        "Common",
        "LogFileMaxMB",
        Kind::Number { min: 1, max: 4096 },
        "32",
        "Размер лога в МиБ, после которого начинается следующий файл; хранится один предыдущий.",
        "Size in MiB at which a fresh log file is begun; one predecessor is kept.",
    ),
    entry(
        "UPKey",
        "Enabled",
        Kind::Flag,
        "1",
        "1: искать носители USB с ключами защиты и болванки.",
        "1: look for USB tokens with protection keys, and for blanks.",
    )
    .at_start(),
    entry(
        "UPKey",
        "Tokens",
        Kind::List,
        "",
        "Носители для лицензий сверх известных, через запятую: VVVV:PPPP (производитель и изделие \
         USB) или часть имени считывателя PC/SC. К остальным устройствам сервер не обращается.",
        "Tokens for licences beyond the known ones, separated by commas: VVVV:PPPP (USB vendor and \
         product) or part of the name of a PC/SC reader. No other device is spoken to.",
    )
    .at_start(),
    entry(
        "Console",
        "LocalAccessOnly",
        Kind::Flag,
        "0",
        "1: консоль и API доступны только с этого компьютера.",
        "1: the console and the API answer to this computer only.",
    ),
    entry(
        "Console",
        "AllowedAddresses",
        Kind::List,
        "",
        "Адреса, с которых доступны консоль и API, через запятую, например \
         192.168.1.0/24,10.0.0.7. Пусто — любые; этому компьютеру доступ открыт всегда.",
        "Addresses that may use the console and the API, separated by commas, for example \
         192.168.1.0/24,10.0.0.7. Empty is all; this computer always may.",
    ),
    entry(
        "Console",
        "Authorization",
        Kind::Choice(&["0", "1", "2"]),
        "0",
        "Когда консоль спрашивает пароль: 0 — для параметров и служебных операций, 1 — всегда, \
         2 — никогда (не рекомендуется). API спрашивает всегда.",
        "When the console asks for the password: 0 for settings and operations, 1 always, 2 never \
         (not recommended). The API always asks.",
    ),
    entry(
        "Console",
        "CheckCaptcha",
        Kind::Flag,
        "0",
        "Не действует: от подбора пароля защищают задержка и блокировка после неверных попыток.",
        "Has no effect: a delay and a lock-out after wrong passwords take its place.",
    ),
    entry(
        "Console",
        "EnableAccessCodes",
        Kind::Flag,
        "1",
        "1: действуют коды доступа из раздела [AccessCodes].",
        "1: the codes in [AccessCodes] count.",
    ),
    entry(
        "Console",
        "HideFullStorages",
        Kind::Flag,
        "0",
        "1: не показывать в консоли ключи, на которых нет свободных лицензий.",
        "1: the console does not show keys without a free seat.",
    ),
    entry(
        "Console",
        "HideUnistalled",
        Kind::Flag,
        "0",
        "1: не показывать в консоли серии, для которых не установлено ни одного ключа.",
        "1: the console does not show series without an installed key.",
    ),
    entry(
        "Console",
        "CheckDNSRebinding",
        Kind::Flag,
        "0",
        "1: отказывать запросам к имени узла, которое не является именем этого компьютера, \
         localhost, адресом или одним из HostNames. Рекомендуется, если из браузера администратора \
         доступен интернет.",
        "1: refuse requests to a host name that is not this computer's, localhost, a plain address \
         or one of HostNames. Recommended where administrators' browsers can reach the internet.",
    ),
    entry(
        "Console",
        "HostNames",
        Kind::List,
        "",
        "Имена этого сервера для CheckDNSRebinding, через запятую.",
        "Names of this server for CheckDNSRebinding, separated by commas.",
    ),
    entry(
        "Console",
        "NameHolders",
        Kind::Flag,
        "1",
        "1: отказ называет пользователю тех, кто занял лицензии.",
        "1: a refusal tells the user who holds the seats.",
    ),
    entry(
        "Console",
        "UserName",
        Kind::Text,
        "admin",
        "Имя администратора консоли и API.",
        "User name of the administrator of the console and the API.",
    ),
    entry(
        "Console",
        "Password",
        Kind::Secret,
        "admin",
        "Пароль администратора: обычным текстом — сервер заменит его хешем Argon2 — или сразу \
         хешем ($argon2id$...). admin с паролем admin входит только с этого компьютера: смените \
         его.",
        "Password of the administrator: plain text, which the server replaces by its Argon2 hash, \
         or such a hash ($argon2id$...). admin with the password admin comes in from this computer \
         only: change it.",
    ),
    entry(
        "API",
        "Enabled",
        Kind::Flag,
        "1",
        "0: внешнее API отвечает кодом 503.",
        "0: the REST API answers 503.",
    ),
    entry(
        "TLS",
        "Certificate",
        Kind::Text,
        "",
        "Файл PEM с цепочкой сертификатов для браузеров; путь считается от папки настроек. Пусто — \
         собственный сертификат сервера.",
        "PEM file of a certificate chain for browsers, relative to the settings folder. Empty is \
         the server's own certificate.",
    ),
    entry(
        "TLS",
        "Key",
        Kind::Text,
        "",
        "Файл PEM с закрытым ключом этого сертификата; путь считается от папки настроек.",
        "PEM file of that certificate's private key, relative to the settings folder.",
    ),
    entry(
        "TLS",
        "RequireTLS",
        Kind::Flag,
        "0",
        "1: консоль и API доступны только по HTTPS.",
        "1: the console and the API answer over HTTPS only.",
    ),
    entry(
        "Metrics",
        "Enabled",
        Kind::Flag,
        "1",
        "1: адрес /metrics отвечает системе мониторинга Prometheus.",
        "1: /metrics answers to Prometheus.",
    ),
    entry(
        "Metrics",
        "Anonymous",
        Kind::Flag,
        "0",
        "1: /metrics отвечает без токена и пароля.",
        "1: /metrics answers without a token or password.",
    ),
    entry(
        "Reports",
        "KeepDays",
        Kind::Number { min: 1, max: 3650 },
        "400",
        "Сколько дней хранятся события и сведения об использовании лицензий.",
        "Days that events and the use of seats are kept.",
    ),
    entry(
        "Notify",
        "Webhook",
        Kind::Text,
        "",
        "Адрес http:// или https://, на который отправляется POST с каждым уведомлением.",
        "Address, http:// or https://, that gets a POST with each notice.",
    ),
    entry(
        "Notify",
        "WebhookSecret",
        Kind::Secret,
        "",
        "Ключ, которым подписывается POST.",
        "Key that signs the POST.",
    ),
    entry(
        "Notify",
        "SmtpServer",
        Kind::Text,
        "",
        "Почтовый сервер: узел или узел:порт. Пусто — почта не отправляется.",
        "Mail server: host, or host:port. Empty sends no mail.",
    ),
    entry(
        "Notify",
        "SmtpSecurity",
        Kind::Choice(&["none", "starttls", "tls"]),
        "starttls",
        "Защита соединения с почтовым сервером: none, starttls или tls.",
        "How the connection to the mail server is protected: none, starttls or tls.",
    ),
    entry(
        "Notify",
        "SmtpUser",
        Kind::Text,
        "",
        "Имя пользователя почтового сервера.",
        "User name at the mail server.",
    ),
    entry(
        "Notify",
        "SmtpPassword",
        Kind::Secret,
        "",
        "Пароль пользователя почтового сервера.",
        "Password at the mail server.",
    ),
    entry(
        "Notify",
        "MailFrom",
        Kind::Text,
        "",
        "Адрес отправителя писем.",
        "Sender's address of the mail.",
    ),
    entry(
        "Notify",
        "MailTo",
        Kind::List,
        "",
        "Адреса получателей писем, через запятую.",
        "Addresses that get the mail, separated by commas.",
    ),
    entry(
        "Notify",
        "UsePercent",
        Kind::Number { min: 0, max: 100 },
        "90",
        "Уведомлять, когда занята такая доля лицензий серии, в процентах; 0 — никогда.",
        "A notice when so many per cent of a series' seats are held; 0 is never.",
    ),
    entry(
        "Notify",
        "ExpiryDays",
        Kind::Number { min: 0, max: 3650 },
        "14",
        "Уведомлять за столько дней до окончания срока ключа; 0 — никогда.",
        "A notice so many days before a key's term ends; 0 is never.",
    ),
    entry(
        "Notify",
        "SessionKeyMinutes",
        Kind::Number { min: 0, max: 600 },
        "0",
        "Уведомлять за столько минут до конца ключа сессии ИС МП, который никто не обновляет; 0 — никогда. \
         Ключи кончаются и по ночам, когда они никому не нужны.",
        "A notice so many minutes before a session key of ИС МП ends that nobody refreshes; 0 is never. \
         Keys end at night too, when nobody needs them.",
    ),
    entry(
        "Notify",
        "WatchServers",
        Kind::List,
        "",
        "Резервные серверы узел:порт, через запятую: уведомлять, когда они не отвечают.",
        "Reserve servers, host:port, separated by commas: a notice when one does not answer.",
    ),
    entry(
        "ISMP",
        "Enabled",
        Kind::Flag,
        "0",
        "1: сервер хранит и обновляет ключи сессии ИС МП «Честный ЗНАК» для всех баз (docs/ismp.md).",
        "1: the server keeps and refreshes session keys of ИС МП for all infobases (docs/ismp.md).",
    ),
    entry(
        "ISMP",
        "AllowPlainHttp",
        Kind::Flag,
        "0",
        "1: выдавать ключи сессии другим компьютерам и по HTTP. Ключ даёт действовать от имени \
         организации, поэтому не рекомендуется.",
        "1: session keys are also given to other computers over plain HTTP. A key lets its holder \
         act as the company, so this is not recommended.",
    ),
    entry(
        "ISMP",
        "ComponentAccess",
        Kind::Choice(&["token", "seat"]),
        "token",
        "Чем компонента подтверждает право на ключи сессии: token — токеном доступа с областью ismp, \
         seat — занятой лицензией.",
        "What a component shows to have session keys: token for an access token of the scope ismp, \
         seat for a session that holds a seat.",
    ),
    entry(
        "ISMP",
        "Proxy",
        Kind::Secret,
        "",
        "Прокси HTTP для обращений к сервису: http://прокси:порт или http://имя:пароль@прокси:порт. \
         Показывается только, что задан.",
        "HTTP proxy by which the service is reached: http://proxy:port or \
         http://name:password@proxy:port. Only that it is set is shown.",
    ),
    entry(
        "ISMP",
        "UseProxy",
        Kind::Flag,
        "0",
        "1: обращаться к сервису через прокси из переменных среды HTTPS_PROXY, HTTP_PROXY.",
        "1: reach the service through the proxy that the environment names (HTTPS_PROXY, HTTP_PROXY).",
    ),
    entry(
        "ISMP",
        "ExtraCA",
        Kind::Text,
        "",
        "Файл PEM с сертификатами центров, которым сервер доверяет при обращении к сервису сверх \
         системных; путь считается от папки настроек.",
        "PEM file of authorities that are trusted for the service besides those of the system; \
         relative to the settings folder.",
    ),
    entry(
        "ISMP",
        "SignCommand",
        Kind::Secret,
        "",
        "Программа (полное имя) и аргументы, которые подписывают без участия человека: текст \
         приходит на стандартный ввод, подпись (DER, base64 или PEM) ожидается на стандартном \
         выводе за 30 с; вместо {INN} подставляется ИНН. Без командного интерпретатора; аргумент с \
         пробелами — в кавычках. Задаётся только в файле.",
        "Program (full name) and arguments that sign without a person: the text comes on standard \
         input, the signature (DER, base64 or PEM) is expected on standard output within 30 s; {INN} \
         becomes the INN. No shell; an argument with blanks stands in quotation marks. Set in the \
         file alone.",
    ),
    entry(
        "ISMP",
        "SignOrganizations",
        Kind::List,
        "",
        "ИНН через запятую, для которых подписывает SignCommand. Пусто — для всех.",
        "INNs, separated by commas, for which SignCommand signs. Empty is all.",
    ),
    entry(
        "ISMP",
        "Main",
        Kind::Text,
        "",
        "На резервном сервере: адрес главного, https://узел:9099. Задаётся только в файле.",
        "On a reserve: address of the main server, https://host:9099. Set in the file alone.",
    ),
    entry(
        "ISMP",
        "MainPin",
        Kind::Text,
        "",
        "SHA-256 открытого ключа (SPKI) сертификата главного сервера, base64url. Задаётся только в \
         файле.",
        "SHA-256 of the public key (SPKI) in the main server's certificate, base64url. Set in the \
         file alone.",
    ),
    entry(
        "ISMP",
        "MainToken",
        Kind::Secret,
        "",
        "Токен доступа главного сервера с областью ismp. Задаётся только в файле.",
        "Access token of the main server with the scope ismp. Set in the file alone.",
    ),
    entry(
        "Cluster",
        "Id",
        Kind::Text,
        "",
        "Кластер, узлом которого является сервер (docs/cluster.md); строку пишет команда \
         licenceserver cluster. Пусто — сервер работает сам по себе. Раздел задаётся только в файле.",
        "The cluster that this server is a node of (docs/cluster.md); `licenceserver cluster` writes \
         it. Empty: the server stands alone. This section is set in the file alone.",
    ),
    entry(
        "Cluster",
        "Endpoints",
        Kind::List,
        "",
        "Адреса etcd через запятую: https://etcd1:2379,https://etcd2:2379,https://etcd3:2379.",
        "Addresses of etcd, separated by commas: \
         https://etcd1:2379,https://etcd2:2379,https://etcd3:2379.",
    ),
    entry(
        "Cluster",
        "CA",
        Kind::Text,
        "",
        "Файл PEM с сертификатами центров, которые удостоверяют etcd, вместо системных; путь \
         считается от папки настроек.",
        "PEM file of the authorities that vouch for etcd, instead of those of the system; relative \
         to the settings folder.",
    ),
    entry(
        "Cluster",
        "Certificate",
        Kind::Text,
        "",
        "Файл PEM с сертификатом, который сервер предъявляет etcd.",
        "PEM file of the certificate that is shown to etcd.",
    ),
    entry(
        "Cluster",
        "Key",
        Kind::Text,
        "",
        "Файл PEM с ключом этого сертификата.",
        "PEM file of the key of that certificate.",
    ),
    entry(
        "Cluster",
        "User",
        Kind::Text,
        "",
        "Пользователь etcd, если там включена проверка подлинности.",
        "User of etcd, where authentication is on there.",
    ),
    entry("Cluster", "Password", Kind::Secret, "", "Его пароль.", "The password of that user."),
    entry(
        "Cluster",
        "Name",
        Kind::Text,
        "",
        "Имя узла для людей. Пусто — имя компьютера.",
        "What people call this node. Empty: the name of the computer.",
    ),
    entry(
        "Cluster",
        "Addresses",
        Kind::List,
        "",
        "Адреса узел:порт, по которым компоненты обращаются к этому узлу. Пусто — имя компьютера и \
         порт сервера.",
        "Addresses host:port by which components reach this node. Empty: the name of the computer \
         and the server's port.",
    ),
    entry(
        "Cluster",
        "Timeout",
        Kind::Number { min: 1, max: 10 },
        "2",
        "Сколько секунд может длиться одно обращение к etcd.",
        "Seconds that one call of etcd may take.",
    ),
];

/// Sections whose keys are the administrator's own.
pub const OPEN_SECTIONS: &[OpenSection] = &[
    OpenSection {
        section: "AccessCodes",
        example: "7131766=code",
        russian: "Номер ключа = код доступа: ключом пользуются только сеансы, назвавшие код.",
        english: "Key number = access code: only sessions that name the code may use the key.",
    },
    OpenSection {
        section: "Users",
        example: "ivanova=operator;password",
        russian: "Имя = роль;пароль: пользователи кроме администратора из раздела [Console]. Роли: \
                  reader, operator, administrator. Пароль сервер заменит его хешем.",
        english: "Name = role;password: users beside the administrator of [Console]. Roles: \
                  reader, operator, administrator. The server replaces a password by its hash.",
    },
    OpenSection {
        section: "Tokens",
        example: "",
        russian: "Токены API; строки этого раздела пишет сервер.",
        english: "API tokens; the server writes the lines of this section.",
    },
    OpenSection {
        section: "LicenceUpdate",
        example: "",
        russian: "Когда обновлялись ключи; строки этого раздела пишет сервер.",
        english: "When keys were updated; the server writes the lines of this section.",
    },
    OpenSection {
        section: "ISMPContours",
        example: "test=https://host/api/v3/true-api;https://cdn.host/api/v3/true-api",
        russian: "Контур = адрес True API;адрес для касс: где находится сервис ИС МП. Без второго \
                  адреса кассы входят по первому. Контуры production и sandbox известны и без этого \
                  раздела. Задаются только в файле.",
        english: "Contour = address of True API;address for cash desks: where the service of ИС МП \
                  is. Without a second address cash desks sign in at the first one. The contours \
                  production and sandbox are known without this section. Set in the file alone.",
    },
];

/// Keys that neither a form of settings nor `/api/settings` changes.
const ELSEWHERE: &[(&str, &str)] = &[
    ("Console", "UserName"),
    ("Console", "Password"),
    ("ISMP", "SignCommand"),
    ("ISMP", "Main"),
    ("ISMP", "MainPin"),
    ("ISMP", "MainToken"),
    ("Cluster", "Id"),
    ("Cluster", "Endpoints"),
    ("Cluster", "CA"),
    ("Cluster", "Certificate"),
    ("Cluster", "Key"),
    ("Cluster", "User"),
    ("Cluster", "Password"),
    ("Cluster", "Name"),
    ("Cluster", "Addresses"),
    ("Cluster", "Timeout"),
];

/// The keys of forms and of `/api/settings`: all but the administrator's name and password, which
/// have addresses of their own, and what runs a program or names another server, which is for
/// whoever may write the file.
pub fn entries() -> impl Iterator<Item = &'static Entry> {
    ENTRIES.iter().filter(|entry| is_changed_here(entry.section, entry.key))
}

/// Whether a known key is changed by forms of settings and `/api/settings`.
pub fn is_changed_here(section: &str, key: &str) -> bool {
    !ELSEWHERE.contains(&(section, key))
}

/// A known key.
pub fn find(section: &str, key: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| entry.section == section && entry.key == key)
}

/// A section whose keys are the administrator's own.
pub fn open_section(section: &str) -> Option<&'static OpenSection> {
    OPEN_SECTIONS.iter().find(|open| open.section == section)
}

/// Whether a key means something to this version.
pub fn is_known(section: &str, key: &str) -> bool {
    find(section, key).is_some() || open_section(section).is_some()
}
