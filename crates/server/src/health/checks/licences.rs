//! Checks of what vendors and their centres give: keys, data files, series.
//!
//! Looks at values handed to it and at no disk.

use std::collections::BTreeSet;
use std::path::Path;

use licence_core::key::{KeyNo, KeySeries};
use licence_core::language::Language;
use licence_core::protocol::LicenceView;

use super::super::Check;
use super::listed;
use crate::datafiles::Listing;

/// Days before a key's end from which on it is worth a look.
const EXPIRY_WARNING_DAYS: u32 = 30;

/// The licences: whether there are any, and whether they work, now and for a while.
pub fn keys(views: &[LicenceView]) -> Check {
    if views.iter().all(|view| view.is_blank) {
        return Check::warning("keys", "Ключи не установлены.", "No keys are installed.").advise(
            "Установите ключ по коду активации в консоли.",
            "Install a key by its activation code in the console.",
        );
    }
    // A blank is no key: what is said of tokens is said by their own check.
    let views: Vec<_> = views.iter().filter(|view| !view.is_blank).collect();
    let named = |wanted: &dyn Fn(&LicenceView) -> bool| {
        let chosen = views.iter().copied().filter(|view| wanted(view));
        let chosen: Vec<_> = chosen.map(name_of).collect();
        (!chosen.is_empty()).then(|| listed(&chosen))
    };
    let usable = views.iter().filter(|view| view.enabled).count();
    let bad = named(&|view| view.key_no.is_none());
    let is_on_token = |view: &LicenceView| view.medium == "USB";
    let foreign = named(&|view| view.key_no.is_some() && !view.workable && !is_on_token(view));
    let unplugged = named(&|view| !view.workable && is_on_token(view));
    let expired = named(&|view| view.workable && view.expired);
    let expiring = named(&|view| {
        view.enabled && view.days_left.is_some_and(|days| days <= EXPIRY_WARNING_DAYS)
    });
    let mut russian = vec![format!("Действующих ключей: {usable} из {}.", views.len())];
    let mut english = vec![format!("Usable keys: {usable} of {}.", views.len())];
    let mut add = |found: Option<String>, ru: &str, en: &str| {
        if let Some(names) = found {
            russian.push(format!("{ru}: {names}."));
            english.push(format!("{en}: {names}."));
        }
    };
    add(bad, "Непригодные файлы лицензий", "Unusable licence files");
    add(foreign, "Не работают на этом компьютере", "Not working on this computer");
    add(unplugged, "Не подключены носители ключей", "Keys whose tokens are not plugged in");
    add(expired, "Срок действия истёк", "Expired");
    add(
        expiring,
        "Срок действия скоро истекает (30 дней или меньше)",
        "About to expire (30 days or less)",
    );
    let is_fine = russian.len() == 1 && usable > 0;
    let (russian, english) = (russian.join(" "), english.join(" "));
    if is_fine {
        return Check::ok("keys", russian, english);
    }
    let check = if usable == 0 {
        Check::failed("keys", russian, english)
    } else {
        Check::warning("keys", russian, english)
    };
    check.advise(
        "Откройте список ключей в консоли: у каждого указано, что с ним делать; ключ другого \
         сервера переносится резервным кодом.",
        "Look at the keys in the console: each says what is wrong; a key of another server is \
         moved by a reserve code.",
    )
}

