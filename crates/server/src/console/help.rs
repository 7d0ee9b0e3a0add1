//! Help: what each page is for, where the manual says more, what the refusals mean.
//!
//! Shows and changes nothing. Folders of the server are shown to administrators only.

use askama::Template;
use hyper::StatusCode;

use crate::access::Role;
use crate::api::errors::ApiError;
use crate::api::routes::Page;
use crate::api::{Answer, Call};
use crate::console::frame::Frame;

/// A line: what it is about, Russian, English.
type Line = (&'static str, &'static str, &'static str);

/// Pages and what they are for.
const PAGES: &[Line] = &[
    (
        "/",
        "Серии, ключи и лицензии: сколько есть, занято, свободно, пик и отказы за сутки, график.",
        "Series, keys and licences: how many there are, in use, free, peak and denials of 24 hours, \
         a plot.",
    ),
    (
        "/keys",
        "Состояние ключей; установка по коду активации или файлу, обновление, резервный код, код \
         доступа, удаление.",
        "The state of the keys; installing by activation code or by file, updating, reserve code, \
         access code, removing.",
    ),
    (
        "/sessions",
        "Кто занимает лицензию и с какого момента; поиск; завершение сеанса с указанием причины.",
        "Who holds a licence and since when; search; ending a session with a reason.",
    ),
    (
        "/connections",
        "Компоненты, подключённые к серверу: компьютер, процесс, версия.",
        "Components that are connected to the server: computer, process, version.",
    ),
    (
        "/events",
        "Журнал событий: действия администраторов, открытие и завершение сеансов, отказы и их \
         причины; выгрузка.",
        "What happened: what administrators did, sessions opened and ended, denials and their \
         reasons; export.",
    ),
    (
        "/reports",
        "Использование лицензий за период: по пользователям, базам и компьютерам.",
        "Use of licences over a span: by user, infobase and computer.",
    ),
    (
        "/rules",
        "Кому лицензии достаются, кому нет: резервирование, пределы и запреты.",
        "Who gets a licence and who does not: reservations, limits and denials.",
    ),
    (
        "/cluster",
        "Узлы кластера, места у каждого из них, состояние etcd; в меню только на узле кластера.",
        "The nodes of the cluster, the seats of each, how etcd is; in the menu of nodes only.",
    ),
    (
        "/ismp",
        "Общие ключи сессии ИС МП «Честный ЗНАК»: сроки, кто обновляет, кому напоминать.",
        "Shared session keys of ИС МП: until when, who refreshes them, whom to remind.",
    ),
    (
        "/settings",
        "Параметры сервера; записываются в licenceserver.conf.",
        "The server's settings; written to licenceserver.conf.",
    ),
    ("/access", "Пользователи, роли и токены API.", "Users, roles and API tokens."),
    ("/log", "Системный лог сервера.", "The server's log."),
    (
        "/systeminfo",
        "Сведения о сервере и его состояние.",
        "Facts about the server and its health.",
    ),
];

/// Sections of the manual, as it names them, and what of this console they are about.
const MANUAL: &[Line] = &[
    ("Консоль сервера", "адрес консоли и вход в неё", "the console's address, getting into it"),
    ("Пароль по умолчанию", "admin / admin и его смена", "admin / admin and its change"),
    (
        "Сброс пароля на доступ к параметрам и служебным операциям",
        "если пароль забыт",
        "when the password is forgotten",
    ),
    (
        "Конфигурационный файл",
        "расположение и параметры licenceserver.conf",
        "where licenceserver.conf is and what it holds",
    ),
    ("Ключи защиты", "серии, основные и дополнительные ключи", "series, main and additional keys"),
    ("Принцип учета лицензий", "когда сеанс занимает лицензию", "when a session holds a licence"),
    (
        "Приложение: Перенос лицензии с компьютера на аппаратный носитель",
        "резервный код",
        "the reserve code",
    ),
    (
        "Приложение: Расположение конфигурационных файлов",
        "папки Windows и Linux",
        "folders of Windows and Linux",
    ),
    ("Приложение: Расположение системных логов", "где искать логи", "where the logs are"),
    (
        "Приложение: Внешнее API сервера СЛК",
        "доступ, команды, коды ответа",
        "access, commands, status codes",
    ),
];

/// Addresses for programs.
const ADDRESSES: &[Line] = &[
    ("/api", "Внешнее API: версия и список адресов", "The REST API: version and addresses"),
    ("/api/serverinfo", "Сведения о сервере", "Facts about the server"),
    ("/api/licences", "Ключи и лицензии", "Keys and licences"),
    ("/api/connections", "Соединения", "Connections"),
    ("/api/sessions", "Сеансы", "Sessions"),
    ("/api/series", "Итоги по сериям", "Totals of the series"),
    (
        "/api/events",
        "События; поток — /api/events/stream",
        "Events; as a stream at /api/events/stream",
    ),
    ("/health/live", "Сервер работает (без пароля)", "The server runs (no password)"),
    (
        "/health/ready",
        "Сервер готов выдавать лицензии (без пароля)",
        "The server is ready to grant (no password)",
    ),
    ("/metrics", "Метрики для Prometheus", "Metrics for Prometheus"),
];

/// Classes of refusals and errors and what to do.
const CLASSES: &[Line] = &[
    (
        "ELicenceNotFound",
        "Нет доступного ключа этой серии или подходящего под запрос: проверьте состояние ключей, \
         ИНН, КПП и код доступа.",
        "No usable key of the series, or none that fits the wish: look at the state of the keys, \
         ИНН, КПП and the access code.",
    ),
    (
        "ENoFreeLicence",
        "Все лицензии заняты: кем — на странице «Сеансы».",
        "All licences are held; the page “Sessions” tells by whom.",
    ),
    (
        "EDeniedByRule",
        "Запрещено правилом: страница «Правила».",
        "Denied by a rule: see the page “Rules”.",
    ),
    (
        "ELimitByRule",
        "Достигнут предел, заданный правилом.",
        "The limit that a rule sets is reached.",
    ),
    ("ELimit", "Достигнут предел самого сервера.", "The server holds as many as it will."),
    (
        "ERecovering",
        "Сервер восстанавливается после сбоя диска; лицензии снова выдаются, как только журнал \
         запишется.",
        "The server recovers from a failure of its disk; it grants again as soon as the journal is \
         written.",
    ),
    (
        "EClusterSettling",
        "Лицензия сеанса переносится с другого сервера кластера; компонента повторит запрос.",
        "The session's licence is being moved from another server of the cluster; the component asks \
         again.",
    ),
    (
        "EClusterUnavailable",
        "Сервер не связан со своим кластером и новых лицензий не выдаёт; начатые сеансы продолжают \
         работу. Проверьте etcd и сеть.",
        "The server is not in touch with its cluster and gives out no more licences; sessions that \
         have begun go on. Look at etcd and the network.",
    ),
    (
        "ESessionNotFound",
        "Сеанс завершён или неизвестен; компонента откроет его заново.",
        "The session has ended or is not known; the component opens it again.",
    ),
    (
        "EConnectionNotFound",
        "Соединение истекло; компонента подключится заново.",
        "The connection has expired; the component connects again.",
    ),
    (
        "EParams",
        "Неверный параметр запроса; текст называет какой.",
        "A parameter is wrong; the text names it.",
    ),
    (
        "EVersionMismatch",
        "Компонента новее сервера: обновите сервер.",
        "The component is newer than the server: update the server.",
    ),
    (
        "ELicenceCentreUnavailable",
        "Центр лицензирования недоступен: проверьте сеть или используйте запрос в файле.",
        "The activation centre cannot be reached: check the network, or use a request in a file.",
    ),
    (
        "ELicenceCentreUnknown",
        "Для серии не указан центр лицензирования.",
        "No activation centre is known for the series.",
    ),
    (
        "ELicenceCentreRefused",
        "Центр лицензирования отказал; причина — в тексте.",
        "The activation centre refused; the text says why.",
    ),
    (
        "ELicenceInvalid",
        "Лицензия не подлинная или повреждена.",
        "The licence is not genuine or is damaged.",
    ),
    (
        "EBoundElsewhere",
        "Ключ привязан к другому серверу: нужен резервный код.",
        "The key is bound to another server: a reserve code is needed.",
    ),
    (
        "EKeyReturned",
        "Ключ возвращён или возвращается: установите его по резервному коду или обновите лицензии.",
        "The key was given back or is about to be: use its reserve code or update the licences.",
    ),
    (
        "ELicenceOlder",
        "Для ключа уже установлена более поздняя лицензия.",
        "A later licence of the key is installed already.",
    ),
    (
        "EDemoKey",
        "Демонстрационный ключ не работает вместе с другими ключами серии.",
        "A demo key does not work together with other keys of its series.",
    ),
    (
        "EDefaultPassword",
        "Пароль по умолчанию принимается только на самом сервере: измените его.",
        "The default password is taken on the server itself only: change it.",
    ),
    (
        "ETooManyAttempts",
        "Слишком много неверных паролей; подождите указанное время.",
        "Too many wrong passwords; wait as long as the text says.",
    ),
    (
        "ERole",
        "Недостаточно прав: нужна указанная в тексте роль.",
        "The role is not sufficient; the text names the one that is needed.",
    ),
    (
        "ETokenExpired",
        "Срок действия токена истёк: создайте новый.",
        "The token's life is over: make another.",
    ),
    (
        "ECrossSite",
        "Форма отправлена не со страницы этого сервера или устарела: откройте страницу заново.",
        "The form was not sent from a page of this server or is out of date: open the page again.",
    ),
    ("ETlsRequired", "Сервер принимает только HTTPS.", "The server takes HTTPS only."),
];

/// `GET /help`.
pub(super) async fn page(call: &Call<'_>) -> Result<Answer, ApiError> {
    let frame = Frame::new(call, Page::Help).await?;
    let lines = |lines: &'static [Line]| {
        lines.iter().map(|(what, ru, en)| (*what, call.language.pick(ru, en))).collect()
    };
    let mut folders = Vec::new();
    // Somebody in particular: in mode 2 everybody is an administrator, and folders are not theirs
    // to know.
    if call.actor.role >= Role::Administrator && !frame.is_nobody {
        let paths = &call.app.paths;
        folders = vec![
            (frame.t.0.pick("Настройки", "Settings"), paths.conf().display().to_string()),
            (frame.t.0.pick("Логи", "Logs"), paths.logs().display().to_string()),
            (frame.t.0.pick("Ключи", "Keys"), paths.keys().display().to_string()),
            (frame.t.0.pick("База данных", "Database"), paths.database().display().to_string()),
        ];
    }
    let page = HelpPage {
        pages: lines(PAGES),
        manual: lines(MANUAL),
        addresses: lines(ADDRESSES),
        classes: lines(CLASSES),
        folders,
        frame,
    };
    page.frame.answer(StatusCode::OK, &page)
}