/// Whether the renewal of keys whose term ends soon can come by itself: `silent` are those whose
/// centre has not answered for longer than it should.
pub fn renewal(is_on: bool, silent: &[KeyNo]) -> Check {
    if !is_on {
        return Check::ok(
            "renewal",
            "Лицензии обновляет администратор ([Common] AutoUpdate=0).",
            "Licences are renewed by an administrator ([Common] AutoUpdate=0).",
        );
    }
    if silent.is_empty() {
        return Check::ok(
            "renewal",
            "Продление лицензий приходит само.",
            "Renewals of licences come by themselves.",
        );
    }
    let names: Vec<_> = silent.iter().map(KeyNo::to_string).collect();
    let names = listed(&names);
    Check::warning(
        "renewal",
        format!(
            "Срок ключей скоро истекает, а центр лицензирования не отвечает больше недели: {names}."
        ),
        format!(
            "The term of keys ends soon, and their activation centre has not answered for more than a \
             week: {names}."
        ),
    )
    .advise(
        "Проверьте доступ сервера к центру лицензирования (прокси: [Common] LicenceCenterProxy) или \
         обновите лицензии файлом или по QR-коду на странице «Ключи».",
        "See whether the server reaches the activation centre (a proxy: [Common] LicenceCenterProxy), or \
         update the licences by a file or a QR code on the page “Keys”.",
    )
}

/// The vendors' data files: whether all that lie there can be used, and opened. `without_key` are the
/// series that have keys here and no object key.
pub fn datafiles(listing: &Listing, without_key: &BTreeSet<KeySeries>) -> Check {
    let (mut count, mut russian, mut english) = (0_usize, Vec::new(), Vec::new());
    let mut closed = BTreeSet::new();
    for known in listing.all() {
        count += 1;
        match &known.contents {
            Err(problem) => {
                let named = |language| format!("{}: {}", known.file_name, problem.text(language));
                russian.push(named(Language::Russian));
                english.push(named(Language::English));
            }
            Ok(_) => closed.extend(known.series.filter(|series| without_key.contains(series))),
        }
    }
    if !english.is_empty() {
        return Check::warning(
            "datafiles",
            format!("Файлы данных не используются: {}.", listed(&russian)),
            format!("Data files that cannot be used: {}.", listed(&english)),
        )
        .advise(
            "Скопируйте файл данных заново из поставки продукта или удалите его из папки data.",
            "Copy the data file again from the product's delivery, or remove it from the folder data.",
        );
    }
    if !closed.is_empty() {
        let closed: Vec<_> = closed.iter().map(KeySeries::to_string).collect();
        let names = listed(&closed);
        return Check::warning(
            "datafiles",
            format!("Ни в одной лицензии нет ключа защищённых объектов серий: {names}."),
            format!("No licence has the key of the protected objects of series: {names}."),
        )
        .advise(
            "Обновите лицензии: ключ выдаёт центр лицензирования вместе с ними.",
            "Update the licences: the activation centre gives the key with them.",
        );
    }
    let (russian, english) = if count == 0 {
        ("Файлов данных нет.".to_owned(), "There are no data files.".to_owned())
    } else {
        (format!("Файлов данных: {count}."), format!("Data files: {count}."))
    };
    Check::ok("datafiles", russian, english)
}

fn name_of(view: &LicenceView) -> String {
    match view.key_no {
        Some(key_no) => key_no.to_string(),
        None => Path::new(&view.file_name)
            .file_name()
            .map_or_else(|| view.file_name.clone(), |name| name.to_string_lossy().into_owned()),
    }
}

/// Whether any series is known, and a centre that activates its keys: `unreached` names the
/// series without one.
pub fn series(known: usize, unreached: &[String]) -> Check {
    if known == 0 {
        return Check::warning("series", "Серии ключей неизвестны.", "No key series is known.")
            .advise(
                "Положите файл серии, полученный от разработчика, в папку настроек \
                 ([Common] SeriesFile).",
                "Put the vendor's series file into the settings folder ([Common] SeriesFile).",
            );
    }
    if unreached.is_empty() {
        return Check::ok(
            "series",
            format!("Известных серий ключей: {known}."),
            format!("Known key series: {known}."),
        );
    }
    let names = listed(unreached);
    Check::warning(
        "series",
        format!("Не указан центр лицензирования серий: {names}."),
        format!("No activation centre is known for series: {names}."),
    )
    .advise(
        "Задайте [Common] LicenceCenterUrl: без него коды активации не принимаются.",
        "Set [Common] LicenceCenterUrl: without it activation codes cannot be used.",
    )
}