type Shown = Vec<(&'static str, &'static str)>;

#[derive(Template)]
#[template(path = "help.html")]
struct HelpPage {
    frame: Frame,
    pages: Shown,
    manual: Shown,
    addresses: Shown,
    classes: Shown,
    folders: Vec<(&'static str, String)>,
}

#[cfg(test)]
mod tests {
    use licence_core::key::KeySeries;
    use licence_core::refusal::{Refusal, UnmetWish};

    use super::*;

    #[test]
    fn every_class_of_a_refusal_is_explained_once() {
        let series = KeySeries::from_u16(0x672B);
        for refusal in [
            Refusal::ClusterSettling { series, from: None },
            Refusal::ClusterUnavailable { series },
            Refusal::ConnectionNotFound,
            Refusal::Invalid { field: "ID", bytes_max: 0 },
            Refusal::Limit { max: 1 },
            Refusal::NoKey { series },
            Refusal::NoSeatFree {
                series,
                total: 1,
                holders: Vec::new(),
                more: 0,
                reserved: 0,
                elsewhere: 0,
            },
            Refusal::SessionNotFound,
            Refusal::WishUnmet { series, wish: UnmetWish::Itn },
        ] {
            let times = CLASSES.iter().filter(|(class, ..)| *class == refusal.class()).count();
            assert_eq!(times, 1, "{refusal}");
        }
    }

    #[test]
    fn every_address_of_the_help_is_one_of_the_server() {
        for (path, ..) in PAGES.iter().chain(ADDRESSES) {
            let found = crate::api::routes::find("GET", path);
            assert!(matches!(found, crate::api::routes::Found::Endpoint(..)), "{path}");
        }
    }
}
